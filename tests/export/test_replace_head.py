"""`vit-export FILE.onnx --examples`: an artifact gets another head, and stays true in all it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.without import run_without

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_export.heads.learning import logits_of
from vit_export.write import model_file
from vit_runtime.artifact import read_artifact
from vit_runtime.artifact.digest import check_digest

from .example_photos import COLOURS, photos
from .hf_models import make, save

LABELS = tuple(sorted(COLOURS))
KINDS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "int8": {"precision": "int8"},
    "static int8 with maps": {"precision": "int8", "calibrate": True, "rollout": True},
    "static int8 for OpenVINO": {"precision": "int8", "calibrate": True, "target": "openvino"},
    "portable fp16": {"precision": "fp16", "target": "portable"},
    "fp32 for CUDA": {"target": "gpu"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("photos"))


def made(model: Path, folder: Path, output: Path, options: dict[str, Any]) -> Path:
    from vit_runtime.artifact import Rollout

    options = dict(options)
    if options.pop("calibrate", False):
        options["calibrate"] = folder
    if options.pop("rollout", False):
        options["rollout"] = Rollout(head_fusion="mean", discard_ratio=0.0)
    return export(ExportRequest(model=model, output=output, **options)).path


def head_weights(path: Path) -> dict[str, np.ndarray]:
    """The head's weights as they lie in the file, rows of outputs."""
    found = {}
    for tensor in onnx.load(path).graph.initializer:
        if tensor.name.startswith("heads."):
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            found[tensor.name] = values.T if values.ndim == 2 else values
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unknown", [False, True])
def test_all_but_the_head_stays_bit_by_bit(
    kind: str, unknown: bool, tiny_checkpoint: Path, folder: Path, tmp_path: Path
):
    old_path = made(tiny_checkpoint, folder, tmp_path / "old.onnx", KINDS[kind])
    before = old_path.read_bytes()
    exported = export(ExportRequest(model=old_path, examples=folder, output=tmp_path / "new.onnx", unknown=unknown))
    assert old_path.read_bytes() == before
    old, new = (vit.load(path, provider="cpu", threads=1) for path in (old_path, exported.path))
    paths = sorted(folder.glob("*/*.png"))
    embeddings = new.embed(paths)
    np.testing.assert_array_equal(embeddings, old.embed(paths))
    if "rollout" in old.artifact.outputs:
        map_before, map_after = (model.attend(paths[0]).values for model in (old, new))
        np.testing.assert_array_equal(map_after, map_before)
    # The head is in half precision only where the file is.
    near = {"rtol": 2e-2, "atol": 0.3} if new.artifact.precision == "fp16" else {"rtol": 0, "atol": 1e-4}
    expected = logits_of(head_weights(exported.path), new.artifact.architecture, embeddings)
    np.testing.assert_allclose(new.logits(paths), expected, **near)
    assert new.artifact.labels == LABELS + (("none of these",) if unknown else ())


@pytest.mark.parametrize("kind", KINDS)
def test_the_new_file_says_what_is_true(kind: str, tiny_checkpoint: Path, folder: Path, tmp_path: Path):
    old = read_artifact(made(tiny_checkpoint, folder, tmp_path / "old.onnx", KINDS[kind]))
    exported = export(ExportRequest(model=tmp_path / "old.onnx", examples=folder, output=tmp_path / "new.onnx"))
    new = read_artifact(exported.path)
    assert new == exported.artifact
    check_digest(exported.path, new.external_data)
    model = vit.load(exported.path, provider="cpu", verify=True)
    assert vit.check(model).passed
    assert (new.source, new.preprocessing, new.assumptions, new.rollout) == (
        *(old.source, old.preprocessing, old.assumptions, old.rollout),
    )
    assert new.verification.outputs[1:] == old.verification.outputs[1:]
    assert new.self_test.outputs[1:] == old.self_test.outputs[1:]
    assert "its logits are compared with its formula in NumPy" in new.verification.remark
    assert new.verification.same_top1 == new.verification.pictures
    facts = new.head.examples  # type: ignore[union-attr]
    assert facts is not None
    assert facts.embedded_by == "this file"
    if old.quantization is not None and old.quantization.agreement is not None:
        agreement = new.quantization.agreement  # type: ignore[union-attr]
        assert agreement is not None
        assert agreement.same_top1 is None
        assert [each.output for each in agreement.outputs] == ["embedding"]
        assert agreement.outputs[0] == old.quantization.agreement.outputs[1]
    names = {weight.name for weight in onnx.load(exported.path).graph.initializer}
    assert {"heads.head.weight", "heads.head.bias"} < names
    onnx.checker.check_model(onnx.load(exported.path), full_check=kind == "fp32")


