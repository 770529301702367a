"""Files of answers: what is in them, what goes on with them and what does not, and what a full disk leaves."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vit_runtime as vit
from vit_runtime.arrays import UInt8Array

Run = Callable[..., Any]
Encode = Callable[..., bytes]

FORMATS = (".jsonl", ".csv")
NAMES = ["plain.png", "comma, and space.png", 'with "quotes".png', "two\nlines.png", "cr\rlf\r\n.png", "=1+1.png"]
NAMES += ["犬 café.png", "'single'.png", "\\back.png", '",".png', " lead.png"]
NOT_UTF8 = os.fsdecode(b"caf\xe9\xff.png")


@pytest.fixture
def photos(picture: UInt8Array, tmp_path: Path) -> Path:
    """A folder of small pictures with names that a table must quote; two files are no pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [*NAMES, NOT_UTF8] if sys.platform == "linux" else NAMES[:2]
    for number, name in enumerate(names):
        Image.fromarray(np.roll(picture, 5 * number, axis=1)).save(folder / name, "PNG")
    (folder / "broken, too.png").write_bytes(b"no picture")
    (folder / "empty.png").write_bytes(b"")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    """A table's rows, by Python's own reader."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        found = list(reader)
        assert all(None not in row and None not in row.values() for row in found)  # no cell too many or too few
        return found


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_bytes()
    assert text.endswith(b"\n")
    return [json.loads(line) for line in text[:-1].split(b"\n")]


def names_in(path: Path) -> list[str]:
    return [record["image"] for record in (rows(path) if path.suffix == ".csv" else lines(path))]


def everything(folder: Path) -> list[str]:
    """The names of all pictures, in the order in which a command takes them."""
    return [str(path) for path in sorted(folder.iterdir())]


def test_a_file_of_classes_holds_the_librarys_answers(
    vit_run: Run, labelled_artifact: Path, photos: Path, tmp_path: Path
):
    targets = {suffix: tmp_path / f"classes{suffix}" for suffix in FORMATS}
    for target in targets.values():
        done = vit_run("classify", labelled_artifact, photos, "-o", target, "--top", 3, "--threads", 1)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1] == f"{target}: {len(everything(photos))} records"
    model = vit.load(labelled_artifact, threads=1)
    answers = list(model.answers([Path(name) for name in everything(photos)], "logits"))
    for answer, line, row in zip(answers, lines(targets[".jsonl"]), rows(targets[".csv"]), strict=True):
        assert line["image"] == row["image"]
        if isinstance(answer, vit.ImageError):
            assert line == {"image": str(answer.where), "error": str(answer)}
            assert {key: value for key, value in row.items() if value} == line
        else:
            assert line["image"] == str(answer.source)
            best = model.top(answer.values, top_k=3)
            assert line["predictions"] == [vars(each) for each in best]
            for ending, each in zip(("", "_2", "_3"), best, strict=True):
                found = row[f"label{ending}"], int(row[f"index{ending}"]), float(row[f"probability{ending}"])
                assert found == (each.label, each.index, each.probability)
            assert row["error"] == ""


@pytest.mark.parametrize("options", [(), ("--normalize",)], ids=" ".join)
def test_a_file_of_embeddings_restores_every_bit(
    options: tuple[str, ...], vit_run: Run, tiny_artifact: Path, photos: Path, tmp_path: Path
):
    (photos / "broken, too.png").unlink()
    (photos / "empty.png").unlink()
    targets = {suffix: tmp_path / f"embeddings{suffix}" for suffix in (*FORMATS, ".npy")}
    for target in targets.values():
        assert vit_run("embed", tiny_artifact, photos, "-o", target, *options, "--threads", 1).exit_code == 0
    paths = [Path(name) for name in everything(photos)]
    expected = vit.load(tiny_artifact, threads=1).embed(paths, normalize=bool(options))
    found = np.array([line["embedding"] for line in lines(targets[".jsonl"])], np.float32)
    np.testing.assert_array_equal(found, expected)
    width = expected.shape[1]
    table = [[float(row[str(index)]) for index in range(width)] for row in rows(targets[".csv"])]
    np.testing.assert_array_equal(np.array(table, np.float32), expected)
    np.testing.assert_array_equal(np.load(targets[".npy"]), np.stack(list(expected)))
    assert names_in(targets[".csv"]) == names_in(targets[".jsonl"]) == everything(photos)


def test_a_broken_picture_leaves_no_array(vit_run: Run, tiny_artifact: Path, photos: Path, tmp_path: Path):
    """A row that is missing would shift those behind it."""
    before = sorted(tmp_path.iterdir())
    done = vit_run("embed", tiny_artifact, photos, "-o", tmp_path / "embeddings.npy")
    assert done.exit_code == 1
    assert done.stderr.count("error: ") == 2
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture
def few(photos: Path) -> Path:
    """Five of the pictures: one of several lines, one broken."""
    for name in everything(photos):
        if Path(name).name not in ("plain.png", "two\nlines.png", 'with "quotes".png', "broken, too.png", '",".png'):
            Path(name).unlink()
    return photos


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("suffix", FORMATS)
def test_going_on_behind_every_byte_loses_and_repeats_nothing(
    suffix: str,
    step: int,
    vit_run: Run,
    tiny_artifact: Path,
    few: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """As if the system had failed there. The model answers the same each time, so the file is the same at the end."""
    # Loaded once for all: this is tried a thousand times, and the model is not what is tried.
    model = vit.load(tiny_artifact, threads=1)
    monkeypatch.setattr("vit_runtime.command_line.jobs.load_model", lambda *_, **__: model)
    monkeypatch.chdir(tmp_path)  # shorter names, fewer bytes
    target = Path(f"classes{suffix}")
    command = ("classify", tiny_artifact, few.name, "--top", 1, "-o", target)
    assert vit_run(*command).exit_code == 1
    whole = target.read_bytes()
    assert names_in(target) == everything(Path(few.name))
    for length in range(0, len(whole) + 1, step):
        target.write_bytes(whole[:length])
        done = vit_run(*command, "--resume")
        assert target.read_bytes() == whole, f"cut off behind {length} bytes"
        assert done.exit_code == (1 if "error: " in done.stderr else 0)
        assert "bug in vit-edge" not in done.stderr


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_picture_that_is_named_twice_is_answered_twice(
    suffix: str, vit_run: Run, tiny_artifact: Path, photo: Path, tmp_path: Path
):
    target = tmp_path / f"classes{suffix}"
    for again, records in ((1, 1), (3, 3), (3, 3), (4, 4)):
        done = vit_run("classify", tiny_artifact, *[photo] * again, "-o", target, "--resume")
        assert done.exit_code == 0, done.stderr
        assert names_in(target) == [str(photo)] * records
    assert done.stderr.splitlines()[-1] == f"{target}: 4 records, 3 of them from before"


OTHERWISE: list[tuple[list[Any], str]] = [
    (["classify", "MODEL", "--top", 3], "written with top 5, not 3"),
    (["classify", "MODEL", "--decode", "fast"], "written with decode exact, not fast"),
    (["embed", "MODEL"], "written with command classify, not embed"),
    (["classify", "OTHER"], "written with model"),
]


@pytest.mark.parametrize(("words", "told"), OTHERWISE, ids=["top", "decode", "command", "model"])
def test_what_was_asked_otherwise_is_not_gone_on_with(
    words: list[Any],
    told: str,
    vit_run: Run,
    tiny_artifact: Path,
    labelled_artifact: Path,
    photo: Path,
    tmp_path: Path,
):
    target = tmp_path / "results.csv"
    assert vit_run("classify", tiny_artifact, photo, "-o", target).exit_code == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    models = {"MODEL": tiny_artifact, "OTHER": labelled_artifact}
    done = vit_run(*(models.get(word, word) for word in words), photo, "-o", target, "--resume")
    assert done.exit_code == 1
    assert f"{target}: --resume does not fit: it was {told}" in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


FOREIGN = {
    "text": (b"my notes\nof last week\n", "no record of a picture", "other columns"),
    "no UTF-8": (b"\xff\xfe\0\n\x80\n", "no record of a picture", "other columns"),
    "JSON of another kind": (b'{"image": 5}\n', "line 1 is no record", "other columns"),
    "a list": (b"[1, 2]\n", "line 1 is no record", "other columns"),
    "deep": (b"[" * 100_000 + b"\n", "line 1 is no record", "other columns"),
    "huge cells": (b'"' + b"a" * 200_000 + b'",b\n', "line 1 is no record", "record 1 cannot be read"),
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_is_something_else_stays_as_it_is(
    kind: str, suffix: str, vit_run: Run, tiny_artifact: Path, photo: Path, tmp_path: Path
):
    content, of_json, of_csv = FOREIGN[kind]
    target = tmp_path / f"results{suffix}"
    assert vit_run("classify", tiny_artifact, photo, "-o", target).exit_code == 0
    target.write_bytes(content)
    done = vit_run("classify", tiny_artifact, photo, "-o", target, "--resume")
    assert done.exit_code == 1
    assert (of_json if suffix == ".jsonl" else of_csv) in done.stderr
    assert "bug in vit-edge" not in done.stderr
    assert target.read_bytes() == content


@pytest.mark.parametrize("note", [None, b"", b"no JSON", b"[]", b"\xff", b"[" * 100_000])
def test_without_a_sound_note_nothing_is_added(
    note: bytes | None, vit_run: Run, tiny_artifact: Path, photo: Path, tmp_path: Path
):
    target = tmp_path / "results.csv"
    job = tmp_path / "results.csv.job"
    assert vit_run("classify", tiny_artifact, photo, "-o", target).exit_code == 0
    before = target.read_bytes()
    job.unlink()
    if note is not None:
        job.write_bytes(note)
    done = vit_run("classify", tiny_artifact, photo, "-o", target, "--resume")
    assert done.exit_code == 1
    where = f"{target}: lacks results.csv.job" if note is None else f"{job}: cannot be read"
    assert where in done.stderr
    assert target.read_bytes() == before


def test_what_is_there_is_replaced_on_request_only(vit_run: Run, tiny_artifact: Path, photo: Path, tmp_path: Path):
    target = tmp_path / "results.csv"
    assert vit_run("classify", tiny_artifact, photo, photo, "-o", target).exit_code == 0
    done = vit_run("classify", tiny_artifact, photo, "-o", target)
    assert (done.exit_code, "exists already" in done.stderr) == (1, True)
    assert len(names_in(target)) == 2
    assert vit_run("embed", tiny_artifact, photo, "-o", target, "--force").exit_code == 0
    assert len(rows(target)[0]) == 128 + 2
    assert json.loads((tmp_path / "results.csv.job").read_bytes())["command"] == "embed"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--resume",), "--resume: goes on with a file of records"),
        (("-o", "x.txt"), "'x.txt' names no known format"),
        (("-o", "x.npy", "--resume"), "--resume: goes on with a file of records"),
        (("-o", "missing/x.csv"), "missing/x.csv: cannot be written"),
    ],
)
def test_places_that_are_refused(options: tuple[str, ...], told: str, vit_run: Run, tiny_artifact: Path, photo: Path):
    done = vit_run("embed", tiny_artifact, photo, *options)
    assert done.exit_code in (1, 2)
    assert told in done.stderr


def test_two_programs_do_not_write_to_one_file(vit_run: Run, tiny_artifact: Path, photo: Path, tmp_path: Path):
    fcntl = pytest.importorskip("fcntl")
    target = tmp_path / "results.csv"
    assert vit_run("classify", tiny_artifact, photo, "-o", target).exit_code == 0
    before = target.read_bytes()
    with target.open("ab") as other:
        fcntl.flock(other.fileno(), fcntl.LOCK_EX)
        for option in ("--resume", "--force"):
            done = vit_run("classify", tiny_artifact, photo, photo, "-o", target, option)
            assert done.exit_code == 1
            assert f"{target}: is being written by another program; wait for it" in done.stderr
            assert target.read_bytes() == before
    assert vit_run("classify", tiny_artifact, photo, photo, "-o", target, "--resume").exit_code == 0


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
sys.argv[0] = "vit-run"
from vit_runtime.cli import main
main()
"""


