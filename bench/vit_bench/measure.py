"""The parts of a measuring command: each takes a session and a plan, and gives one section of the results."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from vit_bench.accuracy import measure_accuracy
from vit_bench.footprint import measure_footprint
from vit_bench.labels import LabelledPhotos, find_photos
from vit_bench.latency import LatencySettings, measure_latency
from vit_bench.limit import measure_limits
from vit_bench.photo import write_photo
from vit_bench.results import Accuracy, Footprints, Latency, Limits
from vit_bench.sections import Section
from vit_bench.session import Session
from vit_export.progress import Progress
from vit_runtime.errors import ArtifactError, VitEdgeError
from vit_runtime.pictures.images import read_rgb


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure with."""

    photo: Path | None = None
    """For latency and footprint; None for one made by formula."""
    photos: Path | None = None
    """Folder of labelled photos, for accuracy."""
    table: Path | None = None
    batch: int = 1
    seconds: float = 20.0
    rounds: int = 10


Part: TypeAlias = "Callable[[Session, Plan, Progress], Section]"


def measure(
    session: Session, plan: Plan, parts: Sequence[Part], progress: Progress
) -> tuple[list[Section], Literal["whole", "interrupted"]]:
    """Measures part after part; after Ctrl-C, what was measured until then.

    Where there are several parts, one that cannot be measured is left out, and the user is told why.

    Raises:
        KeyboardInterrupt: nothing was measured yet.
        VitEdgeError: what was given does not fit, or no part could be measured.
    """
    # What does not fit is found out before the work.
    if plan.photos is not None:
        _labelled(session, plan)
    if plan.photo is not None:
        read_rgb(plan.photo)
    sections: list[Section] = []
    failures: list[VitEdgeError] = []
    for part in parts:
        try:
            sections.append(part(session, plan, progress))
        except KeyboardInterrupt:
            if not sections:
                raise
            return sections, "interrupted"
        except VitEdgeError as error:
            failures.append(error)
            if len(parts) > 1:
                progress.note(f"left out: {error}")
            continue
        if sections[-1].interrupted:
            return sections, "interrupted"
    if not sections:
        raise failures[0]
    return sections, "whole"


def latency(session: Session, plan: Plan, progress: Progress) -> Latency:
    """Side by side, in rounds."""
    with _photo(plan) as photo, session.peers(batch=plan.batch) as peers:
        settings = LatencySettings(
            photo=photo, batch=plan.batch, threads=session.threads, seconds=plan.seconds, rounds=plan.rounds
        )
        return measure_latency(session.entrants, peers, settings, progress)


def accuracy(session: Session, plan: Plan, progress: Progress) -> Accuracy:
    """On a folder of labelled photos."""
    photos = _labelled(session, plan)
    with session.peers(needs_own_weights=True) as peers:
        return measure_accuracy(session.entrants, peers, photos, threads=session.threads, progress=progress)


def footprint(session: Session, plan: Plan, progress: Progress) -> Footprints:
    """Start to first answer, memory and disk."""
    with _photo(plan) as photo, session.peers() as peers:
        return measure_footprint(
            session.entrants, peers, photo=photo, threads=session.threads, rounds=plan.rounds, progress=progress
        )


def limit(session: Session, plan: Plan, progress: Progress) -> Limits:
    """Against the engine's own speed, on the CPU."""
    return measure_limits(
        session.entrants,
        threads=session.threads,
        batch=plan.batch,
        seconds=plan.seconds,
        rounds=plan.rounds,
        progress=progress,
    )


def _labelled(session: Session, plan: Plan) -> LabelledPhotos:
    artifact = session.artifact
    if not artifact.architecture.classes:
        raise ArtifactError(artifact.model, "has no classification head, so it is never right or wrong", "")
    folder = plan.photos or Path()
    return find_photos(folder, artifact.labels, artifact.architecture.classes, table=plan.table)


@contextmanager
def _photo(plan: Plan) -> Iterator[Path]:
    """The photo to measure with; one made by formula lives as long as the block."""
    if plan.photo is not None:
        yield plan.photo
        return
    with tempfile.TemporaryDirectory(prefix="vit-bench.") as folder:
        yield write_photo(Path(folder) / "photo.jpg")