def test_a_head_without_change_for_a_file_without_one(folder: Path, tmp_path: Path):
    """DINOv2 has no head; its classifier's reads the patches too, which the new one does not."""
    for case in ("DINOv2 without head", "DINOv2"):
        model = save(make(case), tmp_path / case)
        export(ExportRequest(model=model, output=tmp_path / f"{case}.onnx"))
        new = export(
            ExportRequest(model=tmp_path / f"{case}.onnx", examples=folder, output=tmp_path / f"{case}.new.onnx")
        )
        assert new.artifact.architecture.pooling == "class_token"
        assert new.artifact.outputs == ("logits", "embedding")
        assert "head/features" not in {node.name for node in onnx.load(new.path).graph.node}
        whole = export(ExportRequest(model=model, examples=folder, output=tmp_path / f"{case}.whole.onnx"))
        told, of_checkpoint = new.artifact.head.examples, whole.artifact.head.examples  # type: ignore[union-attr]
        assert told is not None
        assert of_checkpoint is not None
        assert [(each.photo, each.other) for each in told.twins] == [
            (each.photo, each.other) for each in of_checkpoint.twins
        ]
        assert replace(told, embedded_by="float32 graph", twins=()) == replace(of_checkpoint, twins=())
        assert new.artifact.architecture == whole.artifact.architecture


def test_a_second_head_in_place_of_the_first(tiny_artifact: Path, folder: Path, tmp_path: Path):
    first = export(ExportRequest(model=tiny_artifact, examples=folder, output=tmp_path / "a.onnx", unknown=True))
    second = export(ExportRequest(model=first.path, examples=folder, output=tmp_path / "b.onnx"))
    again = export(ExportRequest(model=tiny_artifact, examples=folder, output=tmp_path / "c.onnx"))
    assert second.path.read_bytes() == again.path.read_bytes()


def test_in_place(tiny_artifact: Path, folder: Path, tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_artifact.read_bytes())
    export(ExportRequest(model=path, examples=folder, output=path, force=True))
    assert vit.load(path, verify=True).artifact.labels == LABELS


def test_weights_beside_the_file(tiny_checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As of a model above 2 GB; the new file's own weights lie beside it."""
    with monkeypatch.context() as small:
        small.setattr(model_file.ModelFile.write_graph, "__kwdefaults__", {"limit": model_file.ROOM_FOR_GRAPH})
        small.setattr("vit_export.write.work.Work.write.__defaults__", (model_file.ROOM_FOR_GRAPH,))
        old = export(ExportRequest(model=tiny_checkpoint, output=tmp_path / "old.onnx"))
    assert old.artifact.external_data is not None
    new = export(ExportRequest(model=old.path, examples=folder, output=tmp_path / "new" / "new.onnx"))
    assert new.artifact.external_data is not None
    assert new.artifact.external_data.file == "new.onnx.data"
    paths = sorted(folder.glob("*/*.png"))
    before, after = (vit.load(path, threads=1, verify=True) for path in (old.path, new.path))
    np.testing.assert_array_equal(after.embed(paths), before.embed(paths))


def test_the_command_names_the_file_after_the_folder(
    tiny_artifact: Path, folder: Path, tmp_path: Path, vit_export_cli: Any, vit_run: Any
):
    done = vit_export_cli(tiny_artifact, "--examples", folder, "--unknown", "-o", tmp_path)
    assert done.exit_code == 0, done.stderr
    path = tmp_path / f"tiny.{folder.name}.onnx"
    assert done.stdout == f"{path}\n"
    assert "3, fitted to 18 photos as this file sees them" in done.stderr
    asked = vit_run("classify", path, folder / "red" / "1.png", "--json")
    assert json.loads(asked.stdout)["predictions"][0]["label"] == "red"
    assert "the cosine" in vit_run("info", path).stdout or "logistic regression" in vit_run("info", path).stdout


def test_neither_torch_nor_a_checkpoint_is_needed(tiny_artifact: Path, folder: Path, tmp_path: Path):
    script = (
        "from vit_export import ExportRequest, export\n"
        "print(export(ExportRequest(model=sys.argv[1], examples=sys.argv[2], output=sys.argv[3])).path)"
    )
    missing = ("torch", "torchvision", "safetensors", "huggingface_hub", "transformers", "timm")
    assert run_without(missing, script, tiny_artifact, folder, tmp_path / "x.onnx").strip() == str(tmp_path / "x.onnx")
