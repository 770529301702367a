"""Contenders over a folder that can be run, each in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

from vit_bench.contenders.entrants import Entrant
from vit_bench.contenders.folder.task import FolderMeasured, FolderTask, Loader, Reading, Work
from vit_bench.contenders.names import OWN
from vit_bench.contenders.process import PATIENCE_SECONDS, run_module
from vit_bench.contenders.task import Task
from vit_bench.errors import ContenderError
from vit_runtime.artifact import codec

_READINGS: Final[dict[Reading, str]] = {
    "exact": "",
    "fast": " fast",
    "pil": "",
    "decode_image": " decode_image",
}
"""What a reading adds to a contender's name."""


@dataclass(frozen=True, kw_only=True)
class Runner(Entrant):
    """A contender that can be run over a folder."""

    reading: Reading
    loader: Loader | None = None
    """How its `DataLoader` is set up; None where it has none, or where that is not known yet."""
    tried: int = 0
    """Settings that were tried for it."""

    def measure(self, work: Work, task: Task) -> FolderMeasured:
        """Runs once, in a process of its own.

        Raises:
            ContenderError: the process failed, or was killed.
        """
        told: list[FolderMeasured] = []
        folder = FolderTask(task=task, work=work, reading=self.reading, loader=self.loader)
        run_module(
            self.name,
            "vit_bench.contenders.folder.worker",
            json.dumps(codec.encode(folder)),
            lambda text: told.append(codec.decode(FolderMeasured, json.loads(text))),
            self.environment,
            PATIENCE_SECONDS + 2 * (task.seconds + task.warm_up_seconds),
        )
        if not told:
            raise ContenderError(self.name, "ended without a result")
        return told[-1]


def runners(entrants: Sequence[Entrant], *, decode_image: bool) -> list[Runner]:
    """Contenders over a folder: ours with exact and with fast decoding, the others with Pillow.

    Args:
        entrants: who takes part.
        decode_image: whether the others take part a second time, with `torchvision.io.decode_image`.
    """
    own: tuple[Reading, ...] = ("exact", "fast")
    theirs: tuple[Reading, ...] = ("pil", "decode_image") if decode_image else ("pil",)
    found = []
    for entrant in entrants:
        for reading in own if entrant.task.tool == OWN else theirs:
            given = {field.name: getattr(entrant, field.name) for field in fields(Entrant)}
            found.append(Runner(**{**given, "name": f"{entrant.name}{_READINGS[reading]}"}, reading=reading))
    return found


def with_fastest_loader(runner: Runner, task: Task) -> Runner:
    """Gives a contender that has a `DataLoader` the one that suits it best here.

    Raises:
        ContenderError: the process failed, or was killed.
    """
    told = runner.measure("tune", task)
    return replace(runner, loader=told.loader, tried=told.tried)
