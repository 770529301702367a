"""Every Vision Transformer that timm lists is refused or read exactly as timm builds it: none is silently misread.

Most of it on the meta device, where weights have shapes and no values. What an architecture is made of is asked of
timm's own modules.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.layers import (
    GELUTanh,
    GluMlp,
    LayerNorm,
    Mlp,
    PatchEmbed,
    QuickGELU,
    RotaryEmbeddingMixed,
    SwiGLU,
)
from timm.layers.attention import Attention, AttentionRope
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva, EvaAttention, EvaBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn
from torchvision.transforms import CenterCrop, Normalize, Resize

from vit_export.errors import CheckpointError
from vit_export.progress import Silent
from vit_export.read import timm as source
from vit_export.read.prepare import Prepared, prepare
from vit_export.read.repository import Folder
from vit_export.read.timm_config import read_config
from vit_export.request import ExportRequest
from vit_export.verify.plain_vit import PlainViT
from vit_runtime.errors import VitEdgeError

from .timm_models import answers, config_of, one_thread, seeded  # noqa: F401 - one_thread is a fixture

LOG = logging.getLogger(__name__)
NAMES = timm.list_models(["vit_*", "deit*", "eva*"])
NO_TRACE = {
    "vit_base_patch16_rpn_224": "layers in another order under the same names",
    "vit_base_patch16_rope_ape_224": "rotary positions, which are not stored",
    "vit_large_patch16_rope_ape_224": "rotary positions, which are not stored",
    "vit_small_patch16_rope_ape_224": "rotary positions, which are not stored",
    "vit_base_patch16_clip_quickgelu_224": "quick GELU",
    "vit_base_patch32_clip_quickgelu_224": "quick GELU",
    "vit_gigantic_patch14_clip_quickgelu_224": "quick GELU",
    "vit_huge_patch14_clip_quickgelu_224": "quick GELU",
    "vit_huge_patch14_clip_quickgelu_378": "quick GELU",
    "vit_large_patch14_clip_quickgelu_224": "quick GELU",
    "vit_large_patch14_clip_quickgelu_336": "quick GELU",
    "vit_base_patch32_siglip_256": "tanh",
    "vit_giantopt_patch16_siglip_256": "tanh, heads",
    "vit_giantopt_patch16_siglip_384": "tanh, heads",
    "vit_large_patch16_siglip_512": "tanh",
    "vit_so400m_patch16_siglip_256": "tanh",
    "vit_so400m_patch16_siglip_384": "tanh",
    "vit_so400m_patch16_siglip_512": "tanh",
    "vit_base_patch16_gap_224": "heads",
    "vit_base_patch32_siglip_gap_256": "tanh",
    "vit_giantopt_patch16_siglip_gap_256": "tanh, heads",
    "vit_giantopt_patch16_siglip_gap_384": "tanh, heads",
    "vit_large_patch16_siglip_gap_512": "tanh",
    "vit_so400m_patch16_siglip_gap_256": "tanh",
    "vit_so400m_patch16_siglip_gap_384": "tanh",
    "vit_so400m_patch16_siglip_gap_512": "tanh",
}
"""What weights by themselves do not tell; with `config.json` each of these has to be right, or refused."""


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@functools.cache
def on_meta(name: str, depth: int | None = 2) -> nn.Module:
    """timm's model without values; with fewer blocks it is made sooner."""
    with torch.device("meta"):
        try:
            return timm.create_model(name, **({} if depth is None else {"depth": depth}))
        except AssertionError:  # Sapiens 2 lists its heads block by block
            return timm.create_model(name)


