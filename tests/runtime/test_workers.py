"""Workers: order whatever a picture costs, flat memory, pictures that hang, and several callers of one model."""

from __future__ import annotations

import io
import itertools
import os
import random
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vit_runtime as vit
from vit_runtime.arrays import UInt8Array
from vit_runtime.waiting import WAITING

Encode = Callable[..., bytes]
Run = Callable[..., Any]
RandomPictures = Callable[[int], list[UInt8Array]]


class Many(vit.ViT):
    """A model with more workers than this machine may have cores."""

    workers = 8


@pytest.fixture
def many(tiny: vit.ViT) -> Many:
    several = Many.__new__(Many)
    vars(several).update(vars(tiny))
    return several


@pytest.fixture
def hasty(many: Many) -> Iterator[Many]:
    """Waits for no picture longer than half a second, and another one for its thread."""
    many.limits = vit.Limits(seconds=0.5)
    yield many
    released.set()
    for thread in threading.enumerate():
        if thread.name.startswith("vit-edge"):
            thread.join(10)


released = threading.Event()


class Hanging(io.RawIOBase):
    """A file on a disk that does not answer, until the test ends."""

    def __init__(self) -> None:
        super().__init__()
        released.clear()

    def readable(self) -> bool:
        return True

    def readinto(self, _buffer: Any) -> int:
        released.wait(60)
        return 0


