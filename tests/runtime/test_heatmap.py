"""Attention maps as pictures: whether they lie where the model looked."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_runtime.artifact import Preprocessing, Rollout
from vit_runtime.heatmap import AttentionMap
from vit_runtime.pictures.preprocess import load_pixels

PREPARATION = Preprocessing(
    resize_shortest_edge=64,
    resize_hw=None,
    crop_hw=(56, 56),
    crop_rounding="half_even",
    interpolation="bilinear",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
GRID = 14
MAGMA = np.rint(colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8)
"""The 256 colours that maps are drawn in, as matplotlib has them."""


@pytest.fixture(scope="module")
def attending_artifact(tiny_checkpoint, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("attending") / "tiny.onnx"
    rollout = Rollout(head_fusion="mean", discard_ratio=0.0)
    return export(ExportRequest(model=str(tiny_checkpoint), output=output, rollout=rollout)).path


@pytest.fixture(scope="module")
def attending(attending_artifact) -> vit.ViT:
    return vit.load(attending_artifact, threads=1)


def spot(size_wh: tuple[int, int], centre: tuple[int, int], orientation: int = 1) -> Image.Image | bytes:
    """A black photo with a white square of 60 pixels; with another orientation as a JPEG that is stored turned."""
    photo = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    x, y = centre
    photo[y - 30 : y + 30, x - 30 : x + 30] = 255
    image = Image.fromarray(photo)
    if orientation == 1:
        return image
    # EXIF orientation 6: to be turned by 90 degrees clockwise to stand upright, so it is stored the other way.
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.rotate(90, expand=True).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize(
    ("size_wh", "centre", "orientation"),
    [
        ((600, 400), (250, 130), 1),
        ((400, 600), (260, 350), 1),
        ((400, 600), (150, 250), 6),
        ((500, 500), (420, 90), 1),
        ((120, 900), (60, 430), 1),
    ],
    ids=["landscape", "portrait", "turned by EXIF", "square", "narrow"],
)
@pytest.mark.parametrize("exact", [False, True], ids=["shortest edge", "exact size"])
def test_the_map_lies_over_the_object(size_wh, centre, orientation, exact):
    """A map that is bright where the model's own pixels are: its middle has to be the object's in the photo."""
    preparation = PREPARATION
    if exact:
        preparation = replace(PREPARATION, resize_shortest_edge=None, resize_hw=(60, 70))
    photo = spot(size_wh, centre, orientation)
    seen = load_pixels(photo, preparation)[..., 0].astype(np.float32)
    values = seen.reshape(GRID, 4, GRID, 4).mean(axis=(1, 3))  # what a model that looks at white would give
    overlay = AttentionMap(values, photo, preparation).overlay(opacity=1.0)
    assert overlay.size == size_wh
    heat = heat_of(np.asarray(overlay))
    rows, columns = np.indices(heat.shape) + 0.5
    middle = (heat * columns).sum() / heat.sum(), (heat * rows).sum() / heat.sum()
    patch = (4 * size_wh[0] / 70, 4 * size_wh[1] / 60) if exact else (4 * min(size_wh) / 64,) * 2
    for found, wanted, pixels in zip(middle, centre, patch, strict=True):
        # An average puts the part of a patch that is covered into its middle: an eighth of a patch off at most, in
        # proportion to how many patches the square of 60 pixels covers.
        assert abs(found - wanted) < max(1.0, pixels / 8 * pixels / 60)


def heat_of(overlay: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 back from colours (H, W, 3); the black that the photos have elsewhere is nearest to 0."""
    palette = MAGMA.astype(int)
    colours, where = np.unique(overlay.reshape(-1, 3), axis=0, return_inverse=True)
    indices = np.abs(colours[:, None].astype(int) - palette[None]).sum(axis=2).argmin(axis=1)
    return indices[where].reshape(overlay.shape[:2]) / 255.0


def test_what_the_model_did_not_see_stays_as_it_is(random_pictures):
    photo = Image.fromarray(random_pictures(1)[0]).resize((600, 400))
    overlay = AttentionMap(np.eye(GRID, dtype=np.float32), photo, PREPARATION).overlay(opacity=1.0)
    # 64 to 56 pixels of the shorter edge: a 16th of 400 is cut off at either side, and (600 - 350) / 2 across.
    before, after = np.asarray(photo), np.asarray(overlay)
    changed_rows, changed_columns = np.nonzero((before != after).any(axis=2))
    assert (changed_rows.min(), changed_rows.max()) == (25, 374)
    assert (changed_columns.min(), changed_columns.max()) == (125, 474)


