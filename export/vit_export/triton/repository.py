"""Puts an artifact into a model repository of Triton: a folder for each model, which appears complete or not at all.

```
REPOSITORY/NAME/config.pbtxt
                labels.txt                    where the artifact has labels
                1/model.onnx                  the artifact, byte for byte
                1/model.onnx/model.onnx       the same above 2 GB: then Triton wants a folder
                1/model.onnx/NAME.onnx.data   and the weights, under the name that the artifact gives them
```
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final

from vit_export.places import check_takes_files
from vit_export.triton.config import LABELS, config_text
from vit_runtime.artifact import Artifact, as_path, read_artifact
from vit_runtime.artifact.digest import check_digest, stored_digest
from vit_runtime.errors import OutputFileError, option
from vit_runtime.files import blame, staging_folder

MODEL: Final = "model.onnx"
"""The name by which the backend looks for a model."""
CONFIG: Final = "config.pbtxt"
_LINE_BREAK: Final = re.compile(r"\r\n|[\r\n]")


def served_name(path: Path) -> str:
    """Gives the name that a file's model has on the server: the file's own, in letters, digits, `_` and `-`.

    >>> served_name(Path("models/vit_b_16.int8.onnx"))
    'vit_b_16_int8'
    """
    return re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)


def check_repository(repository: Path, name: str, *, force: bool) -> Path:
    """Gives the folder of a model in a repository, after a look whether it may be written.

    A repository that is there may hold other models, and nothing else.

    Raises:
        OutputFileError: the repository is none, or has this model already and it may not be replaced.
    """
    elsewhere = f"choose another {option('repository')}"
    model = repository / name
    with blame(repository, elsewhere):
        if repository.exists():
            if not repository.is_dir():
                raise OutputFileError(repository, "is no folder", elsewhere)
            if strange := [entry.name for entry in sorted(repository.iterdir()) if not _may_stay(entry)]:
                what = f"is not empty, and no model repository of Triton: it has '{strange[0]}'"
                raise OutputFileError(repository, what, elsewhere)
        if os.path.lexists(model) and not force:
            remedy = f"add {option('force', value=True)} to replace it, or {elsewhere}"
            raise OutputFileError(model, "exists already", remedy)
        check_takes_files(model, elsewhere)
    return model


def write_repository(path: str | os.PathLike[str], repository: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Writes an artifact's model into a repository, and gives its folder there; other models stay as they are.

    Args:
        path: the .onnx file.
        repository: the folder that `tritonserver --model-repository` is given; it is made where there is none.
        force: whether to replace a model of the same name.

    Raises:
        ArtifactError: the file is missing, damaged, or no vit-edge artifact of a known version.
        OutputFileError: the folder is no repository, has the model already, or cannot be written.
    """
    path = as_path(path)
    artifact = read_artifact(path)
    destination = check_repository(Path(repository), served_name(path), force=force)
    check_digest(path, artifact.external_data)
    elsewhere = f"choose another {option('repository')}"
    with blame(destination, elsewhere):
        destination.parent.mkdir(parents=True, exist_ok=True)
    with staging_folder(destination, elsewhere) as staging, blame(destination, elsewhere):
        model = staging / destination.name
        _fill(model, path, artifact)
        _publish(model, destination, staging / "replaced")
    return destination


def _fill(model: Path, path: Path, artifact: Artifact) -> None:
    """Writes the files of a model into a new folder."""
    (model / "1").mkdir(parents=True)
    (model / CONFIG).write_text(config_text(artifact, model.name, stored_digest(path)), encoding="utf-8")
    if artifact.labels is not None:
        (model / LABELS).write_bytes(_label_lines(artifact.labels))
    file = model / "1" / MODEL
    if artifact.external_data is not None:
        file.mkdir()
        shutil.copyfile(path.with_name(artifact.external_data.file), file / artifact.external_data.file)
        file /= MODEL
    shutil.copyfile(path, file)


def _label_lines(labels: tuple[str, ...]) -> bytes:
    """A label a line; a line break inside of one would shift those behind it, and becomes a space."""
    return "".join(f"{_LINE_BREAK.sub(' ', label)}\n" for label in labels).encode()


def _publish(model: Path, destination: Path, replaced: Path) -> None:
    """Moves a finished folder to its place; what is there moves out of it first, and comes back if that fails."""
    if not os.path.lexists(destination):
        model.rename(destination)
        return
    try:
        destination.rename(replaced)
        model.rename(destination)
    except BaseException:  # Ctrl-C, too
        if os.path.lexists(replaced) and not os.path.lexists(destination):
            replaced.rename(destination)
        raise


def _may_stay(entry: Path) -> bool:
    """Whether an entry of a folder is a model's folder, or hidden, as version control keeps its own."""
    if entry.name.startswith("."):
        return True
    if not entry.is_dir():
        return False
    return (entry / CONFIG).is_file() or any(each.name.isdigit() and each.is_dir() for each in entry.iterdir())
