"""Any artifact survives the way through JSON and an ONNX file unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import get_args

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_runtime import Artifact, read_artifact
from vit_runtime.artifact import (
    FORMAT_VERSION,
    LARGEST_EDGE,
    METADATA_KEY,
    Activation,
    Agreement,
    Architecture,
    Assumption,
    Calibration,
    ExampleClasses,
    ExternalData,
    Head,
    LayerLoss,
    Output,
    OutputAgreement,
    OutputCheck,
    Preprocessing,
    Quantization,
    Rollout,
    Rotary,
    SelfTest,
    Share,
    Source,
    StoredAnswer,
    TextClasses,
    Twins,
    Verification,
    codec,
)

number = st.floats(allow_nan=False, allow_infinity=False)
edge = st.integers(1, LARGEST_EDGE)
file_name = st.text(min_size=1).filter(
    lambda text: text not in (".", "..") and not set("/\\:\0") & set(text) and len(text.encode()) <= 255
)
count = st.integers(0, 2**63)
fraction = st.floats(0.001, 1e3)
mean = st.floats(-1e6, 1e6)
interpolation = st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"])


def numbers(length: int) -> st.SearchStrategy[tuple[float, ...]]:
    return st.lists(number, min_size=length, max_size=length).map(tuple)


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    patch, heads = draw(st.integers(1, 64)), draw(st.integers(1, 8))
    class_token, distillation_token = draw(st.booleans()), draw(st.booleans())
    poolings = ["patch_mean", "attention"]
    if class_token:
        poolings += ["class_token", "class_token_and_patch_mean"]
    if class_token and distillation_token:
        poolings += ["class_and_distillation_token"]
    pooling, classes = draw(st.sampled_from(poolings)), draw(st.integers(0, 5))
    two = pooling in ("class_token_and_patch_mean", "class_and_distillation_token")
    return Architecture(
        image_size=patch * draw(st.integers(1, 4) | st.integers(1, 32)),
        patch_size=patch,
        layers=draw(st.integers(1, 1000)),
        heads=heads,
        width=heads * 2 * draw(st.integers(1, 2)),
        mlp_width=draw(st.integers(1, 1 << 18)),
        classes=classes,
        layer_norm_eps=draw(st.floats(0, 1, exclude_max=True)),
        activation=draw(st.sampled_from(get_args(Activation))),
        gated_mlp=draw(st.booleans()),
        norm_before_blocks=draw(st.booleans()),
        rotary=draw(st.sampled_from(get_args(Rotary))),
        class_token=class_token,
        distillation_token=distillation_token,
        registers=draw(st.integers(0, 8)),
        pooling=pooling,
        norm_after_pooling=pooling == "patch_mean" and draw(st.booleans()),
        projection=0 if two else draw(st.integers(0, 8)),
        normalised_head=classes > 0 and not two and draw(st.booleans()),
    )


calibrations = st.builds(Calibration, pictures=count, skipped=count, sha256=st.text())
output = st.sampled_from(get_args(Output))
output_agreements = st.builds(
    OutputAgreement, output=output, **dict.fromkeys(("mean_cosine", "min_cosine", "max_difference"), number)
)
agreements = st.builds(
    Agreement, same_top1=st.none() | count, outputs=st.lists(output_agreements, max_size=3).map(tuple)
)
quantizations = st.builds(
    Quantization,
    scheme=st.sampled_from(["static", "dynamic"]),
    weights=st.just("int8 per output channel"),
    activations=st.text(),
    kept_float=st.lists(st.text(), max_size=3).map(tuple),
    float32_bytes=count,
    calibration=st.none() | calibrations,
    agreement=st.none() | agreements,
    sensitivity=st.lists(st.builds(LayerLoss, layer=st.text(), sqnr_db=number), max_size=3).map(tuple),
)


def verifications(outputs: tuple[Output, ...]) -> st.SearchStrategy[Verification]:
    """With a check of each output."""
    checks = [
        st.builds(
            OutputCheck,
            output=st.just(output),
            **dict.fromkeys(("max_difference", "min_cosine"), number),
            **dict.fromkeys(("tolerance", "cosine_limit"), st.none() | number),
        )
        for output in outputs
    ]
    return st.builds(
        Verification,
        **dict.fromkeys(("reference", "runtime", "remark"), st.text()),
        reading=st.sampled_from(["library", "vit-edge"]),
        **dict.fromkeys(("pictures", "same_pixels"), count),
        same_top1=st.none() | count,
        outputs=st.tuples(*checks),
    )


rollouts = st.builds(
    Rollout, head_fusion=st.sampled_from(["mean", "max", "min"]), discard_ratio=st.floats(0, 1, exclude_max=True)
)
sources = st.builds(
    Source,
    family=st.sampled_from(["torchvision", "timm", "huggingface"]),
    weights=st.text(),
    sha256=st.none() | st.text(),
    licence=st.none() | st.text(),
    seed=st.none() | count,
)


assumptions = st.builds(
    Assumption,
    subject=st.sampled_from(["heads", "activation", "preprocessing"]),
    value=st.text(),
    basis=st.text(),
)


SHARES = st.integers(1, 9).flatmap(
    lambda of: st.builds(Share, count=st.integers(0, of), of=st.just(of), low=st.floats(0, 0.5), high=st.floats(0.5, 1))
)


def heads(classes: int) -> st.SearchStrategy[Head]:
    """Of any origin, with so many classes."""
    prompts = st.lists(st.lists(st.text(), min_size=1, max_size=2).map(tuple), min_size=classes, max_size=classes)
    own = prompts.map(tuple)
    templates = st.lists(st.text(), max_size=2).map(tuple)
    texts = st.builds(TextClasses, templates=templates, prompts=own, model=st.text(), libraries=st.text())
    counts = st.lists(count, min_size=classes, max_size=classes).map(tuple)
    examples = st.builds(
        ExampleClasses,
        photos=counts,
        right=counts,
        accuracy=SHARES,
        doubts=st.just(()),
        twins=st.lists(st.builds(Twins, cosine=number), max_size=1).map(tuple),
        doubtful=count,
        twin_pairs=st.integers(1, 9),
        strength=number,
        unknown=st.none(),  # goes with the architecture; tests of exports have it
    )
    kind = st.sampled_from(["softmax", "sigmoid"])
    return st.one_of(
        st.builds(Head, origin=st.just("checkpoint"), probabilities=kind),
        st.builds(Head, origin=st.just("texts"), probabilities=kind, texts=texts),
        st.builds(Head, origin=st.just("examples"), probabilities=kind, examples=examples),
    )


def self_tests(lengths: dict[Output, int]) -> st.SearchStrategy[SelfTest]:
    """With so many values of each output."""
    stored = [
        st.builds(StoredAnswer, output=st.just(output), values=numbers(length), tolerance=number)
        for output, length in lengths.items()
    ]
    return st.builds(
        SelfTest,
        formula=st.just("waves"),
        pixels_sha256=st.text(),
        answers=st.sampled_from(["reference", "export"]),
        outputs=st.tuples(*stored),
    )


@st.composite
def artifacts(draw: st.DrawFn) -> Artifact:
    architecture = draw(architectures())
    classes, width, image_size = architecture.classes, architecture.embedding_width, architecture.image_size
    by_edge = draw(st.booleans())
    preprocessing = Preprocessing(
        resize_shortest_edge=draw(edge) if by_edge else None,
        resize_hw=None if by_edge else draw(st.tuples(edge, edge)),
        crop_hw=(image_size, image_size),
        crop_rounding=draw(st.sampled_from(["half_even", "down"])),
        interpolation=draw(interpolation),
        mean=draw(st.tuples(mean, mean, mean)),
        std=draw(st.tuples(fraction, fraction, fraction)),
    )
    # Of a larger grid hypothesis would draw thousands of values.
    rollout = draw(st.none() | rollouts) if architecture.grid <= 4 else None
    lengths: dict[Output, int] = {"logits": classes} if classes else {}
    lengths["embedding"] = width
    if rollout is not None:
        lengths["rollout"] = architecture.grid**2
    precision = draw(st.sampled_from(["fp32", "int8", "fp16"]))
    head = draw(heads(classes)) if classes else None
    labels = st.lists(st.text(), min_size=classes, max_size=classes).map(tuple)
    return Artifact(
        format_version=FORMAT_VERSION,
        producer=draw(st.text()),
        model=draw(st.text()),
        source=draw(sources),
        architecture=architecture,
        preprocessing=preprocessing,
        assumptions=tuple(draw(st.lists(assumptions, max_size=2))),
        labels=draw(labels if head is not None and head.origin != "checkpoint" else st.none() | labels),
        head=head,
        outputs=tuple(lengths),
        rollout=rollout,
        precision=precision,
        target=draw(st.sampled_from(["cpu", "gpu", "portable"])),
        quantization=draw(quantizations) if precision == "int8" else None,
        external_data=draw(st.none() | st.builds(ExternalData, file=file_name, bytes=count, sha256=st.text())),
        verification=draw(verifications(tuple(lengths))),
        self_test=draw(self_tests(lengths)),
    )


@settings(max_examples=150, deadline=None)
@given(artifact=artifacts())
def test_an_artifact_survives_json(artifact: Artifact):
    assert codec.decode(Artifact, json.loads(artifact.to_json())) == artifact


@settings(max_examples=50, deadline=None)
@given(artifact=artifacts().filter(lambda artifact: artifact.external_data is None))
def test_an_artifact_survives_an_onnx_file(
    artifact: Artifact, tmp_path_factory: pytest.TempPathFactory, seal: Callable[[bytes], bytes]
):
    model = onnx.helper.make_model(onnx.GraphProto(name="empty"))
    onnx.helper.set_model_props(model, {METADATA_KEY: artifact.to_json()})
    path = tmp_path_factory.getbasetemp() / "survives.onnx"
    path.write_bytes(seal(model.SerializeToString()))
    assert read_artifact(path) == artifact


def test_what_has_no_place_in_json_is_refused():
    with pytest.raises(TypeError, match="set has no place"):
        codec.encode({1, 2})
