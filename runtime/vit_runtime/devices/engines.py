"""Engines that providers compile from a file, kept in the user's cache folder so that the next start is quick.

A provider does not look closely at what it kept: OpenVINO computes wrong answers from a damaged engine without a word
(docs/log.md). So a list of SHA-256 digests lies beside the engines, and what differs from it is compiled again.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vit_runtime.devices.cache_folder import cache_folder
from vit_runtime.files import atomic_write

_LIST: Final = "digests.json"
_LARGEST_LIST: Final = 1 << 16
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Engines:
    """Where the engines of one model file are kept, and what providers have to know to compile them in advance."""

    folder: Path
    image_hw: tuple[int, int]
    """Height and width of the pixels that the model takes."""


@dataclass(frozen=True, kw_only=True)
class EngineFolder:
    """The folder for one provider's engines of one file."""

    path: Path | None
    """None where nothing can be kept."""
    note: str
    """What a user should know about it; mostly empty."""


def engine_folder(engines: Engines, provider: str, version: str) -> EngineFolder:
    """Makes ready the folder for a provider's engines: damaged ones and those of other versions are gone.

    Args:
        engines: the model file's folder.
        provider: the provider's name, with the kind of device.
        version: what the engines depend on besides the file and the provider's options.
    """
    import hashlib  # loads OpenSSL, which only engines need

    own = engines.folder / provider.replace(":", "-") / hashlib.sha256(version.encode()).hexdigest()[:16]
    try:
        for other in own.parent.glob("*"):
            if other != own:
                shutil.rmtree(other, ignore_errors=True)
        own.mkdir(parents=True, exist_ok=True)
        sound = _listed(own) == _digests(own)
        if not sound:
            shutil.rmtree(own)
            own.mkdir()
        # A folder that takes no files is known before the provider stumbles over it.
        (probe := own / ".probe").touch()
        probe.unlink()
    except OSError as error:
        note = f"{provider} keeps nothing for a quicker start ({own}: {error.strerror})"
        return EngineFolder(path=None, note=note)
    note = "" if sound else f"what {provider} had kept for a quicker start was damaged: made again"
    return EngineFolder(path=own, note=note)


def keeps_engine(folder: Path, provider: str) -> bool:
    """Whether a provider has kept anything for a model file, whose folder this is."""
    return any(path.is_file() for path in (folder / provider.replace(":", "-")).rglob("*"))


def engines_of(digest: str) -> Path:
    """The folder for the engines of the model file that carries a digest."""
    return cache_folder() / "engines" / digest[:32]


def seal(folder: Path) -> None:
    """Writes the digests of a folder's engines, if some are new; on a full disk they go without, as if damaged."""
    with contextlib.suppress(OSError):
        if (digests := _digests(folder)) != _listed(folder):
            with atomic_write(folder / _LIST) as file:
                file.write(json.dumps(digests).encode())


def _listed(folder: Path) -> dict[str, str]:
    """The digests by file name as they were written; empty where there are none, or where that list is damaged."""
    try:
        with (folder / _LIST).open("rb") as file:
            listed = json.loads(file.read(_LARGEST_LIST))
    except (OSError, ValueError, RecursionError):
        return {}
    return listed if isinstance(listed, dict) else {}


def _digests(folder: Path) -> dict[str, str]:
    """The digests by file name as they are."""
    import hashlib

    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != _LIST and path.is_file():
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
            found[path.name] = digest.hexdigest()
    return found
