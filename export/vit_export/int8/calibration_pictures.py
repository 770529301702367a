"""The pictures that static quantization is calibrated on, prepared as the model wants them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vit_export.errors import CalibrationError
from vit_export.progress import Progress
from vit_export.request import PathLike
from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Calibration, Preprocessing
from vit_runtime.errors import ImageError
from vit_runtime.pictures.preprocess import fit
from vit_runtime.pictures.reading import read_rgb
from vit_runtime.sources.folders import pictures_below

LEAST: Final = 2
"""Fewest pictures to calibrate on: the ranges of a single picture are those of its subject."""
RECOMMENDED: Final = 8
MOST: Final = 512
"""Most pictures taken from a folder, evenly spread; more gain nothing (docs/log.md)."""
_REMEDY: Final = "give a folder with 32 or more photos like those that the model will see"


@dataclass(frozen=True, kw_only=True)
class CalibrationPictures:
    """Prepared pictures, uint8 (H, W, 3) each, and what the artifact says about them."""

    pixels: list[UInt8Array]
    facts: Calibration


def read_calibration(folder: PathLike, preprocessing: Preprocessing, progress: Progress) -> CalibrationPictures:
    """Reads and prepares the pictures in a folder and the folders below it.

    Raises:
        CalibrationError: there is no such folder, or too few of its pictures can be read.
    """
    folder = Path(folder)
    paths = _find(folder, progress)
    progress.stage("reading calibration pictures", total=len(paths))
    pixels: list[UInt8Array] = []
    digest = hashlib.sha256()
    small = skipped = 0
    for path in paths:
        try:
            image = read_rgb(path)
            pixels.append(fit(image, preprocessing, str(path)))
        except ImageError as error:
            skipped += 1
            progress.note(f"skipped: {error}")
        else:
            small += image.height < preprocessing.crop_hw[0] or image.width < preprocessing.crop_hw[1]
            digest.update(pixels[-1].tobytes())
        progress.advance(1)
    if len(pixels) < LEAST:
        raise CalibrationError(
            folder, f"holds too few pictures: {len(pixels)} of {len(paths)} can be read, {LEAST} are the least", _REMEDY
        )
    _warn(progress, found=len(paths), read=len(pixels), small=small)
    facts = Calibration(pictures=len(pixels), skipped=skipped, sha256=digest.hexdigest())
    return CalibrationPictures(pixels=pixels, facts=facts)


def _find(folder: Path, progress: Progress) -> list[Path]:
    try:
        if not folder.is_dir():
            raise CalibrationError(folder, "not a folder" if folder.exists() else "no such folder", _REMEDY)
        paths = pictures_below(folder)
    except OSError as error:
        raise CalibrationError(folder, f"cannot be read ({error.strerror})", _REMEDY) from error
    if not paths:
        raise CalibrationError(folder, "a folder without pictures", _REMEDY)
    if len(paths) <= MOST:
        return paths
    progress.note(f"{folder}: taking {MOST} of {len(paths)} pictures, evenly spread")
    return [paths[index * len(paths) // MOST] for index in range(MOST)]


def _warn(progress: Progress, *, found: int, read: int, small: int) -> None:
    if read < found:
        progress.note(f"warning: {found - read} of {found} pictures could not be read: calibrating on {read}")
    if read < RECOMMENDED:
        progress.note(f"warning: {read} pictures are few: with fewer than {RECOMMENDED} ranges come out too narrow")
    if small:
        progress.note(
            f"warning: {small} of {read} pictures are smaller than the model's input and were enlarged or padded: "
            "give photos of the size that the model will see"
        )
