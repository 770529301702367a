"""Says what is wrong with a command's exit status, with what it printed, and with what it wrote."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .commands import CONTROLS, unlike

OURS: Final = (
    r"error: \S.*|tiny fp32 on CPUExecutionProvider, \d+ threads?(, \d+ pictures at a time)?"
    r"|\S+: [\d,]+ records?|\S+: (\d+ (added|updated|dropped|unchanged)(, |; )){4}\d+ pictures by tiny fp32, in float32"
)
"""Lines that may stand on stderr."""
ANSWERS: Final = {
    "classify": r"   {1,3}\d{1,3}\.\d\d%  class \d|/.*",
    "similar": r"(-| )\d\.\d{4}  .*",
}
"""Lines that may stand on stdout, where they are no JSON."""
FILLED: Final = ("predictions", "embedding", "label", "0")
"""Fields of records that have an answer."""
COUNTED: Final = re.compile(r": (\d+) added, (\d+) updated, \d+ dropped, (\d+) unchanged;")


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    status: int
    stdout: str
    stderr: str


@dataclass
class Verdict:
    """What a command made of its pictures, and what is wrong with that."""

    answered: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)


def judge(kind: str, ran: Ran, output: Path | None, records: int | None) -> Verdict:
    """Looks at all that a command gave.

    Args:
        kind: the command, with what changes its output.
        ran: what came of it.
        output: the file of answers that it was to write.
        records: how many answers and errors there must be; None where nobody can say.
    """
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    verdict = Verdict(refused=len(errors))
    try:
        verdict.answered, failed = _counts(kind, ran, output)
    except (ValueError, KeyError, TypeError, OSError, csv.Error) as error:
        verdict.wrong.append(f"answers that cannot be read: {error!r}; {ran.stdout[-500:]!r}; {ran.stderr[-500:]!r}")
        return verdict
    if ran.status not in (0, 1) or (ran.status == 1) != bool(errors):
        verdict.wrong.append(f"exit status {ran.status} with {len(errors)} errors: {ran.stderr[-1500:]}")
    if found := CONTROLS.findall(ran.stdout + ran.stderr):
        verdict.wrong.append(f"what a terminal obeys: {found!r}")
    if found := unlike(OURS, ran.stderr):
        verdict.wrong.append(f"on stderr: {found!r}")
    if failed is not None and failed != len(errors):
        verdict.wrong.append(f"{failed} records of errors, and {len(errors)} errors on stderr")
    if records is not None and kind != "similar" and verdict.answered + len(errors) != records:
        counted = f"{verdict.answered} answers and {len(errors)} errors of {records} pictures"
        verdict.wrong.append(f"{counted}: {ran.stderr[-1500:]}")
    return verdict


def _counts(kind: str, ran: Ran, output: Path | None) -> tuple[int, int | None]:
    """Answers, and records of errors where the command makes such records."""
    if output is not None:
        lines = list(_records(output))
    elif kind == "index":
        found = COUNTED.search(ran.stderr)
        return sum(map(int, found.groups())) if found else 0, None
    elif kind in ANSWERS:
        if unknown := unlike(ANSWERS[kind], ran.stdout):
            raise ValueError(f"on stdout: {unknown!r}")
        return sum(line[:2] != "  " for line in ran.stdout.splitlines()), None
    else:
        lines = [json.loads(line) for line in ran.stdout.splitlines()]
    failed = sum(bool(line.get("error")) for line in lines)
    for line in lines:
        if not line["image"] or bool(line.get("error")) == any(
            line.get(key) for key in ("predictions", "embedding", "label", "0")
        ):
            raise ValueError(f"a record of nothing, or of both: {line}")
    return len(lines) - failed, failed


def _records(path: Path) -> Iterator[dict[str, object]]:
    text = path.read_text("utf-8", "surrogateescape")
    if path.suffix == ".jsonl":
        yield from map(json.loads, text.splitlines())
    else:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield from csv.DictReader(file)
