"""What the page says where something is wrong, and how it goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from .services import Service
from .tabs import ANSWERED, Tab

pytestmark = pytest.mark.browser
OpenTab = Callable[..., Tab]
Serve = Callable[..., Service]
TOKEN = "open-sesame-open-sesame"  # noqa: S105 - of a service that lives for a test
_THUMBNAILS = (
    "() => [...document.querySelectorAll('#nearest img')].filter((image) => image.naturalWidth > 0).length === 5"
)


def refuse_once(tab: Tab, status: int, error: str, headers: dict[str, str] | None = None) -> list[Any]:
    """Lets the next question be refused, and those after it through."""
    refused: list[Any] = []

    def answer(route: Any) -> None:
        if refused:
            route.continue_()
        else:
            refused.append(route)
            route.fulfill(status=status, headers=headers or {}, json={"error": error})

    tab.page.route("**/v1/classify?*", answer)
    return refused


def test_file_that_is_no_picture_is_an_alert_of_one_line(
    open_tab: OpenTab, photos: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    tab = open_tab()
    tab.choose(tmp_path / "notes.txt", photos.cat)
    line = tab.wait("#alert").inner_text()
    assert line.startswith("notes.txt: ")
    assert "\n" not in line
    assert not tab.page.locator("#labels-card").is_visible()
    tab.page.get_by_role("button", name="cat.jpg").click()
    tab.wait(ANSWERED)
    assert not tab.page.locator("#alert").is_visible()
    assert tab.page.get_by_role("button", name="notes.txt, not answered").is_visible()


def test_try_again(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    refuse_once(tab, 503, "the model cannot be loaded: too little memory")
    tab.choose(photos.cat)
    tab.wait("#again")
    assert tab.page.locator("#alert").inner_text() == "cat.jpg: the model cannot be loaded: too little memory"
    tab.page.get_by_role("button", name="Try again").click()
    tab.wait(ANSWERED)
    assert not tab.page.locator("#trouble").is_visible()


def test_error_is_text_and_never_html(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    refuse_once(tab, 422, "<img src=x onerror=alert(1)>")
    tab.choose(photos.cat)
    assert tab.wait("#alert").inner_text() == "cat.jpg: <img src=x onerror=alert(1)>"
    assert tab.page.locator("#alert img").count() == 0


def test_full_queue_is_waited_for(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    refused = refuse_once(tab, 429, "the queue is full", {"Retry-After": "1"})
    tab.choose(photos.cat)
    tab.wait_text("#chip", "The service is busy. Trying again in 1 s")
    assert not tab.page.locator("#alert").is_visible()
    tab.wait(ANSWERED)
    assert len(refused) == 1
    assert tab.asked() == 2


def test_service_that_is_gone_is_said_and_waited_for(
    open_tab: OpenTab, serve: Serve, service: Service, photos: SimpleNamespace
) -> None:
    own = serve(service.models)
    tab = open_tab(service=own)
    own.stop()
    tab.choose(photos.cat)
    tab.wait("#alert")
    assert tab.page.locator("#alert").inner_text() == "The service does not answer. Trying again …"
    own.start()
    tab.wait(ANSWERED)
    assert not tab.page.locator("#trouble").is_visible()


def test_connection_that_ends_each_time_is_an_error(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    tab.page.route("**/v1/classify?*", lambda route: route.abort("connectionreset"))
    tab.choose(photos.cat)
    line = tab.wait("#again").locator("..").inner_text()
    assert "the service ended the connection: is the picture too large?" in line
    assert tab.asked() == 2


def test_token_is_asked_for_and_kept_for_the_session(
    open_tab: OpenTab, serve: Serve, service: Service, photos: SimpleNamespace
) -> None:
    tab = open_tab(service=serve(service.models, index=service.index, token=TOKEN))
    tab.wait("#gate[open]")
    assert tab.page.evaluate("document.activeElement.id") == "token"
    tab.page.keyboard.type("wrong")
    tab.page.keyboard.press("Enter")
    tab.wait_text("#gate-why", "That token is not the right one.")
    assert tab.page.get_by_label("Token", exact=True).input_value() == ""
    tab.page.get_by_label("Token", exact=True).fill(TOKEN)
    tab.page.get_by_role("button", name="Continue").click()
    tab.wait("#model-card")
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    tab.page.wait_for_function(_THUMBNAILS)  # an <img> sends no token: they come by requests of their own
    tab.page.reload()
    tab.wait("#model-card")
    assert not tab.page.locator("#gate").is_visible()


def test_no_token_is_an_error(open_tab: OpenTab, serve: Serve, service: Service) -> None:
    tab = open_tab(service=serve(service.models, token=TOKEN))
    tab.page.get_by_role("button", name="Cancel").click()
    assert "the service needs a token" in tab.wait("#alert").inner_text()


def test_models_can_be_chosen(
    open_tab: OpenTab, serve: Serve, service: Service, tiny_artifact: Path, photos: SimpleNamespace
) -> None:
    tab = open_tab(service=serve([*service.models, f"plain={tiny_artifact}"]))
    assert tab.page.get_by_label("Model", exact=True).locator("option").all_inner_texts() == ["tiny", "plain"]
    tab.choose(photos.cat)
    tab.wait(ANSWERED)
    assert not tab.labels()[0][0].startswith("class ")
    tab.page.get_by_label("Model", exact=True).select_option("plain")
    tab.page.wait_for_function("() => document.querySelector('#labels li span')?.textContent.startsWith('class ')")
    assert "model=plain" in tab.requests[-1]
    assert not tab.page.locator("#map").is_visible()


def test_one_model_needs_no_choice(open_tab: OpenTab) -> None:
    assert not open_tab().page.get_by_label("Model", exact=True).is_visible()


def test_notes_are_shown(open_tab: OpenTab) -> None:
    tab = open_tab()
    note = "random weights: the answers mean nothing"
    tab.change("**/v1/models", lambda answer: answer["models"][0].update(notes=[note]))
    tab.page.reload()
    assert tab.wait("#notes").inner_text() == note


def test_nearest_pictures(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    tab.choose(photos.cat)
    tab.wait("#nearest-card")
    assert tab.page.locator("#nearest .name").all_inner_texts()[0] == "cat.jpg"
    cosines = [float(text) for text in tab.page.locator("#nearest b").all_inner_texts()]
    assert cosines[0] == 1
    assert cosines == sorted(cosines, reverse=True)
    assert tab.page.locator("#among").inner_text() == "of 5"
    tab.page.wait_for_function(_THUMBNAILS)


def test_model_without_classes(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    only = {"outputs": ["embedding"], "classes": None, "kind": None, "index": None}
    tab.change("**/v1/models", lambda answer: answer["models"][0].update(only))
    tab.page.reload()
    tab.wait("#model-card")
    tab.choose(photos.cat)
    assert "128 numbers" in tab.wait("#embedding").inner_text()
    assert not tab.page.locator("#labels-card").is_visible()
    assert any("/v1/embed?" in url for url in tab.requests)


def test_model_without_classes_but_an_index(open_tab: OpenTab, photos: SimpleNamespace) -> None:
    tab = open_tab()
    only = {"outputs": ["embedding", "rollout"], "classes": None, "kind": None}
    tab.change("**/v1/models", lambda answer: answer["models"][0].update(only))
    tab.page.reload()
    tab.wait("#model-card")
    tab.choose(photos.cat)
    tab.wait("#nearest-card")
    assert tab.page.locator("#map").is_visible()
    assert not tab.page.locator("#embedding-card").is_visible()
    assert tab.page.locator("#status").inner_text().endswith("cat.jpg")
