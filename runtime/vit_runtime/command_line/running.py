"""Runs a model for a command: notes what it runs on, and goes on after pictures that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import typer

from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Output
from vit_runtime.command_line.console import complain, note
from vit_runtime.devices.engine import silence_onnxruntime
from vit_runtime.devices.memory import reuse_large_blocks
from vit_runtime.devices.providers import Provider
from vit_runtime.errors import EXIT_INPUT, ImageError
from vit_runtime.loading import load
from vit_runtime.model import ViT
from vit_runtime.pictures.finding import find_pictures
from vit_runtime.vectors import normalized
from vit_runtime.wording import plural

_Name = TypeVar("_Name")
_Answer = TypeVar("_Answer")


class Failures:
    """Names each picture that cannot be read, counts them, and sets the exit status at the end."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, error: ImageError) -> None:
        """Shows an error, and counts it."""
        self.count += 1
        complain(error)

    def without(
        self, names: Iterable[_Name], answers: Iterable[_Answer | ImageError]
    ) -> Iterator[tuple[_Name, _Answer]]:
        """Pairs each answer with its name; errors among the answers are shown and counted instead."""
        for name, answered in zip(names, answers, strict=True):
            if isinstance(answered, ImageError):
                self.add(answered)
            else:
                yield name, answered

    def exit_if_any(self) -> None:
        """Ends the command with the exit status for bad input, if a picture could not be read."""
        if self.count:
            raise typer.Exit(EXIT_INPUT)


@dataclass(frozen=True)
class Choice:
    """What a user chose to run on, by options."""

    provider: Provider
    threads: int | None
    device: int | None
    no_profile: bool


def load_model(path: Path, choice: Choice, wanted: Output | None = None) -> ViT:
    """Loads a model, checks that it has the output `wanted`, and notes what it runs on."""
    silence_onnxruntime()
    vit = load(
        path,
        provider=choice.provider,
        threads=choice.threads,
        device=choice.device,
        use_profile=not choice.no_profile,
    )
    reuse_large_blocks()
    if wanted is not None:
        vit.require(wanted)
    threads_used = "" if vit.threads is None else f", {plural(vit.threads, 'thread')}"
    note(f"{vit.artifact.model} {vit.artifact.precision} on {vit.provider}{threads_used}")
    if vit.note:
        note(vit.note)
    if vit.artifact.source.is_random:
        note("warning: this model has random weights: it was never trained, and its answers mean nothing")
    return vit


def answers_of(
    vit: ViT, output: Output, images: Sequence[Path], batch_size: int, failed: Failures
) -> Iterator[tuple[Path, FloatArray]]:
    """Gives each readable picture's path and answer, in order; names unreadable pictures on stderr."""
    paths = find_pictures(images)
    for path, row in failed.without(paths, vit.answers(paths, output, batch_size=batch_size)):
        yield path, row.values


def embeddings_of(
    vit: ViT, images: Sequence[Path], batch_size: int, failed: Failures, *, normalize: bool
) -> Iterator[tuple[Path, FloatArray]]:
    """Gives each readable picture's path and embedding, as `answers_of` does; `normalize` scales them to length 1."""
    for path, embedding in answers_of(vit, "embedding", images, batch_size, failed):
        yield path, normalized(embedding[None])[0] if normalize else embedding
