"""torchvision's Vision Transformers: published weights, a user's own checkpoints, and random weights."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torchvision.models import WeightsEnum, get_model, get_model_weights
from torchvision.transforms import InterpolationMode

from vit_export.errors import CheckpointError, DownloadError, UnknownModelError
from vit_export.progress import Progress
from vit_export.read import assumed
from vit_export.read.loaded import LoadedModel
from vit_export.read.preparation import at_image_size, check_image_size, imagenet_preset, with_options
from vit_export.read.state_dict import StateDict, read_state_dict, sha256
from vit_export.read.torchvision_state import (
    canonical_names,
    check_fit,
    grid_of,
    random_state,
    read_architecture,
    reference_model,
    refuse_other_families,
    refused_sizes,
    resize_positions,
    shape_of,
)
from vit_export.request import RANDOM_WEIGHTS, ExportRequest
from vit_export.verify.reference import TorchvisionReference
from vit_runtime.artifact import Architecture, Preprocessing, Source
from vit_runtime.errors import UsageError, one_line, option

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
    """The published weights of a model by name, in torchvision's order."""
    return {entry.name: entry for entry in get_model_weights(model)}


def default_entry(model: str) -> str:
    """The entry that torchvision itself takes when none is named."""
    return str(get_model_weights(model).DEFAULT.name)


def load_named(request: ExportRequest, progress: Progress) -> LoadedModel:
    """One of `MODELS`: finds weights, architecture, preprocessing and labels for a request.

    Raises:
        VitEdgeError: of `vit_export.errors`, for whatever cannot be found or does not fit.
    """
    if request.image_size is not None:
        check_image_size(request.image_size, _named_architecture(request.name).patch_size)
    if request.heads is not None:
        raise UsageError(option("heads"), f"{request.name} has its own number of heads", "leave it out")
    if request.checkpoint is not None:
        path = Path(request.checkpoint)
        progress.stage(f"reading {path.name}")
        return load_file(request, path, read_state_dict(path), progress)
    if request.weights == RANDOM_WEIGHTS:
        return _from_seed(request, progress)
    return _from_entry(request, progress)


def _from_entry(request: ExportRequest, progress: Progress) -> LoadedModel:
    """A published entry of the model's weights, downloaded to torch.hub's cache if it is not there."""
    entries = weights_entries(request.name)
    name = request.weights or default_entry(request.name)
    if name not in entries:
        if owners := [model for model in MODELS if name in weights_entries(model)]:
            raise CheckpointError(f"weights '{name}'", f"are for {', '.join(owners)}, not {request.name}", _SEE_LIST)
        raise UnknownModelError(f"weights of {request.name}", name, [*entries, RANDOM_WEIGHTS], _SEE_LIST)
    entry = entries[name]
    path = _cached_file(request.name, entry, progress)
    progress.stage(f"reading {path.name}")
    digest = sha256(path)
    if not digest.startswith(_hash_prefix(entry)):
        raise CheckpointError(path, f"damaged: its SHA-256 starts with {digest[:8]}", "delete it and run again")
    return _finish(
        request,
        canonical_names(read_state_dict(path)),
        where=path,
        name=request.name,
        architecture=replace(
            _named_architecture(request.name),
            image_size=entry.meta["min_size"][0],
            classes=len(entry.meta["categories"]),
        ),
        preprocessing=entry_preprocessing(entry),
        source=Source(family="torchvision", weights=name, sha256=digest, licence=entry.meta.get("license"), seed=None),
        labels=tuple(entry.meta["categories"]),
    )


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


def load_file(request: ExportRequest, path: Path, state: StateDict, progress: Progress) -> LoadedModel:
    """A user's own state dict: for a named model, or by itself.

    Raises:
        VitEdgeError: of `vit_export.errors`, for what does not fit.
    """
    state = canonical_names(state)
    if request.name in MODELS:
        name, architecture = request.name, _fitted_to(state, _named_architecture(request.name), path)
    else:
        name, architecture = path.stem, read_architecture(state, path, heads=request.heads)
    loaded = _finish(
        request,
        state,
        where=path,
        name=name,
        architecture=architecture,
        preprocessing=imagenet_preset(architecture.image_size),
        source=Source(family="torchvision", weights=path.name, sha256=sha256(path), licence=None, seed=None),
        labels=None,
    )
    basis = "a checkpoint does not say how pictures were prepared"
    assumptions = [assumed.preprocessing("torchvision's ImageNet preset", request.preprocessing, basis)]
    if request.name not in MODELS:
        rule = "width / 64, as most have, or ViT-H's 16"
        assumptions.insert(0, assumed.heads(architecture.heads, asked=request.heads is not None, rule=rule))
        if request.heads is None:
            progress.note(f"a checkpoint does not say how many attention heads it has; using {architecture.heads}")
    progress.note(f"{basis}; using {loaded.preprocessing}")
    return replace(loaded, assumptions=tuple(assumptions))


def _from_seed(request: ExportRequest, progress: Progress) -> LoadedModel:
    progress.stage("making random weights")
    architecture = _named_architecture(request.name)
    seed = request.seed or 0
    return _finish(
        request,
        random_state(architecture, seed),
        where="random weights",
        name=request.name,
        architecture=architecture,
        preprocessing=imagenet_preset(architecture.image_size),
        source=Source(family="torchvision", weights=RANDOM_WEIGHTS, sha256=None, licence=None, seed=seed),
        labels=None,
    )


def _finish(
    request: ExportRequest,
    state: StateDict,
    *,
    where: object,
    name: str,
    architecture: Architecture,
    preprocessing: Preprocessing,
    source: Source,
    labels: tuple[str, ...] | None,
) -> LoadedModel:
    """Applies what the user wants otherwise, and puts the weights into PyTorch's own model."""
    fits = name if request.name in MODELS else "torchvision's VisionTransformer of its sizes"
    if request.image_size is not None and request.image_size != architecture.image_size:
        check_image_size(request.image_size, architecture.patch_size)
        # Before the shapes are changed they have to be right: a message about them is about the file as it is.
        check_fit(architecture, state, where, fits)
        state = resize_positions(state, architecture, request.image_size)
        architecture = replace(architecture, image_size=request.image_size)
        preprocessing = at_image_size(preprocessing, request.image_size)
    model = reference_model(architecture, state, where, fits)
    return LoadedModel(
        name=name,
        source=source,
        architecture=architecture,
        preprocessing=with_options(preprocessing, request.preprocessing),
        assumptions=(),
        labels=labels,
        state=model.state_dict(),
        reference=TorchvisionReference(model),
    )


def _named_architecture(model: str) -> Architecture:
    """A model's sizes, read off torchvision's own definition."""
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


def _fitted_to(state: StateDict, architecture: Architecture, where: object) -> Architecture:
    """A named architecture with the number of classes and the image size that a checkpoint was trained with."""
    refuse_other_families(state, where)
    with refused_sizes(where):
        if "heads.head.weight" in state:
            architecture = replace(architecture, classes=shape_of(state, "heads.head.weight", 2, where)[0])
        if "encoder.pos_embedding" in state:
            architecture = replace(architecture, image_size=grid_of(state, where) * architecture.patch_size)
    return architecture


def _cached_file(model: str, entry: WeightsEnum, progress: Progress) -> Path:
    """The entry's file in torch.hub's cache, downloaded with its digest checked if it is not there yet."""
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
