"""Cache folders for our own contenders: what a user has kept in theirs plays no part in what is measured."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vit_bench.contenders.entrants import Entrant
from vit_runtime.cache.folder import CACHE_VARIABLE
from vit_runtime.errors import VitEdgeError
from vit_runtime.preparing.prepare import prepare


@contextmanager
def in_empty_cache(entrants: Sequence[Entrant]) -> Iterator[list[Entrant]]:
    """Gives contenders a cache folder that is empty at first; engines that they keep there serve their later starts."""
    with tempfile.TemporaryDirectory(prefix="vit-bench.") as folder:
        yield [replace(entrant, environment=_environment(folder)) for entrant in entrants]


@contextmanager
def with_prepared_copies(entrants: Sequence[Entrant], tell: Callable[[str], object]) -> Iterator[list[Entrant]]:
    """Gives contenders in an empty cache, and those on the CPU a second time with the copy of `vit-run prepare`.

    Args:
        entrants: artifacts.
        tell: hears why a file has no copy.
    """
    with in_empty_cache(entrants) as plain, tempfile.TemporaryDirectory(prefix="vit-bench.") as folder:
        both = []
        for entrant in plain:
            both.append(entrant)
            if entrant.task.provider != "cpu":
                continue
            try:
                copied = _prepared(Path(entrant.task.file), folder)
            except VitEdgeError as error:
                tell(f"{entrant.name}: not measured with a prepared copy: {error}")
                continue
            setup = "; ".join(filter(None, (entrant.setup, "with the copy of vit-run prepare")))
            name, environment = f"{entrant.name} prepared", _environment(folder)
            both.append(replace(entrant, name=name, setup=setup, environment=environment, copied_bytes=copied))
        yield both


def _environment(folder: str) -> dict[str, str]:
    return {**os.environ, CACHE_VARIABLE: folder}


def _prepared(file: Path, folder: str) -> int:
    """Prepares a file in a cache folder; gives the size of its copy.

    Raises:
        VitEdgeError: it cannot be prepared.
    """
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = folder
    try:
        return prepare(file).bytes
    finally:
        if before is None:
            del os.environ[CACHE_VARIABLE]
        else:
            os.environ[CACHE_VARIABLE] = before
