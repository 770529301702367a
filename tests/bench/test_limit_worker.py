"""What `measure_limit` finds in artifacts of every kind. How fast anything is takes no part in it."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image
from safetensors.torch import save_file
from tests.tiny import TINY

from vit_bench.measure import kernels
from vit_bench.measure.kernels import ProfiledKernel, Shape, group_seconds, profiled_kernel
from vit_bench.measure.limit import BETWEEN, LimitTask, architecture_operations, measure_limit
from vit_bench.measure.peak import product_model
from vit_bench.results import Contender, Limit
from vit_export import ExportRequest, export
from vit_export.read.torchvision_state import random_state
from vit_runtime.artifact import Rollout
from vit_runtime.errors import ArtifactError, MissingDependencyError

THREE_BLOCKS = replace(TINY, layers=3)
"""A first block, a last one and one between them, which int8 treats differently."""
S, D, M, PATCHES, VALUES, CLASSES = 17, 128, 256, 16, 192, 7
BATCH = 2
ALL = BATCH * S
ONE = BATCH
"""Rows of the class token alone."""
QKV, OUTPUT, HIDDEN, MLP_OUTPUT = "query, key, value", "attention/output", "mlp/hidden", "mlp/output"
KINDS = ("fp32", "dynamic", "static", "portable", "fp16 for a GPU", "with attention maps")
CONTENDER = Contender(
    name="vit-edge fp32",
    tool="vit-edge",
    model="three",
    precision="fp32",
    provider="cpu",
    version="onnxruntime",
    detail="",
)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("limit")
    save_file(random_state(THREE_BLOCKS, seed=2), folder / "three.safetensors")
    (folder / "photos").mkdir()
    for index in range(8):
        blots = np.random.default_rng(index).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(blots).resize((64, 48), Image.Resampling.BICUBIC).save(folder / "photos" / f"{index}.png")
    static = {"precision": "int8", "calibrate": folder / "photos"}
    options = (
        {},
        {"precision": "int8"},
        static,
        static | {"target": "portable"},
        {"precision": "fp16", "target": "gpu"},
        {"rollout": Rollout(head_fusion="mean", discard_ratio=0)},
    )
    return {
        kind: export(ExportRequest(model=str(folder / "three.safetensors"), output=folder / f"{kind}.onnx", **how)).path
        for kind, how in zip(KINDS, options, strict=True)
    }


def measured(path: Path, *, batch: int = BATCH) -> Limit:
    with tempfile.TemporaryDirectory() as folder:
        task = LimitTask(file=str(path), contender=CONTENDER, threads=1, batch=batch, folder=folder, seconds=0)
        found = measure_limit(task)
        assert list(Path(folder).iterdir()) == []
    return found


@pytest.fixture(scope="module")
def limits(artifacts: dict[str, Path]) -> dict[str, Limit]:
    return {kind: measured(path) for kind, path in artifacts.items()}


def found(limit: Limit) -> Counter[tuple[str, str, int, int, int]]:
    return Counter({(p.layer, p.kind, p.rows, p.inner, p.columns): p.times for p in limit.products})


def expected(kind: str, first: dict[str, int], alone: int) -> Counter[tuple[str, str, int, int, int]]:
    """Every linear layer: those of the first block with their own rows, the last block's class token with others."""
    sizes = {QKV: (D, D), OUTPUT: (D, D), HIDDEN: (D, M), MLP_OUTPUT: (M, D)}
    layers = Counter({("patches", kind, BATCH * PATCHES, VALUES, D): 1, ("head", "fp32", BATCH, D, CLASSES): 1})
    for layer, (inner, columns) in sizes.items():
        times = 3 if layer == QKV else 1
        layers[layer, kind, first.get(layer, ALL), inner, columns] += times
        layers[layer, kind, ALL, inner, columns] += times
        layers[layer, kind, alone, inner, columns] += 1
    layers[QKV, kind, ALL, D, D] += 2  # the last block's keys and values are those of all tokens
    return layers


# What the graph multiplies.


@pytest.mark.parametrize("kind", ["fp32", "fp16 for a GPU", "with attention maps"])
def test_float_files_have_every_linear_layer_in_fp32(kind: str, limits: dict[str, Limit]):
    assert found(limits[kind]) == expected("fp32", first={}, alone=ONE)


def test_dynamic_int8_doubles_the_rows_that_it_rounds_twice(limits: dict[str, Limit]):
    twice = dict.fromkeys((QKV, OUTPUT, HIDDEN, MLP_OUTPUT), 2 * ALL)
    assert found(limits["dynamic"]) == expected("int8", twice, alone=2 * ONE)


def test_static_int8_does_so_for_two_layers_of_the_first_block(limits: dict[str, Limit]):
    assert found(limits["static"]) == expected("int8", {OUTPUT: 2 * ALL, MLP_OUTPUT: 2 * ALL}, alone=2 * ONE)


