"""More clients than the queue takes: python -m tests.serving.load.overload MODEL.onnx PHOTOS [SECONDS CLIENTS]

It needs wrk. Memory and answers are printed every ten seconds, and in the end what the service has counted.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.serving.load.__main__ import listed_photos, wrk
from tests.serving.started import Started, asked, started

EVERY = 10.0
COUNTED = re.compile(r'vit_edge_requests_total\{path="/v1/classify",status="(\d+)"\} (\S+)')


def statuses(service: Started) -> dict[int, int]:
    """How many requests were answered by which status so far; empty where the service did not say in time."""
    try:
        told = asked(service.port, "/metrics", seconds=EVERY).body.decode()
    except OSError:
        return {}
    return {int(status): int(float(count)) for status, count in COUNTED.findall(told)}


def main() -> None:
    model, photos = Path(sys.argv[1]), Path(sys.argv[2])
    seconds, clients = float((sys.argv[3:] or ["600"])[0]), int((sys.argv[4:] or ["200"])[0])
    with tempfile.TemporaryDirectory() as kept, started(model, Path(kept, "log")) as service:
        listed = listed_photos(photos, Path(kept))
        words = wrk(service, listed, seconds, clients)
        begun = time.monotonic()
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
            while client.poll() is None:
                line = (
                    f"{time.monotonic() - begun:4.0f} s: {service.resident() >> 20} MB, {service.threads()} threads, "
                )
                line += f"{service.open_files()} open files, answers by status {statuses(service)}"
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
                time.sleep(EVERY)
            assert client.stdout is not None
            sys.stdout.write(client.stdout.read().splitlines()[-1] + "\n")
        line = (
            f"afterwards: {service.resident() >> 20} MB, {service.threads()} threads, {service.open_files()} open files"
        )
        sys.stdout.write(f"{line}, {statuses(service)}; printed: {service.printed()}\n")
        sys.stdout.write(f"ended by SIGTERM with status {service.end()}\n")


if __name__ == "__main__":
    main()