def foreign_parts(model: nn.Module) -> list[str]:
    """What no Vision Transformer that is read here has."""
    if type(model) not in (VisionTransformer, VisionTransformerDistilled, Eva):
        return [type(model).__name__]
    parts = {"patches": [model.patch_embed], "blocks": model.blocks}
    made_of = {
        "patches": (PatchEmbed,),
        "blocks": (Block, EvaBlock),
        "attention": (Attention, EvaAttention, AttentionRope),
        "mlp": (Mlp, GluMlp, SwiGLU),
    }
    nothing = [getattr(model.patch_embed, "norm", None)]
    if all(type(block) in made_of["blocks"] for block in model.blocks):
        parts |= {"attention": [block.attn for block in model.blocks], "mlp": [block.mlp for block in model.blocks]}
        nothing += [norm for attn in parts["attention"] for norm in (attn.q_norm, attn.k_norm, attn.norm)]
        nothing += [mlp.norm for mlp in parts["mlp"]]
    found = [kind for kind, members in parts.items() if {type(member) for member in members} - set(made_of[kind])]
    found += [type(norm).__name__ for norm in nothing if not isinstance(norm, (nn.Identity, type(None)))]
    found += ["gate" for attn in parts.get("attention", ()) if getattr(attn, "gate", None) is not None]
    pool = model.attn_pool
    if pool is not None and (pool.num_heads != model.blocks[0].attn.num_heads or model.num_prefix_tokens):
        found.append("pooling")
    return found + (["pooling"] if getattr(model, "pool_include_prefix", False) else [])


