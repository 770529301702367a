"""`--against library`: transformers' or timm's own model is the reference, by its own reading of the same files.

What only this comparison can notice is shown by checkpoints that pass against the plain model: it has what our reader
makes of them, right or wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import load_file

from vit_export import PreprocessingOptions
from vit_export.errors import VerificationError
from vit_runtime.artifact import Rollout

from . import hf_models, hf_towers, timm_models
from .against_library import (  # noqa: F401 - some are fixtures
    OF_TIMM,
    OF_TRANSFORMERS,
    PREPARATION,
    TIMM_CASES,
    _no_network,
    exported_fixture,
    notes_fixture,
    reference,
    shallow_fixture,
    timm_file,
    timm_folder,
)
from .test_repository import cache, contents, lay, no_network  # noqa: F401 - two are fixtures
from .timm_models import one_thread  # noqa: F401 - a fixture

PAPER = Rollout(head_fusion="mean", discard_ratio=0.0)


# What is read rightly passes, and the artifact names the library.


@pytest.mark.parametrize("case", hf_models.CASES)
def test_transformers_is_the_reference_of_its_models(case, folder, exported, notes):
    path = hf_models.save(hf_models.make(case), folder / "model")
    done = exported(path, rollout=PAPER)
    assert reference(done) == OF_TRANSFORMERS
    assert done.artifact.outputs[-1] == "rollout"
    assert notes.preparation == []


@pytest.mark.parametrize("size", [None, 48])
@pytest.mark.parametrize("case", hf_towers.CASES)
def test_transformers_is_the_reference_of_its_towers(case, size, folder, exported, notes):
    path = hf_towers.save(hf_towers.make(case), folder / "model")
    done = exported(path, rollout=PAPER, image_size=size)
    assert reference(done) == OF_TRANSFORMERS
    assert done.artifact.outputs[-1] == "rollout"
    assert notes.preparation == (
        [] if size is None else [f"{PREPARATION} with transformers' own: image_size changes it"]
    )


@pytest.mark.parametrize("case", TIMM_CASES)
def test_timm_is_the_reference_of_its_folders(case, folder, exported, notes, shallow):
    shallow(TIMM_CASES[case][0])
    done = exported(timm_folder(case, folder / "model"), rollout=PAPER)
    assert reference(done) == OF_TIMM
    assert done.artifact.outputs[-1] == "rollout"
    assert notes.preparation == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {"num_classes": 7}),
        ("vit_small_patch14_reg4_dinov2", {}),
        ("deit_tiny_distilled_patch16_224", {"num_classes": 7}),
        ("deit3_small_patch16_224", {}),
        ("vit_wee_patch16_reg1_gap_256", {"num_classes": 7}),
    ],
)
def test_timm_is_the_reference_of_a_file_that_is_called_as_its_architecture(
    name, options, folder, exported, notes, shallow
):
    shallow(name)
    path = timm_file(name, folder, **options)
    tagged = path.rename(path.with_name(f"{name}.mine.safetensors"))
    done = exported(tagged)
    assert reference(done) == OF_TIMM
    assert notes.preparation == [
        f"{PREPARATION} with timm's own: a file of weights does not say how pictures were prepared"
    ]


def test_an_architecture_as_timm_makes_it(folder, exported):
    """All twelve blocks, nothing of timm's registry changed, as timm saves it."""
    model = timm_models.seeded(timm.create_model("vit_tiny_patch16_224", num_classes=5))
    timm.models.save_for_hf(model, folder / "model", safe_serialization=True)
    assert reference(exported(folder / "model")) == OF_TIMM


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_torchvisions_models_have_it_as_their_reference_anyway(precision, tiny_checkpoint, exported, monkeypatch):
    for package in ("transformers", "timm"):  # neither is asked for
        monkeypatch.setitem(sys.modules, package, None)
    plain = exported(tiny_checkpoint, precision=precision, against=None).artifact
    assert exported(tiny_checkpoint, precision=precision).artifact == plain


