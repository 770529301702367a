"""`Service`: what all addresses share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from vit_runtime.devices.memory import release_freed_memory
from vit_runtime.serving.limits import Gate, ServiceLimits
from vit_runtime.serving.metrics import Metrics
from vit_runtime.serving.shelf import Shelf

_TIDY_SECONDS: Final = 5.0
"""How long nobody has to wait before freed memory is given back: the next picture would take it again."""


@dataclass
class Service:
    """The models of a service, its limits, and what it counts."""

    shelf: Shelf
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    idle_seconds: float | None = None
    """After how long a model that nobody asks is unloaded; None for never."""

    def __post_init__(self) -> None:
        self.gate = Gate(self.limits, self._tidy)
        self.metrics = Metrics(self.gate, self.shelf)
        self._tidying: asyncio.TimerHandle | None = None

    def _tidy(self) -> None:
        """Gives freed memory back to the system soon, unless somebody asks by then: large pictures leave much of it."""
        if self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(_TIDY_SECONDS, self._release)

    def _release(self) -> None:
        self._tidying = None
        if not self.gate.pictures:
            asyncio.get_running_loop().run_in_executor(None, release_freed_memory)

    def failures(self) -> list[str]:
        """Models that could not be loaded again, and why."""
        return [f"{place.name}: {place.failure}" for place in self.shelf if place.failure]
