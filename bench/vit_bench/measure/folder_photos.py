"""The photos that a folder is measured with: those that are there, or enlarged ones made of them for the time being."""

from __future__ import annotations

import re
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from vit_bench.errors import PhotosError
from vit_export.progress import Progress
from vit_runtime.errors import ImageError, UsageError
from vit_runtime.pictures.formats import open_picture
from vit_runtime.pictures.reading import read_rgb
from vit_runtime.sources.folders import pictures_below

_QUALITY: Final = 90
_SUBSAMPLING: Final = "4:2:0"
_GRAIN: Final = 5.0
"""Standard deviation, of 255. An enlarged photo is smooth, and its JPEG small and soon decoded; with this grain it has
about a quarter of a byte for each pixel; two camera photos that were looked at have 0.16 and 0.35."""
_LARGEST_SIDE: Final = 16_384


@dataclass(frozen=True, kw_only=True)
class FolderPhotos:
    """Photos to measure a folder with."""

    paths: tuple[Path, ...]
    description: str
    """Their size and format, not their names: "4000x3000 JPEG, 3.1 MB on average"."""


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of "4000x3000".

    Raises:
        UsageError: it is no size.
    """
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    size_wh = tuple(map(int, found.groups())) if found else (0, 0)
    if not 0 < max(size_wh) <= _LARGEST_SIDE:
        what = f"'{text}' is no size up to {_LARGEST_SIDE}x{_LARGEST_SIDE}"
        raise UsageError("--size", what, "give width and height, 4000x3000 for example")
    return size_wh[0], size_wh[1]


@contextmanager
def photos_to_measure(folder: Path, size: str | None, most: int, progress: Progress) -> Iterator[FolderPhotos]:
    """Gives photos of a folder, as they are or enlarged; enlarged ones live as long as the block.

    Args:
        folder: searched with all folders below it.
        size: width and height to enlarge photos to, which loses their edges; upright photos get height and width. None
            for photos as they are.
        most: how many to take, evenly out of all.
        progress: is told of each photo, and of those that cannot be read.

    Raises:
        UsageError: `size` is none.
        PhotosError: there is no photo that can be read.
    """
    size_wh = None if size is None else parse_size(size)
    found = pictures_below(folder)
    chosen = [found[position * len(found) // most] for position in range(most)] if len(found) > most else found
    with tempfile.TemporaryDirectory(prefix="vit-bench.") as temporary:
        progress.stage("reading photos" if size_wh is None else f"enlarging photos to {size}", total=len(chosen))
        ready = []
        for number, path in enumerate(chosen):
            try:
                image = read_rgb(path)  # also of photos that stay as they are: one that cannot be read is found out now
            except ImageError as error:
                progress.note(f"left out: {error}")
                continue
            finally:
                progress.advance(1)
            ready.append(path if size_wh is None else _enlarge(image, size_wh, Path(temporary, f"{number:06}.jpg")))
        if not ready:
            raise PhotosError(folder, "holds no photo that can be read", "give another --photos")
        yield FolderPhotos(paths=tuple(ready), description=_describe(ready, enlarged=size_wh is not None))


def _enlarge(image: Image.Image, size_wh: tuple[int, int], path: Path) -> Path:
    """Writes a photo as a JPEG of another size, with grain."""
    width, height = size_wh if image.width >= image.height else size_wh[::-1]
    scale = max(width / image.width, height / image.height)
    left, top = (image.width - width / scale) / 2, (image.height - height / scale) / 2
    box = (max(0.0, left), max(0.0, top), image.width - max(0.0, left), image.height - max(0.0, top))
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, box=box), np.int16)
    grain = np.random.default_rng(0).standard_normal((height, width, 1), np.float32) * _GRAIN
    grained = np.clip(pixels + grain.astype(np.int16), 0, 255).astype(np.uint8)
    Image.fromarray(grained).save(path, quality=_QUALITY, subsampling=_SUBSAMPLING)
    return path


def _describe(paths: Sequence[Path], *, enlarged: bool) -> str:
    sizes, formats = [], []
    for path in paths:
        with path.open("rb") as file, open_picture(file) as image:
            sizes.append((max(image.size), min(image.size)))
            formats.append(str(image.format))
    middle = sorted(sizes, key=lambda size: size[0] * size[1])[len(sizes) // 2]
    all_alike = "" if len(set(sizes)) == 1 else " in the middle"
    mean = statistics.fmean(path.stat().st_size for path in paths)
    told = f"{middle[0]}x{middle[1]}{all_alike}, {', '.join(sorted(set(formats)))}, {mean / 1e3:.0f} kB on average"
    grained = f"; enlarged from smaller photos, with grain, quality {_QUALITY}, {_SUBSAMPLING}"
    return told + grained if enlarged else told
