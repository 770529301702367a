"""A file in a setting, in a process of its own: tried against its self-test, and timed."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vit_runtime.artifact import Artifact, read_artifact
from vit_runtime.artifact.digest import stored_digest
from vit_runtime.errors import ProviderError
from vit_runtime.timing import Latency
from vit_runtime.tuning.process import TrialProcess
from vit_runtime.tuning.setting import Setting
from vit_runtime.tuning.worker import Task

State = Literal["measured", "slower", "wrong", "failed", "not tried"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model file that is tried."""

    path: Path
    artifact: Artifact
    digest: str
    bytes: int
    """Size on disk, with weights that are in a file of their own."""

    @classmethod
    def at(cls, path: Path) -> Candidate:
        """Reads what a model file says about itself.

        Raises:
            ArtifactError: it is missing, damaged, or no artifact.
        """
        artifact = read_artifact(path)
        beside = artifact.external_data.bytes if artifact.external_data else 0
        return cls(path=path, artifact=artifact, digest=stored_digest(path), bytes=path.stat().st_size + beside)


@dataclass(kw_only=True)
class Contender:
    """A file in a setting, and what is known about it so far."""

    candidate: Candidate
    setting: Setting
    state: State = "not tried"
    why: str = ""
    """Why it was not measured to the end; empty for one that was."""
    load_seconds: float = 0.0
    memory_mb: int | None = None
    """Memory of its process at most, in 10⁶ bytes, Python and all; None where it is not known."""
    times: list[float] = field(default_factory=list)
    """Seconds for one picture: of each run, or of each turn where several run at a time."""
    _process: TrialProcess | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be measured: it was opened, passed its self-test, and has not failed or been dropped since."""
        return self._process is not None

    @property
    def latency(self) -> Latency | None:
        """What was measured; None without a measurement."""
        return Latency.of(self.times) if self.times else None

    @property
    def median(self) -> float:
        """The median of all times, in seconds; infinite without a measurement."""
        return statistics.median(self.times) if self.times else float("inf")

    @property
    def least(self) -> float:
        """The least of all times, in seconds, which disturbances change least; infinite without a measurement."""
        return min(self.times, default=float("inf"))

    def open(self) -> None:
        """Opens the file and tries it against its self-test; `state` and `why` say what is wrong, if anything."""
        try:
            self._process = TrialProcess(Task(path=str(self.candidate.path), setting=self.setting))
        except ProviderError as error:
            self.close("failed", error.what)
            return
        self.load_seconds = self._process.opened.load_seconds
        if wrong := self._process.opened.wrong:
            self.close("wrong", wrong)

    def measure(self, seconds: float) -> None:
        """Runs for some seconds and keeps the times; `state` and `why` say what is wrong, if anything."""
        assert self._process is not None  # noqa: S101 - only what is open is measured
        try:
            measured = self._process.measure(seconds)
        except ProviderError as error:
            self.close("failed", error.what)
            return
        self.times += measured.times
        self.memory_mb = measured.memory_mb
        self.state = "measured"

    def forget(self, kept: int = 0) -> None:
        """Forgets all times but the first few, and that it was measured if none is left."""
        del self.times[kept:]
        if not self.times and self.state == "measured":
            self.state = "not tried"

    def close(self, state: State | None = None, why: str = "") -> None:
        """Ends its process, and keeps why where it is no longer in the running; a second call does nothing."""
        if self._process is not None:
            self._process.close()
            self._process = None
        if state is not None:
            self.state, self.why = state, why
