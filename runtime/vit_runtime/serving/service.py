"""`Service`: what all addresses share."""

from __future__ import annotations

from dataclasses import dataclass, field

from vit_runtime.serving.limits import Gate, ServiceLimits
from vit_runtime.serving.metrics import Metrics
from vit_runtime.serving.shelf import Shelf


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
