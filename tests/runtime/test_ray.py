"""`Predictor` in two real workers of Ray: no picture is lost or repeated, and the answers are those of `load`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.without import environment_without

import vit_runtime as vit
from vit_runtime.arrays import UInt8Array

MANY = 40
BROKEN = {3: b"", 17: b"no picture", 31: b"\x89PNG\r\n\x1a\n cut off"}
"""Files that are no pictures, by number."""


@pytest.fixture(scope="module")
def ray() -> Iterator[ModuleType]:
    """Ray with two processors, and its data library, quiet; it takes seconds to start."""
    ray = pytest.importorskip("ray")
    data = pytest.importorskip("ray.data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of what a later release will do
        # Workers are started by Ray and see this path, not pytest's.
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
        data.DataContext.get_current().enable_progress_bars = False
        data.DataContext.get_current().wait_for_min_actors_s = 60
        yield ray
        ray.shutdown()


@pytest.fixture(scope="module")
def folder(random_pictures: Callable[[int], list[UInt8Array]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty files, of which three are no pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(random_pictures(MANY)):
        path = folder / f"{number:02}.png"
        if number in BROKEN:
            path.write_bytes(BROKEN[number])
        else:
            Image.fromarray(picture).save(path)
    return folder


def answer(ray: ModuleType, rows: Any, model: Path, **arguments: object) -> Any:
    """A data set of answers, by two workers with a processor each."""
    from vit_runtime.ray import Predictor

    class Signed(Predictor):
        """Adds who has answered, and with how many threads."""

        def __call__(self, batch: Any) -> Any:
            import pyarrow as pa

            table = super().__call__(batch)
            for name, value in (("worker", os.getpid()), ("threads", self._model.workers)):
                table = table.append_column(name, pa.array([value] * len(table)))
            return table

    options = arguments.pop("options", {})
    return rows.map_batches(
        Signed,
        fn_constructor_kwargs={"model": model, **arguments},
        batch_size=4,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=2),
        **options,
    )


def test_from_a_folder_to_parquet(ray, folder, labelled_artifact, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    paths = sorted(folder.iterdir())
    # Reading wants a part of a processor, as both are given to the workers.
    pictures = ray.data.read_binary_files(
        str(folder), include_paths=True, override_num_blocks=10, num_cpus=0.1
    ).materialize()
    answers = answer(ray, pictures, labelled_artifact, top_k=2, options={"batch_format": "pyarrow"}).materialize()
    answers.write_parquet(str(tmp_path / "answers"))
    # Any reader takes the files together, though most of them have no error in them.
    rows = sorted(pq.read_table(tmp_path / "answers").to_pylist(), key=lambda row: row["path"])
    assert [row["path"] for row in rows] == list(map(str, paths))
    assert {number for number, row in enumerate(rows) if row["error"] is not None} == set(BROKEN)
    expected = vit.load(labelled_artifact, threads=1)
    for number, row in enumerate(rows):
        if number in BROKEN:
            assert (row["label"], row["index"], row["probability"], row["labels"]) == (None, None, None, None)
            continue
        first, second = expected.classify(paths[number], top_k=2)
        assert (row["label"], row["index"]) == (first.label, first.index)
        assert (row["labels"], row["indices"]) == ([first.label, second.label], [first.index, second.index])
        assert row["probabilities"] == pytest.approx([first.probability, second.probability], rel=1e-6)
    assert len({row["worker"] for row in rows}) == 2
    assert {row["threads"] for row in rows} == {1}
    assert os.getpid() not in {row["worker"] for row in rows}


def test_a_worker_counts_the_processors_that_it_was_given(ray):
    from vit_runtime.ray.worker import assigned_cpus

    given = {0: 1, 0.5: 1, 1: 1, 2: 2}
    counted = {cpus: ray.get(ray.remote(num_cpus=cpus)(assigned_cpus).remote()) for cpus in given}
    assert counted == given
    assert assigned_cpus() is None  # the program that starts the job has the whole machine


@pytest.mark.parametrize("batch_format", ["numpy", "pyarrow"])
@pytest.mark.parametrize("one_size", [False, True])
def test_embeddings_of_decoded_pictures(one_size, batch_format, ray, random_pictures, tiny_artifact, tiny):
    pictures = [picture[:20, :20] for picture in random_pictures(9)] if one_size else random_pictures(9)
    rows = ray.data.from_items([{"number": number, "image": picture} for number, picture in enumerate(pictures)])
    arguments = {"answers": "embeddings", "pictures": "arrays", "threads": 2}
    answers = answer(ray, rows, tiny_artifact, **arguments, options={"batch_format": batch_format}).take_all()
    answers.sort(key=lambda row: row["number"])
    assert [row["number"] for row in answers] == list(range(9))
    np.testing.assert_allclose(np.stack([row["embedding"] for row in answers]), tiny.embed(pictures), atol=1e-5)
    assert {row["threads"] for row in answers} == {2}
    assert "image" not in answers[0]


def told(ray: ModuleType, model: Path, **arguments: object) -> str:
    """What a job fails with."""
    with pytest.raises(ray.exceptions.RayError) as caught:
        answer(ray, ray.data.from_items([{"path": "none.png"}]), model, pictures="paths", **arguments).materialize()
    return str(caught.value)


def test_a_worker_without_onnxruntime_says_so(ray, tiny_artifact, tmp_path):
    path = environment_without(["onnxruntime"], tmp_path)["PYTHONPATH"]
    lacking = {"runtime_env": {"env_vars": {"PYTHONPATH": path}}}
    assert "onnxruntime: not installed; run: pip install 'vit-edge[cpu]'" in told(ray, tiny_artifact, options=lacking)


def test_a_worker_with_another_version_says_so(ray, tiny_artifact):
    assert f"this worker has vit-edge {vit.__version__}, and the job asks for 0.0.1" in told(
        ray, tiny_artifact, version="0.0.1"
    )