def difference(model: nn.Module, loaded: Prepared) -> dict[str, Any]:
    """What was read otherwise than timm has it; nothing where all is right."""
    if foreign := foreign_parts(model):
        return {"parts": foreign}
    arch, block = loaded.architecture, model.blocks[0]
    last = model.fc_norm if isinstance(model.norm, nn.Identity) else model.norm
    norms = [norm for each in model.blocks for norm in (each.norm1, each.norm2)] + [last]
    normalised = not isinstance(model.norm_pre, nn.Identity)
    norms += [model.norm_pre] * normalised
    distilled = isinstance(model, VisionTransformerDistilled)
    pooling = {"token": "class_and_distillation_token" if distilled else "class_token", "avg": "patch_mean"}
    pooling["map"] = "attention"
    functions = {nn.GELU: "erf", GELUTanh: "tanh", QuickGELU: "quick", nn.SiLU: "silu"}
    gated = not isinstance(block.mlp, Mlp)
    if gated:
        assert getattr(block.mlp, "gate_last", False) is False
    rope = getattr(model, "rope", None)
    mixed = isinstance(rope, RotaryEmbeddingMixed)
    acts = {functions.get(type(each.mlp.act)) for each in model.blocks}
    if model.attn_pool is not None:
        norms.append(model.attn_pool.norm)
        acts.add(functions.get(type(model.attn_pool.mlp.act)))
    pairs = {
        "layers": (arch.layers, len(model.blocks)),
        "heads": ({arch.heads}, {each.attn.num_heads for each in model.blocks}),
        "scale": ({(arch.width // arch.heads) ** -0.5}, {each.attn.scale for each in model.blocks}),
        "width": (arch.width, model.embed_dim),
        "mlp_width": (arch.mlp_width, block.mlp.fc2.in_features),
        "gated_mlp": (arch.gated_mlp, gated),
        "classes": (arch.classes + arch.projection, model.num_classes),
        "patch_size": ((arch.patch_size,) * 2, model.patch_embed.patch_size),
        "image_size": ((arch.image_size,) * 2, model.patch_embed.img_size),
        "norm": ({LayerNorm}, {type(norm) for norm in norms}),
        "layer_norm_eps": ({arch.layer_norm_eps}, {norm.eps for norm in norms}),
        "norm_before_blocks": (arch.norm_before_blocks, normalised),
        "activation": ({arch.activation}, acts),
        "rotary": (arch.rotary, "none" if rope is None else "by_head" if mixed else "shared"),
        "class_token": (arch.class_token, model.cls_token is not None),
        "distillation_token": (arch.distillation_token, distilled),
        "registers": (arch.registers, 0 if model.reg_token is None else model.reg_token.shape[1]),
        "prefix": (arch.prefix, model.num_prefix_tokens),
        "pooling": (arch.pooling, pooling.get(model.global_pool)),
        "norm_after_pooling": (arch.norm_after_pooling, not isinstance(model.fc_norm, nn.Identity)),
        "positions": (loaded.state["encoder.pos_embedding"].shape, (1, arch.tokens, model.embed_dim)),
    }
    return {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}


@pytest.fixture
def read(monkeypatch):
    """`read(config, state)` and `read(None, state)`: as from a folder, and as from a file of weights alone."""
    monkeypatch.setattr(source, "sha256", lambda *_: "0" * 64)

    def run(config: Mapping[str, Any] | None, state: Mapping[str, torch.Tensor], progress=None) -> Prepared:
        request, state, progress = ExportRequest(model="weights.pth"), dict(state), progress or Silent()
        if {"head.bias", "norm_pre.weight"} <= state.keys() and state[
            "head.bias"
        ].is_meta:  # a bias of zeros would make it a projection
            state["head.bias"] = torch.ones(state["head.bias"].shape, device="cpu")
        if config is None:
            checkpoint = source.read_file(Path("weights.pth"), state)
        else:
            monkeypatch.setattr(source, "read_weights", lambda *_: (state, "0" * 64))
            checkpoint = source.read_repository(
                Folder(Path("no README here")), json.loads(json.dumps(config)), progress
            )
        return prepare(checkpoint, request, None, progress)

    return run


@pytest.mark.parametrize("depth", [2, pytest.param(None, marks=pytest.mark.slow, id="all")])
@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_is_read_right_or_refused(name, depth, read):
    model = on_meta(name, depth)
    with torch.device("meta"):
        try:
            loaded = read(config_of(model), model.state_dict())
        except CheckpointError:
            return
    assert difference(model, loaded) == {}


@pytest.mark.parametrize("name", NAMES)
def test_weights_alone_are_read_right_or_refused(name, read):
    """But for `NO_TRACE`, of which some leave a note at least: the number of heads is always named."""
    model, notes = on_meta(name), Notes()
    with torch.device("meta"):
        try:
            loaded = read(None, model.state_dict(), notes)
        except VitEdgeError:
            assert name not in NO_TRACE, "is refused: takes it off the list"
            return
    wrong = difference(model, loaded)
    if model.patch_embed.img_size[0] % model.patch_embed.patch_size[0]:
        # A margin that no patch covers (384 with patches of 14) is not stored, and no answer depends on it.
        wrong.pop("image_size")
    assert bool(wrong) == (name in NO_TRACE), wrong
    assert f"attention heads it has; using {loaded.architecture.heads}" in notes.lines[0]


def test_nothing_plain_is_refused(read):
    """Guards the tests above, which a source that refuses everything would pass."""
    refused = {}
    for name in NAMES:
        model = on_meta(name)
        last = (model.norm, model.fc_norm) if type(model) in (VisionTransformer, Eva) else ()
        plain = not foreign_parts(model) and type(model.blocks[0].norm1) is LayerNorm
        if not plain or (last and all(isinstance(norm, nn.Identity) for norm in last)):
            continue
        with torch.device("meta"):
            try:
                read(config_of(model), model.state_dict())
            except CheckpointError as error:
                refused[name] = str(error)
    assert refused == {}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_so150m_patch16_reg4_map_256", "global_pool map"),
        ("eva02_base_patch14_448", "LayerNorm inside its MLP.*tiny and small"),
        ("eva02_base_patch16_clip_224", "architecture 'eva02_base_patch16_clip_224'"),
        ("eva02_enormous_patch14_clip_224", "architecture 'eva02_enormous_patch14_clip_224'"),
        ("vit_base_patch16_rpn_224", "architecture 'vit_base_patch16_rpn_224'"),
        ("vit_relpos_base_patch16_224", "position embeddings or biases"),
        ("vit_srelpos_small_patch16_224", "pos"),
        ("vit_base_patch16_radio_v3", "1?2 missing .norm.weight, norm.bias"),
        ("vit_intern300m_patch14_448", "2 missing"),
        ("vit_base_patch16_18x2_224", "parallel layers"),
        ("vit_base_r50_s16_224", "convolutional stem"),
        ("vit_base_mci_224", "convolutional stem"),
        ("vit_base_patch16_xp_224", "no blocks.0.mlp.fc1.weight"),
        ("vit_pe_core_base_patch16_224", "architecture 'vit_pe_core_base_patch16_224'"),
        ("vit_dwee_patch16_reg1_gap_256", "unexpected"),
        ("vit_base_patch16_sapiens2", "architecture 'vit_base_patch16_sapiens2'|squares"),
    ],
)
def test_what_is_another_model_is_refused_by_what_it_has(name, reason, read):
    model = on_meta(name)
    with torch.device("meta"), pytest.raises(CheckpointError, match=reason):
        read(config_of(model), model.state_dict())


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "beit_base_patch16_224"])
def test_other_families_are_refused_by_name(name):
    with pytest.raises(CheckpointError, match=f"timm architecture '{name}' is not supported"):
        read_config({"architecture": name, "pretrained_cfg": {}}, "config.json")


