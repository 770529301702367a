"""Checks that the packages of the `export` extra are there, before any of them is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vit_runtime.errors import MissingDependencyError, VitEdgeError, one_line

_PACKAGES: Final = ("torch", "torchvision", "onnx", "safetensors", "huggingface_hub")
FITTING: Final = ("onnx", "sklearn")
"""What a new head for an artifact needs."""
_INSTALLED_AS: Final = {"sklearn": "scikit-learn"}


def require_export_extra(packages: Sequence[str] = _PACKAGES) -> None:
    """Imports packages of the extra: by default those that every export needs.

    Raises:
        MissingDependencyError: a package is not installed.
        VitEdgeError: a package is installed but does not load.
    """
    for package in packages:
        name = _INSTALLED_AS.get(package, package)
        try:
            __import__(package)
        except ImportError as error:
            if error.name != package:
                raise VitEdgeError(name, f"does not load ({one_line(error)})", "install it again") from error
            raise MissingDependencyError(name, "vit-edge[export,cpu]") from None
