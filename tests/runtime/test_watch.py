"""`watch` and `vit-run watch` on video files: every frame, in order, with the answers of `classify`."""

from __future__ import annotations

import itertools
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from tests.cameras import number_of, numbered, write_video

import vit_runtime as vit
from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.watching import Seen, watch

Run = Callable[..., Any]
CODECS = {"mp4": "libx264", "mkv": "libx264", "webm": "libvpx-vp9", "avi": "mjpeg", "ts": "libx264", "mov": "mpeg4"}


class Recorder:
    """A model that notes the pictures it is asked about."""

    def __init__(self, model: vit.ViT) -> None:
        self._model = model
        self.pictures: list[UInt8Array] = []

    def require(self, output: str) -> None:
        self._model.require(output)

    def logits(self, picture: UInt8Array) -> FloatArray:
        self.pictures.append(np.asarray(picture))
        return self._model.logits(picture)

    def top(self, logits: FloatArray, *, top_k: int) -> list[vit.Prediction]:
        return self._model.top(logits, top_k=top_k)


@pytest.fixture
def recorder(tiny: vit.ViT) -> Recorder:
    return Recorder(tiny)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of pictures of blocks, ten a second; each shows for half a second."""
    rng = np.random.default_rng(seed=5)
    blocks = [rng.integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1) for _ in range(6)]
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", [block for block in blocks for _ in range(5)])


@pytest.fixture(scope="session")
def decoded(film: Path) -> list[UInt8Array]:
    """The film's frames, decoded without our code."""
    with av.open(str(film)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def numbers(recorder: Recorder) -> list[int]:
    return [number_of(picture) for picture in recorder.pictures]


def json_lines(result: Any) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("suffix", CODECS)
def test_every_frame_of_a_file_is_answered_once_and_in_order(suffix: str, recorder: Recorder, tmp_path: Path):
    path = write_video(tmp_path / f"film.{suffix}", map(numbered, range(300, 337)), codec=CODECS[suffix])
    seen = list(watch(recorder, path))
    assert numbers(recorder) == list(range(300, 337))
    assert [one.position for one in seen] == pytest.approx([number / 10 for number in range(37)], abs=0.001)


def test_the_answers_are_those_of_classify(
    vit_run: Run, labelled_artifact: Path, film: Path, decoded: list[UInt8Array]
):
    before = datetime.now(timezone.utc)
    lines = json_lines(vit_run("watch", labelled_artifact, film, "--json", "--top", 3))
    assert len(lines) == len(decoded) == 30
    for line, predictions in zip(lines, vit.load(labelled_artifact).classify(decoded, top_k=3), strict=True):
        assert list(line) == ["time", "position", "predictions"]
        assert before.timestamp() - 1 < datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert [(entry["index"], entry["label"]) for entry in line["predictions"]] == [
            (prediction.index, prediction.label) for prediction in predictions
        ]
        for entry, prediction in zip(line["predictions"], predictions, strict=True):
            assert entry["probability"] == pytest.approx(prediction.probability, abs=1e-5)


def test_a_line_of_text(vit_run: Run, labelled_artifact: Path, film: Path, decoded: list[UInt8Array]):
    result = vit_run("watch", labelled_artifact, film, "--frames", 1, "--top", 2)
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    first, second = vit.load(labelled_artifact).classify(decoded[0], top_k=2)
    assert line.split("  ", 1)[1] == f"{first.probability:.1%} {first.label}, {second.probability:.1%} {second.label}"


@pytest.mark.parametrize(
    ("every", "expected"),
    [(0.1, range(30)), (0.2, range(0, 30, 2)), (0.25, [0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28]), (100, [0])],
)
def test_every_takes_the_first_frame_at_or_behind_each_multiple(
    every: float, expected: list[int], recorder: Recorder, tmp_path: Path
):
    path = write_video(tmp_path / "film.mp4", map(numbered, range(30)))
    list(watch(recorder, path, every=every))
    assert numbers(recorder) == list(expected)


def test_a_film_can_be_watched_for_some_time_or_for_some_frames(
    vit_run: Run, tiny_artifact: Path, tiny: vit.ViT, film: Path
):
    assert [round(seen.position, 3) for seen in watch(tiny, film, seconds=0.5)] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert len(json_lines(vit_run("watch", tiny_artifact, film, "--json", "--seconds", "0.5"))) == 5
    assert len(json_lines(vit_run("watch", tiny_artifact, film, "--json", "--frames", 7))) == 7


def test_only_changes_are_printed(vit_run: Run, labelled_artifact: Path, film: Path):
    every = json_lines(vit_run("watch", labelled_artifact, film, "--json"))
    changes = json_lines(vit_run("watch", labelled_artifact, film, "--json", "--on-change"))
    groups = itertools.groupby(every, key=lambda line: line["predictions"][0]["index"])
    assert [line["position"] for line in changes] == [next(group)["position"] for _, group in groups]
    assert 2 <= len(changes) < len(every)


@pytest.mark.parametrize(("every", "smooth"), [(None, 0.4), (0.3, 2.0)])
def test_probabilities_are_smoothed_by_the_formula(every: float | None, smooth: float, tiny: vit.ViT, film: Path):
    classes = tiny.artifact.architecture.classes

    def probabilities(seen: Seen) -> FloatArray:
        row = np.zeros(classes)
        for prediction in seen.predictions:
            row[prediction.index] = prediction.probability
        return row

    plain = list(watch(tiny, film, every=every, top_k=classes))
    expected = probabilities(plain[0])
    for index, seen in enumerate(watch(tiny, film, every=every, smooth=smooth, top_k=classes)):
        if index:
            step = plain[index].position - plain[index - 1].position
            keep = math.exp(-step / smooth)
            expected = keep * expected + (1 - keep) * probabilities(plain[index])
        np.testing.assert_allclose(probabilities(seen), expected, rtol=0, atol=1e-6)
        assert sum(prediction.probability for prediction in seen.predictions) == pytest.approx(1)


TURNS = {
    "as it is": ((1, 0, 0, 1), lambda picture: picture),
    "a quarter to the right": ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
    "upside down": ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
    "a quarter to the left": ((0, -1, 1, 0), lambda picture: np.rot90(picture, 1)),
}
"""By turn: a, b, c, d of the matrix in MP4's track header (ISO/IEC 14496-12, 8.3.2), and what a viewer sees."""


@pytest.mark.parametrize("turn", TURNS)
def test_a_phones_video_is_turned_upright(turn: str, recorder: Recorder, film: Path, decoded: list, tmp_path: Path):
    (a, b, c, d), upright = TURNS[turn]
    content = bytearray(film.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    matrix = [value * 0x10000 for value in (a, b, 0, c, d, 0, 0, 0)] + [0x40000000]
    content[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    (path := tmp_path / "turned.mp4").write_bytes(content)
    list(watch(recorder, path, seconds=0.1))
    assert np.array_equal(recorder.pictures[0], upright(decoded[0]))


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(("matrix", "red", "blue"), [(6, 0.299, 0.114), (1, 0.2126, 0.0722)], ids=["BT.601", "BT.709"])
def test_colours_follow_what_the_video_states(
    matrix: int, red: float, blue: float, full_range: bool, recorder: Recorder, tmp_path: Path
):
    y, cb, cr = 120, 90, 200
    with av.open(str(path := tmp_path / "film.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full_range else 1
        frame = av.VideoFrame(64, 48, "yuv420p")
        for plane, value in zip(frame.planes, (y, cb, cr), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    list(watch(recorder, path))
    # ITU-R BT.601 and BT.709: Y = r R + g G + b B, Cb = (B - Y) / (2 - 2 b), Cr = (R - Y) / (2 - 2 r)
    light = y if full_range else (y - 16) * 255 / 219
    cb, cr = ((value - 128) * (1 if full_range else 255 / 224) for value in (cb, cr))
    r, b = light + 2 * (1 - red) * cr, light + 2 * (1 - blue) * cb
    g = (light - red * r - blue * b) / (1 - red - blue)
    np.testing.assert_allclose(recorder.pictures[0][24, 32], [r, g, b], atol=2)


def test_a_model_without_pyav_says_what_to_install(
    vit_run: Run, tiny_artifact: Path, film: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "av", None)
    result = vit_run("watch", tiny_artifact, film)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error: PyAV: not installed; run: pip install 'vit-edge[camera]'" in result.stderr


def test_the_library_and_the_other_commands_do_not_import_it():
    code = "import sys, vit_runtime, vit_runtime.cli; sys.exit(any(m in sys.modules for m in ('av', 'cv2')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("option", ["--every", "--smooth", "--seconds", "--timeout"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_time_that_is_none(option: str, value: str, vit_run: Run, tiny_artifact: Path, film: Path):
    result = vit_run("watch", tiny_artifact, film, option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"error: {option}: " in result.stderr


def test_the_source_can_come_from_the_environment(
    vit_run: Run, tiny_artifact: Path, film: Path, monkeypatch: pytest.MonkeyPatch
):
    """What stands on a command line, `ps` shows to all users: a camera's password should not."""
    monkeypatch.setenv("VIT_EDGE_SOURCE", str(film))
    assert len(json_lines(vit_run("watch", tiny_artifact, "--json"))) == 30