def run_on_a_disk_of(size: int, *words: object) -> subprocess.CompletedProcess[str]:
    """A limit of the size of files stands for the disk's end: writing fails in the same place."""
    command = [sys.executable, "-c", FULL.format(size), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("size", [10_001, 11_234])
def test_a_full_disk_keeps_what_was_written(
    size: int, suffix: str, vit_run: Run, tiny_artifact: Path, photos: Path, tmp_path: Path
):
    target = tmp_path / f"embeddings{suffix}"
    command = ("embed", tiny_artifact, photos, "-o", target, "--threads", 1)
    done = run_on_a_disk_of(size, *command)
    assert done.returncode == 1
    told = f"error: {target}: cannot be written (File too large); free some room, then go on with --resume"
    assert done.stderr.splitlines()[-1] == told
    kept = names_in(target)
    assert kept == everything(photos)[: len(kept)]
    assert len(kept) >= 3
    assert target.stat().st_size <= size
    assert vit_run(*command, "--resume").exit_code in (0, 1)
    assert names_in(target) == everything(photos)
    resumed = target.read_bytes()
    vit_run(*command, "--force")
    assert target.read_bytes() == resumed


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("name", ["embeddings.csv", "embeddings.jsonl", "embeddings.npy"])
def test_a_disk_that_is_full_from_the_start_leaves_nothing(name: str, tiny_artifact: Path, photo: Path, tmp_path: Path):
    before = sorted(tmp_path.iterdir())
    done = run_on_a_disk_of(20, "embed", tiny_artifact, photo, "-o", tmp_path / name)
    assert done.returncode == 1
    assert "cannot be written (File too large)" in done.stderr.splitlines()[-1]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no such device")  # noqa: PTH110
def test_a_device_is_no_file_of_answers(vit_run: Run, tiny_artifact: Path, photo: Path, tmp_path: Path):
    target = tmp_path / "full.csv"
    target.symlink_to("/dev/full")
    done = vit_run("classify", tiny_artifact, photo, "-o", target, "--force")
    assert done.exit_code == 1
    assert f"error: {target}: cannot be written (is no regular file)" in done.stderr
    assert "bug in vit-edge" not in done.stderr


def test_labels_that_are_no_text_are_written_all_the_same(
    vit_run: Run, edit_artifact: Callable[..., Path], photo: Path, tmp_path: Path
):
    """A label of half a character is valid JSON, and no UTF-8."""
    labels = [f"\\ud800{index}".encode().decode("unicode_escape") for index in range(7)]
    model = edit_artifact(document=lambda document: document.update(labels=labels))
    for suffix in FORMATS:
        target = tmp_path / f"classes{suffix}"
        done = vit_run("classify", model, photo, "-o", target)
        assert (done.exit_code, "bug in vit-edge" in done.stderr) in ((0, False), (1, False)), done.stderr
        if done.exit_code == 0:
            assert vit_run("classify", model, photo, photo, "-o", target, "--resume").exit_code == 0
            assert target.read_bytes().count(str(photo).encode()) == 2
