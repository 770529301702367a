"""Fast decoding gives what libjpeg's own reduction gives, and the same bytes where a picture is not made smaller."""

from __future__ import annotations

import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.made_pictures import blots
from torchvision.transforms import functional as F  # noqa: N812 - the name that torchvision's own code uses

import vit_runtime as vit
from vit_runtime.arrays import UInt8Array
from vit_runtime.artifact import Preprocessing
from vit_runtime.pictures.reading import ImageSource

Encode = Callable[..., bytes]

ORIENTATION = 274
SCALES = (1, 2, 4, 8)
"""libjpeg decodes at one over these."""
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
RESAMPLING |= {"lanczos": Image.Resampling.LANCZOS}
LEAST = 1.75


def preset(
    resize: int | tuple[int, int] = 32, crop_hw: tuple[int, int] = (28, 28), interpolation: str = "bicubic"
) -> Preprocessing:
    return Preprocessing(
        resize_shortest_edge=resize if isinstance(resize, int) else None,
        resize_hw=None if isinstance(resize, int) else resize,
        crop_hw=crop_hw,
        crop_rounding="half_even",
        interpolation=interpolation,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def noise(width: int, height: int, seed: int = 3) -> UInt8Array:
    """Blocks of 4x4 random colours: reduced twice, four or eight times, it becomes very different pictures."""
    blocks = np.random.default_rng(seed).integers(0, 256, (-(-height // 4), -(-width // 4), 3), dtype=np.uint8)
    return np.ascontiguousarray(blocks.repeat(4, axis=0).repeat(4, axis=1)[:height, :width])


def reduced_by_libjpeg(content: bytes, scale: int, wanted: Preprocessing) -> UInt8Array:
    """Pillow's draft of the whole picture, resized and cropped.

    A picture that is turned must have sides that the scale divides: then the photo fills its last pixels.
    """
    image = Image.open(BytesIO(content))
    full_wh = image.size
    image.draft(None, (image.width // scale, image.height // scale))
    upright = ImageOps.exif_transpose(image).convert("RGB")
    full_wh = full_wh if image.size == upright.size else (full_wh[1], full_wh[0])
    short = wanted.resize_shortest_edge
    height, width = wanted.resize_hw or [int(short * side / min(full_wh)) for side in reversed(full_wh)]
    box = (0, 0, full_wh[0] / scale, full_wh[1] / scale)
    resized = upright.resize((width, height), RESAMPLING[wanted.interpolation], box)
    return F.pil_to_tensor(F.center_crop(resized, list(wanted.crop_hw))).permute(1, 2, 0).numpy()


def difference(first: UInt8Array, second: UInt8Array) -> float:
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


def nearest_scale(content: bytes, wanted: Preprocessing) -> int:
    """Which of libjpeg's reductions fast decoding has taken, by its pixels."""
    found = vit.load_pixels(content, wanted, decode="fast")
    differences = {scale: difference(found, reduced_by_libjpeg(content, scale, wanted)) for scale in SCALES}
    best = min(differences, key=differences.__getitem__)
    assert differences[best] < 0.5, differences  # Pillow rounds to bytes between its two passes
    assert sorted(differences.values())[1] > max(0.2, 3 * differences[best]), differences  # no other fits as well
    return best


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_a_jpeg_is_reduced_as_far_as_leaves_enough(scale: int, interpolation: str, encode: Encode):
    edge = 32 * LEAST * scale
    assert edge == int(edge)
    wanted = preset(interpolation=interpolation)
    large = encode(noise(int(edge), int(edge) + 64), "JPEG", quality=95)
    assert nearest_scale(large, wanted) == scale
    smaller = encode(noise(int(edge) - 1, int(edge) + 64), "JPEG", quality=95)
    assert nearest_scale(smaller, wanted) == scale // 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("resize", "crop_hw"), [(32, (28, 20)), ((40, 24), (40, 24)), ((40, 24), (30, 20))])
def test_a_turned_jpeg_is_reduced_and_comes_out_upright(
    orientation: int, resize: int | tuple[int, int], crop_hw: tuple[int, int], encode: Encode
):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = encode(noise(352, 288), "JPEG", quality=95, exif=exif)
    assert nearest_scale(content, preset(resize, crop_hw)) == 4


def test_both_sides_must_leave_enough(encode: Encode):
    """Squeezed to a square: its height allows for no reduction, although its width would."""
    assert nearest_scale(encode(noise(184, 111), "JPEG", quality=95), preset((32, 32), (32, 32))) == 1


@pytest.mark.parametrize("mode", ["L", "CMYK", "YCbCr"])
def test_other_kinds_of_jpeg(mode: str, encode: Encode):
    content = encode(Image.fromarray(noise(352, 288)).convert(mode), "JPEG", quality=95)
    assert nearest_scale(content, preset()) == 4


def test_a_file_of_several_jpegs(encode: Encode):
    first, second = (Image.fromarray(noise(352, 288, seed)) for seed in (3, 4))
    content = encode(first, "MPO", save_all=True, append_images=[second], quality=95)
    assert Image.open(BytesIO(content)).format == "MPO"
    assert nearest_scale(content, preset()) == 4


def test_a_progressive_jpeg_gives_the_pixels_of_a_plain_one(encode: Encode):
    plain, progressive = (encode(noise(1500, 1100), "JPEG", quality=95, progressive=way) for way in (False, True))
    assert len(progressive) > 1 << 16
    for decode in ("exact", "fast"):
        pixels = [vit.load_pixels(content, preset(), decode=decode) for content in (plain, progressive)]
        assert np.array_equal(*pixels)


@pytest.mark.parametrize("size_wh", [(1003, 701), (999, 1001), (1457, 1001)])
@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_nothing_is_shifted(size_wh: tuple[int, int], orientation: int, file_format: str, encode: Encode):
    """Sizes that no reduction divides: a shift by half a pixel of the crop would show as several shades."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = encode(blots(5, size_wh, (24, 24)), file_format, quality=95, exif=exif)
    exact, fast = (vit.load_pixels(content, preset(64, (56, 56)), decode=way) for way in ("exact", "fast"))
    assert difference(exact, fast) < 0.7
    across, down = (np.roll(exact, 1, axis=axis) for axis in (1, 0))
    assert min(difference(exact, across), difference(exact, down)) / 2 > 3  # what half a pixel would make


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_what_is_not_made_smaller_has_the_same_bytes(interpolation: str, encode: Encode):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    small, wanted = noise(30, 27), preset(32, (28, 28), interpolation)
    square = preset((32, 40), (32, 40), interpolation)
    for content in (encode(small, "JPEG", exif=exif), encode(small, "PNG", exif=exif), small, Image.fromarray(small)):
        for prepared in (wanted, square):
            exact = vit.load_pixels(content, prepared)
            assert np.array_equal(vit.load_pixels(content, prepared, decode="fast"), exact)
    as_wanted = encode(noise(32, 48), "JPEG")
    assert np.array_equal(vit.load_pixels(as_wanted, wanted, decode="fast"), vit.load_pixels(as_wanted, wanted))


def test_resizing_by_nearest_has_the_same_bytes(encode: Encode):
    content, wanted = encode(noise(352, 288), "JPEG"), preset(interpolation="nearest")
    assert np.array_equal(vit.load_pixels(content, wanted, decode="fast"), vit.load_pixels(content, wanted))


@pytest.mark.parametrize("crop_hw", [(48, 48), (40, 20), (20, 40)])
def test_padding_is_the_same(crop_hw: tuple[int, int], encode: Encode):
    content = encode(blots(6, (352, 288)).point(lambda value: max(value, 40)), "JPEG", quality=95)
    exact, fast = (vit.load_pixels(content, preset(32, crop_hw), decode=way) for way in ("exact", "fast"))
    assert np.array_equal(exact.max(axis=2) == 0, fast.max(axis=2) == 0)
    assert difference(exact, fast) < 0.7


def test_an_image_of_the_caller_stays_as_it_is(encode: Encode):
    content = encode(blots(7, (704, 576)), "JPEG", quality=95)
    sources: list[ImageSource] = [Image.open(BytesIO(content)), np.asarray(Image.open(BytesIO(content)))]
    exact = vit.load_pixels(content, preset())
    for source in sources:
        assert difference(vit.load_pixels(source, preset(), decode="fast"), exact) < 0.5
    assert isinstance(sources[0], Image.Image)
    assert sources[0].size == (704, 576)


def test_a_way_to_decode_that_does_not_exist(picture: UInt8Array):
    with pytest.raises(vit.UsageError, match=r"^decode: 'quick' is not one of exact, fast$"):
        vit.load_pixels(picture, preset(), decode="quick")  # type: ignore[arg-type]


def test_real_photos_differ_by_less_than_a_shade(data: Path):
    """The largest photos, by DeiT's preparation."""
    wanted, differences = preset(256, (224, 224)), []
    for path in sorted((data / "photos").glob("*.JPEG")):
        with Image.open(path) as image:
            if min(image.size) < math.ceil(2 * LEAST * 256):
                continue
        pixels = [vit.load_pixels(path, wanted, decode=way) for way in ("exact", "fast")]
        differences.append(difference(*pixels))
    assert len(differences) >= 3
    assert 0 < max(differences) < 1
