"""What a request may cost, and how much the service takes on at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vit_runtime.serving.refusals import busy


@dataclass(frozen=True, kw_only=True)
class ServiceLimits:
    """The limits of a service. What one picture may cost is the model's own limit."""

    body_bytes: int = 64 << 20
    """Largest body of a request."""
    body_seconds: float = 60.0
    """Longest that a body may take to arrive."""
    held_bytes: int = 256 << 20
    """Most bytes of bodies in memory at a time."""
    pictures: int = 32
    """Most pictures in a request."""
    queue: int = 64
    """Most pictures that wait or are worked on at a time."""


class Gate:
    """Counts what the service has taken on, and refuses what goes beyond its limits. For the event loop's thread."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self.pictures = 0
        """Pictures that wait or are worked on."""
        self.bytes = 0
        """Bytes of bodies in memory."""
        self.admitted = 0
        """Pictures that were ever taken on."""

    @contextmanager
    def admit(self, count: int) -> Iterator[None]:
        """Takes on so many pictures until the block ends.

        Raises:
            Refusal: the queue is full.
        """
        if self.pictures + count > self._limits.queue:
            raise busy(f"busy: {self.pictures} pictures are waiting; try again in a second")
        self.pictures += count
        self.admitted += count
        try:
            yield
        finally:
            self.pictures -= count

    def hold(self, count: int) -> None:
        """Counts bytes that have arrived; they count until `release`.

        Raises:
            Refusal: the bodies of all requests take too much memory.
        """
        if self.bytes + count > self._limits.held_bytes:
            raise busy("busy: requests of many megabytes are arriving; try again in a second")
        self.bytes += count

    def release(self, count: int) -> None:
        """Counts bytes that are not needed any more."""
        self.bytes -= count
