"""`--triton`: a repository whose configuration Triton's own protobuf reads, and which says what the session says."""

from __future__ import annotations

import errno
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
from tests.without import run_without

from vit_export import ExportRequest, OutputFileError, export, write_repository
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
MISSING = ("torch", "torchvision", "onnx", "safetensors", "huggingface_hub")
"""What an export needs, and a finished file does not."""
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


@pytest.fixture(autouse=True)
def plain_lines(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


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
        document.update(labels=None, outputs=["embedding"])
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


# The command.


def test_an_export_goes_into_a_repository(vit_export_cli, tiny_checkpoint, folder, files_in):
    words = ["--target", "cpu,gpu", "-o", folder / "files", "--triton", folder / "new" / "repository"]
    result = vit_export_cli(tiny_checkpoint, *words)
    assert result.exit_code == 0, result.stderr
    names = ["files/tiny.onnx", "files/tiny.gpu.onnx", "new/repository/tiny", "new/repository/tiny_gpu"]
    assert result.stdout.splitlines() == [str(folder / name) for name in names]
    assert files_in(folder / "new") == [
        f"repository/{name}/{file}" for name in ("tiny", "tiny_gpu") for file in ("1/model.onnx", "config.pbtxt")
    ]


def test_a_finished_file_needs_no_torch(tiny_artifact, folder):
    script = """
from vit_export.cli import main
sys.argv = ["vit-export", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    print(f"exit {end.code}")
"""
    missing = (
        "torch",
        "torchvision",
        "onnx",
        "safetensors",
        "huggingface_hub",
        "onnxruntime",
        "google",
        "tritonclient",
    )
    said = run_without(missing, script, tiny_artifact, "--triton", folder)
    assert said.splitlines() == [str(folder / "tiny"), "exit 0"]
    check_against_session(folder / "tiny", tiny_artifact)


def test_a_second_model_comes_beside_the_first(exported, tiny_artifact, folder, files_in):
    write_repository(exported("fp32"), folder)
    before = {name: (folder / name).read_bytes() for name in files_in(folder)}
    (folder / ".git").mkdir()
    (folder / "versions" / "3").mkdir(parents=True)
    write_repository(tiny_artifact, folder)
    assert {name: (folder / name).read_bytes() for name in files_in(folder)}.items() >= before.items()
    assert {path.name for path in folder.iterdir()} == {".git", "fp32", "tiny", "versions"}


def one_line(result: Any, exit_code: int) -> str:
    assert (result.exit_code, result.stdout) == (exit_code, ""), result.output
    (line,) = result.stderr.splitlines()
    return line


def test_a_model_that_is_there_is_replaced_by_force_alone(vit_export_cli, tiny_artifact, exported, folder, files_in):
    other = write_repository(exported("int8"), folder)
    (folder / "tiny" / "7").mkdir(parents=True)
    (folder / "tiny" / "7" / "model.onnx").write_bytes(b"older")
    before = files_in(folder)
    refused = one_line(vit_export_cli(tiny_artifact, "--triton", folder), 1)
    assert refused == (
        f"error: {folder / 'tiny'}: exists already; add --force to replace it, or choose another --triton"
    )
    assert files_in(folder) == before
    result = vit_export_cli(tiny_artifact, "--triton", folder, "--force")
    assert (result.exit_code, result.stdout) == (0, f"{folder / 'tiny'}\n")
    assert files_in(folder / "tiny") == ["1/model.onnx", "config.pbtxt"]
    assert files_in(other) == ["1/model.onnx", "config.pbtxt"]


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("stranger", ["notes.txt", "photos/cat.jpg"])
def test_a_folder_with_other_things_is_refused_before_the_work(
    stranger, force, vit_export_cli, tiny_checkpoint, folder, files_in
):
    (folder / "home" / stranger).parent.mkdir(parents=True)
    (folder / "home" / stranger).touch()
    result = vit_export_cli(tiny_checkpoint, "-o", folder / "files", "--triton", folder / "home", *force)
    name = stranger.partition("/")[0]
    told = f"is not empty, and no model repository of Triton: it has '{name}'; choose another --triton"
    assert one_line(result, 1) == f"error: {folder / 'home'}: {told}"
    assert files_in(folder) == [f"home/{stranger}"]


def test_a_file_is_no_repository(vit_export_cli, tiny_artifact, folder):
    (folder / "file").touch()
    assert "file: is no folder; choose another --triton" in one_line(
        vit_export_cli(tiny_artifact, "--triton", folder / "file"), 1
    )
    assert "takes no files" in one_line(vit_export_cli(tiny_artifact, "--triton", folder / "file" / "below"), 1)


@pytest.mark.parametrize(
    "words",
    [["--precision", "int8"], ["--target", "gpu"], ["--target", "cpu,gpu"], ["--image-size", "64"], ["-o", "x"]],
)
def test_a_finished_file_takes_no_options_of_an_export(words, vit_export_cli, tiny_artifact, folder):
    line = one_line(vit_export_cli(tiny_artifact, "--triton", folder / "new", *words), 2)
    assert line.endswith("is exported already, and takes no options of an export; leave them out")
    assert not (folder / "new").exists()


def test_what_is_no_artifact_is_refused(vit_export_cli, tiny_artifact, folder):
    line = one_line(vit_export_cli(folder / "none.onnx", "--triton", folder / "new"), 1)
    assert f"{folder / 'none.onnx'}: no such file" in line
    (folder / "cut.onnx").write_bytes(tiny_artifact.read_bytes()[:-200])
    assert "cut.onnx: " in one_line(vit_export_cli(folder / "cut.onnx", "--triton", folder / "new"), 1)
    assert not (folder / "new").exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written_stays(error, tiny_artifact, exported, folder, files_in, monkeypatch):
    write_repository(tiny_artifact, folder)
    before = {name: (folder / name).read_bytes() for name in files_in(folder)}

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("vit_export.triton.repository.shutil.copyfile", fail)
    for path, force in ((tiny_artifact, True), (exported("fp32"), False)):
        with pytest.raises((OutputFileError, KeyboardInterrupt)):
            write_repository(path, folder, force=force)
        assert {name: (folder / name).read_bytes() for name in files_in(folder)} == before
        assert [path.name for path in folder.iterdir()] == ["tiny"]


def test_the_old_model_comes_back_where_the_new_one_cannot_be_moved(tiny_artifact, folder, files_in, monkeypatch):
    write_repository(tiny_artifact, folder)
    (folder / "tiny" / "2").mkdir()
    (folder / "tiny" / "2" / "old").touch()
    before, rename = files_in(folder), Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if Path(target) == folder / "tiny" and self.name == "tiny":
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputFileError, match="Permission denied"):
        write_repository(tiny_artifact, folder, force=True)
    assert files_in(folder) == before