def test_opacity(random_pictures):
    photo = Image.fromarray(random_pictures(1)[0])
    seen = AttentionMap(np.eye(GRID, dtype=np.float32), photo, PREPARATION)
    np.testing.assert_array_equal(np.asarray(seen.overlay(opacity=0)), np.asarray(photo))
    for opacity in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="opacity"):
            seen.overlay(opacity=opacity)


def test_a_picture_larger_than_its_photo(random_pictures):
    """A crop that reaches beyond the photo, which is padded: the overlay has the photo's size all the same."""
    padded = replace(PREPARATION, resize_shortest_edge=40)
    photo = Image.fromarray(random_pictures(1)[0]).resize((80, 120))
    overlay = AttentionMap(np.eye(GRID, dtype=np.float32), photo, padded).overlay()
    assert overlay.size == (80, 120)


@pytest.mark.parametrize("size_wh", [(1, 3000), (3000, 1), (2, 5001), (1, 1)])
def test_a_crop_of_less_than_a_pixel(size_wh):
    """Of so long a photo the model sees a part of one pixel: that pixel is coloured."""
    bright = np.ones((GRID, GRID), np.float32)
    bright[0, 0] = 0
    overlay = AttentionMap(bright, Image.new("RGB", size_wh), PREPARATION).overlay()
    assert overlay.size == size_wh
    assert np.asarray(overlay).any()


def test_an_even_map_divides_by_nothing(random_pictures):
    photo = random_pictures(1)[0]
    overlay = AttentionMap(np.full((GRID, GRID), 0.005, np.float32), photo, PREPARATION).overlay()
    assert overlay.size == (photo.shape[1], photo.shape[0])


def colours_of(values: np.ndarray) -> np.ndarray:
    """The colours (n, 3) of values from 0 to 1: a photo with a pixel a patch, covered."""
    whole = replace(PREPARATION, resize_shortest_edge=None, resize_hw=PREPARATION.crop_hw)
    seen = AttentionMap(values[None], Image.new("RGB", (len(values), 1)), whole)
    return np.asarray(seen.overlay(opacity=1.0))[0]


def test_the_colours_are_magma():
    colours = colours_of(np.linspace(0, 1, 256, dtype=np.float32))
    # Every 15th of them is stored and the others are interpolated: 3 of 255 steps off at most.
    assert np.abs(colours.astype(int) - MAGMA).max() <= 3
    np.testing.assert_array_equal(colours[::15], MAGMA[::15])


def test_the_colours_are_perceptually_even():
    """Equal steps look equal: CIEDE2000 between neighbours varies little, and lightness only rises."""
    lab = rgb2lab(colours_of(np.linspace(0, 1, 18, dtype=np.float32)) / 255.0)
    assert (np.diff(lab[:, 0]) > 0).all()
    steps = deltaE_ciede2000(lab[:-1], lab[1:])
    assert steps.max() / steps.mean() < 1.6
    assert steps.min() / steps.mean() > 0.5


class TestAttend:
    def test_one_picture_and_several(self, attending, random_pictures):
        photos = random_pictures(3)
        maps = attending.attend(photos, batch_size=2)
        assert [seen.values.shape for seen in maps] == [(4, 4)] * 3
        for photo, seen in zip(photos, maps, strict=True):
            np.testing.assert_allclose(attending.attend(photo).values, seen.values, atol=1e-7)

    def test_a_map_is_an_array(self, attending, random_pictures):
        seen = attending.attend(random_pictures(1)[0])
        assert np.asarray(seen).dtype == np.float32
        np.testing.assert_array_equal(np.asarray(seen), seen.values)
        assert np.asarray(seen, np.float64).dtype == np.float64

    def test_shares_of_one(self, attending, random_pictures):
        values = attending.attend(random_pictures(1)[0]).values
        assert (values > 0).all()
        assert values.sum() < 1

    @pytest.mark.parametrize("kind", ["path", "bytes", "file", "image", "array"])
    def test_whatever_is_a_picture_can_be_drawn_on(self, kind, attending, picture, encode, tmp_path):
        path = tmp_path / "photo.png"
        path.write_bytes(encode(picture, "PNG"))
        make = {
            "path": lambda: path,
            "bytes": path.read_bytes,
            "file": lambda: path.open("rb"),
            "image": lambda: Image.fromarray(picture),
            "array": lambda: picture,
        }
        expected = attending.attend(path).overlay()
        source = make[kind]()
        seen = attending.attend(source)
        if kind == "file":
            source.close()  # what is drawn on was kept
        np.testing.assert_array_equal(np.asarray(seen.overlay()), np.asarray(expected))

    def test_the_callers_picture_stays_as_it_is(self, attending, picture):
        image, before = Image.fromarray(picture), picture.copy()
        attending.attend(image).overlay()
        attending.attend(picture).overlay()
        np.testing.assert_array_equal(np.asarray(image), before)
        np.testing.assert_array_equal(picture, before)

    def test_without_the_output(self, tiny, picture):
        with pytest.raises(vit.ArtifactError, match="gives no attention maps; export it with rollout"):
            tiny.attend(picture)


