"""`vit-run` as a real process: pipes, terminals, encodings, and what Pillow would print between the answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from vit_runtime.arrays import UInt8Array

Encode = Callable[..., bytes]

VIT_RUN = shutil.which("vit-run", path=str(Path(sys.executable).parent)) or "vit-run"


def vit_run(*args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [VIT_RUN, *map(str, args)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


@pytest.fixture
def photo(picture: UInt8Array, tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(picture).save(path)
    return path


def test_the_installed_command_answers(tiny_artifact: Path, photo: Path):
    result = vit_run("classify", tiny_artifact, photo, "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout)["image"] == str(photo)
    assert len(result.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_error(tiny_artifact: Path, photo: Path):
    """As `vit-run ... | head -1` does. So many answers do not fit into the pipe."""
    command = [VIT_RUN, "embed", str(tiny_artifact), *[str(photo)] * 60, "--batch", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert json.loads(process.stdout.readline())["image"] == str(photo)
        process.stdout.close()
        errors = process.stderr.read().decode()
        process.wait(timeout=60)
    assert process.returncode in (0, 1, 141)
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    assert "bug in vit-edge" not in errors
    assert "BrokenPipe" not in errors


def test_a_pipe_that_nobody_reads_is_no_error(tiny_artifact: Path):
    command = f"'{VIT_RUN}' info '{tiny_artifact}' | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_a_terminal_that_lacks_a_letter_still_gets_its_answers(
    encoding: str, options: tuple[str, ...], labelled_artifact: Path, photo: Path
):
    """Windows pipes in cp1252, and minimal containers in ASCII: 犬 is in neither."""
    result = vit_run(
        "classify", labelled_artifact, photo, "--top", 7, *options, PYTHONIOENCODING=encoding, PYTHONUTF8="0"
    )
    assert result.returncode == 0, result.stderr
    assert "Samoyed" in result.stdout
    if options:
        assert len(json.loads(result.stdout)["predictions"]) == 7


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file names are Unicode here")
@pytest.mark.parametrize("command", ["classify", "embed"])
def test_a_file_name_that_is_not_utf8(command: str, tiny_artifact: Path, photo: Path):
    """From a USB stick of another time. Python's own output is as strict as here in most locales."""
    name = photo.with_name(os.fsdecode(b"caf\xe9.png"))
    photo.rename(name)
    result = vit_run(command, tiny_artifact, name, PYTHONIOENCODING="utf-8:strict")
    assert result.returncode == 0, result.stderr
    assert "caf" in result.stdout


@pytest.fixture
def odd_pictures(picture: UInt8Array, encode: Encode, tmp_path: Path) -> dict[str, Path]:
    """Pictures that Pillow reads, but warns about."""
    exif = Image.Exif()
    exif[271] = "maker of the camera"
    jpeg = encode(picture, "JPEG", exif=exif)
    block = jpeg.index(b"Exif\0\0") + 6
    contents = {
        "broken EXIF": jpeg[: block + 8] + b"\xff\xff" + jpeg[block + 10 :],
        "palette with transparency": encode(
            Image.fromarray(picture).quantize(64), "PNG", transparency=bytes(range(0, 256, 4))
        ),
    }
    paths = {}
    for number, (kind, content) in enumerate(contents.items()):
        paths[kind] = tmp_path / f"odd{number}.png"
        paths[kind].write_bytes(content)
    return paths


@pytest.mark.parametrize("kind", ["broken EXIF", "palette with transparency"])
def test_pillows_warnings_do_not_reach_the_user(kind: str, odd_pictures: dict[str, Path], tiny_artifact: Path):
    result = vit_run("classify", tiny_artifact, odd_pictures[kind])
    assert result.returncode == 0
    assert "Warning" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_leaves_one_line_and_no_file(interruptible_popen, tiny_artifact: Path, photo: Path, tmp_path: Path):
    output = tmp_path / "results" / "embeddings.npy"
    output.parent.mkdir()
    command = [VIT_RUN, "embed", str(tiny_artifact), *[str(photo)] * 10_000, "-o", str(output)]
    with interruptible_popen(command) as process:
        assert "CPUExecutionProvider" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert errors == "interrupted\n"
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize("debug", [False, True])
def test_a_traceback_is_shown_on_request_only(debug: bool, tiny_artifact: Path, tmp_path: Path):
    environment = {"VIT_EDGE_DEBUG": "1"} if debug else {}
    result = vit_run("classify", tiny_artifact, tmp_path / "missing.jpg", **environment)
    assert result.returncode == 1
    assert ("Traceback" in result.stderr) is debug
    assert result.stderr.splitlines()[-1].endswith("missing.jpg: no such file")
