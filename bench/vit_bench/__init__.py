"""Measures artifacts against PyTorch."""

from vit_runtime import __version__

__all__ = ["__version__"]
