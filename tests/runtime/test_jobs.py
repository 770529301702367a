"""Commands with many pictures: what they go on after, when they stop, what they show, and where overlays go."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from tests.made_archives import tar_of, zip_of
from tests.made_pictures import blots

import vit_runtime as vit

Run = Callable[..., Any]
Encode = Callable[..., bytes]

VIT_RUN = shutil.which("vit-run", path=str(Path(sys.executable).parent)) or "vit-run"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures in two folders with equal names; the fourth of each is broken."""
    for number in range(12):
        path = tmp_path / "photos" / f"{number // 6}" / f"{number % 6}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        blots(number).save(path)
        if number % 6 == 3:
            path.write_bytes(b"no picture")
    return tmp_path / "photos"


def everything(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.rglob("*.*"))]


def images(text: str) -> list[str]:
    return [json.loads(line)["image"] for line in text.splitlines()]


def test_what_cannot_be_read_is_a_record_and_the_job_goes_on(vit_run: Run, tiny_artifact: Path, folder: Path):
    done = vit_run("embed", tiny_artifact, folder)
    assert done.exit_code == 1
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["image"] for record in records] == everything(folder)
    failed = [record for record in records if "error" in record]
    assert [record["image"] for record in failed] == [name for name in everything(folder) if name.endswith("3.png")]
    assert [f"error: {record['error']}" for record in failed] == done.stderr.splitlines()[1:]


@pytest.mark.parametrize("options", [("classify",), ("classify", "--json"), ("embed",), ("attend", "--json")])
def test_fail_fast_stops_at_the_first(options: tuple[str, ...], vit_run: Run, attention_artifact: Path, folder: Path):
    command, *others = options
    done = vit_run(command, attention_artifact, folder, *others, "--fail-fast")
    assert done.exit_code == 1
    assert done.stderr.count("error: ") == 1
    assert "3.png" in done.stderr
    if options == ("classify",):
        assert [line for line in done.stdout.splitlines() if line.endswith("png")] == everything(folder)[:3]
    else:
        assert images(done.stdout) == everything(folder)[:4]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_what_stopped_fast_goes_on(suffix: str, vit_run: Run, tiny_artifact: Path, folder: Path, tmp_path: Path):
    target = tmp_path / f"results{suffix}"
    command = ("classify", tiny_artifact, folder, "-o", target, "--fail-fast")
    assert vit_run(*command).exit_code == 1
    assert target.read_bytes().count(b".png") >= 4
    assert vit_run(*command, "--resume").exit_code == 1
    assert vit_run(*command, "--resume").exit_code == 0
    whole = target.read_bytes()
    assert vit_run(*command, "--resume").exit_code == 0
    assert target.read_bytes() == whole
    vit_run("classify", tiny_artifact, folder, "-o", target, "--force")
    assert target.read_bytes() == whole


def test_exit_statuses(vit_run: Run, tiny_artifact: Path, photo: Path, tmp_path: Path):
    assert vit_run("embed", tiny_artifact, photo).exit_code == 0
    assert vit_run("embed", tiny_artifact, photo, photo).exit_code == 0
    assert vit_run("embed", tiny_artifact, photo, tmp_path / "missing.jpg").exit_code == 1
    assert vit_run("embed", tmp_path / "missing.onnx", photo).exit_code == 1
    assert vit_run("embed", tiny_artifact, photo, "--batch", "0").exit_code == 2
    assert vit_run("attend", tiny_artifact, photo).exit_code == 1  # exported without attention maps


