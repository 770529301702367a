"""`vit-run serve` with other limits of time, or a decoder that hangs: python played_service.py CHANGES serve ...

CHANGES is JSON: names of `CHANGES` below and their values.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

HANGS, SLOW = b"hangs", b"slow"


def head_seconds(value: float) -> None:
    from vit_runtime.serving import connections

    connections.HEAD_SECONDS = value  # type: ignore[misc]


def taking_seconds(value: float) -> None:
    from vit_runtime.serving import connections

    connections.TAKING_SECONDS = value  # type: ignore[misc]


def body_seconds(value: float) -> None:
    from vit_runtime.serving.limits import ServiceLimits

    ServiceLimits.__init__.__kwdefaults__["body_seconds"] = value


def tidy_seconds(value: float) -> None:
    from vit_runtime.serving import service

    service._TIDY_SECONDS = value  # type: ignore[misc]


def hang(seconds: float) -> None:
    """Pictures that begin with HANGS keep their decoder for so long, which hears nobody."""
    _delay(HANGS, seconds)


def slow(seconds: float) -> None:
    """Pictures that begin with SLOW take so long."""
    _delay(SLOW, seconds)


def _delay(mark: bytes, seconds: float) -> None:
    from vit_runtime.pictures import reading

    sound = reading.decode_file

    def decode(file: BinaryIO, task: Any) -> Any:
        if file.read(len(mark)) == mark:
            time.sleep(seconds)
        file.seek(0)
        return sound(file, task)

    reading.decode_file = decode


CHANGES: dict[str, Callable[[Any], None]] = {
    "head_seconds": head_seconds,
    "taking_seconds": taking_seconds,
    "body_seconds": body_seconds,
    "tidy_seconds": tidy_seconds,
    "hang": hang,
    "slow": slow,
}


def main() -> None:
    changes = json.loads(sys.argv.pop(1))
    for name, value in changes.items():
        CHANGES[name](value)
    from vit_runtime.cli import main as vit_run

    vit_run()


if __name__ == "__main__":
    main()
