"""What a program that uses the library meets besides answers: closing, pickling, options, names, quiet neighbours."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

import vit_bench
import vit_export
import vit_runtime as vit
from vit_runtime.arrays import UInt8Array
from vit_runtime.devices.libraries import load_failure
from vit_runtime.devices.providers import CUDA, OPENVINO, TENSORRT, ExecutionProvider

Edit = Callable[..., Path]


def test_the_version_is_that_of_the_distribution():
    assert vit.__version__ == vit_export.__version__ == vit_bench.__version__ == version("vit-edge")


def test_a_closed_model_says_so(tiny_artifact: Path, picture: UInt8Array):
    with vit.load(tiny_artifact, threads=1) as model:
        assert model.embed(picture).shape == (1, 128)
    model.close()
    assert repr(model).endswith(", closed)")
    with pytest.raises(vit.UsageError, match="tiny: is closed; load it again"):
        model.embed(picture)


def test_a_model_says_how_to_use_several_processes(tiny: vit.ViT):
    with pytest.raises(TypeError, match=r"load it in each process, .* multiprocessing\.Pool\(initializer="):
        pickle.dumps(tiny)


def test_pixels_can_be_prepared_apart_from_the_model(tiny: vit.ViT, picture: UInt8Array):
    pixels = vit.load_pixels(picture, tiny.artifact.preprocessing)
    np.testing.assert_array_equal(tiny.run(pixels[None], ["embedding"])[0], tiny.embed(picture))


def test_a_map_is_shown_in_one_short_line(attention_artifact: Path, picture: UInt8Array):
    seen = vit.load(attention_artifact, threads=1).attend(picture)
    assert repr(seen).startswith("AttentionMap(4x4, 0.")
    assert len(repr(seen)) < 40


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[onnxruntime.InferenceSession]:
    """Every session that onnxruntime opens from here on."""
    found: list[onnxruntime.InferenceSession] = []

    class Noted(onnxruntime.InferenceSession):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            found.append(self)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Noted)
    return found


def test_options_of_a_session_reach_onnxruntime(tiny_artifact: Path, sessions: list[onnxruntime.InferenceSession]):
    vit.load(tiny_artifact, threads=1, session_options={"session.intra_op.allow_spinning": "0"})
    options = sessions[-1].get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"  # ours stays


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"provider_options": {"a": "b"}}, "provider_options: are for one provider; name it with provider"),
        ({"device": 0}, "device: is for cuda and tensorrt; add provider='cuda'"),
        ({"device": 0, "provider": "cpu"}, "device: is for cuda and tensorrt"),
        ({"device": -1, "provider": "cuda"}, "device: -1 is too few"),
        ({"device": True, "provider": "cuda"}, "device: 'True' is no whole number"),
        ({"threads": 1.5}, "threads: '1.5' is no whole number"),
        ({"threads": True}, "threads: 'True' is no whole number"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], message: str, tiny_artifact: Path):
    with pytest.raises(vit.UsageError) as caught:
        vit.load(tiny_artifact, **options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("path", [None, 7, b"model.onnx", ["model.onnx"]], ids=repr)
def test_what_is_no_path(path: object):
    with pytest.raises(vit.ArtifactError, match="is no path"):
        vit.load(path)


NEIGHBOUR = """
import sys, threading
import onnxruntime
onnxruntime.set_default_logger_severity(2)
import vit_runtime as vit
vit.load(sys.argv[1], threads=1).classify(sys.argv[2])
# A session of somebody else's, with a setting that onnxruntime warns of.
options = onnxruntime.SessionOptions()
options.add_free_dimension_override_by_name("no such dimension", 1)
options.log_severity_level = 0
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
"""


def test_loading_a_model_does_not_silence_onnxruntime_for_others(
    tiny_artifact: Path, picture: UInt8Array, encode: Callable[..., bytes], tmp_path: Path
):
    """Before, `load` turned the default logger off for the whole process."""
    (tmp_path / "photo.png").write_bytes(encode(picture, "PNG"))
    command = [sys.executable, "-c", NEIGHBOUR, tiny_artifact, tmp_path / "photo.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "onnxruntime" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("provider", [CUDA, TENSORRT], ids=lambda record: record.name)
def test_looking_for_cuda_leaves_the_streams_of_the_process_alone(
    provider: ExecutionProvider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """onnxruntime's own search prints what it does not find; what others print meanwhile is not lost."""
    before = sys.stdout
    seen: list[object] = []

    def search() -> None:
        seen.append(sys.stdout)
        print("Failed to load libcudnn.so.9")  # noqa: T201

    searches = [search, *filter(None, [getattr(onnxruntime, "preload_dlls", None)])]  # onnxruntime 1.20 has none
    for find in searches:
        assert load_failure(runtime_with(provider, tmp_path, find), provider)  # a library of no bytes does not load
        assert sys.stdout is before
    assert seen == [before]
    assert capsys.readouterr().out == ""


