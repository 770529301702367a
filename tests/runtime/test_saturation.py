"""int8 products are exact on every processor: those whose fast kernels saturate are found out, and get others."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_runtime.devices.facts import ModelFacts
from vit_runtime.devices.saturation import int8_products_saturate
from vit_runtime.devices.session import open_session

Run = Callable[..., Any]

EXACT = "session.x64quantprecision"
NOTE = "this processor has no VNNI: exact but slower int8 kernels"
LARGEST_SUM = 64 * 255 * 127


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    """The probe's answer is kept for the whole process."""
    int8_products_saturate.cache_clear()
    yield
    int8_products_saturate.cache_clear()


def probe_by_its_description() -> onnx.ModelProto:
    """MatMulInteger of uint8 `a` (2, 64) with int8 weights (64, 16), all 127, to int32 `y`; opset 10 was its first."""
    weights = numpy_helper.from_array(np.full((64, 16), 127, np.int8), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "w"], ["y"])],
        "p",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, (2, 64))],
        [helper.make_tensor_value_info("y", TensorProto.INT32, (2, 16))],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=5)


def sums(
    model: bytes | str, feed: dict[str, np.ndarray], output: str | None = None, *, exact: bool = False
) -> np.ndarray:
    """One output of a model; the first where none is named."""
    options = onnxruntime.SessionOptions()
    if exact:
        options.add_session_config_entry(EXACT, "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None if output is None else [output], feed)[0]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bytes | str]:
    """The models that onnxruntime opens from here on, as they are handed to it."""
    models = []

    class Noting(onnxruntime.InferenceSession):
        def __init__(self, model: bytes | str, *args: object, **options: object) -> None:
            models.append(model)
            super().__init__(model, *args, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Noting)
    return models


def test_the_embedded_probe_is_the_model_that_it_is_said_to_be(opened: list[bytes | str]):
    int8_products_saturate()
    (probe,) = opened
    assert onnx.ModelProto.FromString(probe) == probe_by_its_description()
    onnx.checker.check_model(probe, full_check=True)


def test_the_answer_is_what_the_processor_says_of_itself():
    """Not asked for: the probe tries. VNNI adds up in 32 bits; without it pairs are added in 16."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip("only Linux on x86 lists the processor's instructions in /proc/cpuinfo")
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next(line for line in lines if line.startswith("flags")).split()
    assert int8_products_saturate() is not bool({"avx512_vnni", "avx_vnni"} & set(flags))


def test_the_answer_is_what_the_probe_computes():
    largest = {"a": np.full((2, 64), 255, np.uint8)}
    computed = sums(probe_by_its_description().SerializeToString(), largest)
    assert int8_products_saturate() is not bool((computed == LARGEST_SUM).all())


def test_the_exact_kernels_add_up_the_probe_rightly():
    computed = sums(probe_by_its_description().SerializeToString(), {"a": np.full((2, 64), 255, np.uint8)}, exact=True)
    assert computed.shape == (2, 16)
    assert (computed == LARGEST_SUM).all()


def test_the_probe_runs_once(opened: list[bytes | str]):
    assert int8_products_saturate() is int8_products_saturate()
    assert len(opened) == 1


WEIGHTS = np.random.default_rng(0).choice(np.array([-127, 127], np.int8), (96, 24))
WEIGHTS[::2] = WEIGHTS[1::2]  # neighbours of one sign, whose products are added up first
PIXELS = np.random.default_rng(1).integers(200, 256, (5, 96), dtype=np.uint8)
ONE = np.ones((), np.float32)


@pytest.fixture(params=["MatMulInteger", "MatMulIntegerToFloat"])
def product(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with one of the two operators of int8 graphs, and sums that 16 bits do not hold."""
    if request.param == "MatMulInteger":
        domain, kind, inputs, scales = "", TensorProto.INT32, ["pixels", "w"], []
    else:
        domain, kind, inputs = "com.microsoft", TensorProto.FLOAT, ["pixels", "w", "one", "one"]
        scales = [numpy_helper.from_array(ONE, "one")]
    graph = helper.make_graph(
        [helper.make_node(request.param, inputs, ["y"], domain=domain)],
        "product",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ("N", 96))],
        [helper.make_tensor_value_info("y", kind, ("N", 24))],
        [numpy_helper.from_array(WEIGHTS, "w"), *scales],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "product.onnx")
    return tmp_path / "product.onnx"


