"""The table of several contenders, and the contenders that other tools bring."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from PIL import Image

from vit_bench.against_torch import run_worker
from vit_bench.latency import table
from vit_runtime.selftest import waves


def test_the_table_gives_medians_tenths_and_ratios_to_the_first_round_by_round():
    rounds = {
        "runtime=a.onnx": [[0.1, 0.1, 0.3], [0.2, 0.2, 0.2]],
        "torch=b.pth": [[0.3, 0.3, 0.3], [0.8, 0.8, 0.4]],
    }
    first, second = table(rounds).splitlines()[1:]
    assert first.split() == ["runtime=a.onnx", "200.0", "100.0", "1.00", "(1.00", "to", "1.00),", "1.00"]
    # medians 0.3 and 0.8 over 0.1 and 0.2: ratios 3 and 4; tenths 0.3 over 0.1
    assert second.split() == ["torch=b.pth", "350.0", "300.0", "3.50", "(3.00", "to", "4.00),", "3.00"]


@pytest.fixture
def float_graph(tmp_path: Path) -> Path:
    """A graph of normalised float pixels, as other tools make them: the mean of each channel."""
    node = onnx.helper.make_node("GlobalAveragePool", ["pixels"], ["mean"])
    pixels = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, (1, 3, 32, 32))
    mean = onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, (1, 3, 1, 1))
    graph = onnx.helper.make_graph([node], "graph", [pixels], [mean])
    path = tmp_path / "other.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9), path)
    return path


@pytest.mark.parametrize("kind", ["onnx", "openvino", "openvino-bf16"])
def test_files_of_other_tools_run_and_are_measured(kind: str, float_graph: Path, tmp_path: Path):
    Image.fromarray(waves((60, 80))).save(tmp_path / "photo.png")
    first_answer, document = run_worker(kind, str(float_graph), str(tmp_path / "photo.png"), threads=1, runs=3)
    assert len(document["latencies_s"]) == 3
    assert 0 < max(document["latencies_s"]) < first_answer


def test_openvino_runs_an_artifact_on_pixels(tiny_artifact: Path, tmp_path: Path):
    Image.fromarray(waves((60, 80))).save(tmp_path / "photo.png")
    _, document = run_worker("openvino", str(tiny_artifact), str(tmp_path / "photo.png"), threads=1, runs=2)
    assert len(document["latencies_s"]) == 2
