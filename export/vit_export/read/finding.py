"""Finds out whether a model is a torchvision name, a file, a folder or a hub repository, and who reads it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from vit_export.errors import CheckpointError, UnknownModelError
from vit_export.progress import Progress
from vit_export.read import model_types, open_clip, timm, torchvision
from vit_export.read.checkpoint import Checkpoint
from vit_export.read.families import SIGN, is_huggingface
from vit_export.read.open_clip_config import FILE as OPEN_CLIP
from vit_export.read.repository import CONFIG, Folder, Hub, Repository, read_json
from vit_export.read.state_dict import read_state_dict
from vit_export.read.timm_config import ARCHITECTURE
from vit_export.request import RANDOM_WEIGHTS, ExportRequest
from vit_runtime.errors import UsageError, option

_TIMM_NAME: Final = re.compile(rf"{ARCHITECTURE.pattern}(\.\w+)?")
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_HUB_PREFIXES: Final = ("hf-hub:", "hf_hub:")
"""What timm puts in front of a repository's name."""
_FILE_SUFFIXES: Final = (".pth", ".pt", ".bin", ".safetensors", ".ckpt")


def read_checkpoint(request: ExportRequest, progress: Progress) -> Checkpoint:
    """Finds out what `request.model` is, and reads what its files say about it.

    torchvision's names, files and folders come before names that the hub might have.

    Raises:
        VitEdgeError: one of `vit_export.errors`, for whatever cannot be found, does not fit or is not supported.
    """
    name = request.name
    if name in torchvision.MODELS:
        return _of_torchvision(request, progress)
    path = Path(name)
    exists = os.path.exists(path)  # noqa: PTH110 - unlike Path.exists it takes names too long for a file
    repository = None if exists else _on_the_hub(name)
    if not (exists or repository or path.suffix):
        remedy = "or give a checkpoint file, a folder, or an id of the Hugging Face hub (google/vit-base-patch16-224)"
        raise UnknownModelError("model", name, torchvision.MODELS, remedy)
    for field, value in (("weights", request.weights), ("checkpoint", request.checkpoint)):
        if value is not None:
            raise UsageError(option(field), f"does not go with {name}, which brings its weights", "leave it out")
    if exists and path.is_dir():
        return _of_repository(Folder(path), request.heads, progress)
    if repository:
        return _of_repository(Hub(repository, progress), request.heads, progress)
    return _of_file(path, request.heads, progress)


def repository_of(model: str, progress: Progress) -> Repository | None:
    """Gives the folder or the hub's repository of a name; None for torchvision's names, and for files.

    Raises:
        UnknownModelError: it is one of timm's names without its tag.
    """
    if model in torchvision.MODELS:
        return None
    path = Path(model)
    if os.path.exists(path):  # noqa: PTH110 - unlike Path.exists it takes names too long for a file
        return Folder(path) if path.is_dir() else None
    repository = _on_the_hub(model)
    return None if repository is None else Hub(repository, progress)


def model_name(model: str) -> str:
    """Gives the name for a model's export: the model's name without folders, owner, or a checkpoint file's suffix.

    A dot in a hub id begins no suffix: `timm/vit_base_patch16_224.augreg_in21k`.
    """
    path = Path(model)
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir it takes names too long for a file
        return path.resolve().name
    exists = os.path.exists(path)  # noqa: PTH110 - as above
    if not exists and (repository := _on_the_hub(model)):
        return repository.partition("@")[0].rpartition("/")[2]
    return path.stem


def _on_the_hub(name: str) -> str | None:
    """Gives the hub's id if the name may be one; None if the name looks like a file."""
    for prefix in _HUB_PREFIXES:
        name = name.removeprefix(prefix)
    if Path(name).suffix.lower() in _FILE_SUFFIXES:
        return None
    if _TIMM_NAME.fullmatch(name):
        if "." not in name:
            raise UnknownModelError(
                "model",
                name,
                torchvision.MODELS,
                f"timm's need their tag: timm/{name}.augreg2_in21k_ft_in1k, for example",
            )
        return f"timm/{name}"
    if not _HUB_ID.fullmatch(name):
        return None
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, not in its __all__

    try:
        validate_repo_id(name.partition("@")[0])
    except HFValidationError:
        return None
    return name


def _of_torchvision(request: ExportRequest, progress: Progress) -> Checkpoint:
    if request.checkpoint is not None:
        path = Path(request.checkpoint)
        progress.stage(f"reading {path.name}")
        return torchvision.read_file(path, read_state_dict(path), model=request.name)
    if request.weights == RANDOM_WEIGHTS:
        return torchvision.read_random(request.name, request.seed or 0, progress)
    return torchvision.read_published(request.name, request.weights, progress)


def _of_repository(repository: Repository, heads: int | None, progress: Progress) -> Checkpoint:
    config = read_json(repository, CONFIG)
    if not {"model_type", "architecture"} & set(config or ()):
        theirs = read_json(repository, OPEN_CLIP)
        if theirs is not None:
            return open_clip.read_repository(repository, theirs, progress)
    if config is None:
        raise CheckpointError(
            repository.where, f"has no {CONFIG}", "give the folder that holds it, or the file of weights itself"
        )
    if "model_type" in config:
        return model_types.read_repository(repository, config, progress)
    if "architecture" in config:
        return timm.read_repository(repository, config, progress, heads=heads)
    raise CheckpointError(
        f"{repository.where}/{CONFIG}",
        "is neither Hugging Face's (model_type) nor timm's (architecture)",
        "give another",
    )


def _of_file(path: Path, heads: int | None, progress: Progress) -> Checkpoint:
    progress.stage(f"reading {path.name}")
    state = read_state_dict(path)
    if SIGN["timm"] in state:
        return timm.read_file(path, state, heads=heads)
    if SIGN["open_clip"] in state:
        return open_clip.read_file(path, state, heads=heads)
    if is_huggingface(state):
        raise CheckpointError(
            path, "has Hugging Face's names, which need their config.json", "give the folder with both"
        )
    return torchvision.read_file(path, state, heads=heads)
