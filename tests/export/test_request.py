"""A request is checked as a whole, before any work: each field by itself, and what goes together."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import vit_bench
import vit_export
from vit_export import ExportRequest, PreprocessingOptions, UsageError, VitEdgeError, export
from vit_export.checks import checked
from vit_runtime.artifact import Rollout, read_artifact


class Place:
    """What `os.fspath` takes, and neither a str nor a Path."""

    def __init__(self, path: object) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return self.path if isinstance(self.path, bytes) else str(self.path)


NO_PATH = [3, 2.5, True, ["x"], ("x",), {}, b"x", Place(b"x"), object(), "", "a\0b"]
NO_COUNT = [True, False, 2.0, "2", [2], (2,), np.bool_(True), np.float32(2), np.array([1, 2]), float("nan"), object()]
NO_SHARE = [True, "0.5", [0.5], -0.1, float("nan"), float("inf"), -float("inf"), 10**400, np.bool_(True), 1j]
NO_CHOICE = [3, True, "", "other", ["fp32"], b"fp32", np.array(["fp32", "int8"])]
PREPARATION = ("resize", "interpolation", "mean", "std")
HALF = (0.5, 0.5, 0.5)

WRONG = {
    "model": [*NO_PATH, None],
    "weights": [3, True, "", b"random", ["random"], Path("random")],
    "seed": [*NO_COUNT, -1, np.int64(-1)],
    "checkpoint": NO_PATH,
    "labels": [*NO_PATH, ("cat", "dog")],
    "classes": [*NO_PATH, ("cat", "dog")],
    "prompt": [None, 3, True, {}, b"a {}", "a cat", "a {0}", "", ("a {}", "a cat"), ["a {}", 3], [None], {"a {}"}],
    "examples": [*NO_PATH, ("cat", "dog")],
    "unknown": ["no", "yes", 0, 1, None, [], np.bool_(True)],
    "image_size": [*NO_COUNT, 0, -224, 2049, 10**9, (224, 224)],
    "heads": [*NO_COUNT, 0, -1],
    "preprocessing": [None, {}, {"resize": 256}, 256, PreprocessingOptions],
    "resize": [
        *NO_COUNT,
        0,
        -1,
        4097,
        (224,),
        (224, 0),
        (224, 4097),
        (224, 2.0),
        (224, True),
        (1, 2, 3),
        (),
        "224x224",
    ],
    "interpolation": [*NO_CHOICE, "BICUBIC", "area"],
    "mean": [
        *(0.5, "0.5", "abc", (0.5,), (0.5, 0.5), (0.5,) * 4, (0.5, 0.5, "0.5"), (0.5, 0.5, None), (True,) * 3),
        *((0.5, 0.5, float("nan")), (float("inf"), 0.5, 0.5), (10**400, 0, 0), {0.5, 0.6, 0.7}),
    ],
    "std": [0.5, (0.5,), (0.5, 0.5, 0.0), (0.5, -0.5, 0.5), (0.5, 0.5, float("nan")), (1, 1, float("inf"))],
    "rollout": [True, "mean", {}, 0.5, Rollout],
    "head_fusion": [Rollout(head_fusion=fusion, discard_ratio=0.0) for fusion in ("median", "", None, 3)],
    "discard_ratio": [Rollout(head_fusion="mean", discard_ratio=ratio) for ratio in (False, np.bool_(False))],
    "precision": [*NO_CHOICE, "FP32", "int4", None],
    "target": [*NO_CHOICE, "cuda", "CPU", None],
    "calibrate": NO_PATH,
    "keep_float": [
        True,
        False,
        -1,
        2.0,
        None,
        "encoder/0/*",
        {"a"},
        ("",),
        ("a", ""),
        (" ",),
        ("a", 3),
        (None,),
        [b"a"],
    ],
    "max_drop": [*NO_SHARE, 100, 100.0, 1000],
    "against": [*NO_CHOICE, "Library", "vit-edge"],
    "text": ["no", "yes", 0, 1, None, [], np.bool_(True)],
    "output": NO_PATH,
    "force": ["no", "yes", 0, 1, None, [], np.bool_(True)],
}
"""What no field can take, by field; `head_fusion` and `discard_ratio` are the rollout's."""


def request(name: str, value: object) -> ExportRequest:
    """A request that is right but for one field, where the field is of some use."""
    if name in ("head_fusion", "discard_ratio"):
        name = "rollout"
    if name in PREPARATION:
        return ExportRequest(model="vit_b_16", preprocessing=PreprocessingOptions(**{name: value}))
    needed: dict[str, object] = {"model": "vit_b_16"}
    needed |= {"weights": "random"} if name == "seed" else {}
    needed |= {"precision": "int8"} if name in ("calibrate", "keep_float", "max_drop") else {}
    needed |= {"calibrate": "photos"} if name in ("keep_float", "max_drop") else {}
    return ExportRequest(**(needed | {name: value}))


