"""What all measuring commands share: who takes part, where the peers' files are, the card, and what was too busy."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vit_bench.measure import card
from vit_bench.measure.card import LoadMeter, available_processors
from vit_bench.measure.entrants import artifacts
from vit_bench.measure.peer_files import Source
from vit_bench.measure.peers import Peers, make_peers
from vit_bench.measure.request import Request, parse_against
from vit_bench.measure.rounds import Settings
from vit_bench.results import RESULTS_VERSION, Accuracy, Footprints, Latency, Limits, Load, Results
from vit_bench.sections import Section
from vit_export.progress import Progress
from vit_runtime import __version__
from vit_runtime.artifact import Artifact, codec
from vit_runtime.devices.threads import default_threads
from vit_runtime.errors import OutputFileError, UsageError

_BUSY: Final = 0.1
"""Share of the machine that others may take before it is worth a warning."""


class Session:
    """A measuring command under way: knows the contenders and the machine."""

    def __init__(self, request: Request, progress: Progress) -> None:
        """Reads the artifacts; see `entrants.artifacts` for the errors.

        Raises:
            VitEdgeError: an artifact cannot be read, or options do not go together.
        """
        self.request = request
        self.progress = progress
        self._started = card.now()
        self._meter = LoadMeter()
        self.entrants, self._artifacts = artifacts(request.models, request.provider)
        self.tools = parse_against(request.against)
        self.settings = Settings(
            threads=request.threads or default_threads(),
            batch=request.batch,
            seconds=request.seconds,
            rounds=request.rounds,
        )
        self._warnings: list[str] = []
        if self.tools:
            _check_same_model(request.models, self._artifacts)
        if (threads := self.settings.threads) > available_processors():
            self._warn(f"{threads} threads on {available_processors()} processors: they wait for each other")

    @property
    def artifact(self) -> Artifact:
        """The first one, whose configuration the peers have."""
        return self._artifacts[0]

    def _warn(self, text: str) -> None:
        """Tells the user now, and the results for good."""
        self.progress.note(f"warning: {text}")
        self._warnings.append(text)

    @contextmanager
    def peers(self, *, need_own_weights: bool = False) -> Iterator[Peers]:
        """Makes the other contenders; their files live as long as the block, or stay in the folder for them."""
        with self._folder() as folder:
            wish = self.request
            source = Source(
                artifact=str(wish.models[0]),
                folder=str(folder),
                checkpoint=wish.checkpoint,
                calibrate=None if wish.calibrate is None else str(wish.calibrate),
                batch=wish.batch,
            )
            made = make_peers(self.tools, source, self.progress.stage, need_own_weights=need_own_weights)
            for absent in made.absent:
                self.progress.note(f"{absent.name}: {absent.reason}")
            if made.own_weights is False:
                self.progress.note(
                    "PyTorch and the peers run random weights, as fast as the artifact's own; "
                    "--checkpoint names what it was exported from"
                )
            yield made

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        if self.request.peers is None:
            with tempfile.TemporaryDirectory(prefix="vit-bench.") as temporary:
                yield Path(temporary)
            return
        folder = self.request.peers / f"{self.artifact.model}-{self._key()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputFileError(folder, f"cannot be made ({error.strerror})", "choose another --peers") from error
        yield folder

    def _key(self) -> str:
        """A name for everything that the peers' files depend on."""
        artifact = self.artifact
        versions = [package.version for package in card.installed(("torch", "torchvision", "openvino", "nncf"))]
        parts = [codec.encode(part) for part in (artifact.source, artifact.architecture, artifact.preprocessing)]
        options = [str(self.request.checkpoint), str(self.request.calibrate), self.request.batch]
        return hashlib.sha256(json.dumps([versions, parts, options]).encode()).hexdigest()[:12]

    def results(self, sections: Sequence[Section]) -> Results:
        """The document for what was measured, with the card and with what speaks against the numbers."""
        load = self._meter.read()
        for doubt in busy(load):
            self._warn(doubt)
        return Results(
            format_version=RESULTS_VERSION,
            vit_edge=__version__,
            card=card.read_card(device=self.request.device, load=load, started=self._started),
            latency=tuple(section for section in sections if isinstance(section, Latency)),
            accuracy=tuple(section for section in sections if isinstance(section, Accuracy)),
            footprint=tuple(section for section in sections if isinstance(section, Footprints)),
            limit=tuple(section for section in sections if isinstance(section, Limits)),
            warnings=tuple(self._warnings),
        )


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
