"""How a file can be run: provider, threads, runs at a time, pictures in a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vit_runtime.devices.providers import Provider, parse
from vit_runtime.wording import plural

_MOST_THREADS: Final = 1024


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a file is run."""

    provider: Provider
    threads: int | None
    """Processor cores for one run; None for an accelerator."""
    runs: int = 1
    """Runs at a time."""
    batch: int = 1
    """Pictures in one run."""

    def __post_init__(self) -> None:
        if self.provider == "auto":
            raise ValueError("provider 'auto' is no setting")
        if (self.threads is None) == (parse(self.provider)[1] == "cpu"):
            raise ValueError(f"threads {self.threads} and provider '{self.provider}' do not go together")
        for name in ("threads", "runs", "batch"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= _MOST_THREADS:
                raise ValueError(f"{name} is {value}, should be from 1 to {_MOST_THREADS}")

    def __str__(self) -> str:
        threads = "" if self.threads is None else f", {plural(self.threads, 'thread')}"
        runs = "" if self.runs == 1 else f", {self.runs} runs at a time"
        return f"{self.provider}{threads}{runs}" + ("" if self.batch == 1 else f", batches of {self.batch}")
