"""Shows what `vit-run check` has found out: as a table for people, and as a document for programs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final

from vit_runtime.artifact import Artifact, codec
from vit_runtime.artifact.digest import stored_digest
from vit_runtime.command_line.summary import describe_check, describe_outcome, table
from vit_runtime.devices.machine import Machine
from vit_runtime.diagnosis import Diagnosis, Other
from vit_runtime.files import atomic_write
from vit_runtime.model import ViT
from vit_runtime.timing import Latency
from vit_runtime.wording import plural

_REPORT_VERSION: Final = 1
_BAD_COPY: Final = "FAIL: do not trust its answers; prepare its copy again, or delete it with vit-run cache clear"


def describe_diagnosis(found: Diagnosis, others: Sequence[Other], artifact: Artifact) -> str:
    """A table with a row for each fact; the outcome is the last."""
    rows = {
        **_machine(found.machine),
        "versions": ", ".join(f"{name} {version}" for name, version in found.versions.items()),
        **describe_check(found.result, artifact),
        **({} if found.copy is None else {"copy": found.copy or "mapped, same bytes as when it was prepared"}),
        "provider": f"{_name(found)}{_threads(found.threads)}{_nodes(found)}",
        "  latency": f"{_latency(found.latency)}, without reading the photo",
    }
    if found.memory_mb is not None:
        most = "" if found.peak_mb is None else f", {found.peak_mb} MB at most"
        rows["  memory"] = f"{found.memory_mb} MB with the model loaded{most}"
    if others:
        rows["also here"] = "other providers on the same file"
        rows |= {f"  {other.provider}": _other(other) for other in others}
    rows["result"] = _BAD_COPY if found.copy else describe_outcome(found.result, artifact)
    return table(rows)


def diagnosis_document(found: Diagnosis, others: Sequence[Other], artifact: Artifact) -> dict[str, object]:
    """The same as plain JSON, with None where the machine does not tell."""
    result = found.result
    return {
        "passed": found.passed,
        "answers": result.answers,
        "outputs": {
            answer.output: {"difference": _finite(answer.difference), "tolerance": answer.tolerance}
            for answer in result.outputs
        },
        "same_pixels": result.same_pixels,
        "same_file": result.same_file,
        "copy": found.copy,
        "assumptions": codec.encode(artifact.assumptions),
        "provider": found.provider,
        "choice": found.choice,
        "threads": found.threads,
        "note": found.note,
        "placement": found.placement,
        "latency": codec.encode(found.latency),
        "memory_mb": found.memory_mb,
        "peak_mb": found.peak_mb,
        "machine": codec.encode(found.machine),
        "versions": found.versions,
        "others": [codec.encode(other) for other in others],
    }


def write_report(path: Path, document: dict[str, object], model: ViT) -> None:
    """Writes what a check has found out as a JSON file for others: it names neither user, nor host, nor folder.

    Args:
        path: where to write it.
        document: what `diagnosis_document` gives.
        model: the model that was checked.

    Raises:
        OutputFileError: it cannot be written there.
    """
    artifact = model.artifact
    report = {
        "report_version": _REPORT_VERSION,
        "date": date.today().isoformat(),
        "model": artifact.model,
        "precision": artifact.precision,
        "target": artifact.target,
        "file_sha256": stored_digest(model.path),
        **document,
    }
    text = json.dumps(report, indent=1, allow_nan=False)
    home = os.path.expanduser("~")  # noqa: PTH111 - gives "~" itself where there is no home
    if home != os.sep:  # a service may have the root for a home
        text = text.replace(json.dumps(home)[1:-1], "~")
    with atomic_write(path) as file:
        file.write(f"{text}\n".encode())


def _machine(machine: Machine) -> dict[str, str]:
    board = f"{machine.board}, " if machine.board else ""
    rows = {"machine": f"{board}{machine.processor}, {machine.system}"}
    if machine.fast_int8 is not None:
        speed = "int8 is fast here" if machine.fast_int8 else "none of them makes int8 fast"
        rows["  instructions"] = f"{', '.join(machine.instruction_sets)}: {speed}"
    rows["  cores"] = f"{machine.cores} to compute on, {machine.logical_processors} logical processors"
    if machine.memory_mb is not None:
        free = "" if machine.available_mb is None else f", {machine.available_mb:,} MB available"
        rows["  RAM"] = f"{machine.memory_mb:,} MB{free}"
    if machine.governors:
        slow = "" if machine.governors == ("performance",) else ": the clock may be low between pictures"
        rows["  governor"] = f"{', '.join(machine.governors)}{slow}"
    if machine.temperature is not None:
        rows["  temperature"] = f"{machine.temperature:.0f} °C"
    if machine.throttling:
        rows["  slowed down"] = "; ".join(machine.throttling)
    return rows


def _name(found: Diagnosis) -> str:
    """Onnxruntime's name, and the kind of device where the provider has several."""
    return f"{found.provider} ({found.choice})" if ":" in found.choice else found.provider


def _threads(threads: int | None) -> str:
    return "" if threads is None else f", {plural(threads, 'thread')}"


def _nodes(found: Diagnosis) -> str:
    """Says how many of the graph's nodes the provider runs, where onnxruntime tells."""
    own, all_nodes = found.placement.get(found.provider, 0), sum(found.placement.values())
    return f", {own} of {all_nodes} nodes" if all_nodes else ""


def _latency(latency: Latency) -> str:
    return f"{latency.median_ms:.1f} ms a picture, median of {latency.runs}; the fastest tenth {latency.p10_ms:.1f} ms"


def _other(other: Other) -> str:
    if other.latency is None:
        return other.problem
    return f"passes the self-test, {_latency(other.latency)}" if not other.problem else other.problem


def _finite(value: float) -> float | None:
    """Gives None for NaN and infinity, which JSON cannot hold, and every other number as it is."""
    return value if math.isfinite(value) else None
