"""What providers compile is kept for a quicker start, and never believed blindly."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnxruntime
import pytest
from tests.played_plug_in import FULL_NAME, PlugIn

import vit_runtime as vit
from vit_runtime.cache.folder import CACHE_VARIABLE
from vit_runtime.devices.providers import SLOW_TO_START

pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_second_start_compiles_nothing(plug_in: Callable[..., PlugIn], tiny_artifact: Path, own_cache: Path):
    played = plug_in("gpu")
    for _ in range(3):
        model = vit.load(tiny_artifact, provider="openvino:gpu")
        assert (model.provider, model.note) == (FULL_NAME, "")
    assert played.compiled == 1
    assert sorted(path.name for path in own_cache.rglob("*") if path.is_file()) == [
        ".lock",
        "1.blob",
        "digests.json",
    ]


@pytest.mark.parametrize("damage", [b"Engine", b"engine and more", b"", None])
def test_what_is_damaged_is_made_again_and_said(
    damage: bytes | None, plug_in: Callable[..., PlugIn], tiny_artifact: Path, own_cache: Path
):
    """OpenVINO computes with a damaged engine without a word, and its answers are wrong."""
    played = plug_in("gpu")
    vit.load(tiny_artifact, provider="openvino:gpu")
    (blob,) = own_cache.rglob("*.blob")
    if damage is None:
        blob.with_name("digests.json").write_text("[" * 10_000)
    else:
        blob.write_bytes(damage)
    model = vit.load(tiny_artifact, provider="openvino:gpu")
    assert model.note == "what openvino:gpu had kept for a quicker start was damaged: made again"
    assert (played.compiled, blob.read_bytes()) == (2, b"engine")
    assert vit.load(tiny_artifact, provider="openvino:gpu").note == ""
    assert played.compiled == 2


def test_another_version_makes_its_own(
    plug_in: Callable[..., PlugIn], tiny_artifact: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    played = plug_in("gpu")
    vit.load(tiny_artifact, provider="openvino:gpu")
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, "__version__", "99.0")
        vit.load(tiny_artifact, provider="openvino:gpu")
    assert (played.compiled, len(set(own_cache.rglob("*.blob")))) == (2, 2)
    vit.load(tiny_artifact, provider="openvino:gpu")
    assert played.compiled == 2


def test_what_was_not_finished_is_made_again(plug_in: Callable[..., PlugIn], tiny_artifact: Path, own_cache: Path):
    """As after a full disk, or Ctrl-C while it was compiled."""
    plug_in("gpu")
    vit.load(tiny_artifact, provider="openvino:gpu")
    (digests,) = own_cache.rglob("digests.json")
    digests.unlink()
    model = vit.load(tiny_artifact, provider="openvino:gpu")
    assert model.note == "what openvino:gpu had kept for a quicker start was not complete: made again"


def test_a_failed_start_leaves_no_engine_that_looks_whole(
    plug_in: Callable[..., PlugIn], tiny_artifact: Path, own_cache: Path
):
    played = plug_in("gpu")
    played.behaves(fails_after_compiling=True)
    with pytest.raises(vit.ProviderError):
        vit.load(tiny_artifact, provider="openvino:gpu")
    assert not list(own_cache.rglob("digests.json"))


@pytest.mark.skipif(sys.platform == "win32", reason="two processes at once may compile twice there")
def test_models_that_are_loaded_at_once_do_not_disturb_each_other(plug_in: Callable[..., PlugIn], tiny_artifact: Path):
    played = plug_in("gpu")
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(lambda _: vit.load(tiny_artifact, provider="openvino:gpu"), range(16)))
    assert {model.note for model in models} == {""}
    assert played.compiled == 1


def test_nothing_behind_a_link_is_deleted(
    plug_in: Callable[..., PlugIn], tiny_artifact: Path, own_cache: Path, tmp_path: Path
):
    plug_in("gpu")
    vit.load(tiny_artifact, provider="openvino:gpu")
    (blob,) = own_cache.rglob("*.blob")
    (home := tmp_path / "home").mkdir()
    folder = blob.parent
    folder.rename(home / folder.name)
    folder.symlink_to(home / folder.name)
    blob.write_bytes(b"damaged")
    model = vit.load(tiny_artifact, provider="openvino:gpu")
    assert model.note.endswith(f"{folder.name} is a link)")
    assert blob.read_bytes() == b"damaged"


def test_a_folder_that_takes_no_files_is_no_obstacle(
    plug_in: Callable[..., PlugIn], tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (file := tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(CACHE_VARIABLE, str(file / "cache"))
    played = plug_in("gpu")
    model = vit.load(tiny_artifact, provider="openvino:gpu")
    assert model.provider == FULL_NAME
    assert model.note.startswith("openvino:gpu keeps nothing for a quicker start (")
    assert model.note.endswith(": Not a directory)")
    assert "CACHE_DIR" not in played.asked["load_config"]


def test_float32_on_a_processor_keeps_nothing(plug_in: Callable[..., PlugIn], tiny_artifact: Path, own_cache: Path):
    plug_in("cpu")
    vit.load(tiny_artifact, provider="openvino")
    assert not own_cache.exists()


def test_a_slow_first_start_is_said_with_its_time_and_a_quick_one_is_not(
    plug_in: Callable[..., PlugIn],
    tiny_artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """As TensorRT's is, which OpenVINO plays here."""
    plug_in("gpu")
    monkeypatch.setitem(SLOW_TO_START, "openvino", "slow")
    caplog.set_level("INFO", "vit_runtime")
    vit.load(tiny_artifact, provider="openvino:gpu")
    told = ["openvino:gpu compiles this file now, which can take minutes; the next start is quick", "compiled in 0 s"]
    assert [record.getMessage() for record in caplog.records] == told
    vit.load(tiny_artifact, provider="openvino:gpu")
    assert len(caplog.records) == 2
