"""Who takes part: names, what is missing and how to get it, and files of the other contenders."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

import vit_bench.contenders
from vit_bench.contenders import PEERS, TOOLS, PeerRequest, artifacts, make_peers, model_names
from vit_bench.errors import ContenderError
from vit_bench.session import parse_against
from vit_export import ExportRequest, export
from vit_runtime.errors import UsageError


def ignore(_: str) -> None:
    pass


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Making files only writes empty ones; what was made, in order."""
    made: list[str] = []

    def run_module(name: str, module: str, document: str) -> None:
        assert module == "vit_bench.peers"
        recipe = vit_bench.contenders.json.loads(document)
        made.append(recipe["file"])
        (Path(recipe["folder"]) / recipe["file"]).touch()
        (Path(recipe["folder"]) / "weights.json").write_text('"random"', encoding="utf-8")
        assert name in TOOLS

    monkeypatch.setattr(vit_bench.contenders, "run_module", run_module)
    return made


def test_artifacts_are_called_by_their_kind(tiny_artifact: Path, tiny_int8: Path):
    entrants, read = artifacts([tiny_artifact, tiny_int8], "cpu")
    assert [entrant.name for entrant in entrants] == ["vit-edge fp32", "vit-edge int8 dynamic"]
    assert [artifact.precision for artifact in read] == ["fp32", "int8"]
    assert [entrant.bytes for entrant in entrants] == [tiny_artifact.stat().st_size, tiny_int8.stat().st_size]


def test_artifacts_of_one_kind_are_told_apart_by_their_files(tiny_artifact: Path, tmp_path: Path):
    other = tmp_path / "other.onnx"
    shutil.copy(tiny_artifact, other)
    entrants, _ = artifacts([tiny_artifact, other], "cpu")
    assert [entrant.name for entrant in entrants] == ["vit-edge fp32 (tiny)", "vit-edge fp32 (other)"]


def test_several_models_are_all_named(tiny_artifact: Path, tiny_int8: Path):
    entrants, _ = artifacts([tiny_artifact, tiny_int8], "cpu")
    assert model_names(entrants) == "tiny"
    assert model_names([*entrants, replace(entrants[0], model="other")]) == "tiny, other"


def test_one_file_twice_is_refused(tiny_artifact: Path):
    with pytest.raises(UsageError, match=r"^MODEL\.onnx: tiny\.onnx is there twice"):
        artifacts([tiny_artifact, tiny_artifact], "cpu")


def test_names_of_contenders_are_read():
    assert parse_against("openvino, torch") == ("torch", "openvino")
    assert parse_against("all") == TOOLS
    assert parse_against("none") == ()
    assert parse_against(None) == ("torch",)
    with pytest.raises(UsageError, match=r"^--against: unknown 'tensorflow'; known are torch, torch-compile"):
        parse_against("torch,tensorflow")


def test_without_pytorch_the_default_is_to_compare_with_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert parse_against(None) == ()


def test_what_is_not_installed_is_listed_with_the_extra(
    no_work: list[str], tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    missing = {"openvino", "nncf", "onnxscript"}
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else real(name))

    peers = make_peers(PeerRequest(tools=TOOLS, artifact=tiny_artifact, folder=tmp_path), ignore)

    assert {entrant.name for entrant in peers.entrants} >= {"torch", "torch-bf16"}
    reasons = {absent.name: absent.reason for absent in peers.absent}
    assert reasons["onnx-dynamic"] == "onnxscript not installed: pip install 'vit-edge[peers]'"
    assert reasons["openvino-int8"] == "onnxscript, openvino, nncf not installed: pip install 'vit-edge[peers]'"
    assert no_work == ["weights.safetensors"]


def test_torch_compile_needs_a_compiler(
    no_work: list[str], tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    peers = make_peers(PeerRequest(tools=("torch-compile",), artifact=tiny_artifact, folder=tmp_path), ignore)
    assert [absent.reason for absent in peers.absent] == ["needs a C++ compiler: install g++"]
    assert no_work == []


def test_a_file_is_made_once_and_what_is_there_is_taken(no_work: list[str], tiny_artifact: Path, tmp_path: Path):
    request = PeerRequest(tools=TOOLS, artifact=tiny_artifact, folder=tmp_path)
    make_peers(request, ignore)
    assert sorted(no_work) == sorted({file for peer in PEERS.values() for file in peer.files} & set(no_work))
    before = len(no_work)
    make_peers(request, ignore)
    assert len(no_work) == before


def test_a_file_that_cannot_be_made_is_a_reason_and_the_others_go_on(
    no_work: list[str], tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    work = vit_bench.contenders.run_module
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())

    def run_module(name: str, module: str, document: str) -> None:
        if "traced.onnx" in document:
            raise ContenderError(name, "unsupported operator")
        work(name, module, document)

    monkeypatch.setattr(vit_bench.contenders, "run_module", run_module)
    request = PeerRequest(tools=("torch", "onnx", "onnx-dynamic", "openvino"), artifact=tiny_artifact, folder=tmp_path)
    peers = make_peers(request, ignore)
    assert [entrant.name for entrant in peers.entrants] == ["torch"]
    assert {absent.reason for absent in peers.absent} == {"traced.onnx cannot be made: unsupported operator"}
    assert no_work == ["weights.safetensors"]


def test_random_weights_are_of_no_use_for_accuracy(no_work: list[str], tiny_artifact: Path, tmp_path: Path):
    request = PeerRequest(tools=("torch",), artifact=tiny_artifact, folder=tmp_path, needs_own_weights=True)
    (absent,) = make_peers(request, ignore).absent
    assert absent.reason == "needs the weights that the artifact was exported from: add --checkpoint"
    assert no_work == ["weights.safetensors"]


def test_the_checkpoint_gives_the_artifacts_own_weights(tiny_artifact: Path, tiny_checkpoint: Path, tmp_path: Path):
    request = PeerRequest(tools=("torch",), artifact=tiny_artifact, folder=tmp_path, checkpoint=tiny_checkpoint)
    peers = make_peers(request, ignore)
    assert peers.own_weights
    original, made = load_file(tiny_checkpoint), load_file(tmp_path / "weights.safetensors")
    assert original.keys() == made.keys()
    assert all((original[name] == made[name]).all() for name in original)


def test_random_weights_of_an_export_are_made_again(tmp_path: Path):
    path = export(ExportRequest(model="vit_b_32", weights="random", seed=3, output=tmp_path / "b.onnx")).path
    peers = make_peers(PeerRequest(tools=("torch",), artifact=path, folder=tmp_path), ignore)
    assert peers.own_weights


def test_another_checkpoint_than_the_artifacts_is_refused(tiny_artifact: Path, tiny_int8: Path, tmp_path: Path):
    request = PeerRequest(tools=("torch",), artifact=tiny_artifact, folder=tmp_path, checkpoint=tiny_int8)
    with pytest.raises(ContenderError, match=r"^--checkpoint: .*tiny\.int8\.onnx"):
        make_peers(request, ignore)
    assert not (tmp_path / "weights.safetensors").exists()
