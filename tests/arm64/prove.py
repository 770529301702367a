"""Compares what exported files answer on ARM cores, which QEMU plays, with what they answer here.

    make test-arm64                     # the digits model, and DeiT-Tiny where VIT_EDGE_DATA is set
    make test-arm64 PHOTOS=100          # with more photos than 10

For each core and file: `vit-run check` has to pass, and `vit-run classify --json` has to name the same class for each
picture as on this machine; int8 files may choose otherwise where two classes nearly tie. Times say nothing under
emulation; the differences do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from install import PROJECT, install, run_on_device
from numpy.typing import NDArray

CORES = ("cortex-a53", "cortex-a72", "cortex-a76")  # Pi 3; Pi 4; Pi 5, Orin and RK3588 are like it
DIGITS = PROJECT / "models/digits"
ALL_CLASSES = "100000"
NEAR_TIE = 0.1
"""So far apart may two logits be here, for an int8 file to name the one here and the other there.

Float sums in another order round an activation to the next step now and then, which moves logits of DeiT-Tiny by 0.2.
"""


@dataclass(frozen=True)
class Case:
    """A file and its pictures, both below FOLDER/shared."""

    model: Path
    pictures: Path


@dataclass(frozen=True)
class Answers:
    """What one machine answered: for each picture its likeliest class, and all logits but for a constant."""

    best: NDArray[np.int64]
    logits: NDArray[np.float64]


def export(arguments: list[str], stem: Path, calibration: Path) -> list[Path]:
    """Exports a model in fp32, dynamic and static int8."""
    kinds = {"fp32": [], "dynamic": ["--precision=int8"], "static": ["--precision=int8", f"--calibrate={calibration}"]}
    paths = []
    for kind, options in kinds.items():
        paths.append(path := stem.with_suffix(f".{kind}.onnx"))
        program = Path(sys.executable).with_name("vit-export")
        # Anew each time, since it is this exporter's files that are tried.
        command = [program, *arguments, *options, "--output", path, "--force"]
        subprocess.run(command, check=True, capture_output=True)
    return paths


def spread(pictures: list[Path], count: int, folder: Path) -> Path:
    """Copies so many pictures, evenly spread, into a fresh folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for index in np.linspace(0, len(pictures) - 1, min(count, len(pictures))).round().astype(int):
        shutil.copy(pictures[index], folder)
    return folder


def prepare(shared: Path, photos: int) -> list[Case]:
    """Exports the models and copies the pictures to where the device sees them."""
    (shared / "models").mkdir(parents=True, exist_ok=True)
    digits = [str(DIGITS / "digits_vit.safetensors"), f"--labels={DIGITS / 'labels.txt'}", "--resize=32"]
    pictures = spread(sorted((DIGITS / "samples").glob("*.png")), 100, shared / "digits")
    cases = [Case(path, pictures) for path in export(digits, shared / "models/digits", DIGITS / "samples")]
    if data := os.environ.get("VIT_EDGE_DATA"):
        pictures = spread(sorted(Path(data, "photos").glob("*.JPEG")), photos, shared / "photos")
        deit = [str(Path(data, "deit_tiny_patch16_224.safetensors")), "--interpolation=bicubic"]
        cases += [Case(path, pictures) for path in export(deit, shared / "models/deit", Path(data, "calibration"))]
    return cases


def parse(lines: str) -> Answers:
    """The answers in what `vit-run classify --json` prints for all classes."""
    best, logits = [], []
    for line in lines.splitlines():
        predictions = json.loads(line)["predictions"]
        best.append(predictions[0]["index"])
        row = np.full(len(predictions), np.nan)
        row[[each["index"] for each in predictions]] = np.log([each["probability"] for each in predictions])
        logits.append(row - row.mean())
    return Answers(np.array(best), np.array(logits))


def answer_here(case: Case) -> Answers:
    """What this machine answers."""
    program = Path(sys.executable).with_name("vit-run")
    command = [program, "classify", "--json", "--top", ALL_CLASSES, case.model, case.pictures]
    return parse(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(folder: Path, case: Case, core: str, here: Answers) -> tuple[str, bool]:
    """A line of the table, and whether the device answers as this machine does."""
    model, pictures = (f"/shared/{path.relative_to(folder / 'shared')}" for path in (case.model, case.pictures))
    line = f"{core:<12}{case.model.stem:<16}"
    checked = run_on_device(folder, f"~/vit/bin/vit-run check {model}", core=core)
    if checked.returncode != 0:
        return f"{line}vit-run check: exit status {checked.returncode}\n{checked.stdout}{checked.stderr}", False
    command = f"~/vit/bin/vit-run classify --json --top {ALL_CLASSES} {model} {pictures}"
    done = run_on_device(folder, command, core=core)
    if done.returncode != 0:
        return f"{line}vit-run classify: exit status {done.returncode}\n{done.stderr}", False
    there = parse(done.stdout)
    changed = np.flatnonzero(here.best != there.best)
    gaps = here.logits[changed, here.best[changed]] - here.logits[changed, there.best[changed]]
    allowed = 0.0 if case.model.stem.endswith("fp32") else NEAR_TIE
    difference = float(np.abs(here.logits - there.logits).max())
    line += f"{len(here.best) - len(changed):>8} of {len(here.best):<8}{difference:>10.1e}"
    line += "".join(f"; {gap:.3f} apart here" for gap in gaps)
    return line, bool((np.abs(gaps) < allowed).all())


def main() -> int:
    """Prints a line for each core and file; returns 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--cores", nargs="+", default=CORES)
    options = parser.parse_args()
    folder = options.folder.resolve()
    install(folder, [])
    cases = prepare(folder / "shared", options.photos)
    expected = [answer_here(case) for case in cases]
    print(f"{'core':<12}{'file':<16}{'same top-1':>16}  {'largest logit difference':>24}", flush=True)
    passed = True
    for core in options.cores:
        for case, here in zip(cases, expected, strict=True):
            line, same = compare(folder, case, core, here)
            print(line if same else f"{line}  DIFFERS", flush=True)
            passed &= same
    print("the same answers as here" if passed else "NOT the same answers as here")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