def test_nobody_looks_for_cuda_without_need(tmp_path: Path):
    def search() -> None:
        pytest.fail("OpenVINO wants no CUDA")

    assert load_failure(runtime_with(OPENVINO, tmp_path, search), OPENVINO)
    assert load_failure(runtime_with(OPENVINO, tmp_path, search), CUDA) == ""  # none of its own: nothing to load


def runtime_with(provider: ExecutionProvider, folder: Path, search: Callable[[], None]) -> SimpleNamespace:
    """An onnxruntime that has a library for the provider, of no bytes, and a search for CUDA."""
    (folder / "capi").mkdir(exist_ok=True)
    for suffix in ("so", "dylib"):
        (folder / f"capi/libonnxruntime_providers_{provider.name}.{suffix}").write_bytes(b"")
    (folder / f"capi/onnxruntime_providers_{provider.name}.dll").write_bytes(b"")
    return SimpleNamespace(__file__=str(folder / "__init__.py"), preload_dlls=search)


class Broken:
    """A file of somebody's own that raises what no file of Python's does."""

    name = "broken"

    def read(self, _size: int = -1) -> bytes:
        raise RuntimeError("line is dead")


class PathOfBytes:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return str(self.path).encode()


def test_sources_that_are_odd(tiny: vit.ViT, picture: UInt8Array, encode: Callable[..., bytes], tmp_path: Path):
    content = encode(picture, "PNG")
    (tmp_path / "a.png").write_bytes(content)
    expected = tiny.embed(picture)
    stretched = memoryview(b"".join(bytes([byte, 0]) for byte in content))[::2]
    for source in (PathOfBytes(tmp_path / "a.png"), stretched):
        np.testing.assert_array_equal(tiny.embed(source), expected)
    with pytest.raises(vit.ImageError, match=r"broken: cannot be read \(line is dead\)"):
        tiny.embed(Broken())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, _: model.run(None), "NoneType: not what tiny takes"),
        (lambda model, pixels: model.run(pixels, []), "outputs: an empty list"),
        (lambda model, pixels: model.classify(pixels[0], top_k=1.5), "top_k: '1.5' is no whole number"),
        (lambda model, pixels: model.classify(pixels[0], top_k=None), "top_k: 'None' is no whole number"),
        (lambda model, pixels: model.embed(pixels[0], batch_size="a"), "batch_size: 'a' is no whole number"),
    ],
)
def test_arguments_of_the_wrong_kind(
    call: Callable[[vit.ViT, UInt8Array], object], message: str, tiny: vit.ViT, picture: UInt8Array
):
    pixels = vit.load_pixels(picture, tiny.artifact.preprocessing)[None]
    with pytest.raises(vit.VitEdgeError) as caught:
        call(tiny, pixels)
    assert str(caught.value).startswith(message)


def test_outputs_may_come_from_a_generator(tiny: vit.ViT, picture: UInt8Array):
    pixels = vit.load_pixels(picture, tiny.artifact.preprocessing)[None]
    (logits,) = tiny.run(pixels, (output for output in ("logits",)))
    assert logits.shape == (1, 7)


@pytest.mark.parametrize(
    "options", [{"session_options": 5}, {"provider_options": {"a": 1}, "provider": "cpu"}], ids=str
)
def test_options_that_are_no_mapping(options: dict[str, object], tiny_artifact: Path):
    with pytest.raises(vit.UsageError, match="is no mapping of text to text"):
        vit.load(tiny_artifact, **options)


PROGRAM = """
import os, sys
import vit_runtime as vit
vit.load(sys.argv[1])
print(os.environ.get("ORT_DISABLE_TELEMETRY"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the folder is that of Linux")
def test_onnxruntime_reports_nothing_and_leaves_no_identifier(tiny_artifact: Path, tmp_path: Path):
    """By default it does both, from 1.32 at the latest, and does so when it is imported."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    environment = {**kept, "HOME": str(tmp_path), "VIT_EDGE_CACHE": str(tmp_path / "ours")}
    command = [sys.executable, "-c", PROGRAM, tiny_artifact]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "None\n"  # for the rest of the process nothing has changed
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
