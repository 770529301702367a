"""Pictures with very many pixels are read one at a time, and waiting for others is no time of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vit_runtime as vit
from vit_runtime.pictures import large


class Clock:
    """Notes when a worker waits."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.over = False

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def is_over(self) -> bool:
        return self.over


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_second_large_picture_waits_for_the_end_of_the_first():
    order, second = [], Clock()

    def read() -> None:
        with large.worker(second):
            assert large.wait_for_turn(large.LARGE + 1) > 0.1
            order.append("second")

    with large.worker(Clock()):
        large.wait_for_turn(large.LARGE + 1)
        thread = in_thread(read)
        time.sleep(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert second.told == ["pause", "resume"]


def test_a_small_picture_waits_for_nobody():
    with large.worker(Clock()):
        large.wait_for_turn(large.LARGE + 1)
        done: list[float] = []

        def read() -> None:
            with large.worker(Clock()):
                done.append(large.wait_for_turn(large.LARGE))

        in_thread(read).join(5)
        assert done == [0.0]


def test_nobody_waits_whose_picture_is_not_wanted_any_more():
    clock = Clock()
    with large.worker(Clock()):
        large.wait_for_turn(large.LARGE + 1)

        def read() -> None:
            with large.worker(clock):
                large.wait_for_turn(large.LARGE + 1)

        thread = in_thread(read)
        clock.over = True
        thread.join(5)
        assert not thread.is_alive()


def test_who_is_no_worker_takes_no_turn():
    with large.worker(Clock()):
        large.wait_for_turn(large.LARGE + 1)
        waited: list[float] = []
        in_thread(lambda: waited.append(large.wait_for_turn(large.LARGE + 1))).join(5)
        assert waited == [0.0]


@pytest.fixture(scope="module")
def panorama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grey PNG of 56 megapixels, in some hundred kilobytes."""
    path = tmp_path_factory.mktemp("large") / "panorama.png"
    rows = np.tile(np.arange(7_500, dtype=np.uint8), (7_500, 1))
    Image.fromarray(rows).save(path, compress_level=1)
    return path


def test_the_limit_of_time_is_for_each_by_itself(tiny_artifact: Path, panorama: Path):
    """Eight of them, one after the other, take longer than one may."""
    alone = vit.load(tiny_artifact, threads=1)
    begin = time.monotonic()
    expected = alone.logits(panorama)
    seconds = time.monotonic() - begin
    limits = vit.Limits(seconds=3 * seconds)
    model = vit.load(tiny_artifact, threads=8, purpose="throughput", limits=limits)
    answers = list(model.answers([panorama] * 8, "logits"))
    assert [isinstance(answer, vit.Answer) for answer in answers] == [True] * 8
    for answer in answers:
        assert isinstance(answer, vit.Answer)
        np.testing.assert_allclose(answer.values, expected[0], atol=1e-5)
