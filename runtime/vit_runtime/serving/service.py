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


@dataclass
class Service:
    """The models of a service, its limits, and what it counts."""

    shelf: Shelf
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    idle_seconds: float | None = None
    """After how long a model that nobody asks is unloaded; None for never."""

    def __post_init__(self) -> None:
        self.gate = Gate(self.limits)
        self.metrics = Metrics(self.gate, self.shelf)

    def failures(self) -> list[str]:
        """Models that could not be loaded again, and why."""
        return [f"{place.name}: {place.failure}" for place in self.shelf if place.failure]

    async def tidy(self) -> None:
        """Gives memory back when nothing is to be done: large pictures leave some hundred megabytes that are not used.

        For as long as the service runs. Programs keep freed blocks for the next photo (`devices.memory`), which is
        worth it while there is one.
        """
        tidied = 0
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            if not self.gate.pictures and self.gate.admitted != tidied:
                tidied = self.gate.admitted
                await asyncio.to_thread(release_freed_memory)
