"""A process that tries one file on one provider: a library that crashes takes no more than this process with it.

Its parent asks with a `Task`: it opens the file, and answers with an `Opened`. Then the parent asks with numbers of
seconds: it measures, and answers with a `Measured` each.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from vit_runtime.artifact import Artifact, codec, read_artifact
from vit_runtime.artifact.digest import stored_digest
from vit_runtime.artifact.signature import check_signature
from vit_runtime.devices.child import Answers
from vit_runtime.devices.copying import kept_of
from vit_runtime.devices.engine import silence_onnxruntime
from vit_runtime.devices.facts import ModelFacts
from vit_runtime.devices.machine import resident_mb
from vit_runtime.devices.memory import return_large_blocks_at_once
from vit_runtime.devices.session import open_session
from vit_runtime.errors import VitEdgeError
from vit_runtime.graph import Graph
from vit_runtime.selftest import problem, waves
from vit_runtime.suitability import check_suits
from vit_runtime.timing import time_runs
from vit_runtime.tuning.setting import Setting


@dataclass(frozen=True, kw_only=True)
class Task:
    """A file and how to run it."""

    path: str
    setting: Setting


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The file is open and has answered its self-test."""

    load_seconds: float
    wrong: str
    """How its answers fail the self-test, in words; empty where they are right."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Times of a turn."""

    times: tuple[float, ...]
    """Seconds for one picture: of each run, or of the whole turn where several run at a time or in batches."""
    memory_mb: int | None
    """Memory of this process at most so far, in 10⁶ bytes; None where the system does not tell."""


def main() -> None:
    """Answers until its parent asks for nothing more, or there is nothing more to answer."""
    answers = Answers()
    return_large_blocks_at_once()
    with answers.report_errors():
        asked = answers.asked()
        task = codec.decode(Task, next(asked))
        begin = time.perf_counter()
        graph, artifact = _open(task)
        loaded = time.perf_counter() - begin
        opened = Opened(load_seconds=loaded, wrong=problem(graph, artifact.self_test))
        answers.answer(codec.encode(opened))
        for seconds in asked:
            times = _measure(graph, task.setting, cast("float", seconds))
            measured = Measured(times=tuple(times), memory_mb=resident_mb()[1])
            answers.answer(codec.encode(measured))


def _open(task: Task) -> tuple[Graph, Artifact]:
    silence_onnxruntime()
    path, setting = Path(task.path), task.setting
    artifact = read_artifact(path)
    check_suits(artifact, setting.provider)
    opened = open_session(
        path,
        provider=setting.provider,
        threads=setting.threads,
        runs=setting.runs,
        facts=ModelFacts.of(artifact),
        kept=kept_of(stored_digest(path)),
    )
    check_signature(opened.session, artifact, path)
    return Graph(artifact, opened), artifact


def _measure(graph: Graph, setting: Setting, seconds: float) -> list[float]:
    if setting.runs == setting.batch == 1:
        return time_runs(graph, seconds)
    return [_seconds_a_picture(graph, setting, seconds)]


def _seconds_a_picture(graph: Graph, setting: Setting, seconds: float) -> float:
    """Several threads run a graph again and again; gives the time they took, divided by their pictures."""
    pixels: Any = np.repeat(waves(graph.description.preprocessing.crop_hw)[None], setting.batch, axis=0)
    outputs = graph.description.outputs[:1]
    graph.run(pixels, outputs)
    pictures, errors = [0] * setting.runs, list[VitEdgeError]()

    def work(number: int) -> None:
        try:
            while not pictures[number] or time.perf_counter() < end:
                graph.run(pixels, outputs)
                pictures[number] += setting.batch
        except VitEdgeError as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(setting.runs)]
    begin = time.perf_counter()
    end = begin + seconds
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return (time.perf_counter() - begin) / sum(pictures)
