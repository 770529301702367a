"""The programs of docs/clusters.md run: in Ray, and against a server that speaks Triton's protocol."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import vit_runtime as vit
from vit_export import write_repository

from .made_pictures import blots
from .test_python_examples import Block, blocks_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("docs/clusters.md", "README.md")


def programs(mark: str) -> list[Block]:
    """The programs of the pages that have some words in them."""
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in PAGES]
    return [block for text in texts for block in blocks_of(text) if mark in block.code]


@pytest.mark.parametrize("program", programs("import ray"), ids=lambda block: f"line {block.line}")
def test_the_recipe_of_ray_answers_for_every_picture(program: Block, tiny_artifact: Path, tmp_path: Path):
    pytest.importorskip("ray.data")
    pq = pytest.importorskip("pyarrow.parquet")
    (photos := tmp_path / "photos").mkdir()
    for number in range(9):
        blots(number).save(photos / f"{number}.png")
    (photos / "9.png").write_bytes(b"no picture")
    (tmp_path / "models").mkdir()
    for name in ("deit_tiny.onnx", "vit_b_16.onnx"):
        shutil.copy(tiny_artifact, tmp_path / "models" / name)
    (tmp_path / "recipe.py").write_text(program.code, encoding="utf-8")
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "recipe.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = sorted(pq.read_table(tmp_path / "answers").to_pylist(), key=lambda row: row["path"])
    paths = [str(path.relative_to(tmp_path)) for path in sorted(photos.iterdir())]
    assert [row["path"] for row in rows] == paths
    assert [row["error"] is None for row in rows] == [True] * 9 + [False]
    expected = vit.load(tiny_artifact, threads=1).classify([tmp_path / path for path in paths[:9]], top_k=5)
    assert [row["label"] for row in rows[:9]] == [predictions[0].label for predictions in expected]


@pytest.fixture
def server(tiny_artifact: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server that serves the tiny model from a repository, as its configuration says."""
    grpc = pytest.importorskip("grpc")
    text_format = pytest.importorskip("google.protobuf.text_format")
    protocol = pytest.importorskip("tritonclient.grpc.service_pb2")
    stubs = pytest.importorskip("tritonclient.grpc.service_pb2_grpc")
    name = "vit_b_16.int8.onnx"
    shutil.copy(tiny_artifact, tmp_path / name)
    model = write_repository(tmp_path / name, tmp_path / "repository")
    configured = protocol.ModelConfigResponse()
    text_format.Parse((model / "config.pbtxt").read_text(encoding="utf-8"), configured.config)
    session = onnxruntime.InferenceSession(model / "1" / "model.onnx", providers=["CPUExecutionProvider"])

    class Server(stubs.GRPCInferenceServiceServicer):
        """As much of Triton as the page's client asks for."""

        def ModelConfig(self, request: Any, _: Any) -> Any:  # noqa: N802 - the protocol's name
            assert request.name == model.name
            return configured

        def ModelInfer(self, request: Any, _: Any) -> Any:  # noqa: N802
            (pixels,), config = request.inputs, configured.config
            assert (request.model_name, pixels.name, pixels.datatype) == (model.name, "pixels", "UINT8")
            assert list(pixels.shape[1:]) == list(config.input[0].dims)
            assert pixels.shape[0] <= config.max_batch_size
            array = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(pixels.shape)
            wanted = [output.name for output in request.outputs]
            response = protocol.ModelInferResponse(model_name=model.name)
            for output, answer in zip(wanted, session.run(wanted, {"pixels": array}), strict=True):
                response.outputs.add(name=output, datatype="FP32", shape=answer.shape)
                response.raw_output_contents.append(answer.tobytes())
            return response

    with ThreadPoolExecutor(1) as pool:
        running = grpc.server(pool)
        stubs.add_GRPCInferenceServiceServicer_to_server(Server(), running)
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
        yield f"127.0.0.1:{port}"
        running.stop(None).wait()


def test_the_client_gets_the_answers_of_load(server: str, tiny_artifact: Path, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("dog.jpg", "cat.jpg")):
        blots(number).save(name)
    (program,) = programs("import tritonclient")
    names: dict[str, Any] = {}
    exec(program.code.replace("localhost:8001", server), names)  # noqa: S102 - our own page
    names["client"].close()
    expected = vit.load(tiny_artifact, threads=1).logits(["dog.jpg", "cat.jpg"])
    np.testing.assert_allclose(names["logits"], expected, atol=1e-6)
    assert names["logits"].dtype == np.float32
