"""`watch` on what is no video, on what would lead it to other files, and on damage: one line, and no password in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image
from tests.cameras import Send, http_server, jpeg, mjpeg_server, numbered, write_video

import vit_runtime as vit
from vit_runtime.watching import Patience, watch
from vit_runtime.watching.sources import masked

Run = Callable[..., Any]
PATIENCE = Patience(timeout=5)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.ts", map(numbered, range(30)))


def error_line(result: Any) -> str:
    """The one error of a run that printed no answer."""
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "bug in vit-edge" not in result.stderr
    return line


FILES: dict[str, tuple[bytes, str]] = {
    "empty.mp4": (b"", "empty file"),
    "text.mp4": (b"not a film\n" * 50, "not a video in a format that is read here"),
    "zeros.mkv": (bytes(5000), "not a video in a format that is read here"),
    "picture.jpg": (jpeg(numbered(1)), "not a video in a format that is read here"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_videos(name: str, vit_run: Run, tiny_artifact: Path, tmp_path: Path):
    content, expected = FILES[name]
    (path := tmp_path / name).write_bytes(content)
    assert error_line(vit_run("watch", tiny_artifact, path)).startswith(f"error: {path}: {expected}")


SOURCES = {
    "nothing.mp4": "no such file",
    "": "an empty name",
    ".": "neither a file nor a camera",
    "/dev/video97": "no such camera",
    "97": "there is no /dev/video97",
    "/dev/null": "cannot be read",
    "concat:a.ts|b.ts": "concat is not read here",
    "rtmp://user:secret@host/live": "rtmp is not read here",
    "udp://127.0.0.1:1234": "udp is not read here",
    "lavfi:testsrc": "lavfi is not read here",
    "http://": "not a well-formed address",
    "http://user:secret@host:123456/": "not a well-formed address",
    "rtsp://user:secret@host/live\r\nX-More: 1": "not a well-formed address",
    "http://127.0.0.1:9/stream": "cannot be read (Connection refused)",
    "rtsp://user:secret@127.0.0.1:9/live": "cannot be read (Connection refused)",
    "http://user:secret@nowhere.invalid/": "its host is not found",
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cameras are read on Linux")
@pytest.mark.parametrize("source", SOURCES)
def test_sources_that_are_none(
    source: str, vit_run: Run, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    line = error_line(vit_run("watch", tiny_artifact, source, "--timeout", 5))
    assert SOURCES[source] in line
    assert "secret" not in line


def page(kind: str, content: bytes) -> Callable[[Any, int], None]:
    """A server's answer with one page."""

    def handle(request: Any, _number: int) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.end_headers()
        request.wfile.write(content)

    return handle


PAGES: dict[str, tuple[Callable[[Any, int], None], str]] = {
    "404": (lambda request, _: request.send_error(404), "is refused (Server returned 404 Not Found)"),
    "500": (lambda request, _: request.send_error(500), "is refused"),
    "401": (lambda request, _: request.send_error(401), "wants a user's name and password"),
    "HTML": (page("text/html", b"<html>log in</html>" * 200), "answers with something else than a video stream"),
    "one JPEG": (page("image/jpeg", jpeg(numbered(1))), "answers with something else than a video stream"),
    "nothing": (page("multipart/x-mixed-replace; boundary=frame", b""), "answers with something else"),
}


@pytest.mark.parametrize("kind", PAGES)
def test_addresses_that_answer_with_something_else(
    kind: str, vit_run: Run, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    handle, expected = PAGES[kind]
    monkeypatch.setenv("VIT_EDGE_DEBUG", "1")  # a traceback, too, is a place where passwords end up
    with http_server(handle) as address:
        source = f"{address.replace('//', '//user:secret@')}/stream?user=me&password=secret"
        result = vit_run("watch", tiny_artifact, source, "--timeout", 5)
    line = error_line(result)
    assert expected in line
    assert "//user:***@" in line
    assert "user=me&password=***" in line
    assert "secret" not in result.stderr + capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://me:p@ss/w?rd@host:554/live?token=a&n=1", "rtsp://me:***@host:554/live?token=***&n=1"),
        ("http://host:80/video", "http://host:80/video"),
        ("http://host/cgi?usr=me&pwd=secret#x", "http://host/cgi?usr=me&pwd=***#x"),
        ("rtsp://me@host/", "rtsp://me@host/"),
    ],
)
def test_passwords_are_masked(address: str, shown: str):
    assert masked(address) == shown


LISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:3,\n{film}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile {film}\n",
}
"""By suffix, lists of other files that FFmpeg plays."""


