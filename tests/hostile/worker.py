"""A process of its own that hands hostile files to this project's functions and writes down what came of each.

    python -I worker.py KIND FOLDER REPORT

A decoder or engine that kills its process is so found by the file that was begun last. Each line of REPORT is JSON.
"""

from __future__ import annotations

import contextlib
import csv
import json
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

PROGRAMS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
)
"""What Python tells an audit hook when it starts a program."""

MOST_ADDRESSES = 4 << 30
"""Bytes that a process with an artifact may map: a graph that asks for more is refused them, as on a small machine."""

MOST_PIXELS = 1_000_000
"""Of a picture in a job, so that memory says something about the job."""
SETTLED = 40
"""Jobs after which memory must not grow any more."""
MOST_GROWTH = 40 << 20

Act = Callable[[Path], str]
started: list[str] = []
"""Programs that were started, which none should be."""


def pictures() -> Act:
    import numpy as np

    from vit_runtime.artifact import Preprocessing
    from vit_runtime.pictures.preprocess import load_pixels

    with contextlib.suppress(ImportError):  # where it is installed, HEIC is read too
        import pillow_heif

        pillow_heif.register_heif_opener()
    preprocessing = Preprocessing(
        resize_shortest_edge=32,
        resize_hw=None,
        crop_hw=(32, 32),
        crop_rounding="half_even",
        interpolation="bilinear",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )

    def act(path: Path) -> str:
        # About half of them by their paths, the others by their bytes, always the same ones.
        source: Any = path if sum(path.name.encode()) % 2 else path.read_bytes()
        pixels = load_pixels(source, preprocessing)
        if pixels.shape != (32, 32, 3) or pixels.dtype != np.uint8:
            raise AssertionError(f"pixels of shape {pixels.shape} and dtype {pixels.dtype}")
        return "answered"

    return act


def artifacts() -> Act:
    import numpy as np

    import vit_runtime as vit

    with contextlib.suppress(ValueError, OSError):  # a system without that limit
        resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))

    def act(folder: Path) -> str:
        path = next(folder.glob("*.onnx"))
        with vit.load(path, provider="cpu", threads=1) as model:
            model.run(np.zeros((1, *model.artifact.preprocessing.crop_hw, 3), np.uint8))
            if "logits" in model.artifact.outputs:
                model.classify(np.full((48, 64, 3), 127, np.uint8))
            vit.check(model)
        return "answered"

    return act


def digests() -> Act:
    """Loads with the digest verified."""
    import vit_runtime as vit

    def act(folder: Path) -> str:
        vit.load(next(folder.glob("*.onnx")), provider="cpu", threads=1, verify=True).close()
        return "answered"

    return act


def checkpoints() -> Act:
    import torch

    from vit_export import ExportRequest
    from vit_export.progress import Silent
    from vit_export.read.prepare import read_and_prepare

    torch.set_num_threads(1)

    def act(path: Path) -> str:
        (model,) = path.glob("model*")  # a file, or a folder with a configuration
        read_and_prepare(ExportRequest(model=model), Silent())
        return "answered"

    return act


def jobs() -> Act:
    """`vit-run classify` as a whole, of a file, a folder, an archive or paths on stdin, which are called `stdin`."""
    import io
    import os

    from vit_runtime.cli import app
    from vit_runtime.command_line.console import set_up

    set_up()
    rests: list[int] = []

    def act(case: Path) -> str:
        (source,) = case.iterdir()
        is_list, target = source.name == "stdin", case / ("results.csv" if "csv" in case.name else "results.jsonl")
        images = "-" if is_list else source.name
        words = ["classify", str(case.parent.with_name("model.onnx")), images, "-o", target.name, "--top", "1"]
        printed = io.StringIO()
        with source.open("rb") if is_list else io.BytesIO() as stdin:
            sys.stdin = io.TextIOWrapper(stdin)
            os.chdir(case)
            with contextlib.redirect_stderr(printed):
                status = app([*words, "--max-pixels", str(MOST_PIXELS), "--max-seconds", "5"], standalone_mode=False)
        answered, failed = counts(target)
        lines = printed.getvalue().splitlines()
        told = [line for line in lines if line.startswith("error: ")]
        # What it runs on, the errors, how many records.
        if (status or 0) != int(failed > 0) or len(told) != failed or len(lines) != failed + 2:
            raise AssertionError(f"exit status {status}, {failed} errors in the file, and on stderr: {lines[-3:]}")
        left = threading.active_count() - 1, sum(1 for _ in Path("/dev/fd").iterdir())
        if left > (2, 20):  # a thread that reads stdin sees its end a moment later
            raise AssertionError(f"threads and open files that are left: {left}")
        rests.append(resident("VmRSS"))
        if len(rests) > SETTLED and rests[-1] > max(rests[:SETTLED]) + MOST_GROWTH:
            raise AssertionError(f"memory grew from {max(rests[:SETTLED]) >> 20} to {rests[-1] >> 20} MiB")
        return f"answered by {answered} and {failed} errors"

    return act


