"""Any artifact survives the way through JSON and an ONNX file unchanged."""

from __future__ import annotations

import json

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_runtime import Artifact, codec, read_artifact
from vit_runtime.artifact import (
    FORMAT_VERSION,
    METADATA_KEY,
    Agreement,
    Architecture,
    Calibration,
    ExternalData,
    LayerLoss,
    Preprocessing,
    Quantization,
    SelfTest,
    Source,
    Verification,
)

number = st.floats(allow_nan=False, allow_infinity=False)
size = st.integers(1, 10**6)
count = st.integers(0, 2**63)
fraction = st.floats(0.001, 1e3)
interpolation = st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"])


def numbers(length: int) -> st.SearchStrategy[tuple[float, ...]]:
    return st.lists(number, min_size=length, max_size=length).map(tuple)


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    patch, heads = draw(st.integers(1, 64)), draw(st.integers(1, 8))
    return Architecture(
        image_size=patch * draw(st.integers(1, 64)),
        patch_size=patch,
        layers=draw(size),
        heads=heads,
        width=heads * draw(st.integers(1, 4)),
        mlp_width=draw(size),
        classes=draw(st.integers(1, 5)),
        layer_norm_eps=draw(number),
    )


calibrations = st.builds(Calibration, pictures=count, skipped=count, sha256=st.text())
agreements = st.builds(
    Agreement,
    same_top1=count,
    **{f"{kind}_{name}_cosine": number for kind in ("mean", "min") for name in ("logit", "embedding")},
    **dict.fromkeys(("max_logit_difference", "max_embedding_difference"), number),
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


@st.composite
def artifacts(draw: st.DrawFn) -> Artifact:
    architecture = draw(architectures())
    classes, width, image_size = architecture.classes, architecture.width, architecture.image_size
    by_edge = draw(st.booleans())
    preprocessing = Preprocessing(
        resize_shortest_edge=draw(size) if by_edge else None,
        resize_hw=None if by_edge else draw(st.tuples(size, size)),
        crop_hw=(image_size, image_size),
        interpolation=draw(interpolation),
        mean=draw(numbers(3)),
        std=draw(st.tuples(fraction, fraction, fraction)),
    )
    source = st.builds(
        Source,
        family=st.just("torchvision"),
        weights=st.text(),
        sha256=st.none() | st.text(),
        licence=st.none() | st.text(),
        seed=st.none() | count,
    )
    self_test = st.builds(
        SelfTest,
        formula=st.just("waves"),
        pixels_sha256=st.text(),
        answers=st.sampled_from(["reference", "export"]),
        logits=numbers(classes),
        embedding=numbers(width),
        logit_tolerance=number,
        embedding_tolerance=number,
    )
    verification = st.builds(
        Verification,
        **dict.fromkeys(("reference", "runtime", "remark"), st.text()),
        **dict.fromkeys(("pictures", "same_top1", "same_pixels"), count),
        **dict.fromkeys(("max_logit_difference", "max_embedding_difference"), number),
        **dict.fromkeys(("min_logit_cosine", "min_embedding_cosine"), number),
        **dict.fromkeys(("logit_tolerance", "embedding_tolerance", "cosine_limit"), st.none() | number),
    )
    precision = draw(st.sampled_from(["fp32", "int8", "fp16"]))
    return Artifact(
        format_version=FORMAT_VERSION,
        producer=draw(st.text()),
        model=draw(st.text()),
        source=draw(source),
        architecture=architecture,
        preprocessing=preprocessing,
        labels=draw(st.none() | st.lists(st.text(), min_size=classes, max_size=classes).map(tuple)),
        outputs=("logits", "embedding"),
        precision=precision,
        target=draw(st.sampled_from(["cpu", "gpu", "portable"])),
        quantization=draw(quantizations) if precision == "int8" else None,
        external_data=draw(st.none() | st.builds(ExternalData, file=st.text(), bytes=count)),
        verification=draw(st.none() | verification),
        self_test=draw(st.none() | self_test),
    )


@settings(max_examples=150, deadline=None)
@given(artifact=artifacts())
def test_an_artifact_survives_json(artifact: Artifact):
    assert codec.decode(Artifact, json.loads(artifact.to_json())) == artifact


@settings(max_examples=50, deadline=None)
@given(artifact=artifacts().filter(lambda a: a.verification and a.self_test and not a.external_data))
def test_an_artifact_survives_an_onnx_file(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory):
    model = onnx.helper.make_model(onnx.GraphProto(name="empty"))
    onnx.helper.set_model_props(model, {METADATA_KEY: artifact.to_json()})
    path = tmp_path_factory.getbasetemp() / "survives.onnx"
    path.write_bytes(model.SerializeToString())
    assert read_artifact(path) == artifact


def test_what_has_no_place_in_json_is_refused():
    with pytest.raises(TypeError, match="set has no place"):
        codec.encode({1, 2})
