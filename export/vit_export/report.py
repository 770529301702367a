"""Tells what an export has written, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vit_runtime.command_line.console import note, note_lines
from vit_runtime.command_line.summary import (
    describe_assumptions,
    describe_head,
    describe_quantization,
    describe_source,
    describe_verification,
    table,
)
from vit_runtime.command_line.text_summary import describe_text_quantization, describe_text_verification

if TYPE_CHECKING:
    from vit_export.exported import Exported
    from vit_export.texts.exporter import ExportedText


def report(exports: Sequence[Exported]) -> None:
    """Prints rows about exports of one checkpoint to stderr: one table, or for several files one below each name."""
    artifact = exports[0].artifact
    of_all = {
        "weights": describe_source(artifact.source),
        **describe_assumptions(artifact.assumptions),
        **describe_head(artifact),
    }
    if len(exports) == 1:
        note_lines(table(of_all | _rows(exports[0])))
    else:
        note_lines(table(of_all))
        for exported in exports:
            note(exported.path.name)
            note_lines(table(_rows(exported)))
    if artifact.source.is_random:
        note("warning: random weights: this model was never trained, and its answers mean nothing")
    for exported in exports:
        if exported.artifact.external_data is not None:
            note(f"Copy both files to the device: {exported.path.name} and {exported.artifact.external_data.file}")


def report_text(exported: ExportedText) -> None:
    """Prints rows about an exported text tower to stderr."""
    artifact = exported.artifact
    rows = {"weights": describe_source(artifact.source), **describe_text_verification(artifact.verification)}
    if artifact.quantization is not None:
        rows |= describe_text_quantization(artifact.quantization, exported.bytes)
    note_lines(table(rows))
    if artifact.external_data is not None:
        note(f"Copy both files to the device: {exported.path.name} and {artifact.external_data.file}")


def _rows(exported: Exported) -> dict[str, str]:
    """Describes what is a file's own."""
    artifact = exported.artifact
    rows = describe_verification(artifact.verification)
    if artifact.quantization is not None:
        rows |= describe_quantization(artifact, artifact.quantization, exported.bytes)
    return rows
