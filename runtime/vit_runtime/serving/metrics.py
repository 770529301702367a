"""Counts what the service does, in Prometheus' text format."""

from __future__ import annotations

from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from vit_runtime.serving.limits import Gate
from vit_runtime.serving.shelf import Place, Shelf

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The numbers that `/metrics` shows."""

    def __init__(self, gate: Gate, shelf: Shelf) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "vit_edge_requests", "Requests that were answered.", ("path", "status"), registry=registry
        )
        self._seconds = Histogram(
            "vit_edge_request_seconds",
            "Time from a request's head to its whole answer.",
            ("path",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._pictures = Counter(
            "vit_edge_pictures", "Pictures that were answered or could not be.", ("model", "outcome"), registry=registry
        )
        in_flight = Gauge("vit_edge_pictures_in_flight", "Pictures that wait or are worked on.", registry=registry)
        in_flight.set_function(lambda: gate.pictures)
        held = Gauge("vit_edge_body_bytes", "Bytes of requests in memory.", registry=registry)
        held.set_function(lambda: gate.bytes)
        loaded = Gauge("vit_edge_model_loaded", "Whether a model is in memory.", ("model",), registry=registry)
        for place in shelf:
            loaded.labels(place.name).set_function(partial(_is_loaded, place))

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Counts a request; `path` is the route's, not the client's, of which there could be any number."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_pictures(self, model: str, *, answered: int, failed: int) -> None:
        """Counts a request's pictures."""
        self._pictures.labels(model, "answered").inc(answered)
        self._pictures.labels(model, "failed").inc(failed)

    def text(self) -> bytes:
        """All numbers, for Prometheus."""
        return generate_latest(self._registry)


def _is_loaded(place: Place) -> float:
    return float(place.is_loaded)
