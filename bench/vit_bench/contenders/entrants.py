"""Contenders that can be run: artifacts among them, told apart by their kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vit_bench.contenders.names import OWN
from vit_bench.contenders.process import Finished, run_task
from vit_bench.contenders.task import PhotoAnswer, Task
from vit_bench.results import Contender
from vit_runtime.artifact import Artifact, read_artifact
from vit_runtime.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A contender that can be run."""

    name: str
    task: Task
    """The work of one process, to which a measurement adds photos, threads and how long to measure."""
    model: str
    precision: str
    runs_on: tuple[str, ...]
    """Distributions that a user of it installs."""
    setup: str = ""
    """How it is set up, in words; empty where nothing was chosen."""
    environment: Mapping[str, str] | None = field(default=None, repr=False)
    copied_bytes: int = 0
    """What it keeps on the disk besides its model."""

    @property
    def bytes(self) -> int:
        """What it takes on disk: its model, with weights in files of their own, and what it keeps besides."""
        file = Path(self.task.file)
        beside = [file.with_suffix(".bin")] if file.suffix in (".xml", ".param") else []
        beside += [file.with_name(f"{file.name}.data")]
        return self.copied_bytes + sum(path.stat().st_size for path in (file, *beside) if path.is_file())

    def run(self, task: Task, each: Callable[[PhotoAnswer], None] | None = None) -> Finished:
        """Runs once, in a process of its own; see `process.run_task`."""
        return run_task(self.name, task, self.environment, each=each)

    def facts(self, version: str, detail: str = "") -> Contender:
        """What the results say about this contender.

        Args:
            version: of the engine that computes.
            detail: what the engine says about how it runs; `setup` is put in front.
        """
        return Contender(
            name=self.name,
            tool=self.task.tool,
            model=self.model,
            precision=self.precision,
            provider=self.task.provider,
            version=version,
            detail="; ".join(filter(None, (self.setup, detail))),
        )


def artifacts(paths: Sequence[Path], provider: str) -> tuple[list[Entrant], list[Artifact]]:
    """Contenders for artifacts, and what these say about themselves.

    Args:
        paths: the files.
        provider: what they run on; all but the CPU is part of a contender's name.

    Raises:
        ArtifactError: a file is no artifact.
        UsageError: two files have the same kind and name, so that no table could tell them apart; or `provider` is
            "auto", which may mean another one in each process.
    """
    if provider == "auto":
        raise UsageError("--provider", "auto may choose another one each time", "name it: cpu, cuda, ...")
    read = [read_artifact(path) for path in paths]
    several = len({artifact.model for artifact in read}) > 1
    kinds = [f"{OWN} {artifact.model + ' ' if several else ''}{kind(artifact)}" for artifact in read]
    twice = [path for path, name in zip(paths, kinds, strict=True) if kinds.count(name) > 1]
    names = [f"{name} ({path.stem})" if path in twice else name for path, name in zip(paths, kinds, strict=True)]
    if provider != "cpu":
        names = [f"{name} on {provider}" for name in names]
    if len(set(names)) < len(names):
        raise UsageError(
            "MODEL.onnx", f"{twice[-1].name} is there twice", "give each file once, under names of their own"
        )
    entrants = [
        Entrant(
            name=name,
            task=Task(tool=OWN, file=str(path), artifact=str(path), provider=provider),
            model=artifact.model,
            precision=artifact.precision,
            runs_on=("vit-edge", "onnxruntime"),
            setup=_calibration(artifact),
        )
        for name, path, artifact in zip(names, paths, read, strict=True)
    ]
    return entrants, read


def _calibration(artifact: Artifact) -> str:
    quantization = artifact.quantization
    if quantization is None or quantization.calibration is None:
        return ""
    return f"calibrated on {quantization.calibration.pictures} pictures"


def model_names(entrants: Sequence[Entrant]) -> str:
    """The model that all of them are of; where there are several, their names with commas between."""
    return ", ".join(dict.fromkeys(entrant.model for entrant in entrants))


def kind(artifact: Artifact) -> str:
    """An artifact's kind among others of its model: "fp32", "int8 static", "int8 static portable, with attention"."""
    scheme = f" {artifact.quantization.scheme}" if artifact.quantization is not None else ""
    kept = " with float layers" if artifact.quantization is not None and artifact.quantization.kept_float else ""
    target = "" if artifact.target == "cpu" else f" {artifact.target}"
    attention = "" if artifact.rollout is None else " with attention"
    return f"{artifact.precision}{scheme}{target}{kept}{attention}"
