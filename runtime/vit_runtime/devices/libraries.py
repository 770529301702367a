"""Finds out whether an execution provider's library loads, before onnxruntime tries.

Where a library does not load, onnxruntime prints so to the error stream, from C++, and goes on with the CPU.
"""

from __future__ import annotations

import ctypes
import sys
import types
from pathlib import Path
from typing import Any

from vit_runtime.devices.providers import ExecutionProvider


def load_failure(runtime: Any, provider: ExecutionProvider) -> str:
    """Says why a provider's library does not load, in the linker's words; empty where it loads or there is none.

    Args:
        runtime: the onnxruntime module.
        provider: the provider of an accelerator; its short name is in the name of the library.
    """
    folder = Path(runtime.__file__).parent / "capi"
    suffix = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
    prefix = "" if sys.platform == "win32" else "lib"
    library = folder / f"{prefix}onnxruntime_providers_{provider.name}{suffix}"
    if not library.is_file():
        return ""
    if provider.needs_cuda and hasattr(runtime, "preload_dlls"):
        _find_cuda(runtime.preload_dlls)
    try:
        ctypes.CDLL(str(folder / f"{prefix}onnxruntime_providers_shared{suffix}"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return ""


def _find_cuda(preload_dlls: Any) -> None:
    """Runs onnxruntime's search for CUDA and cuDNN in the folders where pip puts them, and silences it.

    The search prints what it does not find; the linker says so as well, in one line. A copy of the function gets a
    silent `print`, since redirecting the stream of the whole process would lose what other threads print meanwhile.
    """
    if isinstance(preload_dlls, types.FunctionType):
        silent = {**preload_dlls.__globals__, "print": lambda *_, **__: None}
        copy = types.FunctionType(
            preload_dlls.__code__, silent, None, preload_dlls.__defaults__, preload_dlls.__closure__
        )
        copy.__kwdefaults__ = preload_dlls.__kwdefaults__
        preload_dlls = copy
    preload_dlls()
