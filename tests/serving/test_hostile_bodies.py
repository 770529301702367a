"""Thousands of hostile requests: each gets an error of one line or is hung up on, and the service is none the worse."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.hostile.good_pictures import Good, good_pictures

from .hostile_bodies import Hostile
from .hostile_requests import hostile_requests
from .started import KEPT_THREADS, Reply, Started, asked, exchange, started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory and threads are read from /proc")

SOME, ALL = pytest.param(300, id="some"), pytest.param(3_000, id="all", marks=pytest.mark.slow)
CLIENTS = 4
TIDY = 0.5
CUT_AFTER = 0.4
"""Seconds after which a client gives up that may not have sent all."""
MOST_GROWTH = 40 << 20
"""Bytes that the second half of the requests may add to the service's memory."""


@pytest.fixture(scope="module")
def goods() -> list[Good]:
    return good_pictures()


@pytest.fixture
def service(tiny_artifact: Path, tmp_path: Path) -> Iterator[Started]:
    with started(tiny_artifact, tmp_path / "log", "--max-seconds", 5, played={"tidy_seconds": TIDY}) as running:
        yield running


def wrong(case: Hostile, replies: list[Reply]) -> str:
    """What is wrong with the answers to a request; empty where nothing is."""
    if not replies:
        return "" if case.may_be_closed else "closed without an answer"
    return "; ".join(filter(None, (_wrong_reply(case, reply) for reply in replies)))


def _wrong_reply(case: Hostile, reply: Reply) -> str:
    if not reply.is_whole:
        return f"an answer of {reply.status} that is cut off"
    if reply.status == 200:
        return "" if case.may_be_fine else f"answered: {reply.body[:100]!r}"
    if not 400 <= reply.status < 500 or reply.status == 429:
        return f"status {reply.status}: {reply.body[:100]!r}"
    if case.sent.startswith(b"HEAD "):
        return ""
    if reply.headers["content-type"] != "application/json":
        return f"an error of type {reply.headers['content-type']}"
    document: Any = reply.json()
    line = document["error"]
    return (
        "" if list(document) == ["error"] and line.isprintable() and 5 < len(line) <= 400 else f"an odd error: {line}"
    )


def settled(service: Started) -> int:
    """Bytes of memory, once the service has given back what it does not need."""
    time.sleep(6 * TIDY)
    return service.resident()


def hurl(service: Started, case: Hostile) -> tuple[str, list[int]]:
    """What was wrong with the answers to a request, and their statuses."""
    try:
        replies = exchange(service.port, case.sent, cut_after=CUT_AFTER if case.may_be_closed else None)
    except TimeoutError:
        return "neither answered nor closed", []
    return wrong(case, replies), [reply.status for reply in replies] or [0]


@pytest.mark.parametrize("count", [SOME, ALL])
def test_hostile_requests(count: int, service: Started, goods: list[Good]):
    def both(numbered: tuple[int, Hostile]) -> tuple[int, str, str, list[int]]:
        seed, case = numbered
        fault, statuses = hurl(service, case)
        return seed, case.kind, fault, statuses

    def round_of(seeds: range) -> None:
        for seed, kind, fault, statuses in clients.map(both, hostile_requests(goods, "tiny", seeds)):
            seen.update((kind, status) for status in statuses)
            if fault:
                faults.append(f"{seed} ({kind}): {fault}")

    faults: list[str] = []
    seen: Counter[tuple[str, int]] = Counter()
    before = asked(service.port, "/v1/classify", goods[0].content).json()["results"][0]["predictions"]
    with ThreadPoolExecutor(CLIENTS) as clients:
        threads, files = service.threads(), service.open_files()
        round_of(range(count // 2))
        half_way = settled(service)
        round_of(range(count // 2, count))
    assert "\n".join(faults) == ""
    assert service.process.poll() is None
    assert asked(service.port, "/v1/classify", goods[0].content).json()["results"][0]["predictions"] == before
    assert settled(service) - half_way < MOST_GROWTH
    assert service.threads() <= threads + KEPT_THREADS
    assert service.open_files() <= files  # the first connection may still have been open
    assert sum(number for (_, status), number in seen.items() if status >= 400) > count // 2
    assert sum(number for (_, status), number in seen.items() if status == 200) > count // 20
    metrics = asked(service.port, "/metrics").body.decode()
    assert 'status="5' not in metrics
    assert "vit_edge_pictures_in_flight 0.0" in metrics
    assert "vit_edge_body_bytes 0.0" in metrics
    assert "Traceback" not in service.printed()
    assert service.end() == 0
