"""timm's Vision Transformers, of two of its classes: see `timm_vit` and `timm_eva`.

They are read without timm, from a file of weights with timm's names, or from a folder or hub repository with timm's
`config.json`. DINO's and DINOv2's own checkpoints have timm's names too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from vit_export.errors import CheckpointError
from vit_export.progress import Progress
from vit_export.read import assumed, timm_eva, timm_vit
from vit_export.read.canonical import on_paper
from vit_export.read.checkpoint import Checkpoint, Contents
from vit_export.read.picture_preparation import Preparation, Preset
from vit_export.read.repository import CONFIG, Repository, folder_of, licence, read_weights
from vit_export.read.state_dict import StateDict, sha256
from vit_export.read.timm_config import ARCHITECTURE, BY_NAME, SUPPORTED, TimmConfig, read_config
from vit_runtime.artifact import Architecture, Source

_HEADS_RULE: Final = "width / 64, or as timm's model of that width has them"
_PRESET: Final = "timm's usual preparation"
_OTHERS: Final = re.compile(r"_rpn_|_rope_|_pe_|_dinov3|_lingbot|_sapiens2|^eva(02|_giant)_")
"""Parts of the names of architectures whose weights may have a plain model's names, though their layers have another
order, or their positions are rotary."""
_FOREIGN: Final = (
    (r"patch_embed\.(backbone|conv)", "a convolutional stem", SUPPORTED),
    (r"blocks\.\d+\.attn\.(q_norm|k_norm)\.", "normalised queries and keys", SUPPORTED),
    (r"blocks\.\d+\.attn\.(rel_pos|relative_position)", "other position embeddings or biases", SUPPORTED),
    (r"blocks\.\d+\.attn\.(q_bias|q_proj)", "the layers of timm's Eva under an unknown name", BY_NAME),
    (r"rope", "rotary positions under an unknown name", BY_NAME),
    (r"blocks\.\d+\.(attns|ffns)\.", "parallel layers", SUPPORTED),
    (r"(stages|layers)\.\d+\.", "stages", SUPPORTED),
)
"""Patterns of the names of weights that a plain model does not have, what they belong to, and what to do."""


def read_file(path: Path, state: StateDict, *, heads: int | None = None) -> Checkpoint:
    """Reads a file of weights by itself; what it does not say is guessed as in timm, and listed as an assumption.

    Args:
        path: where the state dict was read from.
        state: what `read_state_dict` gave.
        heads: attention heads; None is the usual number.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for what is not supported.
    """
    # A file often has its architecture's name, which tells what the weights do not.
    architecture = path.stem.partition(".")[0]
    known = ARCHITECTURE.fullmatch(architecture) is not None
    facts = TimmConfig(architecture=architecture if known else "")
    known_as = _described(state, facts, heads, str(path))
    arch = known_as.architecture
    why = f"the file is called as timm's {architecture}" if known else "the usual kind"
    unstated = Preset(name=_PRESET, why="a checkpoint does not say how pictures were prepared")

    def read() -> Contents:
        source = Source(family="timm", weights=path.name, sha256=sha256(path), licence=None, seed=None)
        return known_as.contents(source, path)

    return Checkpoint(
        name=path.stem,
        where=str(path),
        architecture=arch,
        preparation=_preparation(facts, arch.image_size, unstated),
        assumptions=(
            assumed.heads(arch.heads, asked=heads is not None, rule=why if known else _HEADS_RULE),
            assumed.activation(arch.activation, why),
        ),
        labels=None,
        resizing="antialiased",
        read=read,
    )


def read_repository(
    repository: Repository, config: Mapping[str, Any], progress: Progress, *, heads: int | None = None
) -> Checkpoint:
    """Reads a model as its files describe it; `heads` overrules timm's number for such an architecture.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for whatever is missing, contradicts itself, or is not supported.
    """
    facts = read_config(config, f"{repository.where}/{CONFIG}")
    state, digest = read_weights(repository, progress)
    known_as = _described(state, facts, heads, repository.where)
    arch = known_as.architecture
    unstated = Preset(name=_PRESET, why=f"{CONFIG} does not say how pictures were prepared")

    def read() -> Contents:
        terms = facts.licence or licence(repository)
        source = Source(family="timm", weights=repository.source, sha256=digest, licence=terms, seed=None)
        return known_as.contents(source, folder_of(repository))

    return Checkpoint(
        name=repository.name,
        where=repository.where,
        architecture=arch,
        preparation=_preparation(facts, arch.image_size, unstated),
        assumptions=() if heads is None else (assumed.heads(heads, asked=True, rule=""),),
        labels=facts.labels if facts.labels and len(facts.labels) == arch.classes else None,
        usually_labelled=True,
        resizing="antialiased",
        read=read,
    )


@dataclass(frozen=True, kw_only=True)
class _Described:
    """What weights and configuration describe, and how to read the weights."""

    architecture: Architecture
    state: StateDict
    """The weights under timm's current names."""
    canonical: Callable[[StateDict], StateDict]
    """Gives weights the graph's names."""
    rotary: Callable[[int], StateDict] | None = None
    """See `Contents`."""

    def contents(self, source: Source, files: Path | None) -> Contents:
        """Reads the weights."""
        return Contents(source=source, files=files, state=self.canonical(self.state), rotary=self.rotary)


def _described(state: StateDict, facts: TimmConfig, heads: int | None, where: str) -> _Described:
    """Finds out which of timm's classes the weights are of, and tries whether they fit it."""
    traits = timm_eva.traits_of(facts.architecture)
    if traits is None:
        _refuse_others(state, facts.architecture, where)
        state = timm_vit.todays_names(state)
        arch = timm_vit.architecture(state, facts, heads, where)
        found = _Described(
            architecture=arch, state=state, canonical=partial(timm_vit.canonical, arch=arch, where=where)
        )
    else:
        state = timm_eva.todays_names(state)
        arch = timm_eva.architecture(state, traits, facts, heads, where)
        found = _Described(
            architecture=arch,
            state=state,
            canonical=partial(timm_eva.canonical, traits=traits, arch=arch, where=where),
            rotary=partial(timm_eva.tables, traits=traits, arch=arch, state=state) if arch.rotary != "none" else None,
        )
    found.canonical(on_paper(state))
    return found


def _preparation(facts: TimmConfig, image_size: int, unstated: Preset) -> Preparation:
    """Gives the preparation that the configuration states, or else timm's usual one at the weights' own size."""
    return Preparation(
        image_size=facts.image_size or image_size,
        stated_in=CONFIG,
        at=facts.preprocessing,
        preset=unstated if facts.image_size is None else None,
    )


def _refuse_others(state: StateDict, architecture: str, where: str) -> None:
    """Refuses a model that is made otherwise than timm's plain `VisionTransformer`, by its name or by its weights."""
    if _OTHERS.search(architecture):
        raise CheckpointError(where, f"timm architecture '{architecture}' is not supported", SUPPORTED)
    for pattern, what, remedy in _FOREIGN:
        for name in state:
            if re.match(pattern, name):
                raise CheckpointError(where, f"has {what}, which is not supported ({name})", remedy)
