"""Reads checkpoint files without running code that they may contain and without copying their weights."""

from __future__ import annotations

import argparse
import hashlib
import re
import stat
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file

from vit_export.errors import CheckpointError
from vit_export.read.torch_zip import packing
from vit_runtime.errors import one_line

StateDict = dict[str, torch.Tensor]

_WRAPPERS: Final = ("state_dict", "model_state_dict", "model_ema", "model")
"""Keys under which training scripts keep the weights beside the optimiser's state. The first one found counts: averaged
weights, whose accuracy scripts report, come before those of the last step."""
_PREFIXES: Final = ("module.", "_orig_mod.", "model.")
"""What DistributedDataParallel, torch.compile and Lightning put in front of every name."""
_AVERAGED_MODELS: Final = "n_averaged"
"""The counter that torch.optim.swa_utils.AveragedModel keeps beside the weights."""
_HOW_TO_SAVE: Final = "save the weights alone: torch.save(model.state_dict(), 'weights.pth')"
_ORDINARY: Final = "save the weights as they were before they were packed or quantized, in float32"
_CODE: Final = re.compile(r"GLOBAL ((?:\w+\.)*\w+)\s")
"""How torch.load names the function or class that a pickle wants to call."""
_CHUNK: Final = 1 << 20
_WEIGHTS: Final = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_COUNTERS: Final = (torch.int64,)
"""Dtypes of counters, which training keeps beside the weights; no reader takes a counter for a weight."""
_MOST_LAYERS_OF_WRAPPING: Final = 8
"""Limit for dictionaries in dictionaries, and for prefixes: scripts put two or three around each other."""
_MOST_SHARED: Final = 16
"""Limit for the size of all tensors together, as a multiple of the file's: where layers share weights it is a dozen."""


def read_state_dict(path: Path) -> StateDict:
    """Reads a state dict from .safetensors, or from PyTorch's format with `weights_only=True`.

    The tensors are mapped into memory, not read, where the file allows it. Wrappers and prefixes of common training
    scripts are taken off. The result holds ordinary tensors of floating-point numbers, or counters, together at most
    sixteen times as large as the file.

    Raises:
        CheckpointError: the file is missing, empty, damaged, holds no state dict, would have to run code, or has
            tensors of another kind.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise CheckpointError(path, "is a folder, not a checkpoint file", "name the file in it")
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device may never end
            raise CheckpointError(path, "is no ordinary file", "copy what it gives to one")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise CheckpointError(path, "no such file", "give a checkpoint, or a name from: vit-export --list") from None
    except OSError as error:
        raise CheckpointError(path, f"cannot be read ({error.strerror})", "give a file that you may read") from error
    if status.st_size == 0:
        raise CheckpointError(path, "empty file", "copy or save it again")
    if path.suffix.lower() == ".safetensors":
        loaded, room = _read_safetensors(path), path.stat().st_size
    else:
        packed = packing(path, _HOW_TO_SAVE)
        loaded, room = _read_pickle(path, mapped=packed.stored), packed.room
    state = _without_prefixes(_unwrapped(loaded, path))
    _check_tensors(state, path, room)
    return state


def sha256(*paths: Path) -> str:
    """Digest of the bytes of one file, or of several one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def described(tensor: torch.Tensor) -> str:
    """Describes a tensor that does not fit: its shape, and its dtype unless that is a weight's."""
    shape = str(tuple(tensor.shape))
    return shape if tensor.is_floating_point() else f"{shape} of {_dtype(tensor.dtype)}"


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises several classes for a dtype, size or kind it does not know
        what = f"damaged or no safetensors file ({one_line(error)})"
        raise CheckpointError(path, what, "copy or save it again") from error


def _read_pickle(path: Path, *, mapped: bool) -> object:
    try:
        # torchvision's own training script saves its arguments, a plain Namespace, beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of pickle protocols are torch.load's concern
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError as error:
        raise CheckpointError(path, "asks for more memory than there is", _HOW_TO_SAVE) from error
    except Exception as error:  # an unpickler may raise anything on a file of another kind
        if needs := _CODE.search(str(error)):
            raise CheckpointError(
                path,
                f"holds more than weights and would run code when read ({needs.group(1)}), so it was not",
                f"load it where you trust it, and {_HOW_TO_SAVE}",
            ) from error
        raise CheckpointError(path, "damaged or no PyTorch checkpoint", f"copy it again, or {_HOW_TO_SAVE}") from error


def _unwrapped(loaded: object, path: Path) -> StateDict:
    for _ in range(_MOST_LAYERS_OF_WRAPPING):
        if not isinstance(loaded, Mapping):
            break
        inner = (loaded[wrapper] for wrapper in _WRAPPERS if isinstance(loaded.get(wrapper), Mapping))
        if (wrapped := next(inner, None)) is not None:
            loaded = wrapped
            continue
        tensors = {
            name: value for name, value in loaded.items() if isinstance(name, str) and isinstance(value, torch.Tensor)
        }
        if tensors:
            return tensors
        break
    raise CheckpointError(path, "holds no state dict", _HOW_TO_SAVE)


def _without_prefixes(state: StateDict) -> StateDict:
    for _ in range(_MOST_LAYERS_OF_WRAPPING):
        state = {name: tensor for name, tensor in state.items() if name != _AVERAGED_MODELS}
        common = (prefix for prefix in _PREFIXES if state and all(name.startswith(prefix) for name in state))
        if (prefix := next(common, None)) is None:
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _check_tensors(state: StateDict, path: Path, room: int) -> None:
    """Checks that all are ordinary tensors of floating-point numbers, and limits their size by what the file holds.

    A tensor can be a view that repeats a few numbers as often as it likes, and tensors can share their numbers. Such
    tensors would fill memory and disk when they are copied.
    """
    needed = 0
    for name, tensor in state.items():
        if (problem := _problem(tensor)) is not None:
            raise CheckpointError(path, f"{name[:80]} {problem}", _ORDINARY)
        needed += tensor.numel() * tensor.element_size()
    if needed > _MOST_SHARED * room:
        what = f"its tensors need {needed:,} bytes, of which it holds {room:,}: they overlap"
        raise CheckpointError(path, what, _HOW_TO_SAVE)


def _problem(tensor: torch.Tensor) -> str | None:
    if tensor.layout is not torch.strided or tensor.is_nested:
        return f"is a {'nested' if tensor.is_nested else 'sparse'} tensor, where an ordinary one belongs"
    if tensor.dtype not in (*_WEIGHTS, *_COUNTERS):
        return f"is of {_dtype(tensor.dtype)}, where weights are one of {', '.join(map(_dtype, _WEIGHTS))}"
    if tensor.device.type != "cpu":
        return f"has no values (device {tensor.device.type})"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "repeats its numbers"
    return None
