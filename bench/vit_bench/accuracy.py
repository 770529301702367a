"""`vit-bench accuracy`: how often artifacts and their peers are right, and how often they agree with the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from vit_bench.contenders import REFERENCE, Entrant, Peers, model_names
from vit_bench.errors import ContenderError
from vit_bench.labels import LabelledPhotos
from vit_bench.process import run_task
from vit_bench.results import Absent, Accuracy, Contender, Score
from vit_bench.rounds import require_results
from vit_bench.statistics import paired_difference, share
from vit_bench.task import PhotoAnswer
from vit_export.progress import Progress

_FEW_PHOTOS: Final = 100


@dataclass(kw_only=True)
class _Answers:
    """One contender's answers, in the order of the photos."""

    contender: Contender
    photos: list[PhotoAnswer] = field(default_factory=list)


def measure_accuracy(
    entrants: Sequence[Entrant], peers: Peers, photos: LabelledPhotos, *, threads: int, progress: Progress
) -> Accuracy:
    """Asks each contender for every photo, one after the other, each in a process of its own.

    Ctrl-C keeps the contenders that had answered for all photos.

    Raises:
        VitEdgeError: no contender got through, or no photo can be read.
    """
    everyone = [*entrants, *peers.entrants]
    answers: dict[str, _Answers] = {}
    crashed: list[Absent] = []
    interrupted = False
    try:
        for entrant in everyone:
            progress.stage(f"{entrant.name}: {len(photos.paths)} photos", total=len(photos.paths))
            try:
                answers[entrant.name] = _ask(entrant, photos, threads=threads, progress=progress)
            except ContenderError as error:
                crashed.append(Absent(name=entrant.name, reason=error.what, crashed=True))
                progress.note(f"{entrant.name} {error.what}; the others go on")
    except KeyboardInterrupt:
        interrupted = True
    require_results([*answers], [*peers.absent, *crashed], interrupted)
    readable = _readable(answers, photos, progress)
    reference = next((e.name for e in everyone if e.name == REFERENCE and e.name in answers), next(iter(answers)))
    return Accuracy(
        model=model_names(everyone),
        reference=reference,
        pictures=len(readable),
        unreadable=len(photos.paths) - len(readable),
        labels=photos.origin,
        scores=tuple(_score(answers[name], answers[reference], photos, readable) for name in answers),
        absent=(*peers.absent, *crashed),
        warnings=tuple(_doubts(len(readable))),
        interrupted=interrupted,
    )


def _ask(entrant: Entrant, photos: LabelledPhotos, *, threads: int, progress: Progress) -> _Answers:
    found: list[PhotoAnswer] = []

    def take(answer: PhotoAnswer) -> None:
        found.append(answer)
        progress.advance(1)

    task = entrant.task(photos.paths, threads=threads, each_photo=True)
    finished = run_task(entrant.name, task, entrant.environment, each=take)
    if len(found) != len(photos.paths):
        raise ContenderError(entrant.name, f"answered for {len(found)} of {len(photos.paths)} photos")
    contender = entrant.facts(finished.measured.version, finished.measured.detail)
    return _Answers(contender=contender, photos=found)


def _readable(answers: dict[str, _Answers], photos: LabelledPhotos, progress: Progress) -> list[int]:
    """Positions of the photos that every contender could read; the others are named, and count for nobody."""
    readable = []
    for position, path in enumerate(photos.paths):
        errors = [error for given in answers.values() if (error := given.photos[position].error)]
        if errors:
            progress.note(f"left out: {errors[0] or path}")
        else:
            readable.append(position)
    if not readable:
        raise ContenderError("photos", "none of them can be read", "give others")
    return readable


def _score(ours: _Answers, reference: _Answers, photos: LabelledPhotos, readable: Sequence[int]) -> Score:
    right = [ours.photos[i].classes[0] == photos.classes[i] for i in readable]
    among_five = sum(photos.classes[i] in ours.photos[i].classes for i in readable)
    agreement = top1_difference = None
    if ours is not reference:
        same = sum(ours.photos[i].classes[0] == reference.photos[i].classes[0] for i in readable)
        agreement = share(same, len(readable))
        theirs = [reference.photos[i].classes[0] == photos.classes[i] for i in readable]
        top1_difference = paired_difference(right, theirs)
    return Score(
        contender=ours.contender,
        top1=share(sum(right), len(readable)),
        top5=share(among_five, len(readable)),
        agreement=agreement,
        top1_difference=top1_difference,
    )


def _doubts(pictures: int) -> list[str]:
    return [f"{pictures} photos tell little: the intervals are wide"] if pictures < _FEW_PHOTOS else []