def test_portable_int8_says_which_products_onnxruntime_computes_in_float(limits: dict[str, Limit]):
    """Where three layers read one activation it fuses none of them: the table tells the kernel that ran."""
    products = found(limits["portable"])
    whatever_kind: Counter[tuple[str, str, int, int, int]] = Counter()
    for (layer, kind, rows, inner, columns), times in products.items():
        whatever_kind[layer, "fp32" if layer == "head" else "int8", rows, inner, columns] += times
        assert kind == "int8" or layer in ("head", QKV)
    assert whatever_kind == expected("int8", {}, alone=ONE)


def test_operations_are_the_architectures_less_what_no_answer_depends_on(limits: dict[str, Limit]):
    """The last block asks for the class token alone: one query, one row of scores, mix, projection and MLP."""
    token = 2 * D * D + 2 * (2 * S * D) + 2 * D * D + 2 * (2 * D * M)
    left_out = (S - 1) * token
    whole = BATCH * architecture_operations(THREE_BLOCKS)
    for kind in ("fp32", "portable", "fp16 for a GPU"):
        assert limits[kind].architecture_operations == whole
        assert limits[kind].operations == whole - BATCH * left_out
    # Each attention map but the last block's is multiplied with a row.
    assert limits["with attention maps"].operations == whole - BATCH * left_out + BATCH * 2 * (2 * S * S)
    # int8 computes more: rows that are rounded twice, in the first block and for the last block's class token.
    second = {"dynamic": (3 * D * D, D * D, D * M, M * D), "static": (D * D, M * D)}
    last = BATCH * 2 * (D * D + D * D + 2 * D * M)
    for kind, sizes in second.items():
        assert limits[kind].operations == whole - BATCH * left_out + 2 * ALL * sum(sizes) + last


def test_operations_of_a_batch_are_those_of_its_pictures(tiny_artifact: Path):
    one, three = (measured(tiny_artifact, batch=batch) for batch in (1, 3))
    assert (three.operations, three.architecture_operations) == (3 * one.operations, 3 * one.architecture_operations)
    assert three.batch == 3


# The table.


@pytest.mark.parametrize("kind", KINDS)
def test_rows_add_up_to_the_pass(kind: str, limits: dict[str, Limit]):
    limit = limits[kind]
    assert sum(kernel.share for kernel in limit.kernels) == pytest.approx(1)
    seconds = {kernel.name: kernel.seconds for kernel in limit.kernels}
    assert min(seconds.values()) >= 0
    inside = sum(seconds.values()) - seconds[BETWEEN]
    assert sum(seconds.values()) == pytest.approx(max(limit.pass_seconds, inside))
    assert list(seconds.values()) == sorted(seconds.values(), reverse=True)
    assert sum(kernel.operations for kernel in limit.kernels) == limit.operations


@pytest.mark.parametrize("kind", KINDS)
def test_linear_rows_and_no_others_are_compared_with_the_engines_own_speed(kind: str, limits: dict[str, Limit]):
    limit = limits[kind]
    at_peak: dict[str, float] = {}
    for p in limit.products:
        assert p.peak > 0
        name = f"linear, {p.kind}: {p.layer}"
        at_peak[name] = at_peak.get(name, 0) + p.times * 2 * p.rows * p.inner * p.columns / p.peak
    rows = {kernel.name: kernel for kernel in limit.kernels}
    for name, kernel in rows.items():
        if name in at_peak and kernel.seconds:
            assert kernel.peak_share == pytest.approx(at_peak[name] / kernel.seconds)
        else:
            assert kernel.peak_share is None
    assert at_peak.keys() <= rows.keys()
    assert limit.floor_seconds == pytest.approx(sum(at_peak.values()))
    assert limit.linear_share == pytest.approx(limit.floor_seconds / limit.pass_seconds)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_say_what_a_file_spends_time_on(kind: str, limits: dict[str, Limit]):
    always = {
        *(kernels.ATTENTION, kernels.GELU, kernels.LAYER_NORM, kernels.ADDITIONS, kernels.REST, BETWEEN),
        "linear, fp32: head",
    }
    int8 = {kernels.ROUNDING, kernels.SCALES} if kind in ("dynamic", "static", "portable") else set()
    rollout = {kernels.ROLLOUT} if kind == "with attention maps" else set()
    names = {kernel.name for kernel in limits[kind].kernels}
    assert {name for name in names if not name.startswith("linear") or "head" in name} == always | int8 | rollout