def counts(results: Path) -> tuple[int, int]:
    """How many pictures a file of records answers, and how many errors it has; none may be there twice."""
    if results.suffix == ".jsonl":
        records = [json.loads(line) for line in results.read_bytes().splitlines()]
    else:
        with results.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            records = list(csv.DictReader(file))
    for record in records:
        if not record["image"] or bool(record.get("error")) == bool(record.get("predictions") or record.get("label")):
            raise AssertionError(f"a record of nothing, or of both: {record}")
    failed = sum(bool(record.get("error")) for record in records)
    names = [record["image"] for record in records if not record.get("error")]
    if "stdin" not in {path.name for path in results.parent.iterdir()} and len(names) != len(set(names)):
        raise AssertionError("two answers of one name")
    return len(names), failed


ACTS: dict[str, Callable[[], Act]] = {
    "pictures": pictures,
    "jobs": jobs,
    "artifacts": artifacts,
    "digests": digests,
    "checkpoints": checkpoints,
}


def outcome(act: Act, path: Path) -> tuple[str, str]:
    """What came of one file, and the words that go with it."""
    from vit_runtime.errors import VitEdgeError

    try:
        return act(path), ""
    except VitEdgeError as error:
        return f"refused by {type(error).__name__}", str(error)
    except BaseException as error:  # noqa: BLE001, RUF100 - anything but our errors is what is looked for
        return "broken", "".join(traceback.format_exception(error)[-3:])


def stated_pixels(path: Path) -> int:
    """How many pixels a picture says that it has; 0 for what Pillow does not open, which is also what is too large."""
    if path.is_dir():
        return 0
    from PIL import Image

    from vit_runtime.pictures.formats import FORMATS

    with (
        contextlib.suppress(Exception),
        Image.open(path, formats=[name for name in (*FORMATS, "HEIF") if name in Image.OPEN]) as image,
    ):
        return image.width * image.height
    return 0


def resident(field: str) -> int:
    """Bytes of this process's memory from Linux: VmRSS now, VmHWM at most; elsewhere the most of its whole life."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split(f"{field}:")[1].split()[0]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """Linux then measures the peak anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(act: Act, path: Path, report: TextIO) -> None:
    print(json.dumps({"begun": path.name}), file=report, flush=True)
    forget_peak()
    before, began = resident("VmRSS"), time.monotonic()
    what, words = outcome(act, path)
    facts = {"case": path.name, "outcome": what, "words": words, "seconds": time.monotonic() - began}
    facts |= {"bytes": resident("VmHWM") - before, "programs": started[:], "pixels": stated_pixels(path)}
    started.clear()
    print(json.dumps(facts), file=report, flush=True)


def note_programs(event: str, arguments: tuple[object, ...]) -> None:
    if event in PROGRAMS:
        started.append(f"{event} {arguments!r}"[:200])


def main() -> None:
    kind, folder, target = sys.argv[1:]
    act = ACTS[kind]()
    sys.addaudithook(note_programs)
    with Path(target).open("a", encoding="utf-8") as report:
        # The first one imports what is imported late; its time and memory are not a file's.
        for path in sorted(Path(folder).iterdir()):
            measure(act, path, report)


if __name__ == "__main__":
    main()