class TestCommand:
    @pytest.fixture
    def photos(self, picture, encode, tmp_path) -> Path:
        folder = tmp_path / "photos"
        folder.mkdir()
        for name in ("a.png", "b.jpg"):
            (folder / name).write_bytes(encode(picture, "PNG" if name.endswith("png") else "JPEG"))
        return folder

    @pytest.mark.parametrize("name", ["heat.png", "heat.jpg", "heat.webp"])
    def test_one_photo_to_a_file(self, name, attending_artifact, photos, tmp_path, vit_run):
        result = vit_run("attend", attending_artifact, photos / "a.png", "-o", tmp_path / name)
        assert (result.exit_code, result.stdout) == (0, f"{tmp_path / name}\n")
        with Image.open(tmp_path / name) as heat:
            assert heat.size == (64, 48)
            assert heat.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[name.partition(".")[2]]

    def test_a_folder_to_a_new_folder(self, attending_artifact, photos, tmp_path, vit_run):
        result = vit_run("attend", attending_artifact, photos, "-o", tmp_path / "maps")
        assert result.exit_code == 0
        assert [path.name for path in sorted((tmp_path / "maps").iterdir())] == [
            "a.attention.png",
            "b.attention.png",
        ]

    def test_photos_of_one_name_get_numbers(self, attending_artifact, photos, tmp_path, vit_run):
        (tmp_path / "more").mkdir()
        for name in ("a.jpg", "a.png"):
            (tmp_path / "more" / name).write_bytes((photos / "a.png").read_bytes())
        result = vit_run("attend", attending_artifact, photos, tmp_path / "more", "-o", tmp_path / "maps")
        names = ["a.attention.png", "b.attention.png", "a-2.attention.png", "a-3.attention.png"]
        assert result.stdout.splitlines() == [str(tmp_path / "maps" / name) for name in names]
        assert sorted(names) == sorted(path.name for path in (tmp_path / "maps").iterdir())

    def test_into_this_folder(self, attending_artifact, photos, tmp_path, vit_run, monkeypatch):
        monkeypatch.chdir(tmp_path)
        result = vit_run("attend", attending_artifact, photos / "a.png")
        assert result.stdout == "a.attention.png\n"
        assert (tmp_path / "a.attention.png").is_file()

    def test_json(self, attending_artifact, attending, photos, vit_run):
        result = vit_run("attend", attending_artifact, photos, "--json")
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert [line["image"] for line in lines] == [str(photos / "a.png"), str(photos / "b.jpg")]
        rollout = np.array(lines[0]["rollout"], np.float32)
        np.testing.assert_allclose(rollout, attending.attend(photos / "a.png").values, atol=1e-7)

    def test_a_broken_photo_is_named_and_the_others_go_on(self, attending_artifact, photos, tmp_path, vit_run):
        (photos / "aa.png").write_bytes(b"no picture")
        result = vit_run("attend", attending_artifact, photos, "-o", tmp_path / "maps")
        assert result.exit_code == 1
        assert "aa.png: not an image" in result.stderr
        assert len(list((tmp_path / "maps").iterdir())) == 2

    @pytest.mark.parametrize(
        ("options", "exit_code", "line"),
        [
            (["-o", "{}/heat.png"], 2, "is one file for several photos; name a folder"),
            (["-o", "{}/heat.gif"], 2, "names no picture; end it in .png, .jpg, .jpeg, .webp"),
            (["--json", "-o", "{}/maps"], 2, "--json: prints maps"),
        ],
    )
    def test_bad_usage(self, options, exit_code, line, attending_artifact, photos, tmp_path, vit_run):
        result = vit_run("attend", attending_artifact, photos, *(option.format(tmp_path) for option in options))
        assert result.exit_code == exit_code
        assert line in result.stderr
        assert result.stderr.count("\n") == 1

    def test_no_such_folder(self, attending_artifact, photos, tmp_path, vit_run):
        result = vit_run("attend", attending_artifact, photos / "a.png", "-o", tmp_path / "no" / "heat.png")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "No such file or directory" in result.stderr

    def test_a_model_without_maps(self, tiny_artifact, photos, tmp_path, vit_run):
        result = vit_run("attend", tiny_artifact, photos, "-o", tmp_path / "maps")
        assert result.exit_code == 1
        assert "gives no attention maps; export it with --attention" in result.stderr
        assert not (tmp_path / "maps").exists()
