"""Several targets in one run: the same files as from a run each, all of them or none."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from vit_export import ExportRequest, OutputFileError, UsageError, VerificationError, export, export_for
from vit_export.progress import Silent
from vit_export.write.builder import GraphBuilder
from vit_runtime.artifact import read_artifact

STATIC = ["cpu", "portable", "openvino"]
"""The targets that take static int8, not in the order of any table; the first alone covers all of GELU's range."""
NAMES = {"cpu": "three.int8.onnx", "openvino": "three.int8.openvino.onnx", "portable": "three.int8.portable.onnx"}


@pytest.fixture
def static(three_blocks, calibration_folder, folder) -> ExportRequest:
    return ExportRequest(model=three_blocks, precision="int8", calibrate=calibration_folder, output=folder)


@pytest.fixture(autouse=True)
def plain_lines(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


class Told(Silent):
    """Keeps the stages, and does something at one of them."""

    def __init__(self, at: str = "", do=lambda: None) -> None:
        self.at, self.do = at, do
        self.stages: list[str] = []

    def stage(self, description: str, total: int | None = None) -> None:  # noqa: ARG002 - the protocol's
        self.stages.append(description)
        if description == self.at:
            self.do()


# The same files.


def test_static_int8_files_are_those_of_single_exports(
    three_blocks, calibration_folder, folder, files_in, int8_artifacts, vit_export_cli
):
    words = ["--precision", "int8", "--calibrate", calibration_folder, "--target", ", ".join(STATIC), "-o", folder]
    result = vit_export_cli(three_blocks, *words)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [str(folder / NAMES[target]) for target in STATIC]
    assert files_in(folder) == sorted(NAMES.values())
    for target, name in NAMES.items():
        single = int8_artifacts["static" if target == "cpu" else target]
        assert (folder / name).read_bytes() == single.read_bytes()
        assert read_artifact(folder / name) == read_artifact(single)
    assert len({(folder / name).read_bytes() for name in NAMES.values()}) == len(NAMES)


@pytest.mark.parametrize(
    ("precision", "targets"),
    [("fp32", ["gpu", "cpu", "openvino", "portable"]), ("fp16", ["openvino", "gpu", "portable"])],
)
def test_float_files_are_those_of_single_exports(precision, targets, three_blocks, folder, files_in):
    request = ExportRequest(model=three_blocks, precision=precision, output=folder / "together")
    exports = export_for(request, targets)
    assert [exported.artifact.target for exported in exports] == targets
    for exported in exports:
        target = exported.artifact.target
        single = export(ExportRequest(model=three_blocks, precision=precision, target=target, output=folder / "single"))
        assert exported.path.read_bytes() == single.path.read_bytes()
        assert (exported.path.name, exported.artifact) == (single.path.name, single.artifact)
    assert files_in(folder / "together") == files_in(folder / "single")


def test_layers_that_lose_most_stay_float_in_each_file(static, export_int8, folder):
    request = replace(static, keep_float=3, output=folder / "together")
    exports = export_for(request, STATIC)
    kept = [exported.artifact.quantization.kept_float for exported in exports]
    assert len(set(kept)) > 1, "no target has layers of its own to keep"
    for exported in exports:
        single = export_int8(target=exported.artifact.target, keep_float=3)
        assert exported.path.read_bytes() == single.path.read_bytes()


def test_each_file_keeps_as_many_layers_float_as_its_own_answers_need(undecided, static, export_int8, folder):
    request = replace(static, model=undecided, max_drop=0.0, output=folder / "together")
    exports = export_for(request, ["openvino", "cpu"])
    counts = [len(exported.artifact.quantization.kept_float) for exported in exports]
    assert counts[0] != counts[1], "both targets need as many"
    for exported in exports:
        single = export_int8(model=undecided, target=exported.artifact.target, max_drop=0.0)
        assert exported.path.read_bytes() == single.path.read_bytes()


# What is told.


def test_what_targets_share_is_done_once(static):
    told = Told()
    export_for(static, ["cpu", "openvino"], told)
    cpu, openvino = NAMES["cpu"], NAMES["openvino"]
    assert told.stages == [
        "reading three.safetensors",
        "reading calibration pictures",
        "asking PyTorch for reference answers",
        "calibrating on 12 pictures",
        "rounding 19 layers",
        f"{cpu}: writing weights",
        f"{cpu}: comparing with float32",
        f"{openvino}: writing weights",
        f"{openvino}: comparing with float32",
        f"{cpu}: verifying against PyTorch",
        f"{openvino}: verifying against PyTorch",
    ]


def test_each_files_rows_are_below_its_name(three_blocks, calibration_folder, folder, vit_export_cli):
    words = ["--precision", "int8", "--calibrate", calibration_folder, "--max-drop", "99", "-o", folder]
    result = vit_export_cli(three_blocks, *words, "--target", "openvino,cpu")
    assert result.exit_code == 0, result.stderr
    shared, *parts = re.split(r"^(three\S+\.onnx)\n", result.stderr, flags=re.MULTILINE)
    assert len(re.findall("^weights  ", result.stderr, flags=re.MULTILINE)) == 1
    assert re.search("^weights  ", shared, flags=re.MULTILINE)
    assert parts[::2] == [NAMES["openvino"], NAMES["cpu"]]
    for name, rows in zip(parts[::2], parts[1::2], strict=True):
        assert f"{name}: 0 layers in float: " in shared
        artifact = read_artifact(folder / name)
        assert artifact.quantization.activations in rows
        assert f"({artifact.quantization.sensitivity[0].sqnr_db:.1f} dB)" in rows
        assert ("not with OpenVINO" in rows) == (artifact.target == "openvino")


def test_one_target_is_told_as_ever(three_blocks, folder):
    told = Told()
    (exported,) = export_for(ExportRequest(model=three_blocks, target="gpu", output=folder / "a.onnx"), ("cpu",), told)
    assert (exported.path.name, exported.artifact.target) == ("a.onnx", "cpu")
    assert told.stages[-2:] == ["writing weights", "verifying against PyTorch"]


# What is refused before any work.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--target cpu,cuda", "--target: 'cuda' is unknown; choose one of cpu, gpu, openvino, portable"),
        ("--target cpu,", "--target: '' is unknown"),
        ("--target openvino,cpu,openvino", "--target: names openvino twice"),
        ("--target cpu,portable --precision fp16", "--precision fp16: is not for the CPU"),
        ("--target portable,gpu --precision int8 --calibrate .", "--precision int8: is not for --target gpu"),
        ("--target cpu,openvino --precision int8", "--target openvino: takes static int8 only; add --calibrate"),
        ("--target cpu,gpu -o both.onnx", "--output: 'both.onnx' is one file, for 2 targets; give a folder"),
    ],
)
def test_targets_that_make_no_sense(words, message, three_blocks, folder, files_in, monkeypatch, vit_export_cli):
    monkeypatch.chdir(folder)
    result = vit_export_cli(three_blocks, *words.split())
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {message}")
    assert files_in(folder) == []


