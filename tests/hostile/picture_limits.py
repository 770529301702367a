"""Runs pictures through `vit_runtime.load_pixels` in a process of its own, and says what each may cost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .chunks import WARM_UP, Limits, Result, faults, in_chunks, keep, run_worker
from .good_pictures import Good

PER_PROCESS = 1_000
LIMITS = Limits(
    # A file of some kilobytes needs some kilobytes, and Pillow's decoders bring buffers of a few megabytes.
    bytes=100 << 20,
    # Palette and grey: 1 for the file's pixels, 4 for RGB. Transparent and turned ones: 4 and 4. Of 16 bits: 11. AVIF's
    # decoder has planes of its own besides: 15. A WebP with transparency that is turned: 21. Pillow opens no picture of
    # more than 179 million pixels, so that 3.8 GB is the most of all.
    bytes_per_pixel=21,
    # A sound picture of this size takes a millisecond. What takes long is a hundred million pixels of nothing.
    seconds=30,
    errors=("ImageError",),
)


def picture_results(pictures: Iterable[tuple[str, bytes]], goods: list[Good], folder: Path) -> tuple[list[Result], str]:
    """What came of each picture, given with a name, and in lines what was wrong with it."""
    found: list[Result] = []
    wrong: list[str] = []
    cases = ((name, {"": content}) for name, content in pictures)
    for chunk in in_chunks(cases, PER_PROCESS, folder / "pictures"):
        (chunk / WARM_UP).write_bytes(goods[0].content)
        results, _ = run_worker("pictures", chunk)
        lines = faults(results, LIMITS)
        keep(chunk, lines)
        wrong += lines
        found += [result for result in results if result.case != WARM_UP]
    return found, "\n".join(wrong)
