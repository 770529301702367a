"""Operations by formula against PyTorch's own count of what its kernels compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import timm
import torch
from tests.tiny import TINY
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import vit_b_16, vit_l_32

from vit_bench.measure.limit import architecture_operations, operations_by_part
from vit_runtime.artifact import Architecture

from .conftest import torchvision_tiny

B16 = Architecture(
    image_size=224, patch_size=16, layers=12, heads=12, width=768, mlp_width=3072, classes=1000, layer_norm_eps=1e-6
)
L32 = replace(B16, patch_size=32, layers=24, heads=16, width=1024, mlp_width=4096)
DEIT_TINY = replace(B16, heads=3, width=192, mlp_width=768)


def counted(make: Callable[[], nn.Module], side: int, batch: int = 1) -> int:
    """What PyTorch counts in a pass, without computing it.

    In training PyTorch does not fuse a whole attention layer into one operator that it would not count, and the
    backend made of plain products leaves nothing fused either.
    """
    with torch.device("meta"):
        model = make().train()
        pixels = torch.empty(batch, 3, side, side)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(pixels)
    return counter.get_total_flops()


@pytest.mark.parametrize(("make", "arch"), [(vit_b_16, B16), (vit_l_32, L32), (torchvision_tiny, TINY)])
def test_torchvision_counts_the_same(make: Callable[[], nn.Module], arch: Architecture):
    assert architecture_operations(arch) == counted(make, arch.image_size)


@pytest.mark.parametrize(
    ("name", "options", "arch"),
    [
        # It averages the answers of two heads; the artifact's one head reads both tokens.
        (
            "deit_tiny_distilled_patch16_224",
            {},
            replace(DEIT_TINY, distillation_token=True, pooling="class_and_distillation_token"),
        ),
        (
            "vit_small_patch14_reg4_dinov2",
            {"img_size": 224},
            replace(DEIT_TINY, patch_size=14, heads=6, width=384, mlp_width=1536, classes=0, registers=4),
        ),
        (
            "vit_tiny_patch16_224",
            {"global_pool": "avg", "class_token": False},
            replace(DEIT_TINY, class_token=False, pooling="patch_mean"),
        ),
    ],
)
def test_timm_counts_the_same(name: str, options: dict[str, object], arch: Architecture):
    assert architecture_operations(arch) == counted(lambda: timm.create_model(name, **options), arch.image_size)


def test_a_head_that_reads_two_vectors_counts_both():
    both = replace(TINY, pooling="class_token_and_patch_mean")
    assert operations_by_part(both) == operations_by_part(TINY) | {"head": 2 * 2 * 128 * 7}


def test_without_a_head_there_is_none_to_count():
    assert operations_by_part(replace(TINY, classes=0)) == operations_by_part(TINY) | {"head": 0}
