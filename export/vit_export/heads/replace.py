"""An artifact gets another head, fitted to photos that the very file has seen; needs neither PyTorch nor a checkpoint.

What gives the embedding stays as it is, bit by bit, so what the export has measured about it stays true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Final

import numpy as np

from vit_export.destination import output_path
from vit_export.errors import VerificationError
from vit_export.exported import Exported
from vit_export.heads.folder import read_folder
from vit_export.heads.learning import Learned, learn, logits_of
from vit_export.progress import Progress
from vit_export.request import ExportRequest
from vit_export.verify.measuring import check, described, holds, photos, same_top1, stored
from vit_export.verify.tolerances import TOLERANCES, tolerance_of
from vit_export.write.model_file import PROTOBUF_LIMIT, ROOM_FOR_GRAPH, new_model_files
from vit_export.write.rewriting import with_new_head
from vit_export.write.work import Work, opened
from vit_runtime import __version__
from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import (
    Architecture,
    Artifact,
    Description,
    Output,
    OutputCheck,
    Quantization,
    SelfTest,
    Verification,
    read_artifact,
)
from vit_runtime.artifact.digest import check_digest
from vit_runtime.devices.engine import import_onnxruntime
from vit_runtime.graph import Graph
from vit_runtime.loading import load
from vit_runtime.pictures.preprocess import load_pixels
from vit_runtime.selftest import differences, waves

_REMARK: Final = "a new head: its logits are compared with its formula in NumPy, on this file's embeddings"
_FLOAT_BYTES: Final = 4


def replace_head(request: ExportRequest, progress: Progress) -> Exported:
    """Writes the artifact that `request.model` names with a head that is fitted to `request.examples`.

    Raises:
        ArtifactError: the file is no artifact, is damaged, or gives no embedding.
        ExamplesError: the folder of examples makes no classes.
        VerificationError: the new file's embeddings are not the old one's, or its logits not as the formula says.
        VitEdgeError: the file cannot be run or written.
    """
    import_onnxruntime()
    path, root = Path(request.name), Path(request.examples or "")
    old = read_artifact(path)
    destination = output_path(request)
    classes = read_folder(root, progress, unknown=request.unknown)
    check_digest(path, old.external_data)
    with load(path, purpose="throughput", use_profile=False) as model:
        learned = learn(classes, model, root, progress, unknown=request.unknown, own_file=True)
    new = _description(old, learned)
    weights = learned.weights()
    pixels = _pictures(new)
    before = _answers(opened(path, old), pixels)
    with new_model_files([destination]) as (file,):
        work = Work(file=file, description=new, progress=progress)
        # Weights that lay in a file of their own go into one again.
        limit = PROTOBUF_LIMIT if old.external_data is None else ROOM_FOR_GRAPH
        work.write(with_new_head(path, new, weights.__getitem__), limit=limit)
        progress.stage("verifying the new head")
        after = _answers(work.open(), pixels)
        formula = logits_of(weights, new.architecture, after["embedding"])
        logits = _check(before, after, formula, new)
        artifact = Artifact(
            **vars(new),
            quantization=_quantization(old, new),
            external_data=file.external_data,
            verification=_verification(old, logits, same_top1(after["logits"], formula)),
            self_test=_self_test(old, new, weights, logits, after["logits"][0]),
        )
        with work.open() as graph:
            _check_self_test(graph, artifact)
        file.write_metadata(artifact)
    return Exported(path=destination, artifact=artifact)


def _description(old: Artifact, learned: Learned) -> Description:
    """The old file's facts, with other classes."""
    arch = learned.on(old.architecture)
    outputs: tuple[Output, ...] = ("logits", *(output for output in old.outputs if output != "logits"))
    facts = {field.name: getattr(old, field.name) for field in fields(Description)}
    changes = {"producer": f"vit-edge {__version__}", "architecture": arch, "labels": learned.labels}
    return Description(**facts | changes | {"head": learned.head, "outputs": outputs})


def _pictures(description: Description) -> list[UInt8Array]:
    """The verification's pictures: the self-test's, and photos by formula."""
    preprocessing = description.preprocessing
    return [waves(preprocessing.crop_hw), *(load_pixels(photo, preprocessing) for photo in photos())]


def _answers(graph: Graph, pixels: list[UInt8Array]) -> dict[Output, FloatArray]:
    """Gives a graph's answers by output (N, ...), and frees its memory."""
    outputs = graph.description.outputs
    with graph:
        batches = [graph.run(np.stack(pixels[:1])), graph.run(np.stack(pixels[1:]))]
    return dict(zip(outputs, (np.concatenate(parts) for parts in zip(*batches, strict=True)), strict=True))


def _check(
    before: Mapping[Output, FloatArray], after: Mapping[Output, FloatArray], formula: FloatArray, new: Description
) -> OutputCheck:
    """Compares the new file with the old one, and its logits with what the formula gives.

    Raises:
        VerificationError: they differ.
    """
    remedy = "nothing was written; please report it with the model's name"
    for output in after:
        if output != "logits" and not np.array_equal(before[output], after[output]):
            raise VerificationError(new.model, f"with the new head its {output} is another one", remedy)
    # The head of an int8 file is in float32.
    tolerance = tolerance_of("logits", new) if new.precision == "fp16" else TOLERANCES["fp32"]["logits"]
    found = check("logits", after["logits"], formula, tolerance)
    if not holds(found):
        raise VerificationError(new.model, f"the new head differs from its formula: {described(found)}", remedy)
    return found


def _verification(old: Artifact, logits: OutputCheck, same: int) -> Verification:
    """What the export has measured, and for the logits what was measured now."""
    told = old.verification
    others = (each for each in told.outputs if each.output != "logits")
    remarks = [remark for remark in told.remark.split("; ") if remark and remark != _REMARK]
    return replace(told, remark="; ".join([*remarks, _REMARK]), same_top1=same, outputs=(logits, *others))


def _self_test(
    old: Artifact, new: Description, weights: Mapping[str, FloatArray], logits: OutputCheck, ours: FloatArray
) -> SelfTest:
    """Adds the logits: by the formula from PyTorch's embedding where the file stores that, else the file's own."""
    answers = {answer.output: answer for answer in old.self_test.outputs}
    if old.self_test.answers == "reference":
        embedding = np.array([answers["embedding"].values], np.float32)
        ours = logits_of(weights, new.architecture, embedding)[0]
    others = (answer for answer in old.self_test.outputs if answer.output != "logits")
    return replace(old.self_test, outputs=(stored(logits, ours, new), *others))


def _quantization(old: Artifact, new: Description) -> Quantization | None:
    """What was said of the old file's quantization, but for what was measured on its logits."""
    facts = old.quantization
    if facts is None:
        return None
    agreement = facts.agreement
    if agreement is not None:
        others = tuple(each for each in agreement.outputs if each.output != "logits")
        agreement = replace(agreement, same_top1=None, outputs=others)
    grown = _head_bytes(new.architecture) - _head_bytes(old.architecture)
    return replace(facts, agreement=agreement, float32_bytes=facts.float32_bytes + grown)


def _head_bytes(arch: Architecture) -> int:
    """Size of a head's weights in float32."""
    return _FLOAT_BYTES * (arch.head_width + 1) * (arch.head_rows + arch.unknown_rows) if arch.classes else 0


def _check_self_test(graph: Graph, artifact: Artifact) -> None:
    wrong = [each.output for each in differences(graph, artifact.self_test) if not each.holds]
    if wrong:
        what = f"fails its own self-test on this machine ({', '.join(wrong)})"
        raise VerificationError(artifact.model, what, "nothing was written; run vit-run check on the old file")
