"""Engines that providers compile from a file, kept in the user's cache folder so that the next start is quick.

A provider does not look closely at what it kept: OpenVINO computes wrong answers from a damaged engine without a word
(docs/log.md). So a list of SHA-256 digests lies beside the engines, and what differs from it is compiled again. This
finds damage, not a forger, who would write a new list.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vit_runtime.cache.folder import ENGINES, cache_folder, make_folder
from vit_runtime.cache.lock import locked
from vit_runtime.cache.trust import why_untrusted
from vit_runtime.files import atomic_write, file_sha256

LOG: Final = logging.getLogger("vit_runtime")
"""Tells what takes long before it does; whoever owns the process decides who hears it."""
_LIST: Final = "digests.json"
_LARGEST_LIST: Final = 1 << 20


def engine_folder(digest: str) -> Path:
    """The folder for all engines of the model file that carries a digest."""
    return cache_folder() / ENGINES / digest[:32]


@dataclass(frozen=True, kw_only=True)
class EngineFolder:
    """The folder for one provider's engines of one file."""

    path: Path | None
    """None where nothing can be kept."""
    note: str
    """What a user should know about it; mostly empty."""


NO_ENGINES: Final = EngineFolder(path=None, note="")


@contextlib.contextmanager
def kept_engines(engines: Path, provider: str, version: str, *, slow: bool) -> Iterator[EngineFolder]:
    """Holds the folder for a provider's engines while a session is made from it.

    Other processes that load the same file wait meanwhile. What is damaged is gone when the block begins. When the
    block ends well, the engines get their list.

    Args:
        engines: the model file's folder.
        provider: the provider's name, with the kind of device.
        version: what the engines depend on besides the file and the provider's options.
        slow: whether compiling takes so long that it should be announced.
    """
    import hashlib  # loads OpenSSL, which only engines need

    own = engines / provider.replace(":", "-") / hashlib.sha256(version.encode()).hexdigest()[:16]
    with contextlib.ExitStack() as held:
        try:
            make_folder(own)
            held.enter_context(locked(engines))
            note = _cleared(own, provider)
        except OSError as error:
            reason = error.strerror or error
            yield EngineFolder(path=None, note=f"{provider} keeps nothing for a quicker start ({own}: {reason})")
            return
        begin = time.monotonic()
        if is_slow_now := slow and not any(own.iterdir()):
            LOG.info("%s compiles this file now, which can take minutes; the next start is quick", provider)
        yield EngineFolder(path=own, note=note)
        _seal(own)
        if is_slow_now:
            LOG.info("compiled in %.0f s", time.monotonic() - begin)


def _cleared(folder: Path, provider: str) -> str:
    """Empties a folder whose engines are not as they were listed, and says so.

    Raises:
        OSError: the folder cannot be read or emptied, or others may write to it.
    """
    if problem := why_untrusted(folder):
        raise OSError(problem)
    listed, found = _listed(folder), _digests(folder)
    if listed == found or not (listed or found):
        return ""
    import shutil

    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    # Without a list nothing was finished: the disk was full, or the process was ended.
    state = "was not complete" if listed is None else "was damaged"
    return f"what {provider} had kept for a quicker start {state}: made again"


def _seal(folder: Path) -> None:
    """Writes the digests of a folder's engines, if some are new; on a full disk they go without."""
    with contextlib.suppress(OSError):
        if (digests := _digests(folder)) != _listed(folder):
            with atomic_write(folder / _LIST) as file:
                file.write(json.dumps(digests).encode())


def _listed(folder: Path) -> dict[str, str] | None:
    """The digests by file name as they were written; None where there is no list, empty where the list is damaged."""
    try:
        with (folder / _LIST).open("rb") as file:
            listed = json.loads(file.read(_LARGEST_LIST))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return {}
    return listed if isinstance(listed, dict) else {}


def _digests(folder: Path) -> dict[str, str]:
    """The digests by file name as they are.

    Raises:
        OSError: a file cannot be read.
    """
    return {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / _LIST
    }
