"""An index of embeddings: its neighbours are those that NumPy finds by comparing all, whatever was added or dropped."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vit_runtime as vit
from vit_runtime.arrays import FloatArray, UInt8Array

from .by_the_page import header_of, read_index, write_index

Run = Callable[..., Any]


def unit(rows: FloatArray) -> FloatArray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def random_rows(count: int, width: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)


@pytest.fixture
def rows() -> dict[str, FloatArray]:
    """Forty rows of the tiny model's width, of length 1, with names of several alphabets."""
    return {f"{number} ñ 犬.png": row for number, row in enumerate(unit(random_rows(40, 128)))}


@pytest.fixture(params=["float32", "int8"])
def index(
    request: pytest.FixtureRequest, tiny_artifact: Path, rows: dict[str, FloatArray], tmp_path: Path
) -> vit.Index:
    """An index of these rows."""
    made = vit.create_index(tmp_path / "rows.index", tiny_artifact, int8=request.param == "int8")
    made.add(rows, rows.values())
    return made


@pytest.fixture
def photos(tmp_path: Path, random_pictures: Callable[[int], list[UInt8Array]]) -> Path:
    """A folder of six pictures, 0.png to 5.png; it is the current folder's `photos`."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, picture in enumerate(random_pictures(6)):
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def indexed(vit_run: Run, tiny_artifact: Path, photos: Path) -> Path:
    """An index of the photos, beside their folder."""
    path = photos.parent / "photos.index"
    assert vit_run("index", tiny_artifact, photos, "-o", path).exit_code == 0
    return path


def lines_of(result: Any) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def told(result: Any) -> str:
    """What the command said of its work, without the index's name."""
    return result.stderr.splitlines()[-1].partition(": ")[2]


class TestSearch:
    def test_100_000_rows_give_what_sorting_all_cosines_gives(self, tmp_path: Path):
        plain = unit(random_rows(100_000, 64, seed=1))
        write_index(tmp_path / "large", {f"{number}": row for number, row in enumerate(plain)})
        queries = random_rows(3, 64, seed=2)
        cosines = unit(queries) @ plain.T
        for found, expected in zip(vit.open_index(tmp_path / "large").search(queries, 50), cosines, strict=True):
            best = np.argsort(-expected, kind="stable")[:50]
            assert [name for name, _ in found] == [str(row) for row in best]
            np.testing.assert_allclose([cosine for _, cosine in found], expected[best], rtol=0, atol=1e-6)

    def test_int8_is_off_by_its_rounding_at_most(self, tiny_artifact: Path, tmp_path: Path):
        """A code is off by half a step, step = max|x| / 127; scaling to length 1 can double that (docs/search.md)."""
        plain = unit(random_rows(500, 128) * np.random.default_rng(5).uniform(0, 9, 128).astype(np.float32))
        names = [str(number) for number in range(500)]
        made = vit.create_index(tmp_path / "small", tiny_artifact, int8=True)
        made.add(names, plain)
        query = unit(random_rows(1, 128, seed=9))[0]
        found = dict(made.search(query, 500))
        differences = np.array([found[name] for name in names]) - plain @ query
        bound = np.abs(plain).max(axis=1) / 127 * np.sqrt(128)
        assert (np.abs(differences) <= bound + 1e-6).all()
        assert np.abs(differences).max() > 1e-5  # it is not float32
        assert max(cosine for _, cosine in made.search(plain[3])) <= 1 + 1e-6

    def test_one_query_or_several(self, index: vit.Index, rows: dict[str, FloatArray]):
        queries = np.stack(list(rows.values())[:2])
        first, second = index.search(queries, 3)
        for found, alone in ((first, index.search(queries[0], 3)), (second, index.search(list(queries[1]), 3))):
            assert [name for name, _ in found] == [name for name, _ in alone]
            np.testing.assert_allclose([cosine for _, cosine in found], [cosine for _, cosine in alone], atol=1e-6)
        assert [match.name for match in (first[0], second[0])] == list(rows)[:2]
        assert abs(first[0].cosine - 1) < 1e-4
        assert index.search(np.empty((0, 128), np.float32)) == []

    def test_the_query_may_have_any_length(self, index: vit.Index, rows: dict[str, FloatArray]):
        (row, *_) = rows.values()
        for found, expected in zip(index.search(row * 37), index.search(row), strict=True):
            assert found.name == expected.name
            assert abs(found.cosine - expected.cosine) < 1e-6

    def test_no_more_than_there_are(self, index: vit.Index, rows: dict[str, FloatArray]):
        assert len(index.search(next(iter(rows.values())), 99)) == len(index) == 40

    def test_of_equal_rows_the_first_ones_come(self, tiny_artifact: Path, tmp_path: Path):
        made = vit.create_index(tmp_path / "equal", tiny_artifact)
        one = random_rows(1, 128)
        made.add([str(number) for number in range(20)], np.repeat(one, 20, axis=0))
        assert [name for name, _ in made.search(one[0], 3)] == ["0", "1", "2"]

    @pytest.mark.parametrize(
        "query",
        [np.zeros(128), np.full(128, np.nan), np.full(128, 1e300), np.ones(127), np.ones((2, 2, 128)), "dog.jpg", None],
        ids=["zeros", "NaN", "too large", "width", "rank", "text", "None"],
    )
    def test_a_query_that_is_none(self, query: object, index: vit.Index):
        with pytest.raises(vit.UsageError, match=r"^queries: [^\n]*; give embeddings by the model"):
            index.search(query)

    def test_no_row_has_no_neighbour(self, tiny_artifact: Path, tmp_path: Path):
        made = vit.create_index(tmp_path / "empty", tiny_artifact)
        assert (len(made), made.names, made.vectors().shape) == (0, [], (0, 128))
        assert made.search(np.ones(128, np.float32)) == []


