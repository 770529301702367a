"""Small files of large pictures: refused in one line, or read within the memory that such a picture may take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .bombs import (
    COLOUR_TYPES,
    bmp_of_nothing,
    gif_of_nothing,
    jpeg_of_many_scans,
    png_of_nothing,
    png_with_packed_text,
    tiff_of_a_large_tile,
    tiff_of_nothing,
)
from .good_pictures import Good
from .picture_limits import picture_results

TURNED = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
"""An EXIF block with orientation 6."""
REFUSED = {
    "thin.png": (lambda: png_of_nothing(1, 65_000), "too long and narrow: 1x65000"),
    "wide.png": (lambda: png_of_nothing(65_000, 1), "too long and narrow: 65000x1"),
    "thin.gif": (lambda: gif_of_nothing(1, 65_000), "too long and narrow: 1x65000"),
    "wide.tif": (lambda: tiff_of_nothing(8_000_000, 1), "too long and narrow: 8000000x1"),
    "bomb.png": (lambda: png_of_nothing(30_000, 30_000), "too large"),
    "bomb.gif": (lambda: gif_of_nothing(30_000, 30_000), "too large"),
    "bomb.tif": (lambda: tiff_of_nothing(30_000, 30_000), "too large"),
    "bomb.bmp": (lambda: bmp_of_nothing(30_000, 30_000), "too large"),
}


@pytest.fixture(scope="module", params=[3_000, pytest.param(13_000, marks=pytest.mark.slow)])
def side(request: pytest.FixtureRequest) -> int:
    """Of squares: 9 million pixels, and 169 million, just below what Pillow refuses."""
    return int(request.param)


def large_pictures(side: int) -> Iterator[tuple[str, bytes]]:
    for kind in COLOUR_TYPES:
        yield f"{kind}.png", png_of_nothing(side, side, kind)
    yield "turned.png", png_of_nothing(side, side, "rgb", (b"eXIf", TURNED))
    yield "square.gif", gif_of_nothing(side, side)
    yield "bit.tif", tiff_of_nothing(side, side)
    yield "16.tif", tiff_of_nothing(side, side, 16)
    yield "cmyk.tif", tiff_of_nothing(side, side, 8, 4)
    yield "square.bmp", bmp_of_nothing(side, side)


def test_a_large_picture_takes_no_more_than_its_pixels(side: int, goods: list[Good], folder: Path):
    found, wrong = picture_results(large_pictures(side), goods, folder)
    assert wrong == ""
    assert {result.outcome for result in found} == {"answered"}  # these are bombs because they are sound
    assert {result.pixels for result in found} == {side * side}


def test_a_small_picture_with_large_parts(goods: list[Good], folder: Path):
    """A tile, a text, a profile, ever more scans: none may take more than a small picture does."""
    progressive = next(good.content for good in goods if good.name == "jpeg_progressive")
    pictures = {
        "tile_of_1_gigapixel.tif": tiff_of_a_large_tile(32_768),
        "tile_of_2_gigapixels.tif": tiff_of_a_large_tile(46_336),
        "tile_of_4_gigapixels.tif": tiff_of_a_large_tile(65_536),
        "scans.jpg": jpeg_of_many_scans(progressive, 1_000),
        **{f"{kind.decode()}.png": png_with_packed_text(kind, 200) for kind in (b"zTXt", b"iTXt", b"iCCP")},
    }
    found, wrong = picture_results(pictures.items(), goods, folder)
    assert wrong == ""
    assert len(found) == len(pictures)


def test_what_is_too_large_or_too_narrow_is_refused_before_it_is_read(goods: list[Good], folder: Path):
    pictures = ((name, make()) for name, (make, _) in REFUSED.items())
    found, wrong = picture_results(pictures, goods, folder)
    assert wrong == ""
    assert len(found) == len(REFUSED)
    for result in found:
        assert result.outcome == "refused by ImageError"
        assert REFUSED[result.case][1] in result.words
        assert result.seconds < 2
        assert result.bytes < 50 << 20
