"""Answers that are left before their end: the threads end soon, and nothing is computed for nobody."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vit_runtime as vit
from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.waiting import WAITING

RandomPictures = Callable[[int], list[UInt8Array]]

SOON = 10.0
"""Seconds: much less than the half minute that a picture may take by default, and enough for a busy machine."""


class Many(vit.ViT):
    """A model with more workers than this machine may have cores, which notes its runs."""

    workers = 4

    def __init__(self, model: vit.ViT) -> None:
        vars(self).update(vars(model))
        self.runs: list[int] = []

    def run(self, pixels: UInt8Array, *args: Any) -> list[FloatArray]:
        self.runs.append(len(pixels))
        return super().run(pixels, *args)


@pytest.fixture(params=[30.0, None], ids=["limit", "no limit"])
def many(attention_artifact: Path, request: pytest.FixtureRequest) -> Many:
    return Many(vit.load(attention_artifact, threads=1, limits=vit.Limits(seconds=request.param)))


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging files wait for; opened at the end of the test, so that no thread is left for the next one."""
    gate = threading.Event()
    yield gate
    gate.set()
    for thread in threading.enumerate():
        if thread.name.startswith("vit-edge"):
            thread.join(SOON)
    assert workers() == []


class Hanging:
    """A file on a disk that does not answer until the gate opens; afterwards it is a picture."""

    def __init__(self, gate: threading.Event, content: bytes) -> None:
        self.gate, self.content, self.is_read = gate, content, threading.Event()
        self.reader: list[threading.Thread] = []

    def seekable(self) -> bool:
        return False

    def read(self, _size: int = -1) -> bytes:
        self.reader.append(threading.current_thread())
        self.is_read.set()
        self.gate.wait(60)
        content, self.content = self.content, b""
        return content


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("vit-edge")]


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("end", ["break", "error"])
def test_nobody_waits_for_a_picture_that_hangs(
    end: str,
    batch_size: int,
    many: Many,
    gate: threading.Event,
    picture: UInt8Array,
    encode: Callable[..., bytes],
):
    hanging = Hanging(gate, encode(picture, "PNG"))
    sources = itertools.chain([picture, hanging], itertools.repeat(picture))
    answers = many.answers(sources, "embedding", batch_size=batch_size)
    assert isinstance(next(answers), vit.Answer)
    assert hanging.is_read.wait(SOON)
    began = time.monotonic()
    if end == "break":
        answers.close()
    else:
        with pytest.raises(LookupError):
            answers.throw(LookupError())
    assert time.monotonic() - began < SOON
    assert len(workers()) <= 1  # the one that reads
    runs = len(many.runs)
    gate.set()
    for thread in workers():
        thread.join(SOON)
    assert workers() == []
    assert len(many.runs) == runs


def test_a_picture_that_was_given_up_is_not_computed(
    attention_artifact: Path, gate: threading.Event, picture: UInt8Array, encode: Callable[..., bytes]
):
    """When it comes back it could be while Python ends, in the middle of a library's work."""
    model = Many(vit.load(attention_artifact, threads=1, limits=vit.Limits(seconds=0.1)))
    hanging = Hanging(gate, encode(picture, "PNG"))
    given: list[object] = []

    def sources() -> Iterator[Any]:
        yield hanging
        while not given:
            yield WAITING
        gate.set()
        hanging.reader[0].join(SOON)
        assert not hanging.reader[0].is_alive()

    for answer in model.answers(sources(), "embedding"):
        given.append(answer)  # noqa: PERF402 - the source looks whether there is one
    assert [type(answer) for answer in given] == [vit.ImageError]
    assert hanging.content == b""  # it was read in the end
    assert model.runs == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among its files")
def test_maps_by_a_single_worker_go_on_behind_a_picture_that_hangs(
    attention_artifact: Path, photo: Path, tmp_path: Path
):
    """One photo at a time would be read in the caller's own thread, which nobody could leave behind."""
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    model = vit.load(attention_artifact, threads=1, limits=vit.Limits(seconds=0.2))
    assert model.workers == 1
    try:
        seen = [type(answer) for answer in model.maps([photo, pipe, photo])]
    finally:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))  # the thread that was left behind ends
    assert seen == [vit.AttentionMap, vit.ImageError, vit.AttentionMap]


def test_pictures_that_wait_for_a_batch_are_not_computed_for_nobody(
    attention_artifact: Path, random_pictures: RandomPictures
):
    """A run is held only once an answer was taken: until then an answer may be waiting for any run."""
    taken, held, go_on = threading.Event(), threading.Event(), threading.Event()

    class Slow(Many):
        def run(self, pixels: UInt8Array, *args: Any) -> list[FloatArray]:
            if taken.is_set():
                held.set()
                go_on.wait(SOON)
            return super().run(pixels, *args)

    model = Slow(vit.load(attention_artifact, threads=1))
    answers = model.answers(itertools.cycle(random_pictures(5)), "embedding", batch_size=2)
    for _ in answers:
        taken.set()
        if held.wait(0.5):  # a picture follows the one that was taken, and its run is held
            break
    runs = len(model.runs)
    leaving = threading.Thread(target=answers.close)
    leaving.start()
    time.sleep(2)  # a busy machine takes a while to tell the end
    go_on.set()
    leaving.join(SOON)
    assert workers() == []
    assert len(model.runs) <= runs + 2  # the one that was held, and one that may have begun before the end was told


def test_a_system_that_gives_few_threads_is_enough(
    attention_artifact: Path, random_pictures: RandomPictures, monkeypatch: pytest.MonkeyPatch
):
    """Containers limit processes and threads together."""
    model, pictures = Many(vit.load(attention_artifact, threads=1)), random_pictures(20)
    expected = np.stack([model.embed(picture)[0] for picture in pictures])
    start, started = threading.Thread.start, []

    def refuse(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    np.testing.assert_allclose(model.embed(pictures), expected, rtol=0, atol=1e-5)
