"""Class names from a file."""

from __future__ import annotations

import os
from pathlib import Path

from torchvision.models import get_model_weights

from vit_export.errors import LabelsError
from vit_export.request import IMAGENET_LABELS, PathLike

_REMEDY = "give a text file with one class name a line"


def read_labels(labels: PathLike) -> tuple[str, ...]:
    """Reads one class name a line, in the order of the model's outputs.

    Args:
        labels: a text file in UTF-8, or "imagenet" for the names that torchvision gives ImageNet-1k's classes.

    Raises:
        LabelsError: the file is missing, is not UTF-8 text, or has an empty line.
    """
    if os.fspath(labels) == IMAGENET_LABELS:
        return tuple(get_model_weights("vit_b_16").DEFAULT.meta["categories"])
    names = _read_lines(Path(labels))
    if "" in names:
        raise LabelsError(labels, f"line {names.index('') + 1} is empty", _REMEDY)
    return tuple(names)


def check_labels(names: tuple[str, ...], classes: int, labels: PathLike) -> None:
    """Compares the number of names with the model's classes.

    Raises:
        LabelsError: the two numbers differ.
    """
    if len(names) != classes:
        raise LabelsError(labels, f"has {len(names)} names for {classes} classes", _REMEDY)


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LabelsError(path, f"cannot be read ({error.strerror})", _REMEDY) from error
    except UnicodeDecodeError as error:
        raise LabelsError(path, "is no UTF-8 text", "save it as plain text in UTF-8") from error
    return [line.strip() for line in text.rstrip().splitlines()]
