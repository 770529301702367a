"""Folders of example photos for tests: classes of blots, each with a colour of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tests.made_pictures import blots

COLOURS = {"blue": (0, 40, 255), "green": (30, 220, 40), "red": (255, 20, 20)}


def photo(label: str, seed: int) -> Image.Image:
    """Blots in the class's colour, no two of them alike."""
    pixels = np.asarray(blots(seed + 1000 * sorted(COLOURS).index(label)), np.float32)
    return Image.fromarray((0.6 * pixels + 0.4 * np.array(COLOURS[label], np.float32)).astype(np.uint8))


def photos(folder: Path, each: int = 6, labels: tuple[str, ...] = tuple(sorted(COLOURS))) -> Path:
    """Writes so many photos of each class, and gives the folder of the classes."""
    for label in labels:
        (folder / label).mkdir(parents=True)
        for seed in range(each):
            photo(label, seed).save(folder / label / f"{seed}.png")
    return folder
