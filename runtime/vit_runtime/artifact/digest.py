"""The digest that tells a damaged artifact from a sound one.

`vit-export` ends each file with a metadata entry that holds the SHA-256 of all bytes in front of it, so that graph,
weights and metadata are covered. The digest finds damage, not a forger, who would write a new digest.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vit_runtime.artifact.onnx_file import METADATA_FIELD, open_onnx, read_metadata
from vit_runtime.artifact.protobuf import LENGTH_DELIMITED
from vit_runtime.errors import ArtifactError
from vit_runtime.files import file_sha256

if TYPE_CHECKING:
    from vit_runtime.artifact import ExternalData

DIGEST_KEY: Final = "vit_edge_sha256"
_SHA256: Final = re.compile("[0-9a-f]{64}")
_REMEDY: Final = "copy or export it again"


def digest_entry(sha256: str) -> bytes:
    """Gives the digest's entry for the end of a file: a field of `ModelProto` with key and value, in this order."""
    key, value = DIGEST_KEY.encode(), sha256.encode()
    pair = b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value
    return bytes([METADATA_FIELD << 3 | LENGTH_DELIMITED, len(pair)]) + pair


def stored_digest(path: Path) -> str:
    """Gives the digest that a file carries, in hexadecimal, without reading the whole file to compare it.

    Raises:
        ArtifactError: the file cannot be read, or carries none.
    """
    stored = read_metadata(path).get(DIGEST_KEY, "")
    if not _SHA256.fullmatch(stored):
        raise ArtifactError(path, "carries no digest: changed since it was exported", _REMEDY)
    return stored


def check_digest(path: Path, external_data: ExternalData | None) -> None:
    """Compares a file, and the file of weights beside it, with the digests that were written when it was made.

    Raises:
        ArtifactError: they differ, or there is no digest: the file was damaged, or changed by another program.
    """
    if (problem := digest_problem(path, external_data)) is not None:
        raise problem


def digest_problem(path: Path, external_data: ExternalData | None) -> ArtifactError | None:
    """Gives the error for a file that differs from its digests; None for a file that matches them.

    Raises:
        ArtifactError: a file cannot be read.
    """
    with open_onnx(path) as file:
        stored, last = file.metadata.get(DIGEST_KEY, ""), file.fields[-1]
        # Compared byte by byte, because a decoder would take several spellings of the same entry.
        if not _SHA256.fullmatch(stored) or file.data.read(last.begin, last.end) != digest_entry(stored):
            return ArtifactError(path, "does not end with its digest: changed since it was exported", _REMEDY)
    found = sha256_of(path, last.begin)
    if found != stored:
        return _changed(path, found, stored)
    if external_data is None:
        return None
    weights = path.parent / external_data.file
    digest = sha256_of(weights)
    return None if digest == external_data.sha256 else _changed(weights, digest, external_data.sha256)


def sha256_of(path: Path, size: int | None = None) -> str:
    """Gives the SHA-256 of a file, or of its first `size` bytes, in hexadecimal.

    Raises:
        ArtifactError: the file cannot be read.
    """
    try:
        return file_sha256(path, size)
    except OSError as error:
        raise ArtifactError(path, f"cannot be read ({error.strerror})", "copy it again") from error


def _changed(path: Path, found: str, stored: str) -> ArtifactError:
    what = f"damaged or changed since it was exported: its SHA-256 is {found[:12]}..., and {stored[:12]}... belongs"
    return ArtifactError(path, what, _REMEDY)
