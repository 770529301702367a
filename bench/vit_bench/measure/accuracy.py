"""`vit-bench accuracy`: how often artifacts and their peers are right, and how often they agree with the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from vit_bench.contenders.entrants import Entrant, model_names
from vit_bench.contenders.peers import Peers
from vit_bench.contenders.task import PhotoAnswer
from vit_bench.errors import ContenderError
from vit_bench.measure.labels import LabelledPhotos
from vit_bench.measure.rounds import run_rounds
from vit_bench.measure.statistics import paired_difference, share
from vit_bench.results import Accuracy, Contender, Score
from vit_export.progress import Progress

_FEW_PHOTOS: Final = 100


@dataclass(kw_only=True)
class _Answers:
    """One contender's answers, in the order of the photos."""

    contender: Contender
    photos: list[PhotoAnswer]


def measure_accuracy(
    entrants: Sequence[Entrant], peers: Peers, photos: LabelledPhotos, *, threads: int, progress: Progress
) -> Accuracy:
    """Asks each contender for every photo, one after the other, each in a process of its own.

    Ctrl-C keeps the contenders that had answered for all photos.

    Raises:
        VitEdgeError: no contender got through, or no photo can be read.
    """
    everyone = [*entrants, *peers.entrants]

    def ask(entrant: Entrant) -> _Answers:
        found: list[PhotoAnswer] = []

        def take(answer: PhotoAnswer) -> None:
            found.append(answer)
            progress.advance(1)

        progress.stage(f"{entrant.name}: {len(photos.paths)} photos", total=len(photos.paths))
        paths = tuple(map(str, photos.paths))
        told = entrant.run(replace(entrant.task, photos=paths, threads=threads, each_photo=True), each=take).measured
        if len(found) != len(paths):
            raise ContenderError(entrant.name, f"answered for {len(found)} of {len(paths)} photos")
        return _Answers(contender=entrant.facts(told.version, told.detail), photos=found)

    done = run_rounds(everyone, None, ask, progress, absent=peers.absent)
    answers = {name: found for name, rounds in done.finished.items() for found in rounds.values()}
    readable = _readable(answers, photos, progress)
    few = [f"{len(readable)} photos tell little: the intervals are wide"]
    return Accuracy(
        model=model_names(everyone),
        reference=done.reference,
        pictures=len(readable),
        unreadable=len(photos.paths) - len(readable),
        labels=photos.origin,
        scores=tuple(_score(found, answers[done.reference], photos, readable) for found in answers.values()),
        absent=tuple(done.absent),
        warnings=tuple(few if len(readable) < _FEW_PHOTOS else ()),
        interrupted=done.interrupted,
    )


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
