"""Whether the library of an execution provider loads, asked before onnxruntime tries.

onnxruntime prints to the error stream what does not load, from C++, and goes on with the CPU.
"""

from __future__ import annotations

import ctypes
import sys
import types
from pathlib import Path
from typing import Any

from vit_runtime.devices.providers import ExecutionProvider


def load_failure(runtime: Any, provider: ExecutionProvider) -> str:
    """Why a provider's library does not load, in the linker's words; empty where it does, or has none of its own.

    Args:
        runtime: the onnxruntime module.
        provider: an accelerator's; the library is called after its short name.
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
    """Runs onnxruntime's search for CUDA and cuDNN where pip has put them.

    It prints what it does not find, which the linker says as well, in one line. A copy of the function gets a `print`
    that is silent: turning the stream of the whole process away would lose what other threads print meanwhile.
    """
    if isinstance(preload_dlls, types.FunctionType):
        silent = {**preload_dlls.__globals__, "print": lambda *_, **__: None}
        copy = types.FunctionType(
            preload_dlls.__code__, silent, None, preload_dlls.__defaults__, preload_dlls.__closure__
        )
        copy.__kwdefaults__ = preload_dlls.__kwdefaults__
        preload_dlls = copy
    preload_dlls()
