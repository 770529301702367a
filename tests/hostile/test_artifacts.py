"""Damaged artifacts: one of our errors or an answer, never another exception or a process that dies."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from vit_export import ExportRequest, export
from vit_export.write.blueprint import Blueprint
from vit_export.write.graph import build_graph
from vit_export.write.model_file import ModelFile
from vit_export.write.weights import finite_weights
from vit_runtime.artifact import read_artifact

from .artifact_mutants import artifact_mutants
from .bad_artifacts import bad_artifacts, shuffled_digest
from .chunks import WARM_UP, Limits, Result, faults, in_chunks, keep, run_worker
from .onnx_parts import DATA, NAME, Files, with_document, with_graph

SOME, ALL = pytest.param(240, id="some"), pytest.param(1_200, id="all", marks=pytest.mark.slow)
PER_PROCESS = 100
"""Where an engine dies, the rest of its hundred is not run: the file that it died of is named."""
SMALLEST_LIMIT = 64 << 20
"""`ModelFile.write_graph` puts all weights into a file of their own then."""
LIMITS = Limits(
    # The file has 1.2 MB, the session copies it, and a run takes a few MB; metadata may have 8 MiB, and parsed JSON
    # takes twenty times its text.
    bytes=250 << 20,
    seconds=20,  # loading and running take 20 ms; the rest is a busy machine
    errors=(),
)
PROGRAM_LIMITS = replace(LIMITS, bytes=4 << 30, seconds=60)
"""A graph is a program: where an altered one asks for memory, the engine takes what the process may have.
`worker.py` grants it 4 GB; what counts is that an engine that gets no more says so through our errors."""

Results = Callable[[str, Iterable[tuple[str, Files]]], tuple[list[Result], str]]


@pytest.fixture(scope="module")
def bases(tiny_checkpoint: Path, tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    """The tiny model in fp32, in dynamic int8, and as one above 2 GB is written."""
    folder = tmp_path_factory.mktemp("bases")
    int8 = export(ExportRequest(model=str(tiny_checkpoint), precision="int8", output=folder / "int8.onnx")).path
    artifact = read_artifact(tiny_artifact)
    graph = build_graph(
        Blueprint(
            arch=artifact.architecture,
            preprocessing=artifact.preprocessing,
            weights=finite_weights(load_file(tiny_checkpoint), "tiny"),
        )
    )
    file = ModelFile(folder, NAME)
    file.write_graph(graph, written=lambda _bytes: None, limit=SMALLEST_LIMIT)
    file.write_metadata(replace(artifact, external_data=file.external_data))
    return {
        "fp32": {NAME: tiny_artifact.read_bytes()},
        "int8": {NAME: int8.read_bytes()},
        "external": {NAME: file.path.read_bytes(), DATA: file.data_path.read_bytes()},
    }


@pytest.fixture
def results(bases: dict[str, Files], folder: Path) -> Results:
    """`results(kind, artifacts)`: what came of each, and in lines what was wrong with it."""

    def run(kind: str, artifacts: Iterable[tuple[str, Files]]) -> tuple[list[Result], str]:
        found: list[Result] = []
        wrong: list[str] = []
        for chunk in in_chunks(artifacts, PER_PROCESS, folder / "artifacts"):
            write(chunk / WARM_UP, bases["fp32"])
            came, _ = run_worker(kind, chunk)
            of_program = [result for result in came if result.case.endswith(("_graph", "_bytes"))]
            lines = faults(of_program, PROGRAM_LIMITS)
            lines += faults([result for result in came if result not in of_program], LIMITS)
            keep(chunk, lines)
            wrong += lines
            found += [result for result in came if result.case != WARM_UP]
        return found, "\n".join(wrong)

    return run


def write(target: Path, files: Files) -> Path:
    target.mkdir(parents=True)
    for name, content in files.items():
        (target / name).write_bytes(content)
    return target


def answered(found: Iterable[Result]) -> list[str]:
    return [result.case for result in found if result.outcome == "answered"]


@pytest.mark.parametrize("kind", ["artifacts", "digests"])
def test_sound_artifacts_answer(kind: str, bases: dict[str, Files], results: Results):
    found, wrong = results(kind, bases.items())
    assert wrong == ""
    assert sorted(answered(found)) == sorted(bases)


@pytest.mark.parametrize("count", [SOME, ALL])
def test_a_damaged_artifact_answers_or_is_refused(count: int, bases: dict[str, Files], results: Results):
    found, wrong = results("artifacts", artifact_mutants(bases, range(count)))
    assert wrong == ""
    outcomes = Counter(result.outcome for result in found)
    assert min(outcomes["answered"], outcomes["refused by ArtifactError"]) > count // 50  # both are put to the test


@pytest.mark.parametrize("count", [SOME, ALL])
def test_no_damage_escapes_the_digest(count: int, bases: dict[str, Files], results: Results):
    found, wrong = results("digests", artifact_mutants(bases, range(count)))
    assert wrong == ""
    assert {result.outcome for result in found} == {"refused by ArtifactError"}, answered(found)


def test_a_digest_written_in_another_way_is_refused(bases: dict[str, Files], results: Results):
    changed = (
        (f"{name}_{seed}", shuffled_digest(bases[name], random.Random(seed))) for name in bases for seed in range(9)
    )
    found, wrong = results("digests", changed)
    assert wrong == ""
    assert answered(found) == []


def test_what_is_meant_to_do_harm_is_refused(bases: dict[str, Files], results: Results):
    found, wrong = results("artifacts", bad_artifacts(bases))
    assert (wrong, answered(found)) == ("", [])
    assert len(found) > 300


@pytest.mark.parametrize("kind", ["outside", "device", "pipe", "folder", "loop"])
def test_a_file_of_weights_that_is_something_else(kind: str, bases: dict[str, Files], folder: Path):
    """A link that leads out of the folder, to a device without an end, to itself; a pipe, at which a reader waits."""
    case = write(folder / "artifacts" / "case", {NAME: bases["external"][NAME]})
    weights = case / DATA
    if kind == "outside":
        (folder / "secret").write_bytes(bases["external"][DATA])
        weights.symlink_to(folder / "secret")
    elif kind == "device":
        weights.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(weights)
    elif kind == "folder":
        weights.mkdir()
    else:
        weights.symlink_to(DATA)
    for act in ("artifacts", "digests"):
        found, printed = run_worker(act, folder / "artifacts", seconds=60)
        assert [result.outcome for result in found] == ["refused by ArtifactError"], (found, printed)
        assert faults(found, LIMITS) == []


def test_a_tensor_that_names_a_file_of_an_artifact_without_one(bases: dict[str, Files], results: Results):
    """Both the tensor's name and its mark count, one without the other too."""

    def artifacts() -> Iterable[tuple[str, Files]]:
        for marked in (True, False):
            for name in (NAME, "../../x", "/etc/passwd"):

                def edit(graph, marked=marked, name=name):
                    tensor = graph.initializer[0]
                    tensor.external_data.add(key="location", value=name)
                    tensor.data_location = int(marked)

                yield f"{marked}_{Path(name).name}", with_graph(bases["fp32"], edit)
        yield (
            "stated",
            with_document(
                bases["fp32"], lambda d: d.update(external_data={"file": DATA, "bytes": 9, "sha256": "0" * 64})
            ),
        )

    found, wrong = results("artifacts", artifacts())
    assert wrong == ""
    assert answered(found) == []