CASES = [pytest.param(name, value, id=f"{name}-{number}") for name in WRONG for number, value in enumerate(WRONG[name])]


def test_every_field_has_values_that_are_refused():
    known = {field.name for kind in (ExportRequest, PreprocessingOptions, Rollout) for field in fields(kind)}
    assert set(WRONG) == known


@pytest.mark.parametrize(("name", "value"), CASES)
def test_what_a_field_cannot_take_is_refused_by_its_name(name, value, folder, monkeypatch):
    """Before any work: what would come next is made to fail loudly."""
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # it is looked for before anything else
    with pytest.raises(UsageError) as caught:
        export(request(name, value))
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message
    assert len(message) < 250
    assert "--" not in message
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("wrong", ["vit_b_16", None, {"model": "vit_b_16"}, ExportRequest, PreprocessingOptions()])
def test_what_is_no_request_is_refused(wrong):
    with pytest.raises(UsageError, match=r"^request: .* is no ExportRequest; give ExportRequest"):
        export(wrong)


RIGHT = {
    "model": ["vit_b_16", "a/b", Path("x.pth"), Place("x.pth")],
    "weights": ["random", "IMAGENET1K_V1", None],
    "seed": [0, 7, 2**63, np.int64(3), np.uint8(3), None],
    "image_size": [1, 224, 2048, np.int32(224), None],
    "heads": [1, 12, np.int64(3), None],
    "resize": [1, 4096, np.int64(256), (224, 256), [224, 256], (np.int64(224), 4096), None],
    "interpolation": ["nearest", "bilinear", "bicubic", "lanczos", None],
    "mean": [HALF, list(HALF), (0, 0, 0), (-1.5, 2, 1), tuple(np.float32(HALF)), (Fraction(1, 2),) * 3, None],
    "std": [HALF, (1, 1, 1), (1e-3, 2, 1), None],
    "rollout": [Rollout(head_fusion="max", discard_ratio=0.9), Rollout(head_fusion="min", discard_ratio=0), None],
    "precision": ["fp32", "int8"],
    "target": ["cpu", "gpu", "portable"],
    "keep_float": [0, 1, 1000, np.int64(2), (), ("a",), ["a", "b/*"]],
    "against": ["library", None],
    "max_drop": [0, 0.0, 99.999, np.float32(1.5), np.int64(3), None],
    "force": [True, False],
}
PLAIN = (str, int, float, bool, type(None))


