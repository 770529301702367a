"""An index of embeddings: its neighbours are those that NumPy finds by comparing all, whatever was added or dropped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vit_runtime as vit
from vit_runtime.arrays import FloatArray

from .by_the_page import header_of, random_rows, read_index, unit, write_index


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


def test_names_that_are_no_utf8(index: vit.Index):
    name = os.fsdecode(b"caf\xe9.png")
    index.add([name], random_rows(1, 128, seed=7))
    assert index.search(random_rows(1, 128, seed=7)[0], 1)[0].name == name
    assert name in vit.open_index(index.path).names


def test_who_does_not_search_imports_nothing_for_it():
    script = "import sys, vit_runtime; print(any('searching' in name for name in sys.modules)); vit_runtime.Index"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    with pytest.raises(AttributeError, match="module 'vit_runtime' has no attribute 'index'"):
        vit.index  # noqa: B018 - what is asked for
