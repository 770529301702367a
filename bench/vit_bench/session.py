"""What all measuring commands share: who takes part, where the peers' files are, the card, and the results file."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from vit_bench import card
from vit_bench.card import LoadMeter, available_processors
from vit_bench.contenders import PEERS, REFERENCE, TOOLS, PeerRequest, Peers, artifacts, make_peers
from vit_bench.results import RESULTS_VERSION, Accuracy, Footprints, Latency, Limits, Load, Results
from vit_bench.sections import Section
from vit_bench.task import Tool
from vit_export.progress import Progress
from vit_runtime import __version__
from vit_runtime.artifact import Artifact, codec
from vit_runtime.devices.threads import default_threads
from vit_runtime.errors import OutputFileError, UsageError

_BUSY: Final = 0.1
"""Share of the machine that others may take before it is worth a warning."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a user asked to have measured."""

    models: tuple[Path, ...]
    against: str | None
    """Names with commas between, "all", "none"; None is PyTorch where it is installed."""
    provider: str = "auto"
    threads: int | None = None
    batch: int = 1
    checkpoint: str | None = None
    calibrate: Path | None = None
    peers_folder: Path | None = None
    """Where the peers' files are kept; None for a temporary folder."""


class Session:
    """A measuring command under way: knows the contenders and the machine."""

    def __init__(self, choice: Choice, progress: Progress) -> None:
        """Reads the artifacts; see `contenders.artifacts` for the errors.

        Raises:
            VitEdgeError: an artifact cannot be read, or options do not go together.
        """
        self._choice = choice
        self._progress = progress
        self._started = card.now()
        self._meter = LoadMeter()
        self.entrants, self._artifacts = artifacts(choice.models, choice.provider)
        self.tools = parse_against(choice.against)
        self.threads = choice.threads or default_threads()
        self.warnings: list[str] = []
        if self.tools:
            _check_same_model(choice.models, self._artifacts)
        if self.threads > available_processors():
            self.warn(f"{self.threads} threads on {available_processors()} processors: they wait for each other")

    @property
    def artifact(self) -> Artifact:
        """The first one, whose configuration the peers have."""
        return self._artifacts[0]

    def warn(self, text: str) -> None:
        """Tells the user now, and the results for good."""
        self._progress.note(f"warning: {text}")
        self.warnings.append(text)

    @contextmanager
    def peers(self, *, batch: int = 1, needs_own_weights: bool = False) -> Iterator[Peers]:
        """Makes the other contenders; their files live as long as the block, or stay in the folder for them."""
        with self._folder(batch) as folder:
            request = PeerRequest(
                tools=self.tools,
                artifact=self._choice.models[0],
                folder=folder,
                checkpoint=self._choice.checkpoint,
                calibrate=self._choice.calibrate,
                batch=batch,
                needs_own_weights=needs_own_weights,
            )
            made = make_peers(request, self._progress.stage)
            for absent in made.absent:
                self._progress.note(f"{absent.name}: {absent.reason}")
            if made.own_weights is False:
                self._progress.note(
                    "PyTorch and the peers run random weights, as fast as the artifact's own; "
                    "--checkpoint names what it was exported from"
                )
            yield made

    @contextmanager
    def _folder(self, batch: int) -> Iterator[Path]:
        if self._choice.peers_folder is None:
            with tempfile.TemporaryDirectory(prefix="vit-bench.") as temporary:
                yield Path(temporary)
            return
        folder = self._choice.peers_folder / f"{self.artifact.model}-{self._key(batch)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputFileError(folder, f"cannot be made ({error.strerror})", "choose another --peers") from error
        yield folder

    def _key(self, batch: int) -> str:
        """A name for everything that the peers' files depend on."""
        artifact = self.artifact
        versions = [package.version for package in card.installed(("torch", "torchvision", "openvino", "nncf"))]
        parts = [codec.encode(part) for part in (artifact.source, artifact.architecture, artifact.preprocessing)]
        options = [str(self._choice.checkpoint), str(self._choice.calibrate), batch]
        return hashlib.sha256(json.dumps([versions, parts, options]).encode()).hexdigest()[:12]

    def results(self, device: str | None, *sections: Section) -> Results:
        """The document for what was measured, with the card and with what speaks against the numbers."""
        load = self._meter.read()
        for doubt in busy(load):
            self.warn(doubt)
        return Results(
            format_version=RESULTS_VERSION,
            vit_edge=__version__,
            card=card.read_card(device=device, load=load, started=self._started),
            latency=tuple(section for section in sections if isinstance(section, Latency)),
            accuracy=tuple(section for section in sections if isinstance(section, Accuracy)),
            footprint=tuple(section for section in sections if isinstance(section, Footprints)),
            limit=tuple(section for section in sections if isinstance(section, Limits)),
            warnings=tuple(self.warnings),
        )


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


def check_seconds(seconds: float) -> None:
    """Refuses a time to measure that is none.

    Raises:
        UsageError: it is zero, negative or no number.
    """
    if not (seconds > 0 and math.isfinite(seconds)):
        raise UsageError("--seconds", f"{seconds:g} is no time to measure", "give some seconds, 20 for example")


def results_path(output: Path | None, command: str, started: datetime) -> Path:
    """Where the results go; checked before the work, not after.

    Raises:
        OutputFileError: the folder does not exist.
    """
    path = output or Path(f"vit-bench-{command}-{started:%Y%m%d-%H%M%S}.json")
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"cannot be written ({path.parent} is no folder)"
        raise OutputFileError(path, what, "choose another --output")
    return path


def busy(load: Load | None) -> list[str]:
    """What speaks against numbers from a machine with so much else to do."""
    if load is None:
        return []
    doubts = []
    if load.others > _BUSY:
        doubts.append(f"other programs took {load.others:.0%} of the processors: close them")
    if load.stolen > _BUSY:
        doubts.append(f"other virtual machines took {load.stolen:.0%} of the processors: numbers are noisy")
    return doubts


def _check_same_model(paths: Sequence[Path], artifacts: Sequence[Artifact]) -> None:
    """PyTorch and the peers can be only one model: all artifacts have to be of that one."""
    first = artifacts[0]
    for path, artifact in zip(paths, artifacts, strict=True):
        same = (artifact.architecture, artifact.preprocessing, artifact.source)
        if same != (first.architecture, first.preprocessing, first.source):
            raise UsageError(
                "MODEL.onnx",
                f"{paths[0].name} and {path.name} are of different models, and the reference can be only one",
                "measure them one after the other, or add --against none",
            )
