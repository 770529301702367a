"""CLIP with OpenAI's names, from open_clip's folders and from files of weights: answers as transformers and open_clip.

transformers' own model with its weights renamed is compared always, open_clip where it is installed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_export.errors import CheckpointError
from vit_runtime.artifact import Assumption, Rollout
from vit_runtime.errors import UsageError
from vit_runtime.pictures.preprocess import load_pixels

from .hf_models import PHOTOS, randomised, refuse_network
from .hf_towers import JOINT, ask, make
from .test_huggingface import TOLERANCE

PAPER = Rollout(head_fusion="mean", discard_ratio=0.0)
VISION: dict[str, Any] = {
    "image_size": 32,
    "layers": 3,
    "width": 64,
    "head_width": 32,
    "patch_size": 8,
    "mlp_ratio": 2.0,
}
CONFIG: dict[str, Any] = {
    "model_cfg": {"embed_dim": JOINT, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": {"width": 48}},
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}
_NAMES = (
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.layer_norm(\d)\.", r"visual.transformer.resblocks.\1.ln_\2."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.mlp\.fc1\.", r"visual.transformer.resblocks.\1.mlp.c_fc."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.mlp\.fc2\.", r"visual.transformer.resblocks.\1.mlp.c_proj."),
    (
        r"^vision_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.",
        r"visual.transformer.resblocks.\1.attn.out_proj.",
    ),
)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    refuse_network(monkeypatch)


def renamed(model: Any) -> dict[str, torch.Tensor]:
    """Weights of transformers' CLIP under OpenAI's names, with a few of the texts' tower beside them."""
    state, theirs = {}, model.state_dict()
    for name, tensor in theirs.items():
        for pattern, replacement in _NAMES:
            if re.search(pattern, name):
                state[re.sub(pattern, replacement, name)] = tensor
    for layer in range(3):
        for kind in ("weight", "bias"):
            parts = [theirs[f"vision_model.encoder.layers.{layer}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            state[f"visual.transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(parts)
    state["visual.proj"] = theirs["visual_projection.weight"].T.contiguous()
    return state | {"positional_embedding": torch.ones(77, 48), "logit_scale": torch.tensor(4.6)}


@pytest.fixture
def lay(folder):
    """`lay(state, config)`: a folder as open_clip saves it."""

    def write(state: dict[str, torch.Tensor], config: dict[str, Any] = CONFIG, *, pickled: bool = False) -> Path:
        path = folder / "model"
        path.mkdir()
        (path / "open_clip_config.json").write_text(json.dumps(config))
        if pickled:
            torch.save(state, path / "open_clip_pytorch_model.bin")
        else:
            save_file(state, path / "open_clip_model.safetensors")
        return path

    return write


@pytest.fixture
def exported(folder):
    """`exported(path, **options)`: the runtime's model of its export."""

    def run(path: Path, **options: Any) -> vit.ViT:
        return vit.load(export(ExportRequest(model=str(path), output=folder / "out.onnx", **options)).path)

    return run


def normalised(runtime: vit.ViT) -> torch.Tensor:
    """The runtime's own pixels of the photos, normalised."""
    preprocessing = runtime.artifact.preprocessing
    pixels = np.stack([load_pixels(photo, preprocessing) for photo in PHOTOS])
    values = (pixels / 255 - preprocessing.mean) / preprocessing.std
    return torch.tensor(values, dtype=torch.float32).permute(0, 3, 1, 2)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("stored", ["safetensors", "bin"])
def test_a_folder_answers_as_transformers_with_the_same_weights(quick, stored, lay, exported):
    model = make("CLIP with projection", hidden_act="quick_gelu" if quick else "gelu")
    config = CONFIG | {"model_cfg": CONFIG["model_cfg"] | {"quick_gelu": quick}}
    runtime = exported(lay(renamed(model), config, pickled=stored == "bin"))
    with torch.inference_mode():
        expected = ask(model, normalised(runtime))["embedding"].numpy()
    assert np.abs(runtime.embed(PHOTOS) - expected).max() <= TOLERANCE
    artifact = runtime.artifact
    assert (artifact.source.family, artifact.assumptions) == ("open_clip", ())
    assert artifact.preprocessing.crop_rounding == "half_even"


@pytest.mark.parametrize(
    ("name", "more", "quick", "basis"),
    [
        ("ViT-tiny.safetensors", {}, False, "open_clip's usual kind; a name with quickgelu or openai in it would"),
        ("ViT-tiny-quickgelu.safetensors", {}, True, "the file's name says so"),
        ("ViT-tiny-openai.pt", {}, True, "the file's name says so"),
        ("mine.pt", dict.fromkeys(("input_resolution", "context_length", "vocab_size"), torch.tensor(32)), True, "the"),
    ],
)
def test_a_file_by_itself(name, more, quick, basis, folder, exported):
    model = make("CLIP with projection", hidden_act="quick_gelu" if quick else "gelu")
    state = renamed(model) | more
    (save_file if name.endswith("safetensors") else torch.save)(state, folder / name)
    runtime = exported(folder / name, heads=2)
    with torch.inference_mode():
        expected = ask(model, normalised(runtime))["embedding"].numpy()
    assert np.abs(runtime.embed(PHOTOS) - expected).max() <= TOLERANCE
    subjects = {assumption.subject: assumption for assumption in runtime.artifact.assumptions}
    assert set(subjects) == {"heads", "activation", "preprocessing"}
    found: Assumption = subjects["activation"]
    assert (found.value, found.basis.startswith(basis)) == ("quick" if quick else "erf", True)


@pytest.mark.parametrize(
    "vision",
    [
        {},
        {"ls_init_value": 0.1},
        {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True, "act_kwargs": {"approximate": "tanh"}},
        {"pool_type": "avg", "norm_kwargs": {"eps": 1e-3}},
    ],
    ids=["CLIP", "LayerScale", "CLIPA", "averaged"],
)
@pytest.mark.parametrize("side", [None, 16, 48])
def test_answers_are_those_of_open_clip(vision, side, lay, exported):
    open_clip = pytest.importorskip("open_clip")
    vision = VISION | vision
    quick = "act_kwargs" not in vision
    texts = {"width": 32, "heads": 2, "layers": 1, "vocab_size": 100, "context_length": 8}
    model_cfg = {"embed_dim": JOINT, "quick_gelu": quick, "vision_cfg": vision, "text_cfg": texts}
    model = randomised(open_clip.CLIP(**model_cfg), 1)
    modes = {"resize_mode": "shortest" if quick else "squash", "interpolation": "bicubic" if quick else "bilinear"}
    config = {"model_cfg": model_cfg, "preprocess_cfg": CONFIG["preprocess_cfg"] | modes}
    path = lay(model.state_dict(), config)
    runtime = exported(path, image_size=side, rollout=PAPER)
    theirs, prepare = open_clip.create_model_from_pretrained(f"local-dir:{path}", force_image_size=side)
    with torch.inference_mode():
        expected = theirs.eval().encode_image(torch.stack([prepare(photo) for photo in PHOTOS])).numpy()
    assert np.abs(runtime.embed(PHOTOS) - expected).max() <= TOLERANCE  # worst measured: 1.7e-6


@pytest.mark.parametrize(
    ("vision", "problem"),
    [
        (
            {"timm_model_name": "vit_base_patch16_siglip_224"},
            "picture tower is timm's vit_base_patch16_siglip_224, whi",
        ),
        ({"layers": [3, 4, 6, 3]}, "its picture tower is a ResNet; only Vision Transformers are supported"),
        ({"attentional_pool": True}, "vision_cfg.attentional_pool True is not supported; only plain towers are"),
        ({"pos_embed_type": "sin_cos_2d"}, "vision_cfg.pos_embed_type sin_cos_2d is not supported"),
        ({"pool_type": "none"}, "pool_type none is not supported; only tok and avg are"),
        ({"norm_kwargs": {"bias": False}}, "norm_kwargs {'bias': False} is not supported; only eps is"),
        ({"act_kwargs": {"a": 1}}, "act_kwargs {'a': 1} is not supported"),
        ({"width": "64"}, "width 64 is not supported"),
        ({"mlp_ratio": "4"}, "mlp_ratio 4 is not supported"),
        ({"head_width": 48}, None),
        ({"layers": 4}, "16 missing|12 missing"),
        ({"patch_size": 16}, "conv1.weight is .* where .* belongs"),
    ],
)
def test_a_folder_that_is_refused(vision, problem, lay, folder, refusal_of):
    state = renamed(make("CLIP with projection"))
    path = lay(state, CONFIG | {"model_cfg": CONFIG["model_cfg"] | {"vision_cfg": VISION | vision}})
    request = ExportRequest(model=str(path), output=folder / "out.onnx")
    if problem is None:  # 64 // 48 is one head, as open_clip counts
        assert export(request).artifact.architecture.heads == 1
        return
    message = refusal_of(request, (str(path),))
    assert re.search(problem, message), message


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({}, "model_cfg is no object"),
        ({"model_cfg": {"embed_dim": JOINT}}, "vision_cfg is no object"),
        ({"model_cfg": {"vision_cfg": VISION}}, "embed_dim 0 is not supported"),
        (
            CONFIG | {"preprocess_cfg": {"resize_mode": "longest"}},
            "resize_mode longest is not supported; only shortest",
        ),
        (CONFIG | {"preprocess_cfg": {"interpolation": "area"}}, "interpolation area is not supported"),
        (CONFIG | {"preprocess_cfg": {"std": [1, 1, 0]}}, "std .* should be above zero"),
        (CONFIG | {"preprocess_cfg": {"mean": "x"}}, "mean x is not three numbers"),
    ],
)
def test_a_configuration_that_is_refused(config, problem, lay, folder, refusal_of):
    path = lay(renamed(make("CLIP with projection")), config)
    message = refusal_of(ExportRequest(model=str(path), output=folder / "out.onnx"), (str(path),))
    assert re.search(problem, message), message


