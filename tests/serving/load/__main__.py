"""Measures the service against the same photos from a folder, in turn: python -m tests.serving.load MODEL.onnx PHOTOS

It needs wrk, whose own time counts against the service's: both run on this machine. Each round is a while of the
service and a while of the folder; what is printed last are medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.serving.started import Started, started

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Side:
    """What one of the two did in a round."""

    pictures: float
    """A second."""
    cpu: float
    """Milliseconds of a core for each picture."""
    client: float = 0.0
    """The same of the client that asked."""
    told: str = ""


def listed_photos(photos: Path, folder: Path) -> Path:
    """A file in a folder with the paths of photos, a line each."""
    target = folder / "photos"
    paths = sorted(str(path.resolve()) for path in photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    target.write_text("\n".join(paths), encoding="utf-8")
    return target


def wrk(service: Started, listed: Path, seconds: float, connections: int) -> list[str]:
    """The command that posts photos, over so many connections at a time."""
    script, address = str(HERE / "photos.lua"), f"http://127.0.0.1:{service.port}"
    options = ["-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "60s", "-s", script]
    return ["wrk", *options, address, "--", str(listed), "/v1/classify"]


def by_service(service: Started, photos: Path, seconds: float, connections: int) -> Side:
    """A while of requests in parallel."""
    before, client = service.cpu_seconds(), _of_children()
    words = wrk(service, photos, seconds, connections)
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    count = found["answered"]
    told = (
        f"{found['refused']} refused, {found['failed']} failed, {found['p50']:.0f} ms (p50), {found['p99']:.0f} (p99)"
    )
    return Side(
        count / found["seconds"],
        1000 * (service.cpu_seconds() - before) / count,
        1000 * (_of_children() - client) / count,
        told,
    )


def by_folder(process: subprocess.Popen[str], seconds: float) -> Side:
    """A while of the same photos from a folder."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{seconds:g}\n")
    process.stdin.flush()
    found = json.loads(process.stdout.readline())
    return Side(found["answered"] / found["seconds"], 1000 * found["cpu"] / found["answered"])


def _of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=8)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as kept:
        listed = listed_photos(asked.photos, Path(kept))
        words = [sys.executable, str(HERE / "folder.py"), str(asked.model), str(listed)]
        rounds = []
        with (
            started(asked.model, Path(kept, "log")) as service,
            subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
        ):
            by_service(service, listed, 2, asked.connections)
            by_folder(process, 2)
            for _ in range(asked.rounds):
                pair = by_service(service, listed, asked.seconds, asked.connections), by_folder(process, asked.seconds)
                rounds.append(pair)
                say(*pair)
            assert process.stdin is not None
            process.stdin.close()
    wall = statistics.median(ours.pictures / folder.pictures for ours, folder in rounds)
    cpu = statistics.median(folder.cpu / ours.cpu for ours, folder in rounds)
    both = statistics.median(folder.cpu / (ours.cpu + ours.client) for ours, folder in rounds)
    line = f"service / folder: pictures a second {wall:.3f}; by CPU time {cpu:.3f}, with the client's {both:.3f}"
    sys.stdout.write(line + "\n")


def say(ours: Side, folder: Side) -> None:
    line = f"service {ours.pictures:.1f}/s, {ours.cpu:.2f} + {ours.client:.2f} ms CPU, {ours.told}; "
    line += f"folder {folder.pictures:.1f}/s, {folder.cpu:.2f} ms CPU; ratio {ours.pictures / folder.pictures:.3f}"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
