"""`watch` on live sources: the newest frame wins, what is lost is found again, and signals end it cleanly."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cameras import Send, http_server, jpeg, mjpeg_server, number_of, numbered, write_video
from tests.rtsp_camera import rtsp_camera

import vit_runtime as vit
from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.watching import Patience, watch

Run = Callable[..., Any]
VIT_RUN = shutil.which("vit-run", path=str(Path(sys.executable).parent)) or "vit-run"
PATIENT = Patience(timeout=20, first_delay=0.05, longest_delay=0.2)


class Slow:
    """A model that takes its time, and notes which number each picture shows and how many were sent by then."""

    def __init__(self, model: vit.ViT, seconds: float = 0.0) -> None:
        self._model, self._seconds = model, seconds
        self.sent = 0
        self.seen: list[int] = []
        self.ages: list[int] = []

    def require(self, output: str) -> None:
        self._model.require(output)

    def logits(self, picture: UInt8Array) -> FloatArray:
        self.seen.append(number_of(picture))
        self.ages.append(self.sent - self.seen[-1])
        time.sleep(self._seconds)
        return self._model.logits(picture)

    def top(self, logits: FloatArray, *, top_k: int) -> list[vit.Prediction]:
        return self._model.top(logits, top_k=top_k)


def steadily(model: Slow) -> Callable[[int, Send, threading.Event], None]:
    """A camera that sends a hundred numbered pictures a second."""

    def play(_connection: int, send: Send, ended: threading.Event) -> None:
        while not ended.wait(0.01):
            model.sent += 1
            send(jpeg(numbered(model.sent)))

    return play


def test_the_newest_frame_wins_over_a_slow_model(tiny: vit.ViT):
    """With a queue the tenth answer would be for the tenth picture, some two hundred pictures too late."""
    model = Slow(tiny, seconds=0.25)
    with mjpeg_server(steadily(model)) as address:
        seen = list(islice(watch(model, address, patience=PATIENT), 10))
    assert np.median(model.ages) <= 10
    assert max(model.ages) <= 60  # a machine with other work
    assert all(later > earlier for earlier, later in pairwise(model.seen))
    assert all(later.position > earlier.position for earlier, later in pairwise(seen))
    assert all(later.time > earlier.time for earlier, later in pairwise(seen))


def test_memory_does_not_grow_with_what_was_dropped(tiny: vit.ViT):
    noise = np.random.default_rng(seed=1).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    picture = jpeg(noise)
    sent = 0

    def play(_connection: int, send: Send, ended: threading.Event) -> None:
        nonlocal sent
        while not ended.wait(0.005):
            sent += 1
            send(picture)

    with mjpeg_server(play) as address:
        answers = watch(tiny, address, every=1.0, patience=PATIENT)
        next(answers)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            list(islice(answers, 3))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            answers.close()
    assert sent * len(picture) > 50e6  # that much went through
    assert peak - before < 20e6


def test_every_waits_between_frames(tiny: vit.ViT):
    model = Slow(tiny)
    with mjpeg_server(steadily(model)) as address:
        seen = list(islice(watch(model, address, every=0.3, patience=PATIENT), 5))
    assert all(later.position - earlier.position > 0.25 for earlier, later in pairwise(seen))


def test_it_ends_after_so_many_seconds_also_when_nothing_comes(tiny: vit.ViT):
    def play(_connection: int, send: Send, ended: threading.Event) -> None:
        send(jpeg(numbered(1)))
        ended.wait(60)

    model = Slow(tiny)
    with mjpeg_server(play) as address:
        began = time.monotonic()
        assert len(list(watch(model, address, seconds=1.5, patience=PATIENT))) <= 1
        assert 1.4 < time.monotonic() - began < 15


def test_it_connects_again_after_drops_stalls_and_refusals(tiny: vit.ViT, caplog: pytest.LogCaptureFixture):
    """Connection 0 is dropped, 1 is no stream, 2 stalls, 3 is damaged, and 4 is as it should be."""

    def play(connection: int, send: Send, ended: threading.Event) -> None:
        for place in range(20):
            number = 1000 * connection + place
            picture = jpeg(numbered(number))
            send({1: b"no picture", 3: picture[: len(picture) // 2] if place else picture}.get(connection, picture))
            ended.wait(0.02)
        if connection in (2, 4):
            ended.wait(60)

    model = Slow(tiny)
    with caplog.at_level(logging.INFO, "vit_runtime"), mjpeg_server(play) as address:
        patience = Patience(timeout=1.5, first_delay=0.05, longest_delay=0.2)
        for _ in watch(model, address.replace("//", "//user:secret@"), patience=patience):
            if model.seen[-1] >= 4000:
                break
    came = sorted({number // 1000 for number in model.seen})
    assert {0, 2, 4} <= set(came)
    assert 1 not in came
    notes = [record.getMessage() for record in caplog.records if record.name == "vit_runtime"]
    assert any("sends no frame for 1.5 s" in note for note in notes)
    assert all("connects again in 0." in note for note in notes)
    assert not any("secret" in note for note in notes)


def test_delays_double_until_a_frame_comes(tiny: vit.ViT, caplog: pytest.LogCaptureFixture):
    def handle(request: Any, number: int) -> None:
        if number in (1, 2, 3, 4):
            request.send_error(503)
            return
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        part = jpeg(numbered(number))
        for _ in range(3):
            request.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + part + b"\r\n")

    patience = Patience(timeout=20, first_delay=0.05, longest_delay=0.15)
    with caplog.at_level(logging.INFO, "vit_runtime"), http_server(handle) as address:
        model = Slow(tiny)
        for _ in watch(model, address, patience=patience):
            if model.seen[-1] >= 6:
                break
    delays = [record.getMessage().rsplit("connects again in ")[1] for record in caplog.records]
    assert delays == ["0.05 s", "0.1 s", "0.15 s", "0.15 s", "0.15 s", "0.05 s"]


def test_without_reconnect_the_end_is_an_error(vit_run: Run, tiny_artifact: Path):
    def play(_connection: int, send: Send, _ended: threading.Event) -> None:
        for number in range(5):
            send(jpeg(numbered(number)))

    with mjpeg_server(play) as address:
        result = vit_run("watch", tiny_artifact, address, "--json", "--no-reconnect")
    assert result.exit_code == 1
    assert 1 <= len(result.stdout.splitlines()) <= 5
    assert f"error: {address}: the stream has ended" in result.stderr


def test_its_threads_end_with_the_generator(tiny: vit.ViT):
    model = Slow(tiny)
    with mjpeg_server(steadily(model)) as address:
        answers = watch(model, address, patience=PATIENT)
        next(answers)
        (reader,) = [thread for thread in threading.enumerate() if thread.name == "vit-edge watches"]
        answers.close()
        reader.join(timeout=30)
        assert not reader.is_alive()


def test_h264_over_http(tiny: vit.ViT, tmp_path: Path):
    """MPEG-TS, whose frames need those before them: all are decoded, and the newest is answered."""
    film = write_video(tmp_path / "film.ts", map(numbered, range(100, 160)), rate=25).read_bytes()

    def handle(request: Any, _number: int) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "video/mp2t")
        request.end_headers()
        for start in range(0, len(film), len(film) // 40):
            request.wfile.write(film[start : start + len(film) // 40])
            time.sleep(0.04)

    model = Slow(tiny)
    patience = Patience(timeout=20, reconnect=False)
    with http_server(handle) as address, pytest.raises(vit.ImageError, match="the stream has ended"):
        list(watch(model, address, patience=patience))
    assert model.seen == sorted(model.seen)
    assert set(model.seen) <= set(range(100, 160))
    assert max(model.seen) > 150


@pytest.fixture
def camera() -> Iterator[str]:
    with rtsp_camera("user:secret") as address:
        yield address


def test_rtsp_with_a_password_that_breaks_and_comes_back(camera: str, tiny: vit.ViT, caplog: pytest.LogCaptureFixture):
    model = Slow(tiny, seconds=0.1)
    with caplog.at_level(logging.INFO, "vit_runtime"):
        for _ in watch(model, camera.replace("//", "//user:secret@"), patience=PATIENT):
            if model.seen[-1] >= 1000:
                break
    assert model.seen[0] < 40  # of the first connection
    assert all(later > earlier for earlier, later in pairwise(model.seen))
    (note,) = [record.getMessage() for record in caplog.records]
    assert note.startswith("rtsp://user:***@127.0.0.1:")


@pytest.mark.parametrize("password", ["", "user:wrong@"])
def test_rtsp_with_a_wrong_password(password: str, camera: str, vit_run: Run, tiny_artifact: Path):
    result = vit_run("watch", tiny_artifact, camera.replace("//", f"//{password}"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "wants a user's name and password" in result.stderr
    assert "wrong" not in result.stderr


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_signals_end_it_cleanly(
    number: int, status: int, word: str, interruptible_popen: Callable[..., Any], tiny: vit.ViT, tiny_artifact: Path
):
    with mjpeg_server(steadily(Slow(tiny))) as address:
        process = interruptible_popen([VIT_RUN, "watch", str(tiny_artifact), address, "--json"])
        lines = [process.stdout.readline() for _ in range(3)]  # each came through the pipe at once
        process.send_signal(number)
        rest, notes = process.communicate(timeout=60)
    assert process.returncode == status
    for line in [*lines, *rest.splitlines()]:
        assert json.loads(line)["predictions"]
    assert notes.splitlines()[1:] == [word]


def test_a_signal_while_nothing_comes(interruptible_popen: Callable[..., Any], tiny_artifact: Path):
    connected = threading.Event()

    def play(_connection: int, _send: Send, ended: threading.Event) -> None:
        connected.set()
        ended.wait(60)

    with mjpeg_server(play) as address:
        process = interruptible_popen([VIT_RUN, "watch", str(tiny_artifact), address, "--timeout", "100"])
        assert connected.wait(60)
        process.terminate()
        output, notes = process.communicate(timeout=20)
    assert (process.returncode, output) == (143, "")
    assert notes.splitlines()[1:] == ["terminated"]
