"""Profiles: what `vit-run tune` kept is heeded, and only where it still holds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from tests.played_plug_in import CPU_PROVIDER, FULL_NAME, PlugIn

import vit_runtime as vit
from vit_runtime.artifact.digest import stored_digest
from vit_runtime.devices.threads import default_threads
from vit_runtime.tuning.profile import keep_profile, new_profile
from vit_runtime.tuning.setting import Setting

Run = Callable[..., Any]
Edit = Callable[..., Path]


pytestmark = pytest.mark.usefixtures("own_cache")


def profiled(path: Path, provider: str, threads: int | None, **changes: Any) -> Path:
    """Keeps a profile as `tune` would, but for `changes`; gives its path."""
    setting = Setting(provider=provider, threads=threads)
    profile = new_profile(path, stored_digest(path), setting, 1.5, date="2026-11-29")
    return keep_profile(replace(profile, **changes))


def test_a_profile_decides_provider_and_threads(plug_in: Callable[..., PlugIn], tiny_artifact: Path):
    plug_in("cpu")
    profiled(tiny_artifact, "openvino", 1)
    model = vit.load(tiny_artifact)
    assert (model.provider, model.threads) == (FULL_NAME, 1)
    assert model.note == "as vit-run tune found fastest on 2026-11-29"
    assert vit.load(tiny_artifact, use_profile=False).provider == CPU_PROVIDER


def test_a_provider_that_has_begun_to_lie_is_not_taken_for_its_profile(
    plug_in: Callable[..., PlugIn], tiny_artifact: Path
):
    plug_in("cpu").behaves(lies_by=0.25)
    profiled(tiny_artifact, "openvino", 1)
    model = vit.load(tiny_artifact)
    assert (model.provider, model.threads) == (CPU_PROVIDER, default_threads())  # and not those of the profile
    assert model.note.startswith("openvino is not used, although vit-run tune found it fastest: it fails the self-test")


def test_another_kind_of_device_is_not_taken_for_the_one_in_the_profile(
    plug_in: Callable[..., PlugIn], for_openvino: Path
):
    plug_in("cpu")
    profiled(for_openvino, "openvino:gpu", None)
    model = vit.load(for_openvino)
    assert model.choice == "openvino"
    assert model.note == "openvino:gpu is not used, although vit-run tune found it fastest: finds no GPU here"


def test_a_profile_does_not_lead_round_what_a_provider_can_run(plug_in: Callable[..., PlugIn], dynamic_artifact: Path):
    played = plug_in("cpu")
    profiled(dynamic_artifact, "openvino", 1)
    model = vit.load(dynamic_artifact)
    assert (model.provider, played.asked) == (CPU_PROVIDER, None)
    assert "openvino is not used, although vit-run tune found it fastest: cannot run this file" in model.note


def test_a_faster_file_is_named(tiny_artifact: Path):
    profiled(tiny_artifact, "cpu", 1, faster_file="tiny.int8.onnx", faster_times=2.04)
    note = vit.load(tiny_artifact).note
    assert note == "as vit-run tune found fastest on 2026-11-29; tiny.int8.onnx was 2.0 times as fast"


DAMAGED = {
    "no JSON": "{",
    "nested": "[" * 10_000,
    "no profile": "{}",
    "no text": b"\xff\xfe",
    "huge": "x" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_profile_is_ignored_and_said(damage: str, tiny_artifact: Path):
    path = profiled(tiny_artifact, "cpu", 1)
    text = DAMAGED[damage]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    model = vit.load(tiny_artifact)
    assert model.note == f"{path}: this profile is damaged and not used; run vit-run tune again"


@pytest.mark.parametrize(
    "change",
    [
        {"threads": 0},
        {"threads": -1},
        {"threads": 5000},
        {"provider": "auto"},
        {"provider": "cqu"},
        {"provider": "cuda"},
        {"threads": None},
        {"runs": 0},
    ],
)
def test_a_profile_that_makes_no_sense_is_damaged(change: dict[str, Any], tiny_artifact: Path):
    path = profiled(tiny_artifact, "cpu", 1)
    document = json.loads(path.read_text())
    document["setting"].update(change)
    path.write_text(json.dumps(document))
    assert "this profile is damaged and not used" in vit.load(tiny_artifact).note


@pytest.mark.parametrize("change", [{"faster_times": math.nan}, {"milliseconds": 0.0}, {"faster_file": "x" * 3000}])
def test_a_profile_with_odd_facts_is_damaged(change: dict[str, Any], tiny_artifact: Path):
    path = profiled(tiny_artifact, "cpu", 1)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert "this profile is damaged and not used" in vit.load(tiny_artifact).note


def test_a_file_that_has_changed_has_no_profile_any_more_and_says_so(
    tiny_artifact: Path, labelled_artifact: Path, tmp_path: Path
):
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_artifact.read_bytes())
    profiled(path, "cpu", 1)
    assert vit.load(path).note == "as vit-run tune found fastest on 2026-11-29"
    path.write_bytes(labelled_artifact.read_bytes())
    note = "its profile by vit-run tune is not used: the file has changed since; run vit-run tune again"
    assert vit.load(path).note == note


def test_a_profile_of_other_circumstances_is_ignored_and_said(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch):
    profiled(tiny_artifact, "cpu", 1)
    version = onnxruntime.__version__
    said = "its profile by vit-run tune is not used: it was made {}; run vit-run tune again"
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, "__version__", "99.0")
        assert vit.load(tiny_artifact).note == said.format(f"with onnxruntime {version}")
    with monkeypatch.context() as patch:
        patch.setattr("vit_runtime.tuning.profile.processor_name", lambda: "Z80")
        profiled(tiny_artifact, "cpu", 1)
    assert vit.load(tiny_artifact).note == said.format("on Z80")
    with monkeypatch.context() as patch:
        patch.setattr("vit_runtime.tuning.profile.default_threads", lambda: 77)
        profiled(tiny_artifact, "cpu", 1)
    assert vit.load(tiny_artifact).note.startswith(said.format("with 77 cores, and there ").partition(";")[0])


def test_a_profile_of_a_plug_in_that_is_gone_is_ignored_and_said(
    plug_in: Callable[..., PlugIn], tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
):
    plug_in("cpu")
    profiled(tiny_artifact, "openvino", 1)
    monkeypatch.setattr("vit_runtime.devices.engine.is_installed", lambda _: False)
    model = vit.load(tiny_artifact)
    assert model.provider == CPU_PROVIDER
    said = "its profile by vit-run tune is not used: openvino is not installed any more; run vit-run tune again"
    assert model.note == said
