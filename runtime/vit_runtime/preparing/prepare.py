"""`prepare`: makes the copy of a model file that starts quickly and shares its memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from vit_runtime.artifact import Artifact, as_path, read_artifact
from vit_runtime.artifact.digest import check_digest, stored_digest
from vit_runtime.cache.copies import make_copy, making_copy, read_record
from vit_runtime.cache.folder import cache_folder
from vit_runtime.devices.copying import circumstances
from vit_runtime.errors import OutputFileError, ProviderError

_TIMES_AS_LARGE: Final = 2.05
"""Size of a copy over that of its file: plain and packed weights, and some alignment (docs/log.md)."""
_PATIENCE: Final = 1800.0
"""Seconds that it may take: a slow card writes 10 MB in one."""
_SPARE_BYTES: Final = 32 << 20
"""What is left free on the disk."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model file's copy in the cache folder."""

    folder: Path
    bytes: int
    """What it takes on the disk."""
    is_new: bool
    """Whether it was made now; else it was there and is still right."""


def prepare(path: str | os.PathLike[str]) -> Prepared:
    """Makes a copy of a model file that the CPU provider maps from now on, unless there is one already.

    The first answer comes sooner then, less memory is used, and processes with the same file share it. The copy
    takes twice the file's size in the user's cache folder, and belongs to this processor and this onnxruntime.

    Args:
        path: the .onnx file; above 2 GB its weights lie beside it as .onnx.data.

    Raises:
        ArtifactError: the file is missing, damaged, or no vit-edge artifact of a known version.
        OutputFileError: the cache folder takes no files, or has too little room.
        ProviderError: this onnxruntime cannot prepare a file, or the copy fails the file's self-test.
        MissingDependencyError: no onnxruntime is installed.
    """
    from datetime import date  # these take 7 ms, which `import vit_runtime` does without

    from vit_runtime.devices.room import check_memory_to_prepare

    path = as_path(path)
    artifact = read_artifact(path)
    check_digest(path, artifact.external_data)
    digest, now = stored_digest(path), circumstances()
    with making_copy(digest, now) as there:
        if there.folder is not None:
            return Prepared(folder=there.folder, bytes=read_record(there.folder).bytes, is_new=False)
        check_memory_to_prepare(path)
        _check_room(path, artifact)
        folder, record = make_copy(digest, path, now, partial(_make, path), date=date.today().isoformat())
    return Prepared(folder=folder, bytes=record.bytes, is_new=True)


def _check_room(path: Path, artifact: Artifact) -> None:
    import shutil

    size = path.stat().st_size
    if artifact.external_data is not None:
        size += (path.parent / artifact.external_data.file).stat().st_size
    needed, free = int(size * _TIMES_AS_LARGE) + _SPARE_BYTES, shutil.disk_usage(cache_folder()).free
    if free < needed:
        found = f"a copy needs {needed // 1_000_000:,} MB here, and {free // 1_000_000:,} MB are free"
        raise OutputFileError(cache_folder(), found, "free some room, or name another folder by VIT_EDGE_CACHE")


def _make(path: Path, folder: Path) -> bool:
    """Has a process of its own make a copy in a folder, and try it; says whether it wants exact int8 kernels.

    Raises:
        ProviderError: it crashed or failed.
    """
    from vit_runtime.devices.child import Child, ChildError  # 4 ms, which `import vit_runtime` does without

    child = Child("vit_runtime.preparing.worker", _PATIENCE)
    try:
        return child.ask([str(path.absolute()), str(folder)]) is True
    except ChildError as error:
        remedy = "install the newest onnxruntime, or use the file without a copy"
        raise ProviderError(path, f"no copy can be prepared: {error}", remedy) from error
    finally:
        child.close()
