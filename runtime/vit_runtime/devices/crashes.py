"""Releases of onnxruntime that end the process on some processors, named before they do."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

from vit_runtime.devices.hardware import cpuinfo, processor_name
from vit_runtime.errors import ProviderError
from vit_runtime.installed import installed_version

_DOT_PRODUCT: Final = "asimddp"
"""What Linux calls the dot product among an ARM core's features."""
_CRASH_WITHOUT: Final = ("1.21.0",)
"""Releases that are built for it (onnxruntime's issue 23957). The extras leave them out, others may not."""


def check_release(root: Path = Path("/")) -> None:
    """Refuses to import an onnxruntime that would die by an illegal instruction.

    Args:
        root: the folder with Linux's `proc`.

    Raises:
        ProviderError: this one would.
    """
    if platform.machine() != "aarch64":
        return
    features = cpuinfo(root).get("Features", "").split()
    # Finding out the version takes 20 ms, so only the old cores that are at risk do it.
    if not features or _DOT_PRODUCT in features:
        return
    if (version := installed_version("onnxruntime")) in _CRASH_WITHOUT:
        what = f"crashes on this processor ({processor_name(root)}, which has no dot product)"
        raise ProviderError(f"onnxruntime {version}", what, f"run: pip install 'onnxruntime>=1.20,!={version}'")