@pytest.mark.parametrize("batch", [(), ("--batch", 1), ("--batch", 5)], ids=str)
def test_folders_archives_and_files_are_answered_alike(
    batch: tuple[Any, ...], vit_run: Run, tiny_artifact: Path, folder: Path, tmp_path: Path
):
    """In the order in which they are named, and to the last bit where each picture has a run of its own."""
    contents = {name.removeprefix(f"{folder}/"): Path(name).read_bytes() for name in everything(folder)}
    (tmp_path / "a.tar.gz").write_bytes(tar_of(contents, mode="w:gz"))
    (tmp_path / "a.zip").write_bytes(zip_of(contents))
    sources = [folder, tmp_path / "a.tar.gz", tmp_path / "a.zip", *everything(folder)]
    done = vit_run("embed", tiny_artifact, *sources, "--threads", 1, *batch)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    prefixes = [f"{source}/" for source in sources[:3]]
    assert [record["image"] for record in records] == [
        *(prefix + name for prefix in prefixes for name in contents),
        *everything(folder),
    ]
    model = vit.load(tiny_artifact, threads=1)
    expected = list(model.answers([Path(name) for name in everything(folder)], "embedding"))
    for number, record in enumerate(records):
        answer = expected[number % 12]
        if isinstance(answer, vit.ImageError):
            assert "not an image" in record["error"]
        else:
            found = np.array(record["embedding"], np.float32)
            np.testing.assert_allclose(found, answer.values, rtol=0, atol=0 if batch != ("--batch", 5) else 1e-5)


@pytest.mark.parametrize("options", [("classify",), ("embed",), ("embed", "-o", "x.csv"), ("embed", "-o", "x.npy")])
def test_a_model_that_answers_with_nan_is_at_fault(
    options: tuple[str, ...], vit_run: Run, edit_artifact: Callable[..., Path], photo: Path, tmp_path: Path
):
    def spoil(graph: onnx.GraphProto) -> None:
        for weights in graph.initializer:
            if weights.data_type == onnx.TensorProto.FLOAT and len(weights.dims) == 1:
                weights.raw_data = np.full(tuple(weights.dims), np.nan, np.float32).tobytes()

    model = edit_artifact(graph=spoil)
    command, *others = options
    others = [tmp_path / other if other.startswith("x.") else other for other in others]
    done = vit_run(command, model, photo, photo, *others)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "error: tiny: answers with NaN or infinity; run vit-run check on its file" in done.stderr.splitlines()
    assert not (tmp_path / "x.npy").exists()