@pytest.mark.parametrize("provider", ["cpu", "auto"])
def test_int8_sums_are_exact_on_every_processor(provider: str, product: Path):
    if provider == "auto" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime may take a GPU")
    opened = open_session(product, provider=provider, threads=1, facts=ModelFacts(precision="int8"))
    expected = PIXELS.astype(np.int64) @ WEIGHTS.astype(np.int64)
    assert np.abs(expected).max() < 2**24  # exact in float32 too
    assert np.array_equal(opened.session.run(None, {"pixels": PIXELS})[0], expected)
    assert opened.note == (NOTE if int8_products_saturate() else "")


def test_only_int8_files_get_the_exact_kernels(product: Path):
    """Without being told, onnxruntime gives other sums where products saturate, which is what the probe finds out."""
    opened = open_session(product, provider="cpu", threads=1, facts=ModelFacts(precision="fp32"))
    expected = PIXELS.astype(np.int64) @ WEIGHTS.astype(np.int64)
    assert opened.note == ""
    exact = np.array_equal(opened.session.run(None, {"pixels": PIXELS})[0], expected)
    assert exact is not int8_products_saturate()


@pytest.mark.parametrize("saturates", [True, False])
@pytest.mark.parametrize("int8", [True, False])
def test_the_option_is_set_for_int8_where_products_saturate_and_nowhere_else(
    saturates: bool, int8: bool, product: Path, monkeypatch: pytest.MonkeyPatch
):
    """Both kinds of processor, whichever runs this test: the sums of the probe are what tells them apart."""

    class Processor(onnxruntime.InferenceSession):
        def run(self, names: list[str] | None, feed: dict[str, np.ndarray], *rest: object) -> list[np.ndarray]:
            if "a" not in feed:
                return super().run(names, feed, *rest)
            return [np.full((2, 16), LARGEST_SUM // 2 if saturates else LARGEST_SUM, np.int32)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Processor)
    opened = open_session(product, provider="cpu", facts=ModelFacts(precision="int8" if int8 else "fp32"))
    options = opened.session.get_session_options()
    # onnxruntime raises for an entry that was never set.
    assert (saturates and int8) is (opened.note == NOTE)
    if saturates and int8:
        assert options.get_session_config_entry(EXACT) == "1"
    else:
        with pytest.raises(RuntimeError, match=EXACT):
            options.get_session_config_entry(EXACT)


@pytest.fixture(scope="module")
def int8_artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in dynamic int8, whose tokens become 127 steps on each side of 128."""
    output = tmp_path_factory.mktemp("int8") / "tiny.onnx"
    return export(ExportRequest(model=str(tiny_checkpoint), precision="int8", output=output)).path


def test_an_int8_artifact_answers_with_exact_products(int8_artifact: Path, picture: np.ndarray):
    model = vit.load(int8_artifact, provider="cpu", threads=1)
    assert model.note == (NOTE if int8_products_saturate() else "")
    assert vit.check(model).passed
    pixels = np.ascontiguousarray(picture[:32, :32])[None]
    exact = sums(str(int8_artifact), {"pixels": pixels}, "logits", exact=True)
    assert np.array_equal(model.run(pixels, ["logits"])[0], exact)
    if int8_products_saturate():
        assert not np.array_equal(sums(str(int8_artifact), {"pixels": pixels}, "logits"), exact)


def test_a_float32_artifact_is_left_alone(tiny: vit.ViT):
    assert tiny.note == ""


def test_the_command_line_says_why_it_is_slower(int8_artifact: Path, vit_run: Run):
    result = vit_run("check", int8_artifact, "--provider", "cpu")
    assert result.exit_code == 0
    assert (NOTE in result.stderr.splitlines()) is int8_products_saturate()
    assert NOTE not in result.stdout
