"""The attention map lies over the part of the picture that the model saw, as `vit-run attend` draws it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import vit_runtime as vit
from vit_runtime.pictures.preprocess import crop_box

from .tabs import ANSWERED, Tab

pytestmark = pytest.mark.browser
OpenTab = Callable[..., Tab]


def strength(tab: Tab, value: int) -> None:
    tab.page.locator("#strength").fill(str(value))


def test_slider_changes_the_pixels_that_the_model_saw_and_no_others(
    open_tab: OpenTab, model: vit.ViT, photos: SimpleNamespace
) -> None:
    tab = open_tab(viewport={"width": 1280, "height": 900})
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    looks = {}
    for value in (0, 50, 100):
        strength(tab, value)
        looks[value] = tab.look("#frame").astype(int)
    changed = np.abs(looks[100] - looks[0]).max(axis=2) > 0
    height, width = changed.shape
    with Image.open(photos.cat) as photo:
        left, top, right, bottom = crop_box(photo.size, model.artifact.preprocessing)
        across, down = width / photo.width, height / photo.height
    inside = np.zeros_like(changed)
    inside[round(top * down) : round(bottom * down), round(left * across) : round(right * across)] = True
    edge = 3  # pixels of the screen, where the browser rounds
    assert changed[inside].mean() > 0.95
    outside = np.ones_like(changed)
    outside[
        max(0, round(top * down) - edge) : round(bottom * down) + edge,
        max(0, round(left * across) - edge) : round(right * across) + edge,
    ] = False
    assert not changed[outside].any()
    between = np.abs(looks[50] - (looks[0] + looks[100]) / 2)
    assert between.max() <= 2


def test_map_has_the_colours_of_the_command(open_tab: OpenTab, model: vit.ViT, photos: SimpleNamespace) -> None:
    tab = open_tab()
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    drawn = tab.page.evaluate("document.getElementById('map').toDataURL('image/png')")
    canvas = Image.open(io.BytesIO(base64.b64decode(drawn.split(",")[1]))).convert("RGB")
    overlay = model.attend(photos.cat).overlay(opacity=1)
    overlay = overlay.crop([round(edge) for edge in crop_box(overlay.size, model.artifact.preprocessing)])
    difference = np.asarray(canvas.resize(overlay.size), int) - np.asarray(overlay, int)
    assert np.abs(difference).mean() < 1.5


def test_slider_moves_with_the_keyboard(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    tab.page.locator("#strength").focus()
    for _ in range(3):
        tab.page.keyboard.press("ArrowRight")
    assert tab.page.locator("#strength").input_value() == "75"
    assert tab.page.evaluate("document.getElementById('map').style.opacity") == "0.75"


def test_map_is_described_in_words(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()

    def corner(answer: dict) -> None:
        answer["results"][0]["map"]["values"] = [[0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.2]]

    tab.change("**/v1/classify?*", corner)
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    assert tab.page.get_by_role("img", name="Attention map, brightest in the lower right").is_visible()


def test_turned_photo_and_map_stand_upright(
    open_tab: OpenTab, model: vit.ViT, photos: SimpleNamespace, tmp_path: Path
) -> None:
    turned = tmp_path / "turned.jpg"
    with Image.open(photos.cat) as photo:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees
        photo.save(turned, exif=exif)
        size = photo.size[::-1]
    tab = open_tab()
    tab.choose(turned)
    tab.wait(ANSWERED)
    frame = tab.page.locator("#frame").bounding_box()
    assert frame["width"] / frame["height"] == pytest.approx(size[0] / size[1], rel=0.01)
    box = tab.page.locator("#map").bounding_box()
    left, top, right, bottom = crop_box(size, model.artifact.preprocessing)
    scale = frame["width"] / size[0]
    assert box["x"] - frame["x"] == pytest.approx(left * scale, abs=1)
    assert box["y"] - frame["y"] == pytest.approx(top * scale, abs=1)
    assert box["width"] == pytest.approx((right - left) * scale, abs=1)
    assert box["height"] == pytest.approx((bottom - top) * scale, abs=1)


def test_model_without_maps_has_no_slider(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    tab.change("**/v1/models", lambda answer: answer["models"][0].update(outputs=["logits", "embedding"]))
    tab.page.reload()
    tab.wait("#model-card")
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    assert not tab.page.locator("#heat").is_visible()
    assert not tab.page.locator("#map").is_visible()
