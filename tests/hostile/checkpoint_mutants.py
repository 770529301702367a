"""Damaged checkpoints by number: in their bytes, their configuration, their header or pickle, or their weights."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from safetensors.torch import load, save

from .artifact_mutants import damaged_document
from .good_checkpoints import Files, State, deflated, in_zip
from .mutate import mutated
from .state_damage import damage_state

WINDOWS: Final = (64, 1024, 8 << 10)
"""Bytes at the front or at the end of a file that are damaged: there names, types, shapes and zip's directory are."""

Damage = Callable[[str, bytes, random.Random], bytes]


def checkpoint_mutants(bases: Mapping[str, Files], seeds: range) -> Iterator[tuple[str, Files]]:
    """Names, which begin with the seed, and files; each differs from its base."""
    names = sorted(bases)
    for seed in seeds:
        base, rng = names[seed % len(names)], random.Random(seed)
        files = dict(bases[base])
        file = rng.choice(sorted(files))
        damage = rng.choice([damage for sign, damage in DAMAGES if file.endswith(sign)])
        files[file] = damage(base, files[file], rng)
        if files != bases[base]:
            yield f"{seed:05}_{base}_{damage.__name__}", files


def any_bytes(_base: str, content: bytes, rng: random.Random) -> bytes:
    length = min(rng.choice((*WINDOWS, len(content))), len(content))
    start = rng.choice([0, len(content) - length])
    return content[:start] + mutated(content[start : start + length], rng) + content[start + length :]


def document(_base: str, content: bytes, rng: random.Random) -> bytes:
    return damaged_document(json.loads(content), rng).encode()


def header(_base: str, content: bytes, rng: random.Random) -> bytes:
    """The JSON in front of safetensors' weights, with its right length."""
    (length,) = struct.unpack_from("<Q", content)
    changed = damaged_document(json.loads(content[8 : 8 + length]), rng).encode()
    return struct.pack("<Q", len(changed)) + changed + content[8 + length :]


def entry(base: str, content: bytes, rng: random.Random) -> bytes:
    """One entry of the zip file, with its right checksum: mostly the pickle, which names and shapes the weights."""
    if base == "legacy":
        return any_bytes(base, content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        pickled = next(name for name in names if name.endswith("data.pkl"))
        name = pickled if rng.random() < 0.7 else rng.choice(names)
        changed = mutated(archive.read(name), rng)
    return deflated(content, {name: changed}, zipfile.ZIP_DEFLATED if base == "deflated" else zipfile.ZIP_STORED)


def weights(base: str, content: bytes, rng: random.Random) -> bytes:
    """The same file with other weights in it."""
    if base in ("zip", "legacy", "deflated"):
        state: State = torch.load(io.BytesIO(content), weights_only=True)
        damage_state(state, rng)
        options: dict[str, Any] = {"_use_new_zipfile_serialization": False} if base == "legacy" else {}
        written = in_zip(state, **options)
        return deflated(written) if base == "deflated" else written
    state = load(content)
    damage_state(state, rng)
    return save({name: tensor.contiguous().clone() for name, tensor in state.items()})


DAMAGES: tuple[tuple[str, Damage], ...] = (
    ("", any_bytes),
    (".json", document),
    (".safetensors", header),
    (".safetensors", weights),
    (".pth", entry),
    (".pth", weights),
)
"""What is done to files whose names end so."""
