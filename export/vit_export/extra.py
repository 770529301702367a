"""Checks that the packages of the `export` extra are there, before any of them is needed."""

from __future__ import annotations

from typing import Final

from vit_runtime.errors import MissingDependencyError, VitEdgeError, one_line

_PACKAGES: Final = ("torch", "torchvision", "onnx", "safetensors", "huggingface_hub")


def require_export_extra() -> None:
    """Imports the packages that every export needs.

    Raises:
        MissingDependencyError: a package is not installed.
        VitEdgeError: a package is installed but does not load.
    """
    for package in _PACKAGES:
        try:
            __import__(package)
        except ImportError as error:
            if error.name != package:
                raise VitEdgeError(package, f"does not load ({one_line(error)})", "install it again") from error
            raise MissingDependencyError(package, "vit-edge[export,cpu]") from None
