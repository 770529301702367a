"""Writing: protobuf framed by hand is what onnx itself would write, and a failure leaves nothing behind."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.torch import save_file

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_export.errors import CheckpointError
from vit_export.write.blueprint import Blueprint
from vit_export.write.builder import IR_VERSION, OPSET
from vit_export.write.graph import build_graph
from vit_export.write.model_file import PROTOBUF_LIMIT, ModelFile, new_model_files
from vit_export.write.weights import finite_weights
from vit_runtime.artifact import METADATA_KEY, read_artifact
from vit_runtime.artifact.digest import DIGEST_KEY
from vit_runtime.errors import ArtifactError, OutputFileError

SMALLEST_LIMIT = 64 << 20
"""The room that is kept for the graph itself: with no more than this, all weights go to their own file."""
ALIGNMENT = 65536


@pytest.fixture
def graph(tiny_artifact, tiny_state):
    artifact = read_artifact(tiny_artifact)
    return build_graph(
        Blueprint(
            arch=artifact.architecture,
            preprocessing=artifact.preprocessing,
            weights=finite_weights(tiny_state, "tiny"),
        )
    )


@pytest.fixture
def with_external_data(graph, tiny_artifact, folder):
    """The tiny model as one above 2 GB is written; the path of its ONNX file."""
    file = ModelFile(folder, "big.onnx")
    file.write_graph(graph, written=lambda _bytes: None, limit=SMALLEST_LIMIT)
    file.write_metadata(replace(read_artifact(tiny_artifact), external_data=file.external_data))
    return file.path


def test_the_file_is_the_message_that_onnx_would_have_written(graph, tiny_artifact):
    ours = onnx.load(tiny_artifact)
    theirs = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "vit",
            graph.inputs,
            graph.outputs,
            initializer=[numpy_helper.from_array(weight.array(), weight.name) for weight in graph.weights],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="vit-edge",
    )
    digest = {entry.key: entry.value for entry in ours.metadata_props}[DIGEST_KEY]
    helper.set_model_props(theirs, {METADATA_KEY: read_artifact(tiny_artifact).to_json(), DIGEST_KEY: digest})
    assert ours == theirs


def test_loading_and_saving_with_onnx_keeps_everything(tiny_artifact):
    loaded = onnx.load(tiny_artifact)
    again = onnx.ModelProto.FromString(loaded.SerializeToString())
    assert again == loaded
    assert loaded.ByteSize() == tiny_artifact.stat().st_size  # no unknown field, no byte left over


def test_progress_counts_every_byte_of_the_weights(graph, folder):
    for limit in (SMALLEST_LIMIT, PROTOBUF_LIMIT):
        counted: list[int] = []
        ModelFile(folder, "counted.onnx").write_graph(graph, written=counted.append, limit=limit)
        assert sum(counted) == sum(weight.nbytes for weight in graph.weights)


def test_metadata_is_replaced_not_appended(graph, tiny_artifact, folder):
    artifact = read_artifact(tiny_artifact)
    file = ModelFile(folder, "twice.onnx")
    file.write_graph(graph, written=lambda _bytes: None)
    for model in ("a much longer name than the one that comes after it", "short"):
        file.write_metadata(replace(artifact, model=model))
        assert read_artifact(file.path).model == model
        assert [entry.key for entry in onnx.load(file.path).metadata_props] == [METADATA_KEY, DIGEST_KEY]


# Weights in a file of their own.


def test_external_weights_give_the_same_answers(with_external_data, tiny_artifact, random_pixels):
    assert read_artifact(with_external_data).external_data.file == "big.onnx.data"
    pixels = random_pixels(3, 32)
    for ours, inline in zip(vit.load(with_external_data).run(pixels), vit.load(tiny_artifact).run(pixels), strict=True):
        np.testing.assert_allclose(ours, inline, rtol=0, atol=1e-6)


def test_external_weights_pass_onnxs_checker_and_are_the_same_values(with_external_data, tiny_artifact):
    onnx.checker.check_model(str(with_external_data), full_check=True)
    ours, inline = onnx.load(with_external_data), onnx.load(tiny_artifact)
    for tensor, expected in zip(ours.graph.initializer, inline.graph.initializer, strict=True):
        assert tensor.name == expected.name
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), numpy_helper.to_array(expected))


def test_external_weights_are_aligned_apart_and_inside_the_file(with_external_data):
    model = onnx.load(with_external_data, load_external_data=False)
    data = with_external_data.with_name("big.onnx.data")
    outside = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    entries = [{entry.key: entry.value for entry in tensor.external_data} for tensor in outside]

    assert {entry["location"] for entry in entries} == {data.name}
    spans = sorted((int(entry["offset"]), int(entry["length"])) for entry in entries)
    assert all(offset % ALIGNMENT == 0 for offset, _ in spans)
    assert all(end + length <= start for (end, length), (start, _) in pairwise(spans))
    assert data.stat().st_size == sum(spans[-1])
    inline = {t.name for t in model.graph.initializer} - {t.name for t in outside}
    assert {
        "shape/heads_of_17",
        "index/class_token",
    } <= inline  # what the engine reads while it loads stays in the graph
    assert "encoder.layers.encoder_layer_0.mlp.0.weight" not in inline
    assert with_external_data.stat().st_size < 100_000


def test_a_missing_or_cut_weights_file_is_refused(with_external_data):
    data = with_external_data.with_name("big.onnx.data")
    os.truncate(data, data.stat().st_size - 1)
    with pytest.raises(ArtifactError, match=r"big\.onnx\.data: has [\d,]+ bytes where"):
        vit.load(with_external_data)
    data.unlink()
    with pytest.raises(ArtifactError, match=r"big\.onnx\.data: missing"):
        vit.load(with_external_data)


# What is left behind.


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(5, "Input/output error")])
def test_nothing_is_left_of_a_file_that_was_not_finished(error, graph, folder, files_in):
    def write_and_fail() -> None:
        with new_model_files([folder / "out.onnx"]) as (file,):
            file.write_graph(graph, written=lambda _bytes: None, limit=SMALLEST_LIMIT)
            assert len(files_in(folder)) == 2
            raise error

    with pytest.raises(type(error)) as caught:
        write_and_fail()
    assert not isinstance(caught.value, OutputFileError)  # what else failed is not the destination's fault
    assert list(folder.iterdir()) == []


class Interrupted:
    """Ctrl-C at the first sign of progress in a stage."""

    def __init__(self, stage: str) -> None:
        self.wanted = stage

    def stage(self, description: str, total: int | None = None) -> None:  # noqa: ARG002 - the protocol's
        self.now = description
        if not description.startswith("writing") and description.startswith(self.wanted):
            raise KeyboardInterrupt

    def advance(self, _amount: int) -> None:
        raise KeyboardInterrupt

    def note(self, text: str) -> None:
        pass


@pytest.mark.parametrize("stage", ["reading", "asking", "writing", "verifying"])
def test_an_interrupted_export_leaves_the_output_as_it_was(stage, tiny_checkpoint, folder):
    (folder / "out.onnx").write_text("precious")
    request = ExportRequest(model=str(tiny_checkpoint), output=folder / "out.onnx", force=True)
    with pytest.raises(KeyboardInterrupt):
        export(request, Interrupted(stage))
    assert [path.name for path in folder.iterdir()] == ["out.onnx"]
    assert (folder / "out.onnx").read_text() == "precious"


def test_a_failed_export_leaves_the_output_as_it_was(tiny_state, folder, files_in):
    tiny_state["encoder.ln.bias"][0] = torch.nan
    save_file(tiny_state, folder / "nan.safetensors")
    for name in ("out.onnx", "out.onnx.data"):
        (folder / name).write_text("precious")
    with pytest.raises(CheckpointError):
        export(ExportRequest(model=str(folder / "nan.safetensors"), output=folder / "out.onnx", force=True))
    assert files_in(folder) == ["nan.safetensors", "out.onnx", "out.onnx.data"]
    assert {(folder / name).read_text() for name in ("out.onnx", "out.onnx.data")} == {"precious"}


@pytest.mark.parametrize("output", ["file", "file/out.onnx", "file/deeper/out.onnx"])
def test_an_output_below_a_file_is_refused(output, tiny_checkpoint, folder, files_in):
    (folder / "file").write_text("precious")
    with pytest.raises(OutputFileError, match=r"cannot be written \(.+\); choose another output"):
        export(ExportRequest(model=str(tiny_checkpoint), output=folder / output))
    assert files_in(folder) == ["file"]


@pytest.mark.usefixtures("permissions_hold")
def test_a_folder_that_may_not_be_written_is_refused(tiny_checkpoint, folder, files_in):
    folder.chmod(0o500)
    with pytest.raises(OutputFileError, match="cannot be written"):
        export(ExportRequest(model=str(tiny_checkpoint), output=folder))
    assert files_in(folder) == []


def test_an_existing_output_is_kept_without_force(tiny_checkpoint, folder):
    (folder / "tiny.onnx").write_text("precious")
    with pytest.raises(OutputFileError, match="exists already; add force=True"):
        export(ExportRequest(model=str(tiny_checkpoint), output=folder))
    assert (folder / "tiny.onnx").read_text() == "precious"


def test_existing_weights_beside_the_output_are_kept_without_force(tiny_checkpoint, folder):
    """They may belong to a model that was moved; nobody has agreed to lose them."""
    (folder / "tiny.onnx.data").write_text("precious")
    with pytest.raises(OutputFileError, match=r"tiny\.onnx\.data: exists already; add force=True"):
        export(ExportRequest(model=str(tiny_checkpoint), output=folder))
    assert (folder / "tiny.onnx.data").read_text() == "precious"


def test_force_replaces_a_large_model_together_with_its_weights(tiny_checkpoint, folder, files_in):
    (folder / "tiny.onnx").write_text("old graph")
    (folder / "tiny.onnx.data").write_text("old weights")
    exported = export(ExportRequest(model=str(tiny_checkpoint), output=folder, force=True))
    assert files_in(folder) == ["tiny.onnx"]
    assert vit.load(exported.path).artifact == exported.artifact


def test_force_does_not_replace_a_folder(tiny_checkpoint, folder):
    (folder / "out.onnx").mkdir()
    with pytest.raises(OutputFileError):
        export(ExportRequest(model=str(tiny_checkpoint), output=folder / "out.onnx", force=True))
    assert [path.name for path in folder.rglob("*")] == ["out.onnx"]


def test_the_file_has_the_permissions_of_any_new_file(tiny_checkpoint, folder):
    (folder / "any").touch()
    path = export(ExportRequest(model=str(tiny_checkpoint), output=folder)).path
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((folder / "any").stat().st_mode)


def test_exporting_twice_gives_the_same_bytes(tiny_checkpoint, tiny_artifact, folder):
    again = export(ExportRequest(model=str(tiny_checkpoint), output=folder)).path
    assert again.read_bytes() == tiny_artifact.read_bytes()