def test_other_precisions(folder, exported, shallow):
    shallow("vit_tiny_patch16_224")
    path = hf_models.save(hf_models.make("DINOv2 with registers"), folder / "theirs")
    assert reference(exported(path, precision="int8")) == OF_TRANSFORMERS
    path = timm_folder("ViT, AugReg", folder / "timm's")
    assert reference(exported(path, precision="fp16", target="portable")) == OF_TIMM


def as_bin(path: Path) -> None:
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()


def test_weights_in_pytorchs_format(folder, exported, shallow):
    shallow("vit_tiny_patch16_224")
    path = hf_models.save(hf_models.make("DeiT with teacher"), folder / "theirs")
    as_bin(path)
    assert reference(exported(path)) == OF_TRANSFORMERS
    path = timm_folder("ViT, AugReg", folder / "timm's")
    as_bin(path)
    assert reference(exported(path)) == OF_TIMM


def test_half_weights_are_computed_with_in_full(folder, exported):
    path = hf_models.save(hf_models.make("ViT").half(), folder / "model")
    assert json.loads((path / "config.json").read_text())["dtype"] == "float16"
    assert exported(path).artifact.verification.outputs[0].max_difference < 1e-5


@pytest.mark.usefixtures("no_network")
def test_a_model_of_the_hub_is_read_from_its_cache(cache, folder, exported, shallow):  # noqa: F811 - the fixture
    shallow("vit_tiny_patch16_224")
    made = hf_models.save(hf_models.make("DINOv2 with registers"), folder / "theirs")
    lay(cache, "someone/vit-of-theirs", contents(made))
    assert reference(exported("someone/vit-of-theirs")) == OF_TRANSFORMERS
    lay(cache, "timm/vit_tiny_patch16_224.theirs", contents(timm_folder("ViT, AugReg", folder / "timm's")))
    assert reference(exported("timm/vit_tiny_patch16_224.theirs")) == OF_TIMM


# What is read wrongly is refused, though it passes against the plain model.


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_another_number_of_heads_is_noticed(kind, folder, exported, files_in, shallow):
    """ViT-Tiny has three; weights fit sixteen as well."""
    shallow("vit_tiny_patch16_224")
    made = {"file": timm_file("vit_tiny_patch16_224", folder), "folder": timm_folder("ViT, AugReg", folder / "model")}
    path = made[kind]
    exported(path, heads=16, against=None).path.unlink()
    before = files_in(folder)
    with pytest.raises(VerificationError, match=r"differs from PyTorch: .*nothing was written"):
        exported(path, heads=16)
    assert files_in(folder) == before


def test_weights_of_another_file_are_noticed(folder, exported):
    """transformers loads the file that its configuration names; our reader knows one name."""
    path = hf_models.save(hf_models.make("ViT"), folder / "model")
    other = hf_models.save(hf_models.make("ViT", seed=2), folder / "other")
    (other / "model.safetensors").rename(path / "newer.safetensors")
    config = json.loads((path / "config.json").read_text()) | {"transformers_weights": "newer.safetensors"}
    (path / "config.json").write_text(json.dumps(config))
    exported(path, against=None)
    with pytest.raises(VerificationError, match="differs from PyTorch"):
        exported(path)


def with_processor(path: Path, **changes: Any) -> Path:
    """A second description of the preparation, which transformers prefers to `preprocessor_config.json`."""
    known = json.loads((path / "preprocessor_config.json").read_text())
    (path / "processor_config.json").write_text(json.dumps({"image_processor": known | changes}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resample": 3}, r"prepares 3 of 3 pictures otherwise, by up to .* \(limit 1e-05\)"),
        ({"image_mean": [0.5, 0.5, 0.501]}, r"prepares 3 of 3 pictures otherwise, by up to 2.0e-03 "),
        ({"size": {"height": 40, "width": 40}}, "pictures are prepared to 32x32, by transformers .* to 40x40"),
    ],
    ids=["filter", "mean", "size"],
)
def test_another_preparation_than_transformers_is_noticed(changes, message, folder, exported):
    path = with_processor(hf_models.save(hf_models.make("ViT"), folder / "model"), **changes)
    exported(path, against=None)
    with pytest.raises(VerificationError, match=message):
        exported(path)