@pytest.mark.parametrize("targets", ["cpu", "cpu,openvino", (), [], None, {"cpu"}, ("cpu", 3), (None,), ("cpu", "cpu")])
def test_what_is_no_list_of_targets_is_refused(targets, three_blocks, folder):
    told = Told()
    with pytest.raises(UsageError, match=r"^targets: .*(is no list of targets|is unknown|names cpu twice); "):
        export_for(ExportRequest(model=three_blocks, output=folder), targets, told)
    assert told.stages == []


def test_what_is_no_request_is_refused_for_targets_too():
    with pytest.raises(UsageError, match=r"^request: 'vit_b_16' is no ExportRequest"):
        export_for("vit_b_16", ["cpu"])


# All files or none.


def test_an_existing_file_of_any_target_is_found_before_the_work(static, folder, files_in):
    (folder / NAMES["openvino"]).write_text("precious")
    told = Told()
    with pytest.raises(OutputFileError, match=r"three\.int8\.openvino\.onnx: exists already; add force=True"):
        export_for(static, ["cpu", "openvino"], told)
    assert told.stages == []
    assert files_in(folder) == [NAMES["openvino"]]
    assert (folder / NAMES["openvino"]).read_text() == "precious"


def test_force_replaces_all_of_them(three_blocks, folder, files_in, vit_export_cli):
    for name in ("three.onnx", "three.gpu.onnx"):
        (folder / name).write_text("old")
    result = vit_export_cli(three_blocks, "--target", "cpu,gpu", "-o", folder, "--force")
    assert result.exit_code == 0, result.stderr
    assert files_in(folder) == ["three.gpu.onnx", "three.onnx"]
    assert [read_artifact(folder / name).target for name in files_in(folder)] == ["gpu", "cpu"]


def test_no_file_appears_if_the_last_one_answers_wrong(three_blocks, folder, files_in, monkeypatch):
    """Only CUDA's file has an operator of onnxruntime's own, which is given a wrong scale; the other file is right."""
    (folder / "three.onnx").write_text("old")
    original = GraphBuilder.contrib_node

    def wrongly_scaled(self, op, inputs, name, **attributes):
        return original(self, op, inputs, name, **(attributes | {"scale": 9.0}))

    monkeypatch.setattr(GraphBuilder, "contrib_node", wrongly_scaled)
    told = Told()
    with pytest.raises(VerificationError, match=r"^three for gpu: differs from PyTorch: "):
        export_for(ExportRequest(model=three_blocks, output=folder, force=True), ["cpu", "gpu"], told)
    assert told.stages[-2:] == ["three.onnx: verifying against PyTorch", "three.gpu.onnx: verifying against PyTorch"]
    assert files_in(folder) == ["three.onnx"]
    assert (folder / "three.onnx").read_text() == "old"


@pytest.mark.parametrize("stage", ["writing weights", "verifying against PyTorch"])
def test_ctrl_c_in_a_later_file_leaves_nothing(stage, three_blocks, folder):
    def interrupt() -> None:
        raise KeyboardInterrupt

    told = Told(f"three.gpu.onnx: {stage}", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_for(ExportRequest(model=three_blocks, output=folder), ["cpu", "gpu"], told)
    assert list(folder.iterdir()) == []


def test_a_file_that_cannot_be_moved_to_its_place_takes_the_new_ones_along(three_blocks, folder, files_in):
    """A folder gets in its way during the work. Of the others, the one that replaced a file stays, complete."""
    (folder / "three.gpu.onnx").write_text("old")
    told = Told("three.portable.onnx: verifying against PyTorch", (folder / "three.portable.onnx").mkdir)
    request = ExportRequest(model=three_blocks, output=folder, force=True)
    with pytest.raises(OutputFileError, match=r"three\.portable\.onnx: cannot be written"):
        export_for(request, ["cpu", "gpu", "portable"], told)
    assert files_in(folder) == ["three.gpu.onnx"]
    assert read_artifact(folder / "three.gpu.onnx").target == "gpu"
