"""The configuration of a model for Triton: Triton's own protobuf reads it, and it says what the file's session says."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vit_export import ExportRequest, export, write_repository
from vit_export.triton.repository import served_name
from vit_export.triton.text import Name, message_text
from vit_runtime.artifact import METADATA_KEY, Preprocessing, Rollout, codec, read_artifact
from vit_runtime.errors import ArtifactError

text_format = pytest.importorskip("google.protobuf.text_format")
triton = pytest.importorskip("tritonclient.grpc.model_config_pb2")

DATA_TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}
"""Triton's table of data types, as far as our graphs have them."""
TENSORRT_KEYS = {"precision_mode", "trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes"}
"""Parameters that the backend knows; it refuses a model with any other."""
ODD_LABELS = ('tabby, "cat"', "café\\", "犬", "two\nlines", "three\r\nlines\r", "\x07bell", "# no: {comment}")
KINDS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "int8": {"precision": "int8"},
    "int8 for OpenVINO": {"precision": "int8", "calibrate": True, "target": "openvino"},
    "int8 for TensorRT": {"precision": "int8", "calibrate": True, "target": "portable"},
    "fp16 for TensorRT": {"precision": "fp16", "target": "portable"},
    "fp16 for CUDA": {"precision": "fp16", "target": "gpu"},
    "fp32 for CUDA": {"target": "gpu"},
    "with maps": {"rollout": Rollout(head_fusion="mean", discard_ratio=0.0)},
}


def config_of(model: Path) -> Any:
    """A model's configuration, as Triton reads it."""
    return text_format.Parse((model / "config.pbtxt").read_text(encoding="utf-8"), triton.ModelConfig())


def parameters_of(config: Any) -> dict[str, str]:
    return {key: value.string_value for key, value in config.parameters.items()}


def check_against_session(model: Path, file: Path) -> Any:
    """Compares a configuration with the session of the file that it is for, and runs the largest batch as it says."""
    config = config_of(model)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert (config.name, config.backend) == (model.name, "onnxruntime")
    for found, expected in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [each.name for each in found] == [each.name for each in expected]
        assert [list(each.dims) for each in found] == [each.shape[1:] for each in expected]
        types = [triton.DataType.Name(each.data_type) for each in found]
        assert types == [DATA_TYPES[each.type] for each in expected]
    pixels = np.zeros((config.max_batch_size, *config.input[0].dims), np.uint8)
    for answer, output in zip(session.run(None, {"pixels": pixels}), config.output, strict=True):
        assert answer.shape == (config.max_batch_size, *output.dims)
    for sample in config.model_warmup:
        (name, given_input) = next(iter(sample.inputs.items()))
        assert (name, list(given_input.dims)) == ("pixels", list(config.input[0].dims))
        assert given_input.data_type == config.input[0].data_type
        assert 1 <= sample.batch_size <= config.max_batch_size
    return config


@pytest.fixture(scope="module")
def exported(three_blocks, calibration_folder, tmp_path_factory) -> Callable[[str], Path]:
    """`exported(kind)`: a file of a kind of `KINDS`."""
    folder, made = tmp_path_factory.mktemp("kinds"), {}

    def run(kind: str) -> Path:
        if kind not in made:
            options = KINDS[kind] | ({"calibrate": calibration_folder} if "calibrate" in KINDS[kind] else {})
            output = folder / f"{kind.replace(' ', '.')}.onnx"
            made[kind] = export(ExportRequest(model=three_blocks, output=output, **options)).path
        return made[kind]

    yield run
    shutil.rmtree(folder)


@pytest.fixture
def edited(tiny_artifact, folder, seal) -> Callable[..., Path]:
    """`edited(change)`: the tiny artifact with a changed document."""

    def run(change: Callable[[dict[str, Any]], object], graph: Callable[[Any], object] | None = None) -> Path:
        model = onnx.load(tiny_artifact)
        document = json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
        change(document)
        if graph is not None:
            graph(model.graph)
        onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(document)})
        path = folder / "edited.onnx"
        path.write_bytes(seal(model.SerializeToString()))
        return path

    return run


# The configuration.


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_says_what_the_session_says(kind, exported, folder):
    path = exported(kind)
    model = write_repository(path, folder / "repository")
    assert (model / "1" / "model.onnx").read_bytes() == path.read_bytes()
    config = check_against_session(model, model / "1" / "model.onnx")
    artifact = read_artifact(path)
    parameters = parameters_of(config)
    assert codec.decode(Preprocessing, json.loads(parameters["vit_edge_preprocessing"])) == artifact.preprocessing
    assert path.read_bytes().endswith(parameters["vit_edge_sha256"].encode())
    kind = None if artifact.head is None else artifact.head.probabilities
    assert parameters.get("vit_edge_probabilities") == kind
    assert not config.output[0].label_filename
    assert config.HasField("dynamic_batching")