def test_files_that_are_refused(folder, refusal_of):
    state = renamed(make("CLIP with projection"))
    for change, problem in (
        ({"visual.layer1.0.conv1.weight": torch.ones(1)}, "its picture tower is a ResNet"),
        ({"visual.positional_embedding": torch.ones(18, 64)}, "its position embedding of 18 is of no square picture"),
        ({"visual.ln_post.weight": torch.ones(65)}, r"ln_post.weight is \(65,\) where \(64,\) belongs"),
        ({"visual.more": torch.ones(65)}, r"1 unexpected \(more\)"),
    ):
        path = folder / "weights.safetensors"
        save_file(state | change, path)
        message = refusal_of(ExportRequest(model=str(path), heads=2, output=folder / "out.onnx"), (str(path),))
        assert re.search(problem, message), message


def test_no_weights_of_open_clip(lay):
    path = lay({})
    (path / "open_clip_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"neither open_clip_model\.safetensors nor open_clip_pytorch_model\.bin"):
        export(ExportRequest(model=str(path)))


def test_against_library(lay, folder):
    path = lay(renamed(make("CLIP with projection")))
    with pytest.raises(UsageError, match="has open_clip's files, which no other library reads; leave it out"):
        export(ExportRequest(model=str(path), output=folder / "out.onnx", against="library"))
