"""The parts of a measuring command: each takes a session, and gives one section of the results."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from vit_bench.measure.accuracy import measure_accuracy
from vit_bench.measure.footprint import measure_footprint
from vit_bench.measure.labels import LabelledPhotos, find_photos
from vit_bench.measure.latency import measure_latency
from vit_bench.measure.limit import measure_limits
from vit_bench.measure.photo import write_photo
from vit_bench.measure.session import Session
from vit_bench.results import Accuracy, Footprints, Latency, Limits
from vit_bench.sections import Section
from vit_runtime.errors import ArtifactError, VitEdgeError
from vit_runtime.pictures.reading import read_rgb

Part: TypeAlias = "Callable[[Session], Section]"


def measure(session: Session, parts: Sequence[Part]) -> tuple[list[Section], Literal["whole", "interrupted"]]:
    """Measures part after part; after Ctrl-C, what was measured until then.

    Where there are several parts, one that cannot be measured is left out, and the user is told why.

    Raises:
        KeyboardInterrupt: nothing was measured yet.
        VitEdgeError: what was given does not fit, or no part could be measured.
    """
    # What does not fit is found out before the work.
    if session.request.photos is not None:
        _labelled(session)
    if session.request.photo is not None:
        read_rgb(session.request.photo)
    sections: list[Section] = []
    failures: list[VitEdgeError] = []
    for part in parts:
        try:
            sections.append(part(session))
        except KeyboardInterrupt:
            if not sections:
                raise
            return sections, "interrupted"
        except VitEdgeError as error:
            failures.append(error)
            if len(parts) > 1:
                session.progress.note(f"left out: {error}")
            continue
        if sections[-1].interrupted:
            return sections, "interrupted"
    if not sections:
        raise failures[0]
    return sections, "whole"


def latency(session: Session) -> Latency:
    """Side by side, in rounds."""
    with _photo(session) as photo, session.peers() as peers:
        return measure_latency(session.entrants, peers, photo, session.settings, session.progress)


def accuracy(session: Session) -> Accuracy:
    """On a folder of labelled photos."""
    photos = _labelled(session)
    with session.peers(need_own_weights=True) as peers:
        threads = session.settings.threads
        return measure_accuracy(session.entrants, peers, photos, threads=threads, progress=session.progress)


def footprint(session: Session) -> Footprints:
    """Start to first answer, memory and disk."""
    with _photo(session) as photo, session.peers() as peers:
        return measure_footprint(session.entrants, peers, photo, session.settings, session.progress)


def limit(session: Session) -> Limits:
    """Against the engine's own speed, on the CPU."""
    return measure_limits(session.entrants, session.settings, session.progress)


def _labelled(session: Session) -> LabelledPhotos:
    artifact = session.artifact
    if not artifact.architecture.classes:
        raise ArtifactError(artifact.model, "has no classification head, so it is never right or wrong", "")
    folder, table = session.request.photos or Path(), session.request.labels
    return find_photos(folder, artifact.labels, artifact.architecture.classes, table=table)


@contextmanager
def _photo(session: Session) -> Iterator[Path]:
    """The photo to measure with; one made by formula lives as long as the block."""
    if session.request.photo is not None:
        yield session.request.photo
        return
    with tempfile.TemporaryDirectory(prefix="vit-bench.") as folder:
        yield write_photo(Path(folder) / "photo.jpg")
