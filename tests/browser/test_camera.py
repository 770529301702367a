"""The camera, live: Chromium's own fake device, whose picture moves and tells the time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from .services import Service
from .tabs import ANSWERED, Tab

pytestmark = pytest.mark.browser
OpenTab = Callable[..., Tab]

ONE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
NO_CAMERA = ("--use-fake-device-for-media-stream=device-count=0", "--use-fake-ui-for-media-stream")

SLOW = """
    window.seen = { captured: [], sent: [], inFlight: 0, most: 0 };
    const toBlob = HTMLCanvasElement.prototype.toBlob;
    HTMLCanvasElement.prototype.toBlob = function (...args) {
        seen.captured.push(performance.now());
        return toBlob.apply(this, args);
    };
    const fetched = window.fetch;
    window.fetch = async (...args) => {
        if (!args[1]?.body) return fetched(...args);
        seen.sent.push({ at: performance.now(), type: args[1].body.type });
        seen.most = Math.max(seen.most, ++seen.inFlight);
        await new Promise((resolve) => setTimeout(resolve, 400));
        try { return await fetched(...args); } finally { seen.inFlight--; }
    };
"""
"""Makes each answer 400 ms late, and keeps when frames were taken and sent."""


def go_live(tab: Tab) -> None:
    tab.page.get_by_role("button", name="Camera").click()
    tab.wait_text("#chip", "frames a second")


def test_live_shows_answers_and_frames_a_second(open_tab: OpenTab) -> None:
    tab = open_tab()
    go_live(tab)
    tab.wait(ANSWERED)
    assert len(tab.labels()) == 5
    assert tab.page.locator("#map").is_visible()
    assert tab.page.locator("#video").evaluate("video => video.videoWidth") == 640
    assert float(tab.wait("#chip").inner_text().split()[0]) > 0.5


def test_newest_frame_wins_where_the_service_is_slow(open_tab: OpenTab) -> None:
    tab = open_tab(init=SLOW)
    go_live(tab)
    tab.page.wait_for_function("() => seen.sent.length >= 6")
    seen = tab.page.evaluate("seen")
    assert seen["most"] == 1  # the next frame waits for the last one's answer, and none waits in a queue
    assert len(seen["captured"]) >= len(seen["sent"])  # each frame was taken for itself
    assert {sent["type"] for sent in seen["sent"]} == {"image/jpeg"}
    for captured, sent in zip(seen["captured"], seen["sent"], strict=False):
        assert 0 <= sent["at"] - captured < 250  # what is sent was taken just now, not 400 ms ago
    gaps = [b["at"] - a["at"] for a, b in zip(seen["sent"], seen["sent"][1:], strict=False)]
    assert min(gaps) >= 400
    assert float(tab.wait("#chip").inner_text().split()[0]) < 2.5


def test_busy_service_gets_the_newest_frame_again(open_tab: OpenTab) -> None:
    tab = open_tab(init=SLOW)
    refused = []

    def refuse_once(route) -> None:
        if refused:
            route.continue_()
        else:
            refused.append(route)
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"error": "the queue is full"})

    tab.page.route("**/v1/classify?*", refuse_once)
    go_live(tab)
    first, second = tab.page.evaluate("seen.sent.map((sent) => sent.at)")[:2]
    assert second - first >= 1400
    assert second - tab.page.evaluate("seen.captured")[1] < 250


def test_freeze_keeps_the_frame_and_back_to_live_goes_on(open_tab: OpenTab) -> None:
    tab = open_tab()
    go_live(tab)
    tab.page.get_by_role("button", name="Freeze").click()
    tab.wait("#photo")
    tab.page.wait_for_function("() => !document.querySelector('#time-card').hidden && chip.hidden")
    assert tab.page.locator("#photo").get_attribute("alt").startswith("camera ")
    assert tab.page.evaluate("document.activeElement.id") == "camera"  # the keyboard stays where it was
    asked = tab.asked()
    tab.page.wait_for_timeout(700)
    assert tab.asked() == asked
    tab.page.get_by_role("button", name="Back to live").click()
    tab.wait("#video")
    tab.wait_text("#chip", "frames a second")


def test_stop_lets_go_of_the_camera(open_tab: OpenTab) -> None:
    tab = open_tab()
    go_live(tab)
    tracks = tab.page.evaluate_handle("document.getElementById('video').srcObject.getTracks()")
    tab.page.get_by_role("button", name="Stop camera").click()
    assert tracks.evaluate("tracks => tracks.map((track) => track.readyState)") == ["ended"]
    assert tab.page.locator("#drop").is_visible()
    assert not tab.page.locator("#stop").is_visible()
    assert tab.page.evaluate("document.activeElement.id") == "camera"
    tab.page.wait_for_timeout(500)
    asked = tab.asked()
    tab.page.wait_for_timeout(700)
    assert tab.asked() == asked


def test_switch_takes_the_other_camera(open_tab: OpenTab) -> None:
    tab = open_tab()
    go_live(tab)
    device = "video.srcObject.getVideoTracks()[0].getSettings().deviceId"
    first = tab.page.evaluate(device)
    tab.page.get_by_role("button", name="Switch camera").click()
    tab.page.wait_for_function(
        f"(first) => document.getElementById('video').srcObject && {device} !== first", arg=first
    )
    tab.wait_text("#chip", "frames a second")


def test_one_camera_has_no_switch(open_tab: OpenTab) -> None:
    tab = open_tab(flags=ONE_CAMERA)
    go_live(tab)
    assert not tab.page.locator("#turn").is_visible()


def test_no_camera_is_said_in_one_line(open_tab: OpenTab) -> None:
    tab = open_tab(flags=NO_CAMERA)
    assert tab.wait("#without").inner_text() == "There is no camera here."
    assert not tab.page.locator("#camera").is_visible()


def test_refused_camera_is_said_in_one_line(open_tab: OpenTab) -> None:
    refuse = "MediaDevices.prototype.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); }"
    tab = open_tab(init=refuse)
    tab.page.get_by_role("button", name="Camera").click()
    assert tab.wait("#alert").inner_text() == "The camera may not be used. Allow it in the browser's settings."
    assert tab.page.locator("#camera").is_enabled()


def test_page_from_elsewhere_without_https_says_why_and_takes_photos(
    open_tab: OpenTab, serve: Callable[..., Service], service: Service, photos: SimpleNamespace
) -> None:
    remote = serve(service.models, hosts=["pi.test"])
    flags = (*ONE_CAMERA, "--host-resolver-rules=MAP pi.test 127.0.0.1")
    tab = open_tab(flags=flags, at=f"http://pi.test:{remote.port}/", has_touch=True, is_mobile=True)
    assert not tab.page.evaluate("isSecureContext")
    assert "https or localhost only" in tab.wait("#without").inner_text()
    assert not tab.page.locator("#camera").is_visible()
    assert tab.page.locator("#take").is_visible()
    assert tab.page.locator("#shot").get_attribute("capture") == "environment"
    tab.page.set_input_files("#shot", str(photos.cat))
    tab.wait(ANSWERED)


def test_live_mode_does_not_chatter(open_tab: OpenTab) -> None:
    tab = open_tab()
    answers: list[dict] = []

    def rename(answer: dict) -> None:
        answers.append(answer)
        answer["results"][0]["predictions"][0]["label"] = f"label {len(answers)}"

    tab.change("**/v1/classify?*", rename)
    tab.page.evaluate("""() => {
        window.heard = [];
        for (const id of ["status", "alert"]) {
            const heed = () => heard.push(document.getElementById(id).textContent);
            new MutationObserver(heed).observe(document.getElementById(id), { childList: true, characterData: true });
        }
    }""")
    go_live(tab)
    tab.page.wait_for_function("() => Number(document.querySelector('#labels span').textContent.split(' ')[1]) >= 8")
    heard = tab.page.evaluate("heard")
    assert heard[0] == "The camera is live."
    assert len(heard) == 2  # one label, and no other for ten seconds
    live = tab.page.locator("[aria-live], [role=status], [role=alert], [role=log], output").all()
    assert sorted(each.get_attribute("id") for each in live) == ["alert", "status"]