def test_one_byte_that_differs_by_one_is_noticed(folder, exported, monkeypatch):
    original = hf.ViTImageProcessorPil.resize

    def resize(self, image, *args, **kwargs):
        resized = original(self, image, *args, **kwargs)
        resized[1, 3, 5] += 1 if resized[1, 3, 5] < 255 else -1
        return resized

    monkeypatch.setattr(hf.ViTImageProcessorPil, "resize", resize)
    path = hf_models.save(hf_models.make("ViT"), folder / "model")
    with pytest.raises(VerificationError, match=r"prepares 3 of 3 pictures otherwise, by up to 7\.8e-03"):  # 2 / 255
        exported(path)


def test_another_preparation_than_timms_is_noticed(folder, exported, monkeypatch, shallow):
    """As if timm had another filter: its configuration has no second place that says so."""
    original = timm.data.create_transform
    monkeypatch.setattr(timm.data, "create_transform", lambda **how: original(**how | {"interpolation": "bilinear"}))
    shallow("vit_tiny_patch16_224")
    path = timm_folder("ViT, AugReg", folder / "model")
    exported(path, against=None)
    with pytest.raises(VerificationError, match=rf"timm {timm.__version__} prepares 3 of 3 pictures otherwise"):
        exported(path)


# Preparation that the library does not know is not compared, and a note says why.


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"image_size": 48}, "image_size changes it"),
        ({"preprocessing": PreprocessingOptions(resize=40, mean=(0.1, 0.2, 0.3))}, "options change it"),
    ],
    ids=["size", "options"],
)
@pytest.mark.parametrize("case", ["ViT", "DeiT with teacher", "DINOv2 with registers"])
def test_options_change_the_preparation(case, options, reason, folder, exported, notes):
    path = with_processor(hf_models.save(hf_models.make(case), folder / "model"), resample=0)
    assert reference(exported(path, **options)) == OF_TRANSFORMERS
    assert notes.preparation == [f"{PREPARATION} with transformers' own: {reason}"]


@pytest.mark.parametrize("case", ["ViT, AugReg", "DINOv2 with registers", "averaged, no class token, register"])
def test_another_size_than_the_folders(case, folder, exported, notes, shallow):
    shallow(TIMM_CASES[case][0])
    path = timm_folder(case, folder / "model")
    size = 6 * (14 if "DINOv2" in case else 16)
    assert reference(exported(path, image_size=size, rollout=PAPER)) == OF_TIMM
    assert notes.preparation == [f"{PREPARATION} with timm's own: image_size changes it"]


def test_a_folder_that_does_not_say_how_pictures_are_prepared(folder, exported, notes, shallow):
    path = hf_models.save(hf_models.make("ViT"), folder / "theirs")
    (path / "preprocessor_config.json").unlink()
    assert reference(exported(path)) == OF_TRANSFORMERS
    assert notes.preparation == [f"{PREPARATION} with transformers' own: there is no preprocessor_config.json"]
    notes.lines.clear()
    shallow("vit_tiny_patch16_224")
    path = timm_folder("ViT, AugReg", folder / "timm's", input_size=None)
    assert reference(exported(path)) == OF_TIMM
    assert notes.preparation == [f"{PREPARATION} with timm's own: config.json does not say how pictures were prepared"]


# Published weights.


def test_dinov2_small_against_transformers(data, exported, notes):
    done = exported(data / "dinov2_small", rollout=PAPER)
    assert reference(done) == OF_TRANSFORMERS
    assert notes.preparation == []
    assert max(check.max_difference for check in done.artifact.verification.outputs) < 1e-4
