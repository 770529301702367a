"""What a user asked to have measured."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vit_bench.contenders import REFERENCE, TOOLS, Tool
from vit_bench.measure.peers import PEERS
from vit_runtime.devices.providers import Provider
from vit_runtime.errors import OutputFileError, UsageError


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of all measuring commands, by their names; each command offers those that it heeds."""

    models: list[Path]
    """Artifacts; the peers have the first one's configuration."""
    against: str | None = None
    """Names with commas between, "all", "none"; None is PyTorch where it is installed."""
    provider: Provider = "auto"
    threads: int | None = None
    batch: int = 1
    seconds: float = 20.0
    rounds: int = 10
    photo: Path | None = None
    """For latency and footprint; None for one made by formula."""
    photos: Path | None = None
    """Folder of labelled photos, for accuracy."""
    labels: Path | None = None
    """Table of their classes."""
    checkpoint: str | None = None
    calibrate: Path | None = None
    peers: Path | None = None
    """Where the peers' files are kept; None for a temporary folder."""
    device: str | None = None
    output: Path | None = None

    def __post_init__(self) -> None:
        """Refuses `seconds` that are zero, negative or no number, with a `UsageError`."""
        if not (self.seconds > 0 and math.isfinite(self.seconds)):
            what = f"{self.seconds:g} is no time to measure"
            raise UsageError("--seconds", what, "give some seconds, 20 for example")

    def results_path(self, command: str, started: datetime) -> Path:
        """Where the results go; checked before the work, not after.

        Raises:
            OutputFileError: the folder does not exist.
        """
        path = self.output or Path(f"vit-bench-{command}-{started:%Y%m%d-%H%M%S}.json")
        if path.is_dir() or not path.parent.is_dir():
            what = "is a folder" if path.is_dir() else f"cannot be written ({path.parent} is no folder)"
            raise OutputFileError(path, what, "choose another --output")
        return path


def parse_against(text: str | None) -> tuple[Tool, ...]:
    """The tools that `--against` names.

    Raises:
        UsageError: one of them is unknown.
    """
    if text is None:
        installed = all(importlib.util.find_spec(module) for module in PEERS[REFERENCE].modules)
        return (REFERENCE,) if installed else ()
    if text == "all":
        return TOOLS
    named = [] if text == "none" else [name.strip() for name in text.split(",")]
    for name in named:
        if name not in TOOLS:
            raise UsageError("--against", f"unknown '{name}'", f"known are {', '.join(TOOLS)}, all and none")
    return tuple(tool for tool in TOOLS if tool in named)
