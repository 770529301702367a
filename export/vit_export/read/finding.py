"""Where models come from: one file a family of checkpoints, and here what is what."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from vit_export.errors import CheckpointError, UnknownModelError
from vit_export.progress import Progress, Silent
from vit_export.read import huggingface, timm, torchvision
from vit_export.read.loaded import LoadedModel
from vit_export.read.repository import CONFIG, Folder, Hub, Repository, read_json
from vit_export.read.state_dict import read_state_dict
from vit_export.read.timm_config import ARCHITECTURE
from vit_export.request import ExportRequest
from vit_runtime.errors import UsageError, option

_TIMM_NAME: Final = re.compile(rf"{ARCHITECTURE.pattern}(\.\w+)?")
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_HUB_PREFIXES: Final = ("hf-hub:", "hf_hub:")
"""What timm puts in front of a repository's name."""
_FILE_SUFFIXES: Final = (".pth", ".pt", ".bin", ".safetensors", ".ckpt")
_HUGGING_FACE_NAME: Final = "embeddings.patch_embeddings.projection.weight"


def load(request: ExportRequest, progress: Progress) -> LoadedModel:
    """Finds out what `request.model` is, and loads it.

    torchvision's names, files and folders come before names that the hub might have.

    Raises:
        VitEdgeError: of `vit_export.errors`, for whatever cannot be found, does not fit or is not supported.
    """
    name = request.name
    if name in torchvision.MODELS:
        return torchvision.load_named(request, progress)
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
        return _from_repository(request, Folder(path), progress)
    if repository:
        return _from_repository(request, Hub(repository, progress), progress)
    return _from_file(request, path, progress)


def model_name(model: str) -> str:
    """What to call the export of a model: its name without folders, owner, and a checkpoint file's suffix.

    A hub id's dots are no suffix: `timm/vit_base_patch16_224.augreg_in21k`.
    """
    path = Path(model)
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir it takes names too long for a file
        return path.resolve().name
    exists = os.path.exists(path)  # noqa: PTH110 - as above
    if not exists and (repository := _on_the_hub(model)):
        return repository.partition("@")[0].rpartition("/")[2]
    return path.stem


def files(model: str) -> Path:
    """Where a model's files lie, after `load`: the file of weights, or the folder with `config.json`.

    A repository of the hub is a folder of the hub's cache then, with what `load` has fetched.

    Raises:
        DownloadError: the cache has lost them in between, and they cannot be fetched again.
        CheckpointError: it has no `config.json`.
    """
    path = Path(model)
    exists = os.path.exists(path)  # noqa: PTH110 - as above
    repository = None if exists else _on_the_hub(model)
    if repository is None:
        return path
    config = Hub(repository, Silent()).find(CONFIG)
    if config is None:
        raise CheckpointError(repository, f"has no {CONFIG}", "fetch it again")
    return config.parent


def _on_the_hub(name: str) -> str | None:
    """The hub's id for a name that may be one; None for what looks like a file."""
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


def _from_repository(request: ExportRequest, repository: Repository, progress: Progress) -> LoadedModel:
    config = read_json(repository, CONFIG)
    if config is None:
        raise CheckpointError(
            repository.where, f"has no {CONFIG}", "give the folder that holds it, or the file of weights itself"
        )
    if "model_type" in config:
        if request.heads is not None:
            raise UsageError(option("heads"), f"{CONFIG} says how many there are", "leave it out")
        return huggingface.load(request, repository, config, progress)
    if "architecture" in config:
        return timm.load(request, repository, config, progress)
    raise CheckpointError(
        f"{repository.where}/{CONFIG}",
        "is neither Hugging Face's (model_type) nor timm's (architecture)",
        "give another",
    )


def _from_file(request: ExportRequest, path: Path, progress: Progress) -> LoadedModel:
    progress.stage(f"reading {path.name}")
    state = read_state_dict(path)
    if timm.SIGN in state:
        return timm.load_file(request, path, state, progress)
    if any(name.endswith(_HUGGING_FACE_NAME) for name in state):
        raise CheckpointError(
            path, "has Hugging Face's names, which need their config.json", "give the folder with both"
        )
    return torchvision.load_file(request, path, state, progress)