@pytest.mark.parametrize(
    ("kind", "instances", "accelerator", "options"),
    [
        ("fp32", ("KIND_CPU", 2), None, {}),
        ("int8", ("KIND_CPU", 2), None, {}),
        ("int8 for OpenVINO", ("KIND_CPU", 1), "openvino", {}),
        ("fp32 for CUDA", ("KIND_GPU", 1), "cuda", {"use_tf32": "0"}),
        ("fp16 for CUDA", ("KIND_GPU", 1), "cuda", {"use_tf32": "0"}),
        ("fp16 for TensorRT", ("KIND_GPU", 1), "tensorrt", {"precision_mode": "FP16"}),
        ("int8 for TensorRT", ("KIND_GPU", 1), "tensorrt", {"precision_mode": "INT8"}),
    ],
)
def test_a_target_decides_what_computes(kind, instances, accelerator, options, exported, folder):
    config = config_of(write_repository(exported(kind), folder))
    (group,) = config.instance_group
    assert (triton.ModelInstanceGroup.Kind.Name(group.kind), group.count) == instances
    accelerators = config.optimization.execution_accelerators
    found = [*accelerators.gpu_execution_accelerator, *accelerators.cpu_execution_accelerator]
    assert [each.name for each in found] == ([accelerator] if accelerator else [])
    assert len(accelerators.gpu_execution_accelerator) == (instances[0] == "KIND_GPU" and accelerator is not None)
    given_options = dict(found[0].parameters) if found else {}
    assert options.items() <= given_options.items()
    if accelerator == "tensorrt":
        assert given_options.keys() == TENSORRT_KEYS
        assert given_options["trt_profile_max_shapes"] == f"pixels:{config.max_batch_size}x32x32x3"
    one_thread = parameters_of(config).get("intra_op_thread_count")
    assert one_thread == ("1" if accelerator is None else None)
    # Batches gain nothing on processors, so nobody waits for one there.
    assert (config.dynamic_batching.max_queue_delay_microseconds > 0) == (instances[0] == "KIND_GPU")
    assert config.max_batch_size in [sample.batch_size for sample in config.model_warmup] or instances[0] == "KIND_CPU"


def test_labels_are_one_a_line_whatever_they_hold(edited, folder):
    path = edited(lambda document: document.update(labels=list(ODD_LABELS)))
    model = write_repository(path, folder / "repository")
    config = check_against_session(model, model / "1" / "model.onnx")
    assert [output.label_filename for output in config.output] == ["labels.txt", ""]
    # Triton takes lines as std::getline does: up to a line feed.
    lines = (model / "labels.txt").read_bytes().decode().split("\n")
    assert lines == ['tabby, "cat"', "café\\", "犬", "two lines", "three lines ", "\x07bell", "# no: {comment}", ""]


def test_a_model_without_a_head_gives_embeddings(edited, folder):
    def behead(document: dict[str, Any]) -> None:
        document.update(labels=None, head=None, outputs=["embedding"])
        document["architecture"]["classes"] = 0
        document["verification"]["outputs"] = document["verification"]["outputs"][1:]
        document["verification"]["same_top1"] = None
        document["self_test"]["outputs"] = document["self_test"]["outputs"][1:]

    def without_logits(graph: Any) -> None:
        del graph.output[0]

    model = write_repository(edited(behead, without_logits), folder / "repository")
    config = check_against_session(model, model / "1" / "model.onnx")
    assert [output.name for output in config.output] == ["embedding"]
    assert not (model / "labels.txt").exists()


def test_weights_of_their_own_lie_in_a_folder_with_the_model(tiny_artifact, folder, seal, files_in):
    model = onnx.load(tiny_artifact)
    onnx.save(model, folder / "big.onnx", save_as_external_data=True, location="big.onnx.data")
    weights = (folder / "big.onnx.data").read_bytes()
    facts = {"file": "big.onnx.data", "bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
    model = onnx.load(folder / "big.onnx", load_external_data=False)
    document = json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(document | {"external_data": facts})})
    (folder / "big.onnx").write_bytes(seal(model.SerializeToString()))
    served = write_repository(folder / "big.onnx", folder / "repository")
    # Triton's guide: a model of several files is a folder model.onnx with the file model.onnx in it.
    assert files_in(served) == ["1/model.onnx/big.onnx.data", "1/model.onnx/model.onnx", "config.pbtxt"]
    check_against_session(served, served / "1" / "model.onnx" / "model.onnx")
    (folder / "big.onnx.data").write_bytes(weights[:-1] + b"\0")
    with pytest.raises(ArtifactError, match="damaged or changed"):
        write_repository(folder / "big.onnx", folder / "repository", force=True)
    assert len(files_in(served)) == 3


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("vit_b_16.int8.openvino.onnx", "vit_b_16_int8_openvino"),
        ('a "b"\n{c}.onnx', "a__b___c_"),
        ("../é.onnx", "_"),
        ("..onnx", "_"),
    ],
)
def test_names_are_safe_for_folders_and_addresses(file, name):
    assert served_name(Path(file)) == name


@given(st.text(), st.lists(st.integers(min_value=0, max_value=2**31 - 1), min_size=1), st.booleans())
def test_triton_reads_the_text_as_it_was_meant(text, numbers, flag):
    message = {
        "name": text,
        "input": [{"name": text, "dims": numbers, "optional": flag}, {"data_type": Name("TYPE_UINT8")}],
        "parameters": [{"key": "one", "value": {"string_value": text}}],
    }
    read = text_format.Parse(message_text(message), triton.ModelConfig())
    assert (read.name, read.input[0].name, read.parameters["one"].string_value) == (text, text, text)
    assert (list(read.input[0].dims), read.input[0].optional) == (numbers, flag)
    assert read.input[1].data_type == triton.TYPE_UINT8
