"""More requests than the queue takes, and pictures that hang: 429 and 503 in time, and answers go on."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.hostile.bombs import png_of_nothing

from .played_service import HANGS
from .started import KEPT_THREADS, PICTURE, Reply, Started, asked, started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory and threads are read from /proc")

SECONDS = 5.0
CLIENTS = 16
MOST_GROWTH = 40 << 20


class Crowd:
    """Clients that ask without a pause, and count what they hear."""

    def __init__(self, service: Started, count: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.odd: list[Reply | OSError] = []
        """Answers that are neither right nor a refusal that says when to come again."""
        self._service, self._ends = service, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._ends.is_set():
            try:
                reply = asked(self._service.port, "/v1/classify", PICTURE)
            except OSError as error:
                self.odd.append(error)
                return
            self.statuses[reply.status] += 1
            is_refusal = reply.status == 429 and reply.headers.get("retry-after") == "1" and "error" in reply.json()
            if not is_refusal and not (reply.status == 200 and reply.json()["results"][0]["predictions"]):
                self.odd.append(reply)


def test_more_clients_than_the_queue_takes(tiny_artifact: Path, tmp_path: Path):
    with started(tiny_artifact, tmp_path / "log", "--queue", 3) as service:
        right = asked(service.port, "/v1/classify", PICTURE).json()["results"][0]["predictions"]
        threads, crowd = service.threads(), Crowd(service, CLIENTS)
        time.sleep(SECONDS / 2)
        half_way, answered = service.resident(), crowd.statuses[200]
        time.sleep(SECONDS / 2)
        grown, answered_since = service.resident() - half_way, crowd.statuses[200] - answered
        crowd.end()
        assert crowd.odd == []
        assert set(crowd.statuses) == {200, 429}
        assert answered > 0
        assert answered_since > 0
        assert grown < MOST_GROWTH
        assert service.threads() <= threads + KEPT_THREADS
        assert asked(service.port, "/v1/classify", PICTURE).json()["results"][0]["predictions"] == right
        metrics = asked(service.port, "/metrics").body.decode()
        assert f'vit_edge_requests_total{{path="/v1/classify",status="429"}} {crowd.statuses[429]}.0' in metrics
        assert "vit_edge_pictures_in_flight 0.0" in metrics
        assert service.end() == 0
        assert "Traceback" not in service.printed()


def test_an_idle_service_gives_the_memory_of_large_pictures_back(tiny_artifact: Path, tmp_path: Path):
    with started(tiny_artifact, tmp_path / "log", played={"tidy_seconds": 1.0}) as service:
        assert asked(service.port, "/v1/classify", PICTURE).status == 200
        time.sleep(2)
        most = before = service.resident()
        for side in (3000, 6000, 2000, 5000):  # the buffers of one are no room for the next
            assert asked(service.port, "/v1/classify", png_of_nothing(side, side, "rgb")).status == 200
            most = max(most, service.resident())
        assert most - before > 80 << 20
        time.sleep(2.5)
        assert service.resident() - before < (most - before) / 2


def test_pictures_that_hang_a_decoder_do_not_hang_the_service(tiny_artifact: Path, tmp_path: Path):
    """More of them at a time than there are workers, which are left behind after a second more than is allowed."""
    replies: list[Reply] = []

    def ask() -> None:
        replies.append(asked(service.port, "/v1/classify", HANGS + PICTURE))

    with started(tiny_artifact, tmp_path / "log", "--max-seconds", 0.5, played={"hang": 45}) as service:
        hanging = [threading.Thread(target=ask) for _ in range(4)]
        for thread in hanging:
            thread.start()
        time.sleep(0.3)
        assert asked(service.port, "/healthz", seconds=5).status == 200
        assert asked(service.port, "/v1/classify", PICTURE, seconds=20).status == 200  # behind those that hang
        for thread in hanging:
            thread.join()
        assert [reply.status for reply in replies] == [422] * 4
        assert "takes longer to read than 0.5 s" in replies[0].json()["error"]
        assert asked(service.port, "/v1/classify", PICTURE).status == 200
        begun = time.monotonic()
        assert service.end() == 0  # although four threads hang
        assert time.monotonic() - begun < 20
        assert "Traceback" not in service.printed()


@pytest.mark.slow
def test_when_too_many_pictures_hang_the_others_are_answered(tiny_artifact: Path, tmp_path: Path):
    """Threads that never come back are memory that is lost: at 16 of them the service says so."""
    options = ("--max-seconds", 0.1, "--queue", 64)
    with started(tiny_artifact, tmp_path / "log", *options, played={"hang": 120}) as service:
        statuses: Counter[int] = Counter()

        def ask() -> None:
            statuses[asked(service.port, "/v1/classify", HANGS + PICTURE).status] += 1

        hanging = [threading.Thread(target=ask) for _ in range(20)]
        for thread in hanging:
            thread.start()
        for thread in hanging:
            thread.join()
        assert set(statuses) == {422, 503}
        assert asked(service.port, "/v1/classify", PICTURE, seconds=20).status == 200
        assert service.end() == 0
