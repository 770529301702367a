"""Fixtures for tests of the page in a Chromium: they are skipped where it, Playwright or axe-core is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_runtime.artifact import Rollout

from .services import Service
from .tabs import Tab

LABELS = ["tabby", "beagle", "<b>fox & hare</b>", "mug", "tulip", "canoe", "lighthouse"]
"""One is HTML, which the page must show as it is written."""


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium of the system."""
    pytest.importorskip("playwright.sync_api", reason="Playwright is missing: run `make test-browser`")
    pytest.importorskip("axe_playwright_python", reason="axe-core is missing: run `make test-browser`")
    found = os.environ.get("VIT_EDGE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium here: `apt-get install chromium`, or name one in VIT_EDGE_CHROMIUM")
    return found


@pytest.fixture(scope="module")  # no longer: Playwright's event loop would be in the way of tests with their own
def launch(chromium: str) -> Iterator[Callable[..., object]]:
    """`launch(*flags)` gives a browser; those with the same flags share one."""
    from playwright.sync_api import sync_playwright

    browsers: dict[tuple[str, ...], object] = {}
    with sync_playwright() as playwright:

        def run(*flags: str) -> object:
            if flags not in browsers:
                browsers[flags] = playwright.chromium.launch(executable_path=chromium, args=list(flags))
            return browsers[flags]

        yield run
        for browser in browsers.values():
            browser.close()


@pytest.fixture
def open_tab(launch: Callable[..., object], service: Service) -> Iterator[Callable[..., Tab]]:
    """`open_tab()` opens the page; in the end no tab may have seen an error, or asked another machine."""
    tabs: list[Tab] = []

    def run(
        *,
        service: Service = service,
        flags: tuple[str, ...] = FAKE_CAMERA,
        at: str = "",
        init: str = "",
        **options: object,
    ) -> Tab:
        context = launch(*flags).new_context(**options)
        if init:
            context.add_init_script(init)
        tabs.append(Tab(context.new_page()))
        tabs[-1].open(at or service.url)
        return tabs[-1]

    yield run
    for tab in tabs:
        tab.page.unroute_all(behavior="wait")  # an answer on its way would find no page
        tab.page.context.close()
    for tab in tabs:
        tab.check()


FAKE_CAMERA = ("--use-fake-device-for-media-stream=device-count=2", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="session")
def photos(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:  # noqa: ARG001 - skips first
    """Photos that everyone has: `folder` with five, of which `cat` and `coffee` are two."""
    from skimage import data as pictures_of_skimage

    folder = tmp_path_factory.mktemp("photos")
    for name, array in {
        "cat": pictures_of_skimage.chelsea(),
        "coffee": pictures_of_skimage.coffee(),
        "astronaut": pictures_of_skimage.astronaut(),
        "rocket": pictures_of_skimage.rocket(),
        "coins": pictures_of_skimage.coins(),
    }.items():
        Image.fromarray(array).convert("RGB").save(folder / f"{name}.jpg", quality=92)
    return SimpleNamespace(folder=folder, cat=folder / "cat.jpg", coffee=folder / "coffee.jpg")


@pytest.fixture(scope="session")
def artifact(
    chromium: str,  # noqa: ARG001 - skips before anything is exported
    tiny_checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The tiny model with labels and attention maps."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
    rollout = Rollout(head_fusion="mean", discard_ratio=0)
    request = ExportRequest(
        model=tiny_checkpoint, labels=folder / "labels.txt", rollout=rollout, output=folder / "tiny.onnx"
    )
    return export(request).path


@pytest.fixture(scope="session")
def model(artifact: Path) -> Iterator[vit.ViT]:
    """The same model in this process, to compare with."""
    with vit.load(artifact) as model:
        yield model


@pytest.fixture(scope="session")
def index(artifact: Path, photos: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the five photos."""
    from typer.testing import CliRunner

    import vit_runtime.cli

    path = tmp_path_factory.mktemp("index") / "photos.index"
    args = ["index", str(artifact), str(photos.folder), "-o", str(path)]
    assert CliRunner().invoke(vit_runtime.cli.app, args).exit_code == 0
    return path


@pytest.fixture(scope="session")
def service(artifact: Path, index: Path) -> Iterator[Service]:
    """The service with one model and its index."""
    with Service([artifact], index=index) as service:
        yield service


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    """`serve(models, ...)` starts a service of a test's own."""
    services: list[Service] = []

    def run(models: list[str | Path], **options: object) -> Service:
        services.append(Service(models, **options))
        services[-1].start()
        return services[-1]

    yield run
    for service in services:
        service.stop()