@pytest.mark.parametrize(
    ("name", "operator", "group"),
    [
        ("encoder/0/attention/key", "Add", kernels.ADDITIONS),
        ("encoder/0/attention/query/biased", "Add", kernels.ADDITIONS),
        ("encoder/0/attention/query/sum", "Add", kernels.SCALES),
        ("encoder/1/mlp/gelu/span", "Add", kernels.SCALES),
        ("encoder/1/mlp/gelu", "Gelu", kernels.GELU),
        ("BiasGelu_token_10", "BiasGelu", kernels.GELU),
        ("encoder/11/attention/input/class_token/low", "ReduceMin", kernels.SCALES),
        ("encoder/0/attention/mixed/high", "ReduceMax", kernels.SCALES),
        ("encoder/0/mlp/hidden/rest/GatherSliceToSplitFusion", "Split", kernels.SCALES),
        ("encoder/0/mlp/hidden/weight", "DequantizeLinear", kernels.ROUNDING),
        ("encoder/0/attention/mix_q", "QuantizeLinear", kernels.ROUNDING),
        ("encoder/0/attention/key/transpose", "Transpose", kernels.ATTENTION),
        ("encoder/0/attention/softmax", "Softmax", kernels.ATTENTION),
        ("encoder/0/attention/rollout/fused", "ReduceMean", kernels.ROLLOUT),
        ("patch_embed/transpose", "Transpose", kernels.REST),
        ("encoder/0/attention/query", "Reshape", kernels.REST),
    ],
)
def test_a_kernel_belongs_where_its_name_says(name: str, operator: str, group: str):
    kernel = profiled_kernel(name, operator, [(2, 17, 128)], [(2, 17, 128)], seconds=1.0)
    assert (kernel.group, kernel.product, kernel.operations) == (group, None, 0)


def test_products_of_heads_count_the_heads_and_the_batch():
    inputs, outputs = [(2, 3, 17, 64), (2, 3, 64, 17)], [(2, 3, 17, 17)]
    kernel = profiled_kernel("encoder/0/attention/scores", "MatMul", inputs, outputs, seconds=1.0)
    assert (kernel.group, kernel.operations, kernel.product) == (kernels.ATTENTION, 2 * 2 * 3 * 17 * 64 * 17, None)
    fused = profiled_kernel(
        "encoder/0/attention/mix", "MultiHeadAttention", [(2, 1, 192), *[(2, 17, 192)] * 2], [(2, 1, 192)], seconds=1.0
    )
    assert (fused.group, fused.operations) == (kernels.ATTENTION, 2 * 2 * 2 * 1 * 17 * 192)


def test_a_product_that_no_name_places_keeps_its_operations():
    kernel = profiled_kernel("MatMul_7", "MatMul", [(2, 17, 128)], [(2, 17, 64)], seconds=1.0)
    assert (kernel.group, kernel.operations) == (kernels.OTHER_PRODUCTS, 2 * 34 * 128 * 64)


def test_the_profilers_own_cost_is_taken_off_and_the_median_pass_adds_up():
    def kernel(group: str, seconds: float, *, view: bool = False) -> ProfiledKernel:
        return ProfiledKernel(group=group, layer="", product=None, operations=0, view=view, seconds=seconds)

    def one_pass(cost: float, gelu: float) -> tuple[ProfiledKernel, ...]:
        views = (kernel(kernels.REST, cost, view=True),) * 3
        return (*views, kernel(kernels.GELU, gelu / 2 + cost), kernel(kernels.GELU, gelu / 2 + cost))

    passes = [one_pass(1.0, 20.0), one_pass(2.0, 24.0), one_pass(1.0, 22.0), one_pass(50.0, 900.0)]
    assert group_seconds(passes) == {kernels.REST: 0.0, kernels.GELU: pytest.approx(23.0)}
    assert group_seconds([(kernel(kernels.GELU, 3.0),)]) == {kernels.GELU: 3.0}


# The engine's own speed.


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_the_small_model_computes_one_product_of_the_asked_size(kind: kernels.Kind):
    model = product_model(Shape(kind=kind, rows=5, inner=24, columns=6))
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (5, 24), dtype=np.uint8) if kind == "int8" else rng.standard_normal((5, 24), np.float32)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # exact sums on every processor
    (y,) = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})
    if kind == "int8":
        # As in the graphs: uint8 with a middle of 128, times int8.
        assert values["w"].dtype == np.int8
        np.testing.assert_array_equal(y, (x.astype(np.int64) - 128) @ values["w"].astype(np.int64))
    else:
        np.testing.assert_allclose(y, x @ values["w"], rtol=1e-5, atol=1e-5)


# Manners.


def test_without_onnx_one_line_says_how_to_get_it(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError) as caught:
        measured(tiny_artifact)
    assert str(caught.value) == "onnx: not installed; run: pip install 'vit-edge[bench]'"


def test_a_file_that_is_no_artifact_is_refused(tmp_path: Path):
    with pytest.raises(ArtifactError):
        measured(tmp_path / "missing.onnx")
