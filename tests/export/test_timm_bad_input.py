"""Folders and files of timm's that cannot be exported: one line that names cause and remedy, and no file."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_export.errors import CheckpointError
from vit_runtime.errors import UsageError

from .timm_models import answers, config_of, one_thread, photos, prepared, save, small  # noqa: F401 - one_thread is a fixture

MODEL = small("vit_tiny_patch16_224", depth=3, num_classes=7)
CONFIG = config_of(MODEL)
STATE = MODEL.state_dict()
WIDTH = 192


def with_cfg(**changes: Any) -> dict[str, Any]:
    """The configuration with another `pretrained_cfg`."""
    return CONFIG | {"pretrained_cfg": CONFIG["pretrained_cfg"] | changes}


def without(pattern: str) -> dict[str, torch.Tensor]:
    left = {name: tensor for name, tensor in STATE.items() if not re.search(pattern, name)}
    assert len(left) < len(STATE)
    return left


def with_weights(*axes: int, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    return STATE | {name: torch.ones(axes) for name in names}


@pytest.fixture
def refused(folder, files_in):
    """`refused(pattern, ...)`: the export of a folder fails with a message like that, and leaves nothing."""

    def run(pattern, state=None, config=None, error=CheckpointError, **options):
        save(folder / "model", STATE if state is None else state, CONFIG if config is None else config)
        with pytest.raises(error, match=pattern) as caught:
            export(ExportRequest(model=str(folder / "model"), output=folder / "out", **options))
        assert "\n" not in str(caught.value)
        assert files_in(folder) == ["model/config.json", "model/model.safetensors"]

    return run


@pytest.mark.parametrize(
    ("pattern", "config"),
    [
        ("'swin_tiny_patch4_window7_224' is not supported; .*DeiT", {"architecture": "swin_tiny_patch4_window7_224"}),
        ("'resnet50' is not supported", {"architecture": "resnet50"}),
        ("'vit_base_patch16_rpn_224' is not supported", {"architecture": "vit_base_patch16_rpn_224"}),
        ("'None' is not supported", {"architecture": None}),
        ("global_pool max is not supported", {"global_pool": "max"}),
        ("global_pool avgmax is not supported", {"global_pool": "avgmax"}),
        ("global_pool map is not supported", {"global_pool": "map"}),
        ("model_args act_layer, qk_norm are not", {"model_args": {"qk_norm": True, "act_layer": "silu"}}),
        ("model_args pool_include_prefix are not", {"model_args": {"pool_include_prefix": True}}),
        (r"64, 96.* is not supported; only 3 channels and squares", {"model_args": {"img_size": [64, 96]}}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_configuration_of_another_model(pattern, config, refused):
    refused(pattern, config=CONFIG | config)


@pytest.mark.parametrize(
    ("pattern", "cfg"),
    [
        ("crop_mode border is not supported; only center and squash", {"crop_mode": "border"}),
        (r"input_size \[3, 64, 96\] is not supported; only .* squares", {"input_size": [3, 64, 96]}),
        (r"input_size \[1, 64, 64\] is not supported; only 3 channels", {"input_size": [1, 64, 64]}),
        ("interpolation random is not supported; only nearest", {"interpolation": "random"}),
        ("for pictures of 64, .* prepares 96; .*image_size=64 or image_size=96", {"input_size": [3, 96, 96]}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_preparation_that_is_not_supported(pattern, cfg, refused):
    refused(pattern, config=with_cfg(**cfg))


@pytest.mark.parametrize(
    ("pattern", "state"),
    [
        (
            "global_pool token is not supported with these weights",
            with_weights(1, 1, WIDTH, names=("attn_pool.latent",)),
        ),
        ("1 missing .norm_pre.bias", with_weights(WIDTH, names=("norm_pre.weight",))),
        ("normalised queries and keys", with_weights(64, names=("blocks.1.attn.q_norm.weight",))),
        ("fc1.weight is .768, 192. where .500, 192.", with_weights(WIDTH, 500, names=("blocks.0.mlp.fc2.weight",))),
        ("missing .blocks.0.mlp.fc1_g.bias, ", with_weights(768, WIDTH, names=("blocks.0.mlp.fc1_g.weight",))),
        ("layers of timm's Eva under an unknown name", with_weights(WIDTH, names=("blocks.0.attn.q_bias",))),
        ("rotary positions under an unknown name", with_weights(2, 3, 3, 32, names=("rope.freqs",))),
        ("no pos_embed, and its name .*; give the folder with config.json", without("pos_embed")),
        ("position embeddings or biases", with_weights(3, names=("blocks.0.attn.rel_pos.bias",))),
        ("1 channels; only 3", with_weights(WIDTH, 1, 16, 16, names=("patch_embed.proj.weight",))),
        (r"proj.weight is \(192, 3, 16, 8\)", with_weights(WIDTH, 3, 16, 8, names=("patch_embed.proj.weight",))),
        ("of no square picture", with_weights(1, 13, WIDTH, names=("pos_embed",))),
        (r"pos_embed has shape \(17, 192\)", with_weights(17, WIDTH, names=("pos_embed",))),
        ("2 unexpected .neck.0.weight, neck.1.weight", with_weights(9, names=("neck.0.weight", "neck.1.weight"))),
        ("1 unexpected .blocks.1.attn.extra", with_weights(9, names=("blocks.1.attn.extra",))),
        ("not supported with these weights", with_weights(WIDTH, names=("fc_norm.weight", "fc_norm.bias"))),
    ],
)
def test_weights_of_another_model(pattern, state, refused):
    refused(pattern, state)


@pytest.mark.parametrize(
    ("pattern", "missing"),
    [
        ("no complete row of blocks", r"^blocks\.0\."),
        ("no complete row of blocks", r"^blocks\.1\."),
        ("no complete row of blocks", r"^blocks\."),
        ("1 missing .blocks.1.attn.qkv.bias", r"^blocks\.1\.attn\.qkv\.bias"),
        ("blocks.1.attn.qkv.bias", r"^blocks\.0\.attn\.qkv\.bias"),
        ("no patch_embed.proj.weight|no Vision|neither|names", r"^patch_embed\.proj\.weight"),
        ("has no pos_embed", "^pos_embed"),
        ("of no square picture", "^cls_token"),
        (r"1 missing .norm.bias", r"^norm\.bias"),
        ("1 missing .head.bias", r"^head\.bias"),
        ("1 unexpected .head.bias", r"^head\.weight"),
        ("1 missing .blocks.2.mlp.fc2.bias", r"^blocks\.2\.mlp\.fc2\.bias"),
    ],
)
def test_incomplete_weights(pattern, missing, refused):
    refused(pattern, without(missing))


@pytest.mark.parametrize("missing", ["ls1", "ls2", "ls"])
@pytest.mark.parametrize("block", [0, 1])
def test_a_layer_scale_that_one_block_lacks(block, missing, refused):
    """Scales of one are not what was trained."""
    model = small("deit3_small_patch16_224", num_classes=7)
    state = {name: t for name, t in model.state_dict().items() if not name.startswith(f"blocks.{block}.{missing}")}
    refused(r"blocks\.\d\.ls", state, config_of(model))


def test_a_second_head_that_is_lacking(refused):
    model = small("deit_tiny_distilled_patch16_224", num_classes=7)
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("head_dist")}
    refused("head_dist", state, config_of(model))


def test_a_second_head_without_its_token(refused):
    refused("distillation token", with_weights(7, WIDTH, names=("head_dist.weight",)))


def test_a_number_that_is_none(refused):
    refused("NaN or infinite", STATE | {"norm.bias": torch.full((WIDTH,), torch.nan)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_args", [1, 2]),
        ("model_args", "img_size"),
        ("pretrained_cfg", None),
        ("pretrained_cfg", [1, 2]),
        ("input_size", 64),
        ("input_size", [3, 64]),
        ("input_size", ["3", "64", "64"]),
        ("input_size", [3, 64.5, 64.5]),
        ("crop_pct", "0.9"),
        ("crop_pct", -0.9),
        ("crop_pct", 1000),
        ("crop_mode", ["center"]),
        ("mean", ["a", "b", "c"]),
        ("mean", [0.5, 0.5, None]),
        ("std", [0, 0, 0]),
        ("std", [0.5, 0.5]),
    ],
)
def test_a_configuration_that_holds_anything(name, value, refused):
    """A file that a hand or another program has written: never a traceback."""
    outside = name in ("model_args", "pretrained_cfg")
    refused("config.json", config=CONFIG | {name: value} if outside else with_cfg(**{name: value}))


def test_one_mean_for_all_channels(folder):
    """timm takes a single value for all three."""
    config = with_cfg(mean=[0.4], std=[0.3])
    save(folder / "model", STATE, config)
    runtime = vit.load(export(ExportRequest(model=str(folder / "model"), output=folder)).path)
    expected = answers(MODEL, prepared(config["pretrained_cfg"]))["logits"]
    assert abs(runtime.logits(photos()) - expected).max() < 1e-4


# Options.


@pytest.mark.parametrize("heads", [5, 7, 384])
def test_heads_that_do_not_divide_the_width(heads, refused, folder):
    refused(f"heads: {heads} heads do not divide a width of 192; the usual number is 3", error=UsageError, heads=heads)
    save_file(STATE, folder / "weights.safetensors")
    with pytest.raises(UsageError, match=f"{heads} heads do not divide"):
        export(ExportRequest(model=str(folder / "weights.safetensors"), output=folder / "out", heads=heads))


def test_a_width_that_does_not_tell_the_heads(folder):
    save_file(small("vit_tiny_patch16_224", embed_dim=96).state_dict(), folder / "weights.safetensors")
    with pytest.raises(UsageError, match=r"^heads: needed: a width of 96 is no multiple of 64"):
        export(ExportRequest(model=str(folder / "weights.safetensors"), output=folder / "out"))


@pytest.mark.parametrize(("size", "offer"), [(65, "take 64 or 80"), (8, "take 16 or 32")])
def test_a_size_that_patches_do_not_fill(size, offer, refused):
    refused(f"image_size: {size} is no multiple of the patch size 16; {offer}", error=UsageError, image_size=size)


@pytest.mark.parametrize(("option", "value"), [("--weights", "random"), ("--checkpoint", "x.pth")])
def test_options_of_torchvision_names(option, value, vit_export_cli, folder):
    save(folder / "model", STATE, CONFIG)
    result = vit_export_cli(folder / "model", option, value, "-o", folder / "out")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(f"error: {option}: does not go with")


def test_one_line_and_an_exit_status(vit_export_cli, folder, files_in):
    save(folder / "model", STATE, CONFIG | {"architecture": "swin_tiny_patch4_window7_224"})
    result = vit_export_cli(folder / "model", "-o", folder / "out")
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if "error" in line]
    assert line.startswith(f"error: {folder}/model/config.json: timm architecture 'swin_tiny_patch4_window7_224'")
    assert files_in(folder) == ["model/config.json", "model/model.safetensors"]
