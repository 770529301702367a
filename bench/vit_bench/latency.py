"""Latency of any number of contenders, side by side, as ratios to the first.

    python -m vit_bench.latency PHOTO KIND=FILE [KIND=FILE ...] [--threads 2] [--rounds 7] [--runs 15]

KIND is `runtime` (an artifact), `torch` (a checkpoint, eager), `onnx` (any ONNX file of float pixels), `openvino` or
`openvino-bf16` (a file for OpenVINO, with the precision hint f32 or bf16). The contenders take turns in rounds, each
time in a process of its own. Printed: median and 10th percentile over all runs, and how many times as fast the first
contender is, by each.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from itertools import chain

import numpy as np

from vit_bench.against_torch import run_worker
from vit_runtime.processors import default_threads


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo")
    parser.add_argument("contenders", nargs="+", metavar="KIND=FILE")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    if min(options.threads, options.rounds, options.runs) < 1:
        parser.error("--threads, --rounds and --runs should be at least 1")
    if wrong := [text for text in options.contenders if "=" not in text]:
        parser.error(f"{wrong[0]} should be KIND=FILE")

    rounds: dict[str, list[list[float]]] = {contender: [] for contender in options.contenders}
    for number in range(1, options.rounds + 1):
        print(f"round {number} of {options.rounds}", file=sys.stderr)  # noqa: T201 - a command line
        for contender, latencies in rounds.items():
            kind, _, file = contender.partition("=")
            _, document = run_worker(kind, file, options.photo, threads=options.threads, runs=options.runs)
            latencies.append(document["latencies_s"])
    print(table(rounds))  # noqa: T201 - a command line


def table(rounds: dict[str, list[list[float]]]) -> str:
    """Latencies in ms by contender, and each contender's over the first one's.

    The ratio of medians is the median of the rounds' own ratios, so that a drift of the machine takes no part in it.
    """
    width = max(map(len, rounds))
    first = next(iter(rounds.values()))
    lines = [f"{'':<{width}}  median, ms  10th percentile   times the first: median (range), 10th percentile"]
    for contender, latencies in rounds.items():
        ratios = [
            statistics.median(ours) / statistics.median(base) for ours, base in zip(latencies, first, strict=True)
        ]
        every, base = (list(chain.from_iterable(runs)) for runs in (latencies, first))
        tenths = _tenth(every) / _tenth(base)
        lines.append(
            f"{contender:<{width}}  {1e3 * statistics.median(every):>10.1f}  {1e3 * _tenth(every):>15.1f}   "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), {tenths:.2f}"
        )
    return "\n".join(lines)


def _tenth(values: Sequence[float]) -> float:
    return float(np.percentile(values, 10))


if __name__ == "__main__":
    main()
