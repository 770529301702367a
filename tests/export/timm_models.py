"""timm's own models as reference: small, with seeded weights of which every one counts, in folders as the hub has them.

Nothing of vit_export's is used here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

PHOTO_SIZES = ((61, 87), (140, 99), (33, 250), (97, 96))
"""Height and width: odd margins on either axis, photos to be enlarged and to be made smaller."""
_OF_THE_INSTALLATION = ("architecture", "tag", "url", "file", "hf_hub_id", "hf_hub_filename", "state_dict", "source")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """For modules that import it: on products this small a second thread only waits, long where cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def photos() -> list[Image.Image]:
    """Blots of colour, for answers that differ, under noise, for a crop or filter that is off by one to show."""
    rng = np.random.default_rng(0)
    found = []
    for height, width in PHOTO_SIZES:
        blots = Image.fromarray(rng.integers(0, 192, (3, 4, 3), dtype=np.uint8)).resize((width, height))
        found.append(Image.fromarray(np.asarray(blots) + rng.integers(0, 64, (height, width, 3), dtype=np.uint8)))
    return found


def small(name: str, *, patches: int = 4, depth: int = 2, seed: int = 1, **options: Any) -> nn.Module:
    """timm's model of that name for pictures of `patches` patches a side, with few blocks, `seeded`."""
    with torch.device("meta"):
        patch = timm.create_model(name, depth=1).patch_embed.patch_size[0]
        model = timm.create_model(name, img_size=patches * patch, depth=depth, **options)
    return seeded(model.to_empty(device="cpu"), seed)  # without the values that timm would start with


def seeded(model: nn.Module, seed: int = 1) -> nn.Module:
    """Gives every parameter a size at which answers depend on it; timm starts many of them at almost nothing."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if (
            parameter.ndim in (2, 4) and name != "rope.freqs"
        ):  # linear layers and patches: outputs keep the size of inputs
            values *= parameter[0].numel() ** -0.5
        elif name == "rope.freqs":  # angles per patch, which RoPE-ViT learns
            values *= 0.5
        elif "gamma" in name.rpartition(".")[2]:  # LayerScale
            values = values.abs().clamp(0.3, 1.2)
        else:
            values = values * 0.1 + ("norm" in name and name.endswith("weight"))
        parameter.data = values
    for module in model.modules():  # tables of rotary positions, which `to_empty` leaves without values
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()
    return model.eval()


def config_of(model: nn.Module, **changes: Any) -> dict[str, Any]:
    """`config.json` as in timm's repositories on the hub; `changes` are of its `pretrained_cfg`."""
    cfg = {name: value for name, value in model.pretrained_cfg.items() if name not in _OF_THE_INSTALLATION}
    cfg |= {"num_classes": model.num_classes, "input_size": [3, *model.patch_embed.img_size]} | changes
    return {
        "architecture": model.pretrained_cfg["architecture"],
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "global_pool": model.global_pool,
        "pretrained_cfg": {name: value for name, value in cfg.items() if value is not None},
    }


def save(folder: Path, state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Path:
    """Weights and configuration, as a repository of timm's holds them."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(state), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def prepared(pretrained_cfg: Mapping[str, Any], **args: Any) -> torch.Tensor:
    """The photos through timm's own transform for evaluation; `args` are what its scripts take (img_size)."""
    config = timm.data.resolve_data_config(args, pretrained_cfg=dict(pretrained_cfg))
    transform = timm.data.create_transform(**config)
    return torch.stack([transform(photo) for photo in photos()])


def answers(model: nn.Module, inputs: torch.Tensor) -> dict[str, np.ndarray]:
    """timm's logits, and its embedding: the class token after the norm, or what the head reads of averaged patches."""
    with torch.inference_mode():
        features = model.forward_features(inputs)
        token = model.global_pool == "token"
        found = {"embedding": features[:, 0] if token else model.forward_head(features, pre_logits=True)}
        if model.num_classes:
            found["logits"] = model(inputs)
    return {output: values.numpy() for output, values in found.items()}