def on_a_terminal(*words: object, program: str = VIT_RUN) -> tuple[str, str, int]:
    """What comes on stdout, which is a pipe, and on stderr, which is a terminal; and the exit status."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "150"}
    with subprocess.Popen(
        [program, *map(str, words)], stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = bytearray()
        with contextlib.suppress(OSError):  # that is how a terminal ends
            while block := os.read(ours, 1 << 16):
                shown += block
        assert process.stdout is not None
        out = process.stdout.read()
    os.close(ours)
    return out.decode(), shown.decode(), process.returncode


def test_a_terminal_shows_how_far_it_is(tiny_artifact: Path, folder: Path, tmp_path: Path):
    target = tmp_path / "results.csv"
    words = ("classify", tiny_artifact, folder, "-o", target)
    out, shown, status = on_a_terminal(*words)
    assert (out, status) == ("", 1)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "12/12" in plain
    assert "pictures/s" in plain
    lines = [line.strip() for line in re.split(r"[\r\n]+", plain)]
    assert [line for line in lines if line.startswith("error: ")] == [
        line for line in lines if "3.png: not an image" in line
    ]
    assert sum(line.startswith("error: ") for line in lines) == 2
    assert f"{target}: 12 records" in plain


def test_the_bar_counts_what_is_left(tiny_artifact: Path, folder: Path, tmp_path: Path):
    target = tmp_path / "results.csv"
    words = ("classify", tiny_artifact, folder, "-o", target)
    subprocess.run([VIT_RUN, *map(str, words)], capture_output=True, check=False)
    text = target.read_bytes().split(b"\r\n")
    target.write_bytes(b"\r\n".join([*text[:6], b""]))  # the table's head, and five pictures
    _, shown, _ = on_a_terminal(*words, "--resume")
    assert "7/7" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


def test_an_archive_is_not_unpacked_twice_to_be_counted(tiny_artifact: Path, folder: Path, tmp_path: Path):
    archive = tmp_path / "photos.zip"
    archive.write_bytes(zip_of({path.name: path.read_bytes() for path in sorted((folder / "0").iterdir())}))
    _, shown, status = on_a_terminal("classify", tiny_artifact, folder, archive, "-o", tmp_path / "results.csv")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert status == 1
    assert "18/?" in plain
    assert "18/18" not in plain
    assert "pictures/s" in plain


def test_a_full_disk_ends_the_bar_before_it_is_told(tiny_artifact: Path, folder: Path, tmp_path: Path):
    """The error comes below the bar, on a line of its own, and the cursor is shown again."""
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, 1_500))"
    target = tmp_path / "results.jsonl"
    command = f"{code}; sys.argv[0] = 'vit-run'; from vit_runtime.cli import main; main()"
    words = ("-c", command, "classify", tiny_artifact, folder, "-o", target)
    _, shown, status = on_a_terminal(*words, program=sys.executable)
    assert status == 1
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    last = [line for line in re.split(r"[\r\n]+", plain) if line.strip()][-1]
    assert last.startswith(f"error: {target}: cannot be written (File too large)")
    assert shown.rindex("\x1b[?25h") < shown.rindex("error: ")


def test_a_bar_leaves_json_lines_alone(tiny_artifact: Path, folder: Path):
    out, shown, status = on_a_terminal("embed", tiny_artifact, folder)
    assert images(out) == everything(folder)
    assert "12/12" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert status == 1


def test_a_single_picture_needs_no_bar(tiny_artifact: Path, photo: Path):
    _, shown, _ = on_a_terminal("embed", tiny_artifact, photo)
    assert len(shown.splitlines()) == 1


def test_what_is_no_terminal_gets_no_bar(vit_run: Run, tiny_artifact: Path, folder: Path, tmp_path: Path):
    done = vit_run("classify", tiny_artifact, folder, "-o", tmp_path / "results.csv")
    assert len(done.stderr.splitlines()) == 1 + 2 + 1  # what it runs on, two errors, how many records
    assert "\x1b" not in done.stderr


def overlays(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_photos_of_one_name_get_overlays_of_their_own(
    vit_run: Run, attention_artifact: Path, folder: Path, tmp_path: Path
):
    done = vit_run("attend", attention_artifact, folder, "-o", tmp_path / "maps", "--threads", 1)
    assert done.exit_code == 1
    stems = [f"{number}{again}" for again in ("", "-2") for number in (0, 1, 2, 4, 5)]
    assert done.stdout.splitlines() == [f"{tmp_path}/maps/{stem}.attention.png" for stem in stems]
    model = vit.load(attention_artifact, threads=1)
    for stem in stems:
        photo = folder / ("1" if stem.endswith("-2") else "0") / f"{stem[0]}.png"
        with Image.open(tmp_path / "maps" / f"{stem}.attention.png") as drawn:
            np.testing.assert_array_equal(np.asarray(drawn), np.asarray(model.attend(photo).overlay()))


def test_overlays_are_gone_on_with(vit_run: Run, attention_artifact: Path, folder: Path, tmp_path: Path):
    maps = tmp_path / "maps"
    command = ("attend", attention_artifact, folder, "-o", maps)
    vit_run(*command)
    whole = overlays(maps)
    for name in ("2.attention.png", "4-2.attention.png"):
        (maps / name).unlink()
    refused = vit_run(*command)
    assert refused.exit_code == 1
    assert "0.attention.png: exists already; add --force" in refused.stderr
    done = vit_run(*command, "--resume")
    assert done.stdout.splitlines() == [f"{maps}/2.attention.png", f"{maps}/4-2.attention.png"]
    assert "8 pictures were there already" in done.stderr
    assert overlays(maps) == whole


def test_one_file_for_several_photos_is_refused(vit_run: Run, attention_artifact: Path, folder: Path, tmp_path: Path):
    done = vit_run("attend", attention_artifact, folder, "-o", tmp_path / "one.png")
    assert done.exit_code == 2
    assert "one.png' is one file for several photos; name a folder" in done.stderr
    assert vit_run("attend", attention_artifact, folder / "0" / "0.png", "-o", tmp_path / "one.png").exit_code == 0


def test_an_overlay_that_cannot_be_written_ends_the_job(
    vit_run: Run, attention_artifact: Path, folder: Path, tmp_path: Path
):
    (tmp_path / "maps").write_text("in the way")
    done = vit_run("attend", attention_artifact, folder, "-o", tmp_path / "maps")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert f"{tmp_path}/maps" in done.stderr.splitlines()[-1]
    assert "bug in vit-edge" not in done.stderr
