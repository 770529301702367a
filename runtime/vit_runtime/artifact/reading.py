"""Reads the metadata of an artifact, and refuses a file that is no artifact, unfinished, or incomplete."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NoReturn

from vit_runtime.artifact import codec
from vit_runtime.artifact.digest import DIGEST_KEY
from vit_runtime.artifact.document import FORMAT_VERSION, METADATA_KEY, Artifact
from vit_runtime.artifact.external_tensors import check_tensors, check_weights_file
from vit_runtime.artifact.onnx_file import read_metadata
from vit_runtime.errors import ArtifactError


def read_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Reads and checks what an artifact says about itself, without loading its weights.

    Raises:
        ArtifactError: the file does not exist, is no ONNX file, or has no vit-edge metadata; the metadata is broken or
            of an unknown format version; the file of weights is missing or of another size; or tensors lie elsewhere
            than the metadata says.
    """
    path = as_path(path)
    artifact = read_document(path)
    check_tensors(path, artifact.external_data)
    return artifact


def read_document(path: Path) -> Artifact:
    """Reads what an artifact says about itself without a look at its graph: `check_tensors` comes before any engine.

    Raises:
        ArtifactError: as `read_artifact`, but for the tensors.
    """
    metadata = read_metadata(path)
    if METADATA_KEY not in metadata:
        raise ArtifactError(
            path,
            "an ONNX file without vit-edge metadata",
            "export the model with vit-export, not another tool",
        )
    artifact = _parse_document(metadata[METADATA_KEY], path)
    if DIGEST_KEY not in metadata:
        raise ArtifactError(path, "incomplete: it ends before its digest", "copy or export the file again")
    check_weights_file(path, artifact.external_data)
    return artifact


def as_path(path: str | os.PathLike[str]) -> Path:
    """Turns the path of an artifact into a `Path`.

    Raises:
        ArtifactError: the value is no path.
    """
    try:
        return Path(path)
    except TypeError:
        raise ArtifactError(repr(path)[:80], "is no path", "give a str or a pathlib.Path") from None


def _parse_document(text: str, path: Path) -> Artifact:
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(path, f"its metadata is no JSON ({error})", "export it again") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        older = isinstance(version, int) and version < FORMAT_VERSION
        raise ArtifactError(
            path,
            f"has format version {repr(version)[:40]}, and this vit-edge reads version {FORMAT_VERSION}",
            "export the model again" if older else "upgrade vit-edge on this machine, or export the model again",
        )
    try:
        return codec.decode(Artifact, document, METADATA_KEY)
    except codec.SchemaError as error:
        raise ArtifactError(path, f"its metadata is broken: {error}", "export it again") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON's")
