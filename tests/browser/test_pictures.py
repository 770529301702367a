"""Pictures go in by the button, by dropping and by pasting; the answers are the model's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import vit_runtime as vit

from .tabs import ANSWERED, Tab

pytestmark = pytest.mark.browser
OpenTab = Callable[..., Tab]


def expected(model: vit.ViT, photo: Path, count: int = 5) -> list[tuple[str, str]]:
    return [(each.label, f"{100 * each.probability:.1f} %") for each in model.classify(photo, top_k=count)]


def test_chosen_picture_gets_the_models_labels(open_tab: OpenTab, model: vit.ViT, photos: SimpleNamespace) -> None:
    tab = open_tab()
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    assert tab.labels() == expected(model, photos.cat)
    assert tab.page.locator("#photo").get_attribute("alt") == "cat.jpg"
    first, share = expected(model, photos.cat)[0]
    assert tab.page.locator("#status").inner_text() == f"cat.jpg: {first}, {share}"


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_dropped_and_pasted_pictures(open_tab: OpenTab, model: vit.ViT, photos: SimpleNamespace, kind: str) -> None:
    tab = open_tab()
    tab.hand(kind, photos.coffee)
    tab.wait(ANSWERED)
    assert tab.labels() == expected(model, photos.coffee)


def test_drop_of_no_file_says_what_to_do(open_tab: OpenTab) -> None:
    tab = open_tab()
    tab.hand("dragover")
    assert "over" in tab.page.locator("#well").get_attribute("class")
    tab.hand("drop")
    assert tab.wait("#alert").inner_text() == "That was no file. Save the picture first, then drop it here."


def test_several_pictures_each_have_their_answer(open_tab: OpenTab, model: vit.ViT, photos: SimpleNamespace) -> None:
    tab = open_tab()
    tab.choose(photos.cat, photos.coffee)
    tab.page.wait_for_function("() => document.getElementById('count').textContent === '2'")
    assert tab.labels() == expected(model, photos.cat)
    tab.page.get_by_role("button", name="coffee.jpg").click()
    assert tab.labels() == expected(model, photos.coffee)
    assert tab.page.locator("#strip [aria-current=true]").get_attribute("aria-label") == "coffee.jpg"
    tab.page.get_by_role("button", name="Remove all").click()
    assert tab.page.locator("#drop").is_visible()
    assert not tab.page.locator("#labels-card").is_visible()


def test_how_many_labels_are_shown(open_tab: OpenTab, model: vit.ViT, photos: SimpleNamespace) -> None:
    tab = open_tab()
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    asked = tab.asked()
    for count, shown in (("3", 3), ("10", 7)):
        tab.page.select_option("#top", count)
        assert tab.labels() == expected(model, photos.cat, shown)
    assert tab.asked() == asked == 1  # nothing is asked for that is here already


def test_labels_are_text_and_never_html(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    tab.page.select_option("#top", "10")
    assert "<b>fox & hare</b>" in [label for label, _ in tab.labels()]
    assert tab.page.locator("#labels b").count() == 0


def test_sigmoid_is_explained(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    assert not tab.page.locator("#sigmoid").is_visible()

    def sigmoid(answer: dict) -> None:
        for prediction in answer["results"][0]["predictions"]:
            prediction["kind"] = "sigmoid"

    tab.change("**/v1/classify?*", sigmoid)
    tab.choose(photos.coffee)
    assert "do not make 100 %" in tab.wait("#sigmoid").inner_text()


def test_picture_that_no_browser_shows_is_answered(
    open_tab: OpenTab, model: vit.ViT, photos: SimpleNamespace, tmp_path: Path
) -> None:
    tiff = tmp_path / "cat.tiff"
    Image.open(photos.cat).save(tiff)
    tab = open_tab()
    tab.choose(tiff)
    tab.wait(ANSWERED)
    assert tab.labels() == expected(model, tiff)
    assert tab.wait("#undrawn").inner_text() == "This browser cannot show cat.tiff."
    assert tab.page.locator("#map").is_visible()


def test_times_add_up(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    tab.change(
        "**/v1/classify?*",
        lambda answer: answer["results"][0].update(milliseconds={"waiting": 3.04, "reading": 17.2, "model": 5.96}),
    )
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    terms = tab.page.locator("#times dt").all_inner_texts()
    values = tab.page.locator("#times dd").all_inner_texts()
    assert terms == ["Waiting for its turn", "Reading the picture", "Model", "Way there and back"]
    assert values[:3] == ["3.0 ms", "17 ms", "6.0 ms"]
    total = float(tab.page.locator("#total").inner_text().split()[0])
    assert total == pytest.approx(sum(float(value.split()[0]) for value in values), abs=2)


def test_page_says_what_answers(open_tab: OpenTab) -> None:
    tab = open_tab()
    facts = dict(
        zip(
            tab.page.locator("#facts dt").all_inner_texts(),
            tab.page.locator("#facts dd").all_inner_texts(),
            strict=True,
        )
    )
    assert facts["File"] == "tiny.onnx"
    assert facts["Engine"] == "CPUExecutionProvider"
    assert facts["Classes"] == "7"
