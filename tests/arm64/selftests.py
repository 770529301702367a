"""Prints onnxruntime's version, and for each file whether its self-test passes here: `selftests.py MODEL ...`."""

from __future__ import annotations

import sys
from pathlib import Path

import onnxruntime

import vit_runtime as vit


def main() -> int:
    """Returns 1 where one fails."""
    words, failed = [], False
    for path in map(Path, sys.argv[1:]):
        result = vit.check(vit.load(path, threads=1))
        worst = max(output.difference for output in result.outputs)
        words.append(f"{path.stem} {'passes' if result.passed else 'FAILS'} {worst:.1e}")
        failed |= not result.passed
    print(onnxruntime.__version__, *words, sep="; ")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
