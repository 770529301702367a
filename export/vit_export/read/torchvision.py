"""torchvision's Vision Transformers: published weights, a user's own checkpoints, and random weights."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torchvision.models import WeightsEnum, get_model, get_model_weights
from torchvision.transforms import InterpolationMode

from vit_export.errors import CheckpointError, DownloadError, UnknownModelError, refused_sizes
from vit_export.progress import Progress
from vit_export.read import assumed
from vit_export.read.checkpoint import Checkpoint, Contents
from vit_export.read.families import refuse_other_families
from vit_export.read.picture_preparation import Preparation, Preset, imagenet_preset, in_proportion
from vit_export.read.state_dict import StateDict, read_state_dict, sha256
from vit_export.read.torchvision_state import (
    WHAT_IS_SUPPORTED,
    canonical_names,
    check_fit,
    grid_of,
    random_state,
    read_architecture,
    shape_of,
)
from vit_export.request import RANDOM_WEIGHTS
from vit_runtime.artifact import Architecture, Preprocessing, Source
from vit_runtime.errors import one_line, option

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS: Final = ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14")

_SEE_LIST: Final = "see: vit-export --list"
_DISK_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)
_CONNECT_SECONDS: Final = 30.0
_INTERPOLATIONS: Final[Mapping[InterpolationMode, Any]] = {
    InterpolationMode.BILINEAR: "bilinear",
    InterpolationMode.BICUBIC: "bicubic",
}


def weights_entries(model: str) -> dict[str, WeightsEnum]:
    """Gives a model's published weights by name, in torchvision's order."""
    return {entry.name: entry for entry in get_model_weights(model)}


def default_entry(model: str) -> str:
    """The entry that torchvision itself takes when none is named."""
    return str(get_model_weights(model).DEFAULT.name)


def entry_preprocessing(entry: WeightsEnum) -> Preprocessing:
    """The transforms that were used to measure a published entry's accuracy."""
    transforms = entry.transforms()
    return Preprocessing(
        resize_shortest_edge=transforms.resize_size[0],
        resize_hw=None,
        crop_hw=(transforms.crop_size[0], transforms.crop_size[0]),
        crop_rounding="half_even",
        interpolation=_INTERPOLATIONS[transforms.interpolation],
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def read_published(model: str, weights: str | None, progress: Progress) -> Checkpoint:
    """Reads a published entry of one of `MODELS`; its weights are downloaded to torch.hub's cache only when read.

    Args:
        model: one of `MODELS`.
        weights: the entry's name; None is torchvision's default.
        progress: told of a download.

    Raises:
        VitEdgeError: one of `vit_export.errors`: there is no such entry.
    """
    entries = weights_entries(model)
    name = weights or default_entry(model)
    if name not in entries:
        if owners := [other for other in MODELS if name in weights_entries(other)]:
            raise CheckpointError(f"weights '{name}'", f"are for {', '.join(owners)}, not {model}", _SEE_LIST)
        raise UnknownModelError(f"weights of {model}", name, [*entries, RANDOM_WEIGHTS], _SEE_LIST)
    entry = entries[name]
    categories = tuple(entry.meta["categories"])
    arch = replace(_named_architecture(model), image_size=entry.meta["min_size"][0], classes=len(categories))

    def read() -> Contents:
        path = _cached_file(model, entry, progress)
        progress.stage(f"reading {path.name}")
        digest = sha256(path)
        if not digest.startswith(_hash_prefix(entry)):
            raise CheckpointError(path, f"damaged: its SHA-256 starts with {digest[:8]}", "delete it and run again")
        licence = entry.meta.get("license")
        source = Source(family="torchvision", weights=name, sha256=digest, licence=licence, seed=None)
        state = _fitting(arch, canonical_names(read_state_dict(path)), path, model)
        return Contents(source=source, files=None, state=state)

    preparation = in_proportion(entry_preprocessing(entry), name)
    return replace(_of_model(model, entry.url, arch, preparation, read), labels=categories)


def read_random(model: str, seed: int, progress: Progress) -> Checkpoint:
    """Makes one of `MODELS` with seeded random weights."""
    arch = _named_architecture(model)

    def read() -> Contents:
        progress.stage("making random weights")
        source = Source(family="torchvision", weights=RANDOM_WEIGHTS, sha256=None, licence=None, seed=seed)
        return Contents(source=source, files=None, state=random_state(arch, seed))

    preparation = in_proportion(imagenet_preset(arch.image_size), "torchvision's ImageNet preset")
    return _of_model(model, "random weights", arch, preparation, read)


def read_file(path: Path, state: StateDict, *, model: str | None = None, heads: int | None = None) -> Checkpoint:
    """Reads a user's own state dict: for one of `MODELS`, or by itself, with sizes read off its shapes.

    Args:
        path: where the state dict was read from.
        state: what `read_state_dict` gave.
        model: one of `MODELS`, or None.
        heads: attention heads of a state dict by itself; None is the usual number.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for what does not fit.
    """
    state = canonical_names(state)
    arch = read_architecture(state, path, heads=heads) if model is None else _fitted_to(state, model, path)

    def read() -> Contents:
        source = Source(family="torchvision", weights=path.name, sha256=sha256(path), licence=None, seed=None)
        fits = model or "torchvision's VisionTransformer of its sizes"
        return Contents(source=source, files=None, state=_fitting(arch, state, path, fits))

    preset = Preset(name="torchvision's ImageNet preset", why="a checkpoint does not say how pictures were prepared")
    preparation = in_proportion(imagenet_preset(arch.image_size), preset.name, preset)
    if model is not None:
        return _of_model(model, str(path), arch, preparation, read)
    rule = "width / 64, as most have, or ViT-H's 16"
    return Checkpoint(
        name=path.stem,
        where=str(path),
        architecture=arch,
        preparation=preparation,
        assumptions=(assumed.heads(arch.heads, asked=heads is not None, rule=rule),),
        labels=None,
        resizing="corners",
        read=read,
    )


def _of_model(
    model: str, where: str, arch: Architecture, preparation: Preparation, read: Callable[[], Contents]
) -> Checkpoint:
    """Makes a checkpoint of one of `MODELS`, whichever weights it has."""
    return Checkpoint(
        name=model,
        where=where,
        architecture=arch,
        preparation=preparation,
        assumptions=(),
        labels=None,
        heads_known_by=f"{model} has its own number of heads",
        resizing="corners",
        read=read,
    )


def _fitting(arch: Architecture, state: StateDict, where: object, model: str) -> StateDict:
    """Checks that the weights are exactly the model's, and gives them in float32; float32 weights are shared."""
    check_fit(arch, state, where, model)
    return {name: tensor.float() for name, tensor in state.items()}


def _named_architecture(model: str) -> Architecture:
    """Gives a model's sizes, read off torchvision's own definition."""
    with torch.device("meta"):
        vit = get_model(model)
    return Architecture(
        image_size=vit.image_size,
        patch_size=vit.patch_size,
        layers=len(vit.encoder.layers),
        heads=vit.encoder.layers[0].num_heads,
        width=vit.hidden_dim,
        mlp_width=vit.mlp_dim,
        classes=vit.num_classes,
        layer_norm_eps=vit.encoder.ln.eps,
    )


def _fitted_to(state: StateDict, model: str, where: object) -> Architecture:
    """A model's architecture with the number of classes and the image size that a checkpoint was trained with."""
    refuse_other_families(state, "torchvision", where)
    arch = _named_architecture(model)
    with refused_sizes(where, WHAT_IS_SUPPORTED):
        if "heads.head.weight" in state:
            arch = replace(arch, classes=shape_of(state, "heads.head.weight", 2, where)[0])
        if "encoder.pos_embedding" in state:
            arch = replace(arch, image_size=grid_of(state, where) * arch.patch_size)
    return arch


def _cached_file(model: str, entry: WeightsEnum, progress: Progress) -> Path:
    """Gives the entry's file in torch.hub's cache; if it is not there yet, downloads it and checks its digest."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
    if path.is_file():
        return path
    # A note, not a stage: torch.hub shows a bar of its own, which a live display would hide.
    progress.note(f"downloading {entry.url}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _connect_timeout():
            torch.hub.download_url_to_file(entry.url, str(path), _hash_prefix(entry), progress=True)
    except Exception as error:
        raise _download_failed(error, model, entry, path) from error
    return path


def _download_failed(error: Exception, model: str, entry: WeightsEnum, path: Path) -> DownloadError:
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return DownloadError(
            entry.url, f"cannot be kept at {path} ({error.strerror})", "make room there, or set TORCH_HOME elsewhere"
        )
    reason = getattr(error, "reason", None) or one_line(error)
    return DownloadError(
        entry.url,
        f"cannot be downloaded ({reason})",
        f"fetch it on another machine and put it at {path}, "
        f"or try {model} without trained weights: {option('weights', RANDOM_WEIGHTS)}",
    )


@contextmanager
def _connect_timeout() -> Iterator[None]:
    """Gives up on a silent network: torch.hub itself would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _hash_prefix(entry: WeightsEnum) -> str:
    """The start of the file's SHA-256, which torch.hub's convention puts at the end of its name."""
    return Path(entry.url).stem.rpartition("-")[2]
