"""Reads the metadata of an artifact, and refuses a file that is no artifact, unfinished, or incomplete."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NoReturn, TypeVar

from vit_runtime.artifact import codec
from vit_runtime.artifact.digest import DIGEST_KEY
from vit_runtime.artifact.document import FORMAT_VERSION, METADATA_KEY, Artifact
from vit_runtime.artifact.external_tensors import check_tensors, check_weights_file
from vit_runtime.artifact.onnx_file import read_metadata
from vit_runtime.artifact.text_document import TEXT_FORMAT_VERSION, TEXT_KEY, TextArtifact
from vit_runtime.errors import ArtifactError

_Document = TypeVar("_Document", Artifact, TextArtifact)


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
    if METADATA_KEY not in metadata and TEXT_KEY in metadata:
        remedy = "give it to vit-run search as --text, or to vit_runtime.load_text"
        raise ArtifactError(path, "reads texts, not pictures: it is a text tower", remedy)
    artifact = _parse_document(Artifact, metadata, METADATA_KEY, FORMAT_VERSION, path)
    check_weights_file(path, artifact.external_data)
    return artifact


def read_text_artifact(path: str | os.PathLike[str]) -> TextArtifact:
    """Reads and checks what a text tower's file says about itself, without loading its weights.

    Raises:
        ArtifactError: as `read_artifact`; or the file reads pictures.
    """
    path = as_path(path)
    artifact = read_text_document(path)
    check_tensors(path, artifact.external_data)
    return artifact


def read_text_document(path: Path) -> TextArtifact:
    """Reads what a text tower's file says about itself, without a look at its graph, as `read_document` does.

    Raises:
        ArtifactError: as `read_text_artifact`, but for the tensors.
    """
    metadata = read_metadata(path)
    if TEXT_KEY not in metadata and METADATA_KEY in metadata:
        remedy = "export the text tower of the same model: vit-export MODEL --text"
        raise ArtifactError(path, "reads pictures, not texts", remedy)
    artifact = _parse_document(TextArtifact, metadata, TEXT_KEY, TEXT_FORMAT_VERSION, path)
    check_weights_file(path, artifact.external_data)
    return artifact


def is_text_artifact(path: Path) -> bool:
    """Whether a file says that it is a text tower.

    Raises:
        ArtifactError: the file cannot be read, or is no ONNX file.
    """
    return TEXT_KEY in read_metadata(path)


def as_path(path: str | os.PathLike[str]) -> Path:
    """Turns the path of an artifact into a `Path`.

    Raises:
        ArtifactError: the value is no path.
    """
    try:
        return Path(path)
    except TypeError:
        raise ArtifactError(repr(path)[:80], "is no path", "give a str or a pathlib.Path") from None


def _parse_document(cls: type[_Document], metadata: dict[str, str], key: str, known: int, path: Path) -> _Document:
    if key not in metadata:
        raise ArtifactError(
            path,
            "an ONNX file without vit-edge metadata",
            "export the model with vit-export, not another tool",
        )
    try:
        document = json.loads(metadata[key], parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(path, f"its metadata is no JSON ({error})", "export it again") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != known:
        older = isinstance(version, int) and version < known
        raise ArtifactError(
            path,
            f"has format version {repr(version)[:40]}, and this vit-edge reads version {known}",
            "export the model again" if older else "upgrade vit-edge on this machine, or export the model again",
        )
    try:
        artifact = codec.decode(cls, document, key)
    except codec.SchemaError as error:
        raise ArtifactError(path, f"its metadata is broken: {error}", "export it again") from error
    if DIGEST_KEY not in metadata:
        raise ArtifactError(path, "incomplete: it ends before its digest", "copy or export the file again")
    return artifact


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON's")
