"""`vit-run index` and `vit-run similar --index`: what is computed, kept, dropped and answered."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vit_runtime as vit

from .by_the_page import read_index, unit

Run = Callable[..., Any]


def lines_of(result: Any) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def told(result: Any) -> str:
    """What the command said of its work, without the index's name."""
    return result.stderr.splitlines()[-1].partition(": ")[2]


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
            assert "give either pictures to compare with or --index" in result.stderr

    def test_a_query_alone_in_its_index(self, vit_run: Run, tiny_artifact: Path, photos: Path):
        path = photos.parent / "one.index"
        assert vit_run("index", tiny_artifact, photos / "0.png", "-o", path).exit_code == 0
        result = vit_run("similar", tiny_artifact, photos / "0.png", "--index", path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"{path}: no picture besides" in result.stderr
