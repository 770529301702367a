"""Our own contenders measured without what the user has kept, and once more with a prepared copy."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

import vit_runtime as vit
from vit_bench.contenders.caches import in_empty_cache, with_prepared_copies
from vit_bench.contenders.entrants import Entrant, artifacts
from vit_runtime.cache.folder import CACHE_VARIABLE


def copies_of(entrant: Entrant) -> list[Path]:
    assert entrant.environment is not None
    return list(Path(entrant.environment[CACHE_VARIABLE]).rglob("model.onnx"))


def detail(entrant: Entrant, photo: Path) -> str:
    """What the contender says of its run, in its process."""
    return entrant.run(replace(entrant.task, photos=(str(photo),), threads=1)).measured.detail


def test_what_the_user_has_kept_plays_no_part(
    tiny_artifact: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "mine"))
    vit.prepare(tiny_artifact).folder.chmod(0o777)
    said = "other users may write to"
    (own,), _ = artifacts([tiny_artifact], "cpu")
    with in_empty_cache([own]) as (alone,):
        assert said in detail(own, photos[0])
        assert said not in detail(alone, photos[0])
        assert copies_of(alone) == []


def test_each_artifact_is_measured_with_its_copy_too(tiny_artifact: Path, tiny_int8: Path, photos: list[Path]):
    own, _ = artifacts([tiny_artifact, tiny_int8], "cpu")
    before = os.environ[CACHE_VARIABLE]
    with with_prepared_copies(own, pytest.fail) as entrants:
        assert os.environ[CACHE_VARIABLE] == before
        assert [entrant.name for entrant in entrants] == [
            *("vit-edge fp32", "vit-edge fp32 prepared"),
            *("vit-edge int8 dynamic", "vit-edge int8 dynamic prepared"),
        ]
        assert [len(copies_of(entrant)) for entrant in entrants] == [0, 2, 0, 2]
        assert entrants[1].bytes > 2.5 * entrants[0].bytes
        assert entrants[1].setup == "with the copy of vit-run prepare"
        assert "not used" not in detail(entrants[1], photos[0])
    assert not Path(entrants[1].environment[CACHE_VARIABLE]).exists()


def test_what_cannot_be_prepared_is_measured_without(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: Path) -> None:
        raise vit.ProviderError("prepared copy", "onnxruntime 1.20.1 keeps no packed weights", "install another")

    monkeypatch.setattr("vit_bench.contenders.caches.prepare", refuse)
    own, _ = artifacts([tiny_artifact], "cpu")
    told: list[str] = []
    with with_prepared_copies(own, told.append) as entrants:
        assert [entrant.name for entrant in entrants] == ["vit-edge fp32"]
    (line,) = told
    assert line.startswith("vit-edge fp32: not measured with a prepared copy: prepared copy: onnxruntime 1.20.1 keeps")


def test_other_providers_map_no_copy(tiny_artifact: Path):
    own, _ = artifacts([tiny_artifact], "cuda")
    with with_prepared_copies(own, pytest.fail) as entrants:
        assert len(entrants) == 1