def published() -> list[Any]:
    """The published configurations of these architectures; of those that prepare pictures alike, the first."""
    found = {}
    for name in timm.list_pretrained(["vit_*", "deit*"]):
        cfg = timm.get_pretrained_cfg(name).to_dict()
        how = {key: cfg.get(key) for key in ("input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std")}
        if how["input_size"][1] == how["input_size"][2] and how["crop_mode"] != "border":
            found.setdefault(json.dumps(how), pytest.param(how, id=name))
    return list(found.values())


@pytest.mark.parametrize("cfg", published())
def test_published_preprocessing_is_that_of_timm(cfg):
    """As the transform that timm makes of the same configuration, part by part."""
    config = json.loads(json.dumps({"architecture": "vit_tiny_patch16_224", "pretrained_cfg": cfg}))
    ours = read_config(config, "config.json").preprocessing(cfg["input_size"][1])
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=cfg))
    kinds = [type(step).__name__ for step in transform.transforms]
    resize, crop, _, norm = transform.transforms
    assert (kinds[2], type(resize), type(crop), type(norm)) == ("MaybeToTensor", Resize, CenterCrop, Normalize)
    theirs = {
        "resize": resize.size if isinstance(resize.size, int) else tuple(resize.size),
        "interpolation": resize.interpolation.value,
        "crop": tuple(crop.size),
        "mean": pytest.approx(norm.mean.tolist()),
        "std": pytest.approx(norm.std.tolist()),
    }
    assert theirs == {
        "resize": ours.resize_shortest_edge or ours.resize_hw,
        "interpolation": ours.interpolation,
        "crop": ours.crop_hw,
        "mean": list(ours.mean),
        "std": list(ours.std),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_answers_as_timm_does(name, read):
    """Every architecture at its own width, two blocks deep: what exports are held to is held to timm.

    With random weights no order of tokens, no position and no scale can be right by accident.
    """
    model = on_meta(name)
    with torch.device("meta"):
        try:
            read(config_of(model), model.state_dict())
        except CheckpointError:
            pytest.skip("refused")
    model = seeded(timm.create_model(name, depth=2, img_size=4 * model.patch_embed.patch_size[0]))
    pictures = torch.randn(2, 3, *model.patch_embed.img_size, generator=torch.Generator().manual_seed(0))
    expected = answers(model, pictures)

    loaded = read(config_of(model), model.state_dict())

    with torch.inference_mode():
        found = PlainViT(loaded.architecture, loaded.state)(pictures, attention=False)
    if loaded.architecture.projection:  # of EVA-CLIP; timm calls it logits
        expected["embedding"] = expected.pop("logits")
    worst = np.abs(found.embedding.numpy() - expected["embedding"]).max()
    if loaded.architecture.classes:
        worst = max(worst, np.abs(found.logits.numpy() - expected["logits"]).max())
    LOG.info("%s: largest difference %s", name, worst)  # measured: at most 4.1e-6
    assert worst < 1e-4
