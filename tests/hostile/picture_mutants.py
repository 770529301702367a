"""Damaged pictures by number: the number alone says which sound picture it was, and what was done to it."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .aimed_pictures import aimed
from .good_pictures import Good
from .mutate import mutated

OTHERS_VARIABLE = "VIT_EDGE_HOSTILE"
"""Environment variable with a folder of damaged files of other people's, which are read too."""
AIMED_SHARE = 0.4
"""Of mutants; the others are damaged anywhere."""


def picture_mutants(goods: Sequence[Good], seeds: range) -> Iterator[tuple[str, bytes]]:
    """Names, which begin with the seed, and contents."""
    for seed in seeds:
        good, rng = goods[seed % len(goods)], random.Random(seed)
        damage = aimed if rng.random() < AIMED_SHARE else mutated
        yield f"{seed:05}_{good.name}{good.suffix}", damage(good.content, rng)


def others_files() -> list[Path]:
    """Damaged files of other people's; empty where none are named."""
    folder = os.environ.get(OTHERS_VARIABLE)
    return sorted(path for path in Path(folder).rglob("*") if path.is_file()) if folder else []


def others_pictures() -> Iterator[tuple[str, bytes]]:
    """The same with contents, under names that do not clash and that pass for a picture's."""
    for number, path in enumerate(others_files()):
        plain = re.sub(r"[^\w.-]", "_", path.name, flags=re.ASCII)[:60]
        yield f"{number:05}_{plain}.jpg", path.read_bytes()
