"""The page for everyone: axe-core, narrow screens, dark and light, the keyboard alone, less motion, forced colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from .services import Service
from .tabs import ANSWERED, Tab
from .test_camera import NO_CAMERA, go_live
from .test_trouble import TOKEN, refuse_once

pytestmark = pytest.mark.browser
OpenTab = Callable[..., Tab]
NARROW = {"width": 320, "height": 640}


@pytest.fixture(params=[{"width": 1280, "height": 900}, NARROW], ids=["wide", "narrow"])
def size(request: pytest.FixtureRequest) -> dict[str, int]:
    return request.param  # type: ignore[no-any-return]


def sound(tab: Tab) -> None:
    """Neither barriers nor anything wider than the screen."""
    assert tab.audit() == []
    assert tab.overflow() <= 0


def test_start(open_tab: OpenTab, size: dict[str, int]) -> None:
    sound(open_tab(viewport=size))


def test_without_camera(open_tab: OpenTab, size: dict[str, int]) -> None:
    sound(open_tab(viewport=size, flags=NO_CAMERA))


def test_answered(open_tab: OpenTab, size: dict[str, int], photos: SimpleNamespace, tmp_path: Path) -> None:
    notes = tmp_path / f"{'long' * 30}.txt"
    notes.write_text("no picture")

    def enlarge(answer: dict) -> None:
        answer["models"][0]["notes"] = ["random weights: the answers mean nothing"]
        answer["models"].append({**answer["models"][0], "name": "b" * 64})

    tab = open_tab(viewport=size)
    tab.change("**/v1/models", enlarge)
    tab.page.reload()
    tab.wait("#notes")
    tab.choose(photos.cat, photos.coffee, notes)
    tab.wait("#strip .mark:not([hidden])")
    tab.wait("#nearest img")
    sound(tab)
    tab.page.locator("#strip button").last.click()
    tab.wait("#alert")
    sound(tab)


def test_live(open_tab: OpenTab, size: dict[str, int]) -> None:
    tab = open_tab(viewport=size)
    go_live(tab)
    sound(tab)


def test_token(open_tab: OpenTab, size: dict[str, int], serve: Callable[..., Service], service: Service) -> None:
    tab = open_tab(viewport=size, service=serve(service.models, token=TOKEN))
    tab.wait("#gate[open]")
    sound(tab)


def test_dark_and_light_differ(open_tab: OpenTab) -> None:
    tab = open_tab(color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = tab.page.evaluate(colour)
    tab.page.emulate_media(color_scheme="light")
    assert (dark, tab.page.evaluate(colour)) == ("rgb(16, 17, 23)", "rgb(245, 245, 248)")


def test_less_motion(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab(reduced_motion="reduce")
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    fill = tab.page.locator("#labels .fill").first
    assert fill.evaluate("(bar) => getComputedStyle(bar).transitionDuration") == "0s"
    tab.page.emulate_media(reduced_motion="no-preference")
    assert fill.evaluate("(bar) => getComputedStyle(bar).transitionDuration") != "0s"


def test_forced_colours_keep_the_bars(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab(forced_colors="active")
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    fill, track = tab.page.locator("#labels .fill").first, tab.page.locator("#labels .track").first
    colour = "(bar) => getComputedStyle(bar).backgroundColor"
    assert fill.evaluate(colour) != track.evaluate(colour)


def reach(tab: Tab, name: str) -> None:
    """Presses Tab until the focus lies on what is called so, and sees that it is marked."""
    for _ in range(30):
        tab.page.keyboard.press("Tab")
        found, outline = tab.page.evaluate("""() => {
            const element = document.activeElement, shown = element.closest("label.button") ?? element;
            const name = element.getAttribute("aria-label") || element.labels?.[0]?.textContent || element.textContent;
            return [name.trim(), getComputedStyle(shown).outlineStyle];
        }""")
        if found == name:
            assert outline == "solid"
            return
    raise AssertionError(f"the keyboard does not come to {name!r}")


def test_keyboard_alone(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    # Playwright takes the dialog from the time on that somebody listens: so long before the key.
    tab.page.on("filechooser", lambda chooser: chooser.set_files([photos.cat, photos.coffee]))
    reach(tab, "Choose pictures")
    tab.page.keyboard.press("Enter")
    tab.wait(ANSWERED)
    reach(tab, "coffee.jpg")
    tab.page.keyboard.press("Enter")
    assert tab.page.locator("#photo").get_attribute("alt") == "coffee.jpg"
    reach(tab, "Show")
    tab.page.keyboard.press("3")
    tab.page.wait_for_function("() => document.querySelectorAll('#labels li').length === 3")
    tab.page.reload()
    tab.wait("#model-card")
    reach(tab, "Camera")
    tab.page.keyboard.press("Enter")
    tab.wait_text("#chip", "frames a second")
    reach(tab, "Stop camera")
    tab.page.keyboard.press("Space")
    assert tab.page.evaluate("document.activeElement.id") == "camera"


def test_try_again_keeps_the_keyboard_on_the_page(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    refuse_once(tab, 503, "busy")
    tab.choose(photos.cat)
    tab.wait("#again").focus()
    tab.page.keyboard.press("Enter")
    tab.wait(ANSWERED)
    assert tab.page.evaluate("document.activeElement.id") == "files"
