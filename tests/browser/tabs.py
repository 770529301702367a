"""`Tab`: the page in a browser, what is done with it, and what it must never do."""

from __future__ import annotations

import base64
import functools
import importlib.resources
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

ANSWERED = "#time-card:not([hidden])"
_FILES = """async ([files, kind]) => {
    const transfer = new DataTransfer();
    for (const [name, type, content] of files) {
        const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type }));
    }
    const event = kind === "paste"
        ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
        : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
}"""


class Tab:
    """A page, with what it has asked for and complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.set_default_timeout(20_000)

    def open(self, url: str) -> None:
        """Opens the page, and waits for what the service has told about its models, or for its question."""
        self.host = urlsplit(url).netloc
        self.page.goto(url)
        self.page.wait_for_selector("#model-card:not([hidden]), #gate[open], #trouble:not([hidden])")

    def asked(self) -> int:
        """How often the service was asked about a picture."""
        return sum("/v1/" in url and "?" in url and "thumbnails" not in url for url in self.requests)

    def check(self) -> None:
        """Fails where the page has complained, broken its policy, or asked another machine."""
        assert not self.complaints
        elsewhere = {url for url in self.requests if urlsplit(url).scheme not in {"blob", "data"}}
        assert {urlsplit(url).netloc for url in elsewhere} == {self.host}

    def _hear(self, kind: str, text: str) -> None:
        # Chromium itself writes a line for each status of 400 and more, and for each connection that fails.
        if kind in {"error", "warning"} and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def choose(self, *files: Path) -> None:
        """Chooses files as the button does, and waits for an answer, or an error."""
        self.page.set_input_files("#files", [str(file) for file in files])

    def hand(self, kind: str, *files: Path, media_type: str = "image/jpeg") -> None:
        """Drops or pastes files; none is a drop of something else."""
        content = [[file.name, media_type, base64.b64encode(file.read_bytes()).decode()] for file in files]
        self.page.evaluate(_FILES, [content, kind])

    def wait(self, selector: str) -> Locator:
        """Waits until something is visible."""
        self.page.wait_for_selector(selector)
        return self.page.locator(selector)

    def wait_text(self, selector: str, text: str) -> None:
        """Waits until something's text has `text` in it."""
        self.page.wait_for_function(  # a function: the page's policy forbids to evaluate a text
            "([selector, text]) => document.querySelector(selector)?.textContent.includes(text)", arg=[selector, text]
        )

    def labels(self) -> list[tuple[str, str]]:
        """The labels that are shown, with their percentages."""
        rows = self.page.locator("#labels li").all()
        return [(row.locator("span").nth(0).inner_text(), row.locator(".share").inner_text()) for row in rows]

    def look(self, selector: str) -> np.ndarray:
        """What an element looks like: uint8 (h, w, 3)."""
        shot = self.page.locator(selector).screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))

    def overflow(self) -> int:
        """How many pixels the page is wider than the screen."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def audit(self) -> list[str]:
        """What axe-core finds wrong, in light and in dark; empty where all is well."""
        found = []
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            self.page.wait_for_timeout(300)  # colours may be on their way
            if not self.page.evaluate("typeof axe === 'object'"):
                self.page.evaluate(_axe())
            violations = self.page.evaluate("axe.run({ resultTypes: ['violations'] }).then((r) => r.violations)")
            found += [
                f"{scheme}: {each['id']} {each['help']}: {node['target']} {node['failureSummary']}"
                for each in violations
                for node in each["nodes"]
            ]
        return found

    def change(self, address: str, edit: Callable[[Any], None]) -> None:
        """Lets `edit` change the JSON that the service answers at an address."""

        def answer(route: Route) -> None:
            response = route.fetch()
            content = response.json()
            edit(content)
            route.fulfill(response=response, json=content)

        self.page.route(address, answer)


@functools.cache
def _axe() -> str:
    return (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