@pytest.mark.parametrize(
    ("name", "value"),
    [pytest.param(name, value, id=f"{name}-{number}") for name in RIGHT for number, value in enumerate(RIGHT[name])],
)
def test_what_a_field_can_take_comes_out_in_plain_values(name, value):
    """Plain, because it ends up in JSON, which takes no number of NumPy's."""
    plain = checked(request(name, value))
    found = getattr(plain.preprocessing if name in PREPARATION else plain, name)
    expected = str(value.__fspath__()) if hasattr(value, "__fspath__") else value
    assert found == (tuple(expected) if isinstance(expected, list) else expected)
    values = found if isinstance(found, tuple) else (found,)
    assert all(type(part) in PLAIN or isinstance(part, Rollout) for part in values)
    assert checked(plain) == plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "seed: is for random weights; add weights='random'"),
        ({"seed": 0, "weights": "IMAGENET1K_V1"}, "seed: is for random weights"),
        ({"weights": "random", "checkpoint": "x.pth"}, "weights: does not go with checkpoint"),
        ({"precision": "fp16"}, "precision='fp16': is not for the CPU: .*; take target='gpu' or target='portable', or"),
        ({"precision": "int8", "target": "gpu"}, "precision='int8': is not for target='gpu': .*precision='fp16'"),
        ({"precision": "int8", "target": "portable"}, "target='portable': takes static int8 only; add calibrate"),
        ({"precision": "int8", "max_drop": 1}, "max_drop: is measured on calibration pictures; add calibrate"),
        ({"precision": "int8", "keep_float": 2}, "keep_float: a number needs calibrate, which finds the worst"),
        ({"calibrate": "photos"}, "calibrate: is for int8; add precision='int8'"),
        ({"keep_float": 2}, "keep_float: is for int8"),
        ({"keep_float": ("a",)}, "keep_float: is for int8"),
        ({"max_drop": 0}, "max_drop: is for int8"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        export(ExportRequest(model="vit_b_16", **options))


# Paths.


@pytest.mark.usefixtures("vit_b_16_is_tiny")
@pytest.mark.parametrize("kind", [str, Path, Place])
def test_every_path_may_be_a_str_a_path_or_what_has_one(kind, tiny_checkpoint, calibration_folder, folder, files_in):
    names = [f"class {n}" for n in "abcdefg"]
    (folder / "labels.txt").write_text("\n".join(names))
    path = export(
        ExportRequest(
            model=kind(tiny_checkpoint),
            labels=kind(folder / "labels.txt"),
            precision="int8",
            calibrate=kind(calibration_folder),
            output=kind(folder / "a.onnx"),
        )
    ).path
    artifact = read_artifact(path)
    assert (path, artifact.labels, artifact.model) == (folder / "a.onnx", tuple(names), "tiny")
    assert artifact.quantization.calibration.pictures == 12

    named = export(ExportRequest(model=kind("vit_b_16"), checkpoint=kind(tiny_checkpoint), output=kind(folder / "b")))
    assert read_artifact(named.path).source.weights == tiny_checkpoint.name
    assert files_in(folder) == ["a.onnx", "b/vit_b_16.onnx", "labels.txt"]


def test_numpys_numbers_end_up_in_the_artifact(tiny_checkpoint, folder):
    request = ExportRequest(
        model=tiny_checkpoint,
        image_size=np.int64(16),
        heads=np.int32(4),
        preprocessing=PreprocessingOptions(resize=[np.int64(20), 24], mean=[0, np.float64(0.5), 1], std=(1, 1, 1)),
        output=folder,
    )
    artifact = read_artifact(export(request).path)
    assert (artifact.architecture.image_size, artifact.architecture.heads) == (16, 4)
    assert (artifact.preprocessing.resize_hw, artifact.preprocessing.mean) == ((20, 24), (0.0, 0.5, 1.0))


# Python's names, and the command line's.


@pytest.mark.parametrize(
    ("options", "words", "problem"),
    [
        ({"image_size": 30}, "--image-size 30", "30 is no multiple of the patch size 8"),
        ({"image_size": 0}, "--image-size 0", "0 is no size of a picture"),
        ({"heads": 3}, "--heads 3", "3 heads do not divide"),
        ({"weights": "random"}, "--weights random", "does not go with"),
        ({"weights": "random", "checkpoint": "x"}, "--weights random --checkpoint x", "which brings its own"),
        ({"seed": 3}, "--seed 3", "is for random weights; add"),
        ({"precision": "fp16"}, "--precision fp16", "is not for the CPU"),
        ({"precision": "int8", "target": "gpu"}, "--precision int8 --target gpu", "is not for"),
        ({"precision": "int8", "target": "portable"}, "--precision int8 --target portable", "takes static int8 only"),
        ({"precision": "int8", "keep_float": 3}, "--precision int8 --keep-float 3", "a number needs"),
        ({"precision": "int8", "max_drop": 3}, "--precision int8 --max-drop 3", "is measured on"),
        ({"max_drop": 3}, "--max-drop 3", "is for int8; add"),
        ({"output": "."}, "-o .", "exists already; add"),
    ],
)
def test_messages_name_parameters_in_python_and_options_on_the_command_line(
    options, words, problem, tiny_checkpoint, folder, monkeypatch, vit_export_cli
):
    monkeypatch.chdir(folder)
    Path("tiny.onnx").write_text("precious")
    with pytest.raises(VitEdgeError) as caught:
        export(ExportRequest(model=tiny_checkpoint, **options))
    result = vit_export_cli(tiny_checkpoint, *words.split())
    in_python, on_command_line = str(caught.value), result.stderr.splitlines()[-1]
    assert result.exit_code == caught.value.exit_code
    assert problem in in_python
    assert problem in on_command_line
    assert "--" not in in_python
    assert "--" in on_command_line
    with pytest.raises(VitEdgeError) as again:  # the command line has left nothing behind
        export(ExportRequest(model=tiny_checkpoint, **options))
    assert str(again.value) == in_python


# What the package shows.


def test_all_names_what_there_is():
    assert list(vit_export.__all__) == sorted(vit_export.__all__)
    for name in set(vit_export.__all__) - {"__version__"}:
        assert getattr(vit_export, name).__name__ == name
    errors = {
        name
        for name, value in vars(sys.modules["vit_export.errors"]).items()
        if isinstance(value, type) and issubclass(value, VitEdgeError)
    }
    assert errors <= set(vit_export.__all__)
    with pytest.raises(AttributeError, match="module 'vit_export' has no attribute 'Nonsense'"):
        vit_export.Nonsense  # noqa: B018 - looking is what raises


def test_the_version_is_the_installed_one():
    assert vit_export.__version__ == vit_bench.__version__ == version("vit-edge")


def test_torch_is_imported_when_something_is_exported():
    script = """
import sys
import vit_export
from vit_export.checks import checked
checked(vit_export.ExportRequest(model="vit_b_16"))
print(sorted({"torch", "torchvision", "onnx", "onnxruntime"} & set(sys.modules)))
print(vit_export.Exported.__name__, "torch" in sys.modules)
print(vit_export.ExportedText.__name__, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == ["[]", "Exported False", "ExportedText True"], done.stderr
