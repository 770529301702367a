"""A measuring command, from what a user asked for to the document of results."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from vit_bench.contenders.caches import in_empty_cache, with_prepared_copies
from vit_bench.contenders.entrants import artifacts
from vit_bench.contenders.folder.runner import runners
from vit_bench.contenders.names import FOLDER_TOOLS, REFERENCE, TOOLS, Tool
from vit_bench.contenders.peers import PEERS, Peers, make_peers
from vit_bench.contenders.source import Source
from vit_bench.measure import card
from vit_bench.measure.accuracy import measure_accuracy
from vit_bench.measure.card import LoadMeter
from vit_bench.measure.folder_photos import photos_to_measure
from vit_bench.measure.footprint import measure_footprint
from vit_bench.measure.labels import LabelledPhotos, find_photos
from vit_bench.measure.latency import measure_latency, write_photo
from vit_bench.measure.limit import measure_limits
from vit_bench.measure.rounds import Settings
from vit_bench.measure.throughput import measure_throughput
from vit_bench.results import (
    RESULTS_VERSION,
    Accuracy,
    Footprints,
    Latency,
    Limits,
    Results,
    Section,
    Throughput,
)
from vit_export.progress import Progress
from vit_runtime import __version__
from vit_runtime.artifact import Artifact, codec
from vit_runtime.devices.providers import Provider
from vit_runtime.devices.threads import default_threads, logical_processors
from vit_runtime.errors import ArtifactError, OutputFileError, UsageError, VitEdgeError
from vit_runtime.pictures.reading import read_rgb

_BUSY: Final = 0.1
"""Share of the machine that others may take before it is worth a warning."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of all measuring commands, by their names; each command offers those that it heeds."""

    models: list[Path]
    """Artifacts; the peers have the first one's configuration."""
    against: str | None = None
    """Names with commas between, "all", "none"; None is PyTorch where it is installed."""
    provider: Provider = "cpu"
    threads: int | None = None
    batch: int = 1
    seconds: float = 20.0
    rounds: int = 10
    photo: Path | None = None
    """Photo for latency and footprint; None for one made by formula."""
    photos: Path | None = None
    """Folder of labelled photos, for accuracy."""
    labels: Path | None = None
    """Table of their classes."""
    folder: Path | None = None
    """Folder of any photos, for throughput."""
    size: str | None = None
    """Width and height that its photos are enlarged to; None for photos as they are."""
    pictures: int = 200
    """Most photos to take of it."""
    decode_image: bool = False
    """Whether PyTorch is measured a second time, with `torchvision.io.decode_image`."""
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


