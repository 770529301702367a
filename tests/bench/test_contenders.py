"""Who takes part: names, what is missing and how to get it, and files of the other contenders."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from vit_bench.contenders.entrants import artifacts, model_names
from vit_bench.contenders.names import TOOLS
from vit_bench.contenders.peers import Peers, make_peers
from vit_bench.contenders.source import FILES, Recipe, Source
from vit_bench.errors import ContenderError
from vit_bench.measure.session import parse_against
from vit_export import ExportRequest, export
from vit_runtime.errors import UsageError


def ignore(_: str) -> None:
    pass


class Workshop:
    """Makes empty files with random weights; what it made, in order."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def make(self, name: str, recipe: Recipe) -> None:
        assert name in TOOLS
        self.made.append(recipe.file)
        Path(recipe.source.folder, recipe.file).touch()
        Path(recipe.source.folder, "weights.json").write_text('"random"', encoding="utf-8")


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def source(tiny_artifact: Path, tmp_path: Path) -> Source:
    return Source(artifact=str(tiny_artifact), folder=str(tmp_path))


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


def test_a_provider_other_than_the_cpu_is_part_of_the_name(tiny_artifact: Path):
    """Else a GPU's row would stand for the CPU's in a table that is merged from both."""
    (own,), _ = artifacts([tiny_artifact], "cuda")
    assert (own.name, own.task.provider, own.facts("1").provider) == ("vit-edge fp32 on cuda", "cuda", "cuda")
    (own,), _ = artifacts([tiny_artifact], "cpu")
    assert (own.name, own.facts("1").provider) == ("vit-edge fp32", "cpu")


def test_a_provider_has_to_be_named(tiny_artifact: Path):
    with pytest.raises(UsageError, match=r"^--provider: auto may choose another one each time; name it"):
        artifacts([tiny_artifact], "auto")


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
    workshop: Workshop, source: Source, monkeypatch: pytest.MonkeyPatch
):
    missing = {"openvino", "nncf", "onnxscript", "executorch"}
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else real(name))

    peers = make_peers(TOOLS, source, ignore, make=workshop.make)

    assert {entrant.name for entrant in peers.entrants} >= {"torch", "torch-bf16"}
    reasons = {absent.name: absent.reason for absent in peers.absent}
    assert reasons["onnx-dynamic"] == "onnxscript not installed: pip install 'vit-edge[peers]'"
    assert reasons["openvino-int8"] == "onnxscript, openvino, nncf not installed: pip install 'vit-edge[peers]'"
    assert workshop.made == ["weights.safetensors", "weights.bf16.safetensors", "model.ncnn.param"]


def test_torch_compile_needs_a_compiler(workshop: Workshop, source: Source, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    peers = make_peers(["torch-compile"], source, ignore, make=workshop.make)
    assert [absent.reason for absent in peers.absent] == ["needs a C++ compiler: install g++"]
    assert workshop.made == []


def test_a_file_is_made_once_and_what_is_there_is_taken(
    workshop: Workshop, source: Source, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(shutil, "which", lambda name: name)
    peers = make_peers(TOOLS, source, ignore, make=workshop.make)
    assert [entrant.name for entrant in peers.entrants] == list(TOOLS)
    assert sorted(workshop.made) == sorted(FILES)
    make_peers(TOOLS, source, ignore, make=workshop.make)
    assert sorted(workshop.made) == sorted(FILES)


def test_every_peer_says_how_it_is_set_up_where_that_was_chosen(workshop: Workshop, source: Source):
    Path(source.folder, "nncf.xml.note").write_text("calibrated on 128 pictures", encoding="utf-8")
    peers = make_peers(["torch", "openvino-int8"], source, ignore, make=workshop.make)
    details = {entrant.name: entrant.facts("1", "as the engine says").detail for entrant in peers.entrants}
    assert details["torch"] == "as the engine says"
    assert details["openvino-int8"] == (
        "NNCF for transformers, tuned for latency, calibrated on 128 pictures; as the engine says"
    )


def test_a_file_that_cannot_be_made_is_a_reason_and_the_others_go_on(
    workshop: Workshop, source: Source, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())

    def make(name: str, recipe: Recipe) -> None:
        if recipe.file == "traced.onnx":
            raise ContenderError(name, "unsupported operator")
        workshop.make(name, recipe)

    peers = make_peers(("torch", "onnx", "onnx-dynamic", "openvino"), source, ignore, make=make)
    assert [entrant.name for entrant in peers.entrants] == ["torch"]
    assert {absent.reason for absent in peers.absent} == {"traced.onnx cannot be made: unsupported operator"}
    assert workshop.made == ["weights.safetensors"]


def test_random_weights_are_of_no_use_for_accuracy(workshop: Workshop, source: Source):
    (absent,) = make_peers(["torch"], source, ignore, need_own_weights=True, make=workshop.make).absent
    assert absent.reason == "needs the weights that the artifact was exported from: add --checkpoint"
    assert workshop.made == ["weights.safetensors"]


def torch_with(artifact: Path, folder: Path, checkpoint: Path | None = None) -> Peers:
    given = None if checkpoint is None else str(checkpoint)
    return make_peers(["torch"], Source(artifact=str(artifact), folder=str(folder), checkpoint=given), ignore)


def test_the_checkpoint_gives_the_artifacts_own_weights(tiny_artifact: Path, tiny_checkpoint: Path, tmp_path: Path):
    assert torch_with(tiny_artifact, tmp_path, tiny_checkpoint).own_weights
    original, made = load_file(tiny_checkpoint), load_file(tmp_path / "weights.safetensors")
    assert original.keys() == made.keys()
    assert all((original[name] == made[name]).all() for name in original)


def test_random_weights_of_an_export_are_made_again(tmp_path: Path):
    path = export(ExportRequest(model="vit_b_32", weights="random", seed=3, output=tmp_path / "b.onnx")).path
    assert torch_with(path, tmp_path).own_weights


def test_another_checkpoint_than_the_artifacts_is_refused(tiny_artifact: Path, tiny_int8: Path, tmp_path: Path):
    with pytest.raises(ContenderError, match=r"^--checkpoint: .*tiny\.int8\.onnx"):
        torch_with(tiny_artifact, tmp_path, tiny_int8)
    assert not (tmp_path / "weights.safetensors").exists()
