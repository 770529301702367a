"""Results as a file: written whole or not at all, and read with one line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

from vit_bench.errors import ResultsError
from vit_bench.results import RESULTS_VERSION, Results
from vit_runtime.artifact import codec
from vit_runtime.files import atomic_write


def write_results(path: Path, results: Results) -> None:
    """Writes a document, whole or not at all.

    Raises:
        OutputFileError: the place takes no file.
    """
    text = json.dumps(codec.encode(results), indent=1, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(f"{text}\n".encode())


def read_results(path: Path) -> Results:
    """Reads a document that `write_results` has written.

    Raises:
        ResultsError: it is missing, no such document, or of another version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        what = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else f"no JSON ({error})"
        raise ResultsError(path, what, "give a file that vit-bench has written") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != RESULTS_VERSION:
        what = f"has results of version {version!r}, and this vit-bench reads version {RESULTS_VERSION}"
        raise ResultsError(path, what, "measure again")
    document.setdefault("throughput", [])  # results from before there was this kind
    try:
        return codec.decode(Results, document, "results")
    except codec.SchemaError as error:
        raise ResultsError(path, f"is broken: {error}", "measure again") from error