class Session:
    """A measuring command under way: knows the contenders and the machine."""

    def __init__(self, request: Request, progress: Progress) -> None:
        """Reads the artifacts; see `peers.artifacts` for the errors.

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
        if (threads := self.settings.threads) > logical_processors():
            self._warn(f"{threads} threads on {logical_processors()} processors: they wait for each other")

    @property
    def artifact(self) -> Artifact:
        """The first one, whose configuration the peers have."""
        return self._artifacts[0]

    def _warn(self, text: str) -> None:
        """Tells the user now, and the results for good."""
        self.progress.note(f"warning: {text}")
        self._warnings.append(text)

    @contextmanager
    def peers(self, tools: Sequence[Tool] | None = None, *, need_own_weights: bool = False) -> Iterator[Peers]:
        """Makes the other contenders; their files live as long as the block, or stay in the folder for them.

        Args:
            tools: who is wanted; None for all that were asked for.
            need_own_weights: whether a contender with random weights is of no use.
        """
        with self._folder() as folder:
            wish = self.request
            source = Source(
                artifact=str(wish.models[0]),
                folder=str(folder),
                checkpoint=wish.checkpoint,
                calibrate=None if wish.calibrate is None else str(wish.calibrate),
                batch=wish.batch,
            )
            made = make_peers(
                self.tools if tools is None else tools, source, self.progress.stage, need_own_weights=need_own_weights
            )
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
        versions = [f"{package.name} {package.version}" for package in card.installed(card.PACKAGES)]
        parts = [codec.encode(part) for part in (artifact.source, artifact.architecture, artifact.preprocessing)]
        options = [str(self.request.checkpoint), str(self.request.calibrate), self.request.batch]
        return hashlib.sha256(json.dumps([versions, parts, options]).encode()).hexdigest()[:12]

    def measure(self, *parts: Callable[[Session], Section]) -> tuple[list[Section], Literal["whole", "interrupted"]]:
        """Measures part after part; after Ctrl-C, what was measured until then.

        Where there are several parts, one that cannot be measured is left out, and the user is told why.

        Raises:
            KeyboardInterrupt: nothing was measured yet.
            VitEdgeError: what was given does not fit, or no part could be measured.
        """
        # What does not fit is found out before the work.
        if self.request.photos is not None:
            self._labelled()
        if self.request.photo is not None:
            read_rgb(self.request.photo)
        sections: list[Section] = []
        failures: list[VitEdgeError] = []
        for part in parts:
            try:
                sections.append(part(self))
            except KeyboardInterrupt:
                if not sections:
                    raise
                return sections, "interrupted"
            except VitEdgeError as error:
                failures.append(error)
                if len(parts) > 1:
                    self.progress.note(f"left out: {error}")
                continue
            if sections[-1].interrupted:
                return sections, "interrupted"
        if not sections:
            raise failures[0]
        return sections, "whole"

    def latency(self) -> Latency:
        """Side by side, in rounds."""
        with self._photo() as photo, self.peers() as peers, in_empty_cache(self.entrants) as entrants:
            return measure_latency(entrants, peers, photo, self.settings, self.progress)

    def throughput(self) -> Throughput:
        """Over a folder of photos, in rounds."""
        wish, progress = self.request, self.progress
        unfit = [tool for tool in self.tools if tool not in FOLDER_TOOLS]
        if unfit and wish.against != "all":
            what = f"'{unfit[0]}' is not measured over folders"
            raise UsageError("--against", what, f"known are {', '.join(FOLDER_TOOLS)}, all and none")
        tools = [tool for tool in self.tools if tool in FOLDER_TOOLS]
        prepared = photos_to_measure(wish.folder or Path(), wish.size, wish.pictures, progress)
        with prepared as photos, self.peers(tools) as peers, in_empty_cache(self.entrants) as entrants:
            runs = runners([*entrants, *peers.entrants], decode_image=wish.decode_image)
            return measure_throughput(runs, peers, photos, self.settings, progress)

    def accuracy(self) -> Accuracy:
        """On a folder of labelled photos."""
        photos = self._labelled()
        with self.peers(need_own_weights=True) as peers, in_empty_cache(self.entrants) as entrants:
            threads = self.settings.threads
            return measure_accuracy(entrants, peers, photos, threads=threads, progress=self.progress)

    def footprint(self) -> Footprints:
        """Start to first answer, memory and disk; our files on the CPU also with their prepared copies."""
        own = with_prepared_copies(self.entrants, self.progress.note)
        with self._photo() as photo, self.peers() as peers, own as entrants:
            return measure_footprint(entrants, peers, photo, self.settings, self.progress)

    def limit(self) -> Limits:
        """Against the engine's own speed, on the CPU."""
        return measure_limits(self.entrants, self.settings, self.progress)

    def _labelled(self) -> LabelledPhotos:
        artifact = self.artifact
        if not artifact.architecture.classes:
            raise ArtifactError(artifact.model, "has no classification head, so it is never right or wrong", "")
        folder, table = self.request.photos or Path(), self.request.labels
        return find_photos(folder, artifact.labels, artifact.architecture.classes, table=table)

    @contextmanager
    def _photo(self) -> Iterator[Path]:
        """The photo to measure with; one made by formula lives as long as the block."""
        if self.request.photo is not None:
            yield self.request.photo
            return
        with tempfile.TemporaryDirectory(prefix="vit-bench.") as folder:
            yield write_photo(Path(folder) / "photo.jpg")

    def results(self, sections: Sequence[Section]) -> Results:
        """The document for what was measured, with the card and with what speaks against the numbers."""
        load = self._meter.read()
        if load is not None and load.others > _BUSY:
            self._warn(f"other programs took {load.others:.0%} of the processors: close them")
        if load is not None and load.stolen > _BUSY:
            self._warn(f"other virtual machines took {load.stolen:.0%} of the processors: numbers are noisy")
        return Results(
            format_version=RESULTS_VERSION,
            vit_edge=__version__,
            card=card.read_card(device=self.request.device, load=load, started=self._started),
            latency=tuple(section for section in sections if isinstance(section, Latency)),
            throughput=tuple(section for section in sections if isinstance(section, Throughput)),
            accuracy=tuple(section for section in sections if isinstance(section, Accuracy)),
            footprint=tuple(section for section in sections if isinstance(section, Footprints)),
            limit=tuple(section for section in sections if isinstance(section, Limits)),
            warnings=tuple(self._warnings),
        )


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
