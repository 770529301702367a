"""Reads checkpoint files without running code that they may contain and without copying their weights."""

from __future__ import annotations

import argparse
import hashlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vit_export.errors import CheckpointError

StateDict = dict[str, torch.Tensor]

_WRAPPERS: Final = ("state_dict", "model_state_dict", "model_ema", "model")
"""Keys under which training scripts keep the weights beside the optimiser's state; the first that is there counts,
so averaged weights, whose accuracy is what scripts report, before those of the last step."""
_PREFIXES: Final = ("module.", "_orig_mod.", "model.")
"""What DistributedDataParallel, torch.compile and Lightning put in front of every name."""
_AVERAGED_MODELS: Final = "n_averaged"
"""The counter that torch.optim.swa_utils.AveragedModel keeps beside the weights."""
_HOW_TO_SAVE: Final = "save the weights alone: torch.save(model.state_dict(), 'weights.pth')"
_CODE: Final = re.compile(r"GLOBAL ((?:\w+\.)+\w+)\s")
"""How torch.load names the function or class that a pickle wants to call."""
_CHUNK: Final = 1 << 20


def read_state_dict(path: Path) -> StateDict:
    """Reads a state dict from .safetensors, or from PyTorch's format with `weights_only=True`.

    The tensors are mapped into memory, not read. Wrappers and prefixes of common training scripts are taken off.

    Raises:
        CheckpointError: the file is missing, empty, damaged, holds no state dict, or would have to run code.
    """
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise CheckpointError(path, "no such file", "give a checkpoint, or a name from: vit-export --list") from None
    except IsADirectoryError:
        raise CheckpointError(path, "is a folder, not a checkpoint file", "name the file in it") from None
    except OSError as error:
        raise CheckpointError(path, f"cannot be read ({error.strerror})", "give a file that you may read") from error
    if empty:
        raise CheckpointError(path, "empty file", "copy or save it again")
    loaded = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path)
    return _without_prefixes(_unwrapped(loaded, path))


def sha256(*paths: Path) -> str:
    """Digest of the bytes of one file, or of several one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path, f"damaged or no safetensors file ({error})", "copy or save it again") from error


def _read_pickle(path: Path) -> object:
    try:
        # torchvision's own training script saves its arguments, a plain Namespace, beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols, which is torch.load's concern
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except MemoryError:
        raise
    except Exception as error:  # an unpickler that reads a file of another kind raises anything
        if needs := _CODE.search(str(error)):
            raise CheckpointError(
                path,
                f"holds more than weights and would run code when read ({needs.group(1)}), so it was not",
                f"load it where you trust it, and {_HOW_TO_SAVE}",
            ) from error
        raise CheckpointError(path, "damaged or no PyTorch checkpoint", f"copy it again, or {_HOW_TO_SAVE}") from error


def _unwrapped(loaded: object, path: Path) -> StateDict:
    if isinstance(loaded, Mapping):
        for wrapper in _WRAPPERS:
            if isinstance(loaded.get(wrapper), Mapping):
                return _unwrapped(loaded[wrapper], path)
        tensors = {
            name: value for name, value in loaded.items() if isinstance(name, str) and isinstance(value, torch.Tensor)
        }
        if tensors:
            return tensors
    raise CheckpointError(path, "holds no state dict", _HOW_TO_SAVE)


def _without_prefixes(state: StateDict) -> StateDict:
    state = {name: tensor for name, tensor in state.items() if name != _AVERAGED_MODELS}
    for prefix in _PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            return _without_prefixes({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    return state