class TestRows:
    def test_the_page_says_what_lies_on_the_disk(self, index: vit.Index, rows: dict[str, FloatArray]):
        found = read_index(index.path)
        assert list(found) == list(rows)
        step = 0 if index.numbers == "float32" else 1 / 127
        np.testing.assert_allclose(np.stack(list(found.values())), np.stack(list(rows.values())), atol=step + 1e-6)
        np.testing.assert_array_equal(index.vectors(), np.stack(list(found.values())))

    def test_what_is_written_by_the_page_is_read(self, rows: dict[str, FloatArray], tmp_path: Path):
        write_index(tmp_path / "by hand", rows)
        index = vit.open_index(tmp_path / "by hand", verify=True)
        assert (index.names, index.width, index.model, index.model_name) == (list(rows), 128, "0" * 64, "tiny fp32")
        np.testing.assert_array_equal(index.vectors(), np.stack(list(rows.values())))

    def test_float32_rows_are_mapped(self, rows: dict[str, FloatArray], tmp_path: Path):
        write_index(tmp_path / "by hand", rows)
        vectors = vit.open_index(tmp_path / "by hand").vectors()
        assert isinstance(vectors, np.memmap)
        assert not vectors.flags.writeable

    def test_rows_are_replaced_and_removed(self, index: vit.Index, rows: dict[str, FloatArray]):
        names = list(rows)
        new = unit(random_rows(2, 128, seed=3))
        index.add([names[0], "new"], new)
        assert index.remove([names[1], "unknown"]) == 1
        assert sorted(index.names) == sorted({*names, "new"} - {names[1]})
        assert [match.name for match in index.search(new, 1)[0]] == [names[0]]
        assert names[1] not in {name for name, _ in index.search(rows[names[1]], 99)}
        assert len(index.search(rows[names[1]], 99)) == len(index) == 40
        by_name = dict(zip(index.names, index.vectors(), strict=True))
        assert [list(by_name), *map(list, by_name.values())] == [index.names, *map(list, index.vectors())]
        np.testing.assert_allclose(by_name[names[0]], new[0], atol=0.01)
        np.testing.assert_allclose(by_name[names[2]], rows[names[2]], atol=0.01)
        assert list(read_index(index.path)) == index.names

    def test_what_was_dropped_takes_no_room_for_ever(self, index: vit.Index, rows: dict[str, FloatArray]):
        size = sum(file.stat().st_size for file in index.path.iterdir())
        for _ in range(5):
            index.add(rows, rows.values())
        header = header_of(index.path)
        assert header["dropped"] <= header["rows"] / 2
        assert sum(file.stat().st_size for file in index.path.iterdir()) < 2.2 * size
        assert len(list(index.path.iterdir())) == 6
        assert vit.open_index(index.path, verify=True).names == list(rows)

    def test_who_has_it_open_keeps_what_was_there(self, index: vit.Index, rows: dict[str, FloatArray]):
        before = vit.open_index(index.path)
        index.add([*rows, "new"], [*rows.values(), next(iter(rows.values()))])
        index.add(rows, rows.values())
        index.remove(list(rows)[1:])
        assert len(before) == 40
        assert before.search(rows[list(rows)[7]], 1)[0].name == list(rows)[7]

    @pytest.mark.parametrize(
        ("name", "row", "message"),
        [
            ("a", np.ones(127), r"rows: a row of shape \(127,\), and this index has rows of \(128,\)"),
            ("a", np.full(128, np.inf), "rows: the row of 'a' has NaN or infinity"),
            ("", np.ones(128), "names: '' has 0 bytes"),
            ("é" * 2049, np.ones(128), "has 4098 bytes; give 1 to 4096"),
        ],
    )
    def test_rows_that_are_refused(self, name: str, row: FloatArray, message: str, index: vit.Index):
        with pytest.raises(vit.UsageError, match=message):
            index.add(["good", name], [np.ones(128, np.float32), row])
        assert len(vit.open_index(index.path, verify=True)) == 41  # what came before is kept

    @pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
    def test_a_name_for_each_row(self, names: list[str], index: vit.Index):
        with pytest.raises(vit.UsageError, match=r"^rows: (fewer|more) than names"):
            index.add(names, random_rows(2, 128))

    def test_zeros_are_like_nothing(self, index: vit.Index, rows: dict[str, FloatArray]):
        index.add(["zeros"], [np.zeros(128, np.float32)])
        assert dict(index.search(next(iter(rows.values())), 99))["zeros"] == 0

    def test_a_full_disk_keeps_what_was_there(
        self, index: vit.Index, rows: dict[str, FloatArray], monkeypatch: pytest.MonkeyPatch
    ):
        written: list[int] = []

        def full(descriptor: int) -> None:
            written.append(descriptor)
            if len(written) > 2:
                raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(
                vit.OutputFileError, match=r"cannot be written \(No space left on device\); free some room"
            ):
                index.add(["new"], [next(iter(rows.values()))])
        assert vit.open_index(index.path, verify=True).names == list(rows)
        index.add(["new"], [next(iter(rows.values()))])
        assert vit.open_index(index.path, verify=True).names == [*rows, "new"]

    def test_faiss_finds_the_same(self, index: vit.Index, rows: dict[str, FloatArray], tmp_path: Path):
        faiss = pytest.importorskip("faiss")
        index.remove(list(rows)[:3])
        index.to_faiss(tmp_path / "rows.faiss")
        names = [json.loads(line) for line in (tmp_path / "rows.faiss.names.jsonl").read_text().splitlines()]
        queries = unit(random_rows(5, 128, seed=4))
        cosines, numbers = faiss.read_index(str(tmp_path / "rows.faiss")).search(queries, 7)
        for found, row, values in zip(index.search(queries, 7), numbers, cosines, strict=True):
            assert [name for name, _ in found] == [names[number] for number in row]
            np.testing.assert_allclose([cosine for _, cosine in found], values, atol=1e-6)

    def test_faiss_that_is_not_installed(self, index: vit.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(sys.modules, "faiss", None)
        with pytest.raises(
            vit.MissingDependencyError, match=r"^faiss: not installed; run: pip install 'vit-edge\[faiss\]'$"
        ):
            index.to_faiss(tmp_path / "rows.faiss")
        assert not list(tmp_path.glob("rows.faiss*"))


class TestCommands:
    @pytest.mark.parametrize("options", [(), ("--int8",)], ids=["float32", "int8"])
    def test_neighbours_are_those_of_the_embeddings(
        self, options: tuple[str, ...], vit_run: Run, tiny: vit.ViT, tiny_artifact: Path, photos: Path
    ):
        path = photos.parent / "photos.index"
        made = vit_run("index", tiny_artifact, photos, "-o", path, *options)
        assert (made.exit_code, made.stdout) == (0, "")
        numbers = "int8" if options else "float32"
        assert told(made) == f"6 added, 0 updated, 0 dropped, 0 unchanged; 6 pictures by tiny fp32, in {numbers}"
        found = lines_of(vit_run("similar", tiny_artifact, photos / "2.png", "--index", path, "--json", "--top", 4))
        pictures = [photos / f"{number}.png" for number in (0, 1, 3, 4, 5)]
        plain = unit(tiny.embed(pictures))
        query = unit(tiny.embed(photos / "2.png"))[0]
        bound = np.abs(plain).max() / 127 * np.sqrt(128) if options else 1e-6
        by_name = dict(zip(map(str, pictures), plain @ query, strict=True))
        assert len(found) == 4
        for line in found:
            assert abs(line["cosine"] - by_name[line["image"]]) <= bound
        if not options:
            assert [line["image"] for line in found] == sorted(by_name, key=by_name.get, reverse=True)[:4]

    def test_the_answer_is_the_same_as_without_an_index(
        self, vit_run: Run, tiny_artifact: Path, photos: Path, indexed: Path
    ):
        with_index = vit_run("similar", tiny_artifact, photos / "0.png", "--index", indexed)
        assert with_index.stdout == vit_run("similar", tiny_artifact, photos / "0.png", photos).stdout
        assert with_index.stdout.count("\n") == 5

    def test_only_the_query_is_read(self, vit_run: Run, tiny_artifact: Path, photos: Path, indexed: Path):
        query = photos.parent / "query.png"
        shutil.copy(photos / "3.png", query)
        shutil.rmtree(photos)
        (first, *_) = lines_of(vit_run("similar", tiny_artifact, query, "--index", indexed, "--json"))
        assert first["image"] == str(photos / "3.png")
        assert abs(first["cosine"] - 1) < 1e-6

    def test_names_are_found_from_any_folder(
        self, vit_run: Run, tiny_artifact: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.chdir(photos.parent)
        assert vit_run("index", tiny_artifact, "photos", "-o", "photos.index").exit_code == 0
        monkeypatch.chdir(photos)
        again = vit_run("index", tiny_artifact, ".", "-o", "../photos.index")
        assert told(again).startswith("0 added, 0 updated, 0 dropped, 6 unchanged")
        (first,) = lines_of(
            vit_run("similar", tiny_artifact, "0.png", "--index", "../photos.index", "--json", "--top", 1)
        )
        assert Path(first["image"]).exists()
        assert first["image"].startswith("../photos/")
        moved = photos.parent / "elsewhere"
        moved.mkdir()
        for name in ("photos", "photos.index"):
            (photos.parent / name).rename(moved / name)
        monkeypatch.chdir(moved)
        assert told(vit_run("index", tiny_artifact, "photos", "-o", "photos.index")).startswith("0 added, 0 updated")

    def test_again_only_what_is_new_is_computed(
        self, vit_run: Run, tiny: vit.ViT, tiny_artifact: Path, photos: Path, indexed: Path
    ):
        nothing = vit_run("index", tiny_artifact, photos, "-o", indexed)
        assert nothing.stderr.count("\n") == 1  # the model was not even loaded
        assert told(nothing).startswith("0 added, 0 updated, 0 dropped, 6 unchanged; 6 pictures")
        shutil.copy(photos / "0.png", photos / "copy.png")
        shutil.copy(photos / "1.png", photos / "2.png")
        (photos / "3.png").unlink()
        (photos / "4.png").write_bytes(b"no picture any more")
        again = vit_run("index", tiny_artifact, photos, "-o", indexed)
        assert again.exit_code == 1
        assert "4.png: not an image" in again.stderr
        assert told(again).startswith("1 added, 1 updated, 2 dropped, 3 unchanged; 5 pictures")
        found = read_index(indexed)
        expected = {
            f"photos/{name}": tiny.embed(photos / name)[0] for name in ("0.png", "1.png", "2.png", "5.png", "copy.png")
        }
        assert set(found) == set(expected)
        for name, row in expected.items():
            np.testing.assert_allclose(found[name], unit(row), atol=1e-6)

    def test_pictures_of_other_folders_stay(self, vit_run: Run, tiny_artifact: Path, photos: Path, indexed: Path):
        other = photos.parent / "other"
        shutil.copytree(photos, other)
        assert told(vit_run("index", tiny_artifact, other, "-o", indexed)).startswith("6 added, 0 updated, 0 dropped")
        shutil.rmtree(photos)
        (other / "1.png").unlink()
        result = vit_run("index", tiny_artifact, other, "-o", indexed)
        assert told(result).startswith("0 added, 0 updated, 1 dropped, 5 unchanged; 11 pictures")

    def test_another_model_is_refused(self, vit_run: Run, dynamic_artifact: Path, photos: Path, indexed: Path):
        for words in (
            ("index", dynamic_artifact, photos, "-o"),
            ("similar", dynamic_artifact, photos / "0.png", "--index"),
        ):
            result = vit_run(*words, indexed)
            assert (result.exit_code, result.stdout) == (1, "")
            (line,) = result.stderr.splitlines()
            assert line.startswith(f"error: {indexed}: made with another model, tiny fp32 of SHA-256 ")
            assert line.endswith("is tiny int8; give that one, or make it anew with vit-run index --force")
        assert vit_run("index", dynamic_artifact, photos, "-o", indexed, "--force").exit_code == 0
        assert vit_run("similar", dynamic_artifact, photos / "0.png", "--index", indexed).exit_code == 0
        assert len(list(indexed.iterdir())) == 6

    def test_int8_is_decided_at_the_beginning(self, vit_run: Run, tiny_artifact: Path, photos: Path, indexed: Path):
        refused = vit_run("index", tiny_artifact, photos, "-o", indexed, "--int8")
        assert refused.exit_code == 2
        assert "is kept in float32; add --force to make it anew" in refused.stderr
        assert told(vit_run("index", tiny_artifact, photos, "-o", indexed, "--int8", "--force")).endswith("in int8")
        assert told(vit_run("index", tiny_artifact, photos, "-o", indexed)).endswith("in int8")

    @pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "--force"])
    def test_nothing_but_an_index_is_written_into(
        self, force: tuple[str, ...], vit_run: Run, tiny_artifact: Path, photos: Path
    ):
        before = sorted(photos.iterdir())
        result = vit_run("index", tiny_artifact, photos, "-o", photos, *force)
        assert result.exit_code == 1
        assert f"error: {photos}: holds something else than an index; choose another place" in result.stderr
        assert sorted(photos.iterdir()) == before

    def test_a_query_of_several_names_is_no_answer(self, vit_run: Run, tiny_artifact: Path, photos: Path):
        for number in range(9):
            (photos / f"link {number}.png").symlink_to("0.png")
        path = photos.parent / "photos.index"
        assert vit_run("index", tiny_artifact, photos, "-o", path).exit_code == 0
        found = lines_of(vit_run("similar", tiny_artifact, photos / "0.png", "--index", path, "--json", "--top", 3))
        assert len(found) == 3
        assert not any(Path(line["image"]).samefile(photos / "0.png") for line in found)

    def test_folders_or_an_index(self, vit_run: Run, tiny_artifact: Path, photos: Path, indexed: Path):
        for words in ((), (photos, "--index", indexed)):
            result = vit_run("similar", tiny_artifact, photos / "0.png", *words)
            assert (result.exit_code, result.stdout) == (2, "")
            assert "give either folders to compare with or --index" in result.stderr

    def test_a_query_alone_in_its_index(self, vit_run: Run, tiny_artifact: Path, photos: Path):
        path = photos.parent / "one.index"
        assert vit_run("index", tiny_artifact, photos / "0.png", "-o", path).exit_code == 0
        result = vit_run("similar", tiny_artifact, photos / "0.png", "--index", path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"{path}: no picture besides" in result.stderr


GROWING = """
import sys
import numpy as np
import vit_runtime as vit
from vit_runtime.searching import writer
writer._MOST_WAITING = 3
index = vit.open_index(sys.argv[1])
for number in range(10**6):
    with index.writer() as adding:
        for name in range(40):
            adding.put(f"{name}", np.random.default_rng([number, name]).standard_normal(128, dtype=np.float32))
            adding.put(f"{number}, {name}", np.ones(128, np.float32))
            adding.remove(f"{number - 2}, {name}")
"""
"""Replaces rows, adds and drops others, and writes the index anew now and then, without an end."""

COMMAND = """
import sys
from vit_runtime.cli import main
from vit_runtime.searching import writer
writer._MOST_WAITING = 1
main()
"""


class TestInterrupted:
    @pytest.mark.parametrize("seed", range(4))
    def test_a_kill_at_any_moment_leaves_a_valid_index(self, seed: int, tiny_artifact: Path, tmp_path: Path):
        path = tmp_path / "killed"
        vit.create_index(path, tiny_artifact, int8=bool(seed % 2))
        for kill in range(4):
            with subprocess.Popen([sys.executable, "-c", GROWING, path]) as process:
                before = (path / "index.json").read_bytes()
                while (path / "index.json").read_bytes() == before:
                    assert process.poll() is None
                    time.sleep(0.01)
                time.sleep(random.Random(seed * 10 + kill).uniform(0, 0.4))
                process.kill()
            assert process.returncode == -signal.SIGKILL
            index = vit.open_index(path, verify=True)
            found = read_index(path)
            assert list(found) == index.names
            for name, row in found.items():  # of each name, what was put last or before: no mixture, no other's
                number, comma, _ = name.partition(", ")
                if comma:
                    np.testing.assert_allclose(row, 128**-0.5, atol=1e-3)
                else:
                    puts = (
                        np.random.default_rng([each, int(number)]).standard_normal(128, dtype=np.float32)
                        for each in range(900)
                    )
                    assert any(np.allclose(row, unit(put), atol=0.01) for put in puts)
        index.add(["last"], [np.ones(128, np.float32)])
        assert "last" in vit.open_index(path, verify=True).names

    def test_a_command_that_was_killed_is_finished_by_the_next(
        self, vit_run: Run, tiny: vit.ViT, tiny_artifact: Path, tmp_path: Path, picture: UInt8Array
    ):
        photos, path = tmp_path / "photos", tmp_path / "photos.index"
        photos.mkdir()
        for number in range(300):
            Image.fromarray(np.roll(picture, number, axis=1)).save(photos / f"{number:03}.png")
        counted, tries = 0, 0
        while counted < 250 and tries < 6:
            tries += 1
            command = [sys.executable, "-c", COMMAND, "index", tiny_artifact, photos, "-o", path]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                while process.poll() is None and (not path.exists() or rows_in(path) < counted + 20):
                    time.sleep(0.002)
                process.kill()
            counted = rows_in(path)
            assert len(vit.open_index(path, tiny_artifact, verify=True)) == counted
        assert counted > 0
        result = vit_run("index", tiny_artifact, photos, "-o", path)
        assert told(result).startswith(
            f"{300 - counted} added, 0 updated, 0 dropped, {counted} unchanged; 300 pictures"
        )
        found = read_index(path)  # asserts, too, that no name comes twice
        assert sorted(found) == [f"photos/{number:03}.png" for number in range(300)]
        expected = unit(tiny.embed(sorted(photos.iterdir())))
        np.testing.assert_allclose(np.stack([found[name] for name in sorted(found)]), expected, atol=1e-5)

    def test_ctrl_c_keeps_what_was_computed(
        self,
        interruptible_popen: Callable[..., subprocess.Popen[str]],
        tiny_artifact: Path,
        tmp_path: Path,
        picture: UInt8Array,
    ):
        photos, path = tmp_path / "photos", tmp_path / "photos.index"
        photos.mkdir()
        for number in range(400):
            Image.fromarray(picture.repeat(8, axis=0).repeat(8, axis=1)).save(photos / f"{number:03}.png")
        command = [sys.executable, "-c", COMMAND, "index", tiny_artifact, photos, "-o", path]
        with interruptible_popen(command) as process:
            while not path.exists() or rows_in(path) < 10:
                assert process.poll() is None
                time.sleep(0.002)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, stderr
        *_, kept, last = stderr.splitlines()
        assert last == "interrupted"
        count = len(vit.open_index(path, verify=True))
        assert kept == f"{path}: {count} added, 0 updated, 0 dropped, 0 unchanged; run the same again to go on"
        assert 10 <= count < 400


def rows_in(path: Path) -> int:
    """How many rows count at the moment."""
    try:
        return header_of(path)["rows"]
    except FileNotFoundError:
        return 0


def test_one_writer_at_a_time(index: vit.Index, vit_run: Run, tiny_artifact: Path, photo: Path):
    with index.writer():
        with pytest.raises(vit.OutputFileError, match=r"rows.index: another process writes to it; wait until that one"):
            index.add(["new"], random_rows(1, 128))
        result = vit_run("index", tiny_artifact, photo, "-o", index.path)
        assert result.exit_code == 1
        assert "another process writes to it" in result.stderr
        script = "import sys, vit_runtime as vit; vit.open_index(sys.argv[1]).add([], [])"
        done = subprocess.run([sys.executable, "-c", script, index.path], capture_output=True, text=True, check=False)
        assert "OutputFileError" in done.stderr
        assert len(vit.open_index(index.path)) == 40  # reading goes on
    index.add(["new"], random_rows(1, 128))
    assert len(index) == 41


def test_names_that_are_no_utf8(index: vit.Index):
    name = os.fsdecode(b"caf\xe9.png")
    index.add([name], random_rows(1, 128, seed=7))
    assert index.search(random_rows(1, 128, seed=7)[0], 1)[0].name == name
    assert name in vit.open_index(index.path).names
