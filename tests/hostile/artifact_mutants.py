"""Damaged artifacts by number: in their bytes, in what they say about themselves, or in their graph."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any, Final

from .graph_damage import damage_graph
from .mutate import mutated
from .onnx_parts import DATA, NAME, Files, document, parsed, with_model, with_text

WINDOWS: Final = (256, 16 << 10, 64 << 10)
"""Bytes at the front or at the end of a file that are damaged; there the graph's nodes and the metadata are."""
VALUES: Final = (
    *(None, True, 0, -1, 1, 0.5, 1e308, -1e308, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, "", "x", "x" * 10_000),
    *([], [1, 2, 3], {}, {"a": 1}, "\x1b[2J", "../x", "\0", "\ud800", float("nan"), float("inf")),
)
"""What may stand in a document in place of a value."""


def artifact_mutants(bases: Mapping[str, Files], seeds: range) -> Iterator[tuple[str, Files]]:
    """Names, which begin with the seed, and files; each differs from its base."""
    names = sorted(bases)
    for seed in seeds:
        base, rng = names[seed % len(names)], random.Random(seed)
        kind = rng.choice(["bytes", "bytes", "document", "graph", "graph"])
        files = _damaged(bases[base], kind, rng)
        if files != bases[base]:
            yield f"{seed:05}_{base}_{kind}", files


def _damaged(files: Files, kind: str, rng: random.Random) -> Files:
    if kind == "document":
        return with_text(files, damaged_document(document(files), rng))
    if kind == "graph":
        model = parsed(files)
        damage_graph(model, rng)
        return with_model(files, model)
    file = DATA if DATA in files and rng.random() < 0.4 else NAME
    return {**files, file: _damaged_bytes(files[file], rng)}


def _damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    length = min(rng.choice((*WINDOWS, len(content))), len(content))
    start = rng.choice([0, len(content) - length])
    return content[:start] + mutated(content[start : start + length], rng) + content[start + length :]


def damaged_document(found: dict[str, Any], rng: random.Random) -> str:
    """Another value at one or two places, a key too many or too few, or damage in the text."""
    if rng.random() < 0.1:
        return mutated(json.dumps(found).encode(), rng).decode("latin-1")
    for _ in range(rng.randint(1, 2)):
        where: Any = found
        while True:
            key = rng.choice([*where] if isinstance(where, dict) else range(len(where)))
            if not isinstance(where[key], (dict, list)) or not where[key] or rng.random() < 0.15:
                break
            where = where[key]
        what = rng.random()
        if what < 0.1:
            del where[key]
        elif what < 0.15 and isinstance(where, dict):
            where["more"] = rng.choice(VALUES)
        else:
            where[key] = rng.choice(VALUES)
        if not found:
            break
    return json.dumps(found)
