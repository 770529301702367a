"""An artifact against eager PyTorch, side by side: latency, time to the first answer, peak memory.

    python -m vit_bench.against_torch MODEL.onnx CHECKPOINT PHOTO [--threads 2] [--rounds 5] [--runs 10]

The contenders take turns in rounds, each time in a process of its own, so that a machine whose speed drifts hits
both alike. Medians over all rounds, and the median and range of the ratios round by round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from vit_runtime.processors import default_threads


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one process gave in one round."""

    latency_s: float
    """Median of its runs after the first answer, model alone."""
    first_answer_s: float
    """From the start of the process to the top five of a photo."""
    peak_bytes: float


def measure(kind: str, model: str, photo: str, *, threads: int, runs: int) -> Sample:
    """Runs one contender once."""
    first_answer, document = run_worker(kind, model, photo, threads=threads, runs=runs)
    return Sample(
        latency_s=statistics.median(document["latencies_s"]),
        first_answer_s=first_answer,
        peak_bytes=document["peak_bytes"],
    )


def run_worker(kind: str, model: str, photo: str, *, threads: int, runs: int) -> tuple[float, dict[str, Any]]:
    """Runs `vit_bench.worker` in a process of its own: seconds to its first answer, and what it measured."""
    command = [sys.executable, "-m", "vit_bench.worker", kind, model, photo, str(threads), str(runs)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own module
        assert process.stdout is not None  # noqa: S101 - it was asked for
        process.stdout.readline()
        first_answer = time.perf_counter() - start
        result = process.stdout.readline()
    if process.returncode:
        raise SystemExit(f"{kind} failed with exit status {process.returncode}")
    return first_answer, json.loads(result)


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("checkpoint")
    parser.add_argument("photo")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    if min(options.threads, options.rounds, options.runs) < 1:
        parser.error("--threads, --rounds and --runs should be at least 1")

    contenders = {"runtime": options.model, "torch": options.checkpoint}
    samples: dict[str, list[Sample]] = {kind: [] for kind in contenders}
    for round_number in range(1, options.rounds + 1):
        print(f"round {round_number} of {options.rounds}", file=sys.stderr)  # noqa: T201 - a command line
        for kind, model in contenders.items():
            samples[kind].append(measure(kind, model, options.photo, threads=options.threads, runs=options.runs))
    print(table(samples))  # noqa: T201 - a command line


def table(samples: dict[str, list[Sample]]) -> str:
    """Medians of both contenders, and PyTorch's value over ours, round by round."""
    lines = [f"{'':<16}{'vit-edge':>12}{'PyTorch':>12}   PyTorch / vit-edge, median (range)"]
    for name, field, unit in (
        ("latency, ms", "latency_s", 1e3),
        ("first answer, s", "first_answer_s", 1.0),
        ("peak memory, MB", "peak_bytes", 1e-6),
    ):
        ours, theirs = ([getattr(sample, field) * unit for sample in samples[kind]] for kind in ("runtime", "torch"))
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        lines.append(
            f"{name:<16}{statistics.median(ours):>12.1f}{statistics.median(theirs):>12.1f}"
            f"   {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