class Slow(io.BytesIO):
    """A file that takes its time."""

    def __init__(self, content: bytes, seconds: float) -> None:
        super().__init__(content)
        self.seconds = seconds
        self.came_back = threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        time.sleep(self.seconds)
        self.seconds = 0.0
        self.came_back.set()
        return super().read(size)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_pictures_of_very_different_cost_are_answered_in_order(batch_size: int, many: Many, encode: Encode):
    """Large and small, slow and fast: each answer is that of its own picture, and no picture is lost or repeated."""
    rng = random.Random(1)
    pixels = np.random.default_rng(1)
    sources: list[Any] = []
    for _ in range(120):
        side = rng.choice([20, 40, 600])
        content = encode(pixels.integers(0, 256, (side, side, 3), dtype=np.uint8), "JPEG", quality=30)
        sources.append(Slow(content, rng.choice([0, 0, 0.02])))
    expected = [many.embed(source.getvalue())[0] for source in sources]
    answers = list(many.answers(iter(sources), "embedding", batch_size=batch_size))
    assert len(answers) == len(sources)
    for answer, source, values in zip(answers, sources, expected, strict=True):
        assert isinstance(answer, vit.Answer), answer
        assert answer.source is source
        np.testing.assert_allclose(answer.values, values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_memory_does_not_grow_with_the_number_of_pictures(batch_size: int, many: Many, encode: Encode):
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encode(pixels, "JPEG")

    def sources(count: int) -> Iterator[bytes]:
        for number in range(count):
            yield bytes([*content, number % 256])  # a new object each time; of errors as of answers
            if number % 4 == 0:
                yield content[:-200] + bytes([number % 256])

    def peak(count: int) -> int:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        answered = sum(1 for _ in many.answers(sources(count), "embedding", batch_size=batch_size))
        assert answered == count + -(-count // 4)
        return tracemalloc.get_traced_memory()[1] - before

    peak(50)
    tracemalloc.start()
    try:
        few, lots = peak(200), peak(2_000)
    finally:
        tracemalloc.stop()
    assert lots < few + (200 << 10)


def test_large_pictures_in_memory_are_not_piled_up(many: Many, encode: Encode, picture: UInt8Array):
    """As from an archive: 32 of them could be read ahead, and these have 64 MB each."""
    taken = 0

    def sources() -> Iterator[Any]:
        nonlocal taken
        yield Slow(encode(picture, "PNG"), 1.0)  # while this one is waited for
        for _ in range(40):
            taken += 1
            yield bytes(64 << 20)

    answers = many.answers(sources(), "embedding")
    assert isinstance(next(answers), vit.Answer)
    assert 0 < taken <= 4
    assert sum(isinstance(answer, vit.ImageError) for answer in answers) == 40


def hangs(answer: object) -> bool:
    return isinstance(answer, vit.ImageError) and "takes longer to read than 0.5 s" in str(answer)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_picture_that_hangs_is_an_error_in_its_place(batch_size: int, hasty: Many, picture: UInt8Array):
    sources = [picture, Hanging(), picture, picture, Hanging(), *[picture] * 30]
    answers = list(hasty.answers(sources, "embedding", batch_size=batch_size))
    assert [index for index, answer in enumerate(answers) if hangs(answer)] == [1, 4]
    assert sum(isinstance(answer, vit.Answer) for answer in answers) == 33
    assert str(answers[1]).endswith("; copy it elsewhere, or raise Limits.seconds")


def test_more_pictures_may_hang_than_there_are_workers(hasty: Many, picture: UInt8Array):
    """Each that is left behind gets a successor."""
    sources = [*[Hanging() for _ in range(12)], *[picture] * 5]
    answers = list(hasty.answers(sources, "embedding"))
    assert [hangs(answer) for answer in answers] == [True] * 12 + [False] * 5


def test_where_too_many_pictures_hang_it_is_the_disk(hasty: Many):
    answers = hasty.answers((Hanging() for _ in itertools.count()), "embedding")
    assert [hangs(next(answers)) for _ in range(15)] == [True] * 15
    with pytest.raises(vit.ImageError, match="as 15 others do; no more pictures are read; see whether the disk"):
        next(answers)


def test_those_that_come_back_too_late_do_not_add_up(hasty: Many, encode: Encode, picture: UInt8Array):
    """A network that is slow for a while is no disk that does not answer."""
    answers = list(hasty.answers([Slow(encode(picture, "PNG"), 2.5) for _ in range(32)], "embedding"))
    assert [isinstance(answer, vit.ImageError) for answer in answers] == [True] * 32
    assert sum(hangs(answer) for answer in answers) > 16  # the others have come back just in time to be told so


def test_a_picture_that_comes_back_too_late_is_not_answered_twice(hasty: Many, encode: Encode, picture: UInt8Array):
    late, count = Slow(encode(picture, "PNG"), 3.0), 0

    def sources() -> Iterator[Any]:
        nonlocal count
        yield late
        while not late.came_back.wait(0.01) or count < 300:
            count += 1
            yield picture

    answers = list(hasty.answers(sources(), "embedding"))
    assert late.came_back.is_set()
    assert [hangs(answer) for answer in answers] == [True] + [False] * count


def test_a_source_that_waits_gets_the_answers_that_are_done(hasty: Many, picture: UInt8Array):
    """Nobody waits for pictures that may come in an hour: neither with an answer, nor with the error of what hangs."""
    given: list[object] = []

    def sources() -> Iterator[Any]:
        for number, source in enumerate([picture, b"no picture", Hanging(), picture]):
            yield source
            latest = time.monotonic() + 30
            while len(given) == number:
                assert time.monotonic() < latest
                time.sleep(0.005)
                yield WAITING

    for answer in hasty.answers(sources(), "embedding"):
        given.append(answer)  # noqa: PERF402 - the source looks at how many there are
    assert [type(answer) for answer in given] == [vit.Answer, vit.ImageError, vit.ImageError, vit.Answer]
    assert hangs(given[2])


@pytest.mark.parametrize("batch_size", [1, 4])
def test_several_threads_use_one_model(batch_size: int, many: Many, random_pictures: RandomPictures):
    pictures = random_pictures(16)
    expected = np.concatenate([many.embed(picture) for picture in pictures])
    wrong: list[object] = []

    def use(shift: int) -> None:
        for _ in range(5):
            found = many.embed([*pictures[shift:], *pictures[:shift]], batch_size=batch_size)
            if not np.allclose(found, np.roll(expected, -shift, axis=0), rtol=0, atol=1e-5):
                wrong.append(shift)

    threads = [threading.Thread(target=use, args=(shift,)) for shift in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("kind", ["image", "file", "image in two threads"])
def test_the_same_open_picture_many_times(kind: str, many: Many, encode: Encode):
    """A lazily opened image is decoded by the first worker that comes to it, while others want it as well."""
    content = encode(np.random.default_rng(1).integers(0, 256, (400, 400, 3), dtype=np.uint8), "PNG")
    expected = many.embed(content)[0]
    for _ in range(10):
        source: Any = io.BytesIO(content) if kind == "file" else Image.open(io.BytesIO(content))
        if kind == "image in two threads":
            others: list[Any] = []
            thread = threading.Thread(target=lambda: others.append(many.embed([source] * 8)))  # noqa: B023
            thread.start()
            found = np.concatenate([many.embed([source] * 8), *(thread.join() or others)])
        else:
            found = many.embed([source] * 16)
        np.testing.assert_allclose(found, np.tile(expected, (16, 1)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_ctrl_c_in_the_consumer_ends_the_threads(batch_size: int, many: Many, picture: UInt8Array):
    def consume() -> None:
        for count, _ in enumerate(many.answers(itertools.repeat(picture), "embedding", batch_size=batch_size)):
            if count == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert not any(thread.name.startswith("vit-edge") for thread in threading.enumerate())


LEFT_IN_THE_MIDDLE = """
import sys, threading
import vit_runtime as vit

released = threading.Event()
class Hanging:
    def read(self, size=-1):
        released.wait()

model = vit.load(sys.argv[1], threads=1, limits=vit.Limits(seconds=0.2))
class Many(vit.ViT):
    workers = 4
several = Many.__new__(Many)
vars(several).update(vars(model))
import numpy as np
picture = np.zeros((32, 32, 3), np.uint8)
answers = several.answers((Hanging() if number % 7 == 3 else picture for number in range(10**9)), "embedding")
print(sum(isinstance(next(answers), vit.ImageError) for _ in range(20)))
if sys.argv[2] == "error":
    sys.last_traceback = answers
    raise SystemExit(5)
"""


@pytest.mark.parametrize("end", ["nothing", "error"])
def test_python_ends_although_threads_hang(end: str, tiny_artifact: Path):
    command = [sys.executable, "-c", LEFT_IN_THE_MIDDLE, str(tiny_artifact), end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (5 if end == "error" else 0, "3\n", "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among its files")
def test_a_pipe_that_nobody_writes_to(tiny_artifact: Path, photo: Path, tmp_path: Path):
    """On the command line, where the message names the option."""
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    code = "import sys; sys.argv[0] = 'vit-run'; from vit_runtime.cli import main; main()"
    words = ["embed", tiny_artifact, photo, pipe, photo, "--max-seconds", "1"]
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert [line.split('"')[3] for line in done.stdout.splitlines()] == [str(photo), str(pipe), str(photo)]
    assert done.stderr.splitlines()[1:] == [
        f"error: {pipe}: takes longer to read than 1 s; copy it elsewhere, or raise --max-seconds"
    ]


def test_a_worker_names_options_as_the_command_line_does(vit_run: Run, tiny_artifact: Path, photo: Path):
    """Workers are threads, and a thread knows nothing of whoever started it unless it is told."""
    done = vit_run("embed", tiny_artifact, photo, photo, "--max-pixels", 10)
    assert done.exit_code == 1
    assert done.stderr.count("raise --max-pixels") == 2