@pytest.mark.parametrize("suffix", LISTS)
def test_a_list_of_other_files_is_refused(
    suffix: str, vit_run: Run, tiny_artifact: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(film.parent)
    text = LISTS[suffix].format(film=film.name)
    (listing := film.with_name(f"list.{suffix}")).write_text(text)
    with av.open(str(listing)) as container:  # without limits it leads to the film
        assert len(list(container.decode(video=0))) == 30
    (renamed := tmp_path / "film.mp4").write_text(text)
    for path in (listing, renamed):
        assert "not a video in a format that is read here" in error_line(vit_run("watch", tiny_artifact, path))


@pytest.mark.parametrize("suffix", LISTS)
@pytest.mark.parametrize("kind", ["application/vnd.apple.mpegurl", "video/mp2t", "text/plain"])
def test_a_list_from_the_network_is_refused(suffix: str, kind: str, vit_run: Run, tiny_artifact: Path, film: Path):
    text = LISTS[suffix].format(film=f"file://{film}").encode()
    with http_server(page(kind, text)) as address:
        line = error_line(vit_run("watch", tiny_artifact, f"{address}/live.{suffix}", "--timeout", 5))
    assert "answers with something else than a video stream" in line


def test_a_redirect_to_a_file_is_refused(vit_run: Run, tiny_artifact: Path, film: Path):
    def handle(request: Any, _number: int) -> None:
        request.send_response(302)
        request.send_header("Location", f"file://{film}")
        request.end_headers()

    with http_server(handle) as address:
        error_line(vit_run("watch", tiny_artifact, address, "--timeout", 5))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "avi"])
def test_a_file_that_was_cut_off_is_told_behind_its_last_frame(suffix: str, tiny: vit.ViT, tmp_path: Path):
    codec = {"webm": "libvpx-vp9", "avi": "mjpeg"}.get(suffix, "libx264")
    path = write_video(tmp_path / f"film.{suffix}", map(numbered, range(100)), codec=codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    seen = []
    with pytest.raises(vit.ImageError, match=r"cut off"):
        seen.extend(one.position for one in watch(tiny, path))
    assert len(seen) < 100


def test_frames_above_the_limit_are_refused(
    vit_run: Run, tiny_artifact: Path, film: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 // 2 - 1)
    assert "has frames of 64x64 pixels, more than 4,094" in error_line(vit_run("watch", tiny_artifact, film))

    def play(_connection: int, send: Send, ended: Any) -> None:
        while not ended.wait(0.02):
            send(jpeg(numbered(1)))

    with mjpeg_server(play) as address:
        assert f"{address}: too large" in error_line(vit_run("watch", tiny_artifact, address))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 // 2)
    assert vit_run("watch", tiny_artifact, film).exit_code == 0


FUZZ = """
import random, sys
from pathlib import Path
import vit_runtime as vit
from vit_runtime.watching import watch

model = vit.load(sys.argv[1], threads=1)
outcomes = []
for source in map(Path, sys.argv[3:]):
    good = source.read_bytes()
    for seed in range(int(sys.argv[2])):
        rng = random.Random(seed)
        content = bytearray(good)
        for _ in range(rng.choice((1, 10, 100))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        del content[rng.choice((len(content), rng.randrange(len(content)))):]
        source.with_name("mutant").write_bytes(content)
        try:
            outcomes.append(len(list(watch(model, source.with_name("mutant"), every=0.5))))
        except vit.ImageError as error:
            assert len(str(error).splitlines()) == 1
            outcomes.append(-1)
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print(sum(one > 0 for one in outcomes), outcomes.count(-1), peak)
"""


def mutants(tiny_artifact: Path, folder: Path, count: int) -> tuple[int, int, int]:
    """Watches damaged videos in a process of its own; gives how many were answered, how many refused, and kB."""
    films = [
        write_video(folder / f"film.{suffix}", map(numbered, range(20)), codec=codec)
        for suffix, codec in (("mp4", "libx264"), ("mkv", "libx264"), ("ts", "mpeg4"), ("avi", "mjpeg"))
    ]
    command = [sys.executable, "-c", FUZZ, str(tiny_artifact), str(count), *map(str, films)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550, env={**os.environ}, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    good, refused, peak = map(int, done.stdout.split())
    return good, refused, peak


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
def test_damaged_films_are_answered_or_refused(tiny_artifact: Path, tmp_path: Path):
    good, refused, peak = mutants(tiny_artifact, tmp_path, 50)
    assert good
    assert refused
    assert peak < 400_000


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
def test_many_damaged_films(tiny_artifact: Path, tmp_path: Path):
    assert mutants(tiny_artifact, tmp_path, 2000)[2] < 1_000_000
