"""Whatever does not fit the schema of the metadata document, or contradicts itself, is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vit_runtime.artifact import METADATA_KEY, Architecture

GOLDEN = Path(__file__).parent / "golden" / "artifact_v5.json"
GOLDEN_INT8 = GOLDEN.with_name("artifact_v5_int8.json")

Document = dict[str, Any]
Place = tuple[str | int, ...]
Refusal = Callable[[object], str]


def read(golden: Path) -> Document:
    return json.loads(golden.read_text(encoding="utf-8"))


def places(value: object, here: Place = ()) -> Iterator[Place]:
    """Every place in a document, from the outside in."""
    if here:
        yield here
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*here, key))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*here, index))


GOLDEN_PLACES = [
    *((GOLDEN, place) for place in places(read(GOLDEN))),
    *((GOLDEN_INT8, place) for place in places(read(GOLDEN_INT8)) if place[0] == "quantization"),
]


def look_up(document: Document, place: Place) -> Any:
    for step in place:
        document = document[step]
    return document


def found(golden: Path, place: Place) -> Any:
    return look_up(read(golden), place)


def name(place: Place) -> str:
    """A place as messages show it."""
    return METADATA_KEY + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)


@pytest.mark.parametrize(
    ("golden", "place"),
    [
        pytest.param(golden, place, id=f"{golden.stem}:{name(place)}")
        for golden, place in GOLDEN_PLACES
        if isinstance(place[-1], str)
    ],
)
def test_a_missing_key_is_named(golden: Path, place: Place, refusal: Refusal):
    document = read(golden)
    del look_up(document, place[:-1])[place[-1]]
    if place == ("format_version",):
        assert "format version None" in refusal(document)
    else:
        assert f"{name(place[:-1])} has no '{place[-1]}'" in refusal(document)


OBJECTS = [
    (GOLDEN, ()),
    *((golden, place) for golden, place in GOLDEN_PLACES if isinstance(found(golden, place), dict)),
]


@pytest.mark.parametrize(
    ("golden", "place"), [pytest.param(*where, id=f"{where[0].stem}:{name(where[1])}") for where in OBJECTS]
)
def test_an_unknown_key_is_named(golden: Path, place: Place, refusal: Refusal):
    document = read(golden)
    look_up(document, place)["speed"] = 1
    assert f"{name(place)} has an unknown key 'speed'" in refusal(document)


WRONG = {
    "object": {"a": 1},
    "nested list": [[[1]]],
    "true": True,
    "text": "some text",
    "number": 0.5,
    "null": None,
}
NULLABLE = (
    "source.sha256",
    "source.licence",
    "source.seed",
    "preprocessing.resize_hw",
    "labels",
    "head.texts",
    "head.examples",
    "quantization",
    "quantization.calibration",
    "quantization.agreement",
    "quantization.agreement.same_top1",
    "external_data",
    "verification",
    "verification.same_top1",
    *(f"verification.outputs.{index}.{limit}" for index in range(3) for limit in ("tolerance", "cosine_limit")),
    "self_test",
)
# Where free text or any number is right, it is no mistake.
TEXT = (
    "producer",
    "model",
    "weights",
    "sha256",
    "licence",
    "labels",
    "reference",
    "runtime",
    "remark",
    "value",
    "basis",
)
TEXT_IN_QUANTIZATION = ("activations", "kept_float", "sha256", "layer")
NUMBER = (
    *("layer_norm_eps", "mean", "std", "discard_ratio", "values", "sqnr_db"),
    *("max_difference", "min_cosine", "mean_cosine", "tolerance", "cosine_limit"),
)
TRUE = ("class_token", "distillation_token", "gated_mlp", "norm_before_blocks", "normalised_head")


def is_right(kind: str, golden: Path, place: Place) -> bool:
    field = next(step for step in reversed(place) if isinstance(step, str))
    leaf = not isinstance(found(golden, place), (list, dict))
    texts = TEXT_IN_QUANTIZATION if place[0] == "quantization" else (*TEXT, "pixels_sha256")
    return {
        "text": leaf and field in texts,
        "number": leaf and field in NUMBER,
        "true": field in TRUE,
        "null": ".".join(map(str, place)) in NULLABLE and not (golden == GOLDEN_INT8 and place == ("quantization",)),
    }.get(kind, False)


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("golden", [GOLDEN, GOLDEN_INT8], ids=lambda golden: golden.stem)
def test_a_value_of_the_wrong_type_is_named_wherever_it_is(kind: str, golden: Path, refusal: Refusal):
    document = read(golden)
    for place in (place for where, place in GOLDEN_PLACES if where == golden):
        if is_right(kind, golden, place) or place == ("format_version",):
            continue
        parent = look_up(document, place[:-1])
        before, parent[place[-1]] = parent[place[-1]], WRONG[kind]
        message = refusal(document)
        # "Exactly one of resize_shortest_edge and resize_hw should be set" comes from what holds the two.
        assert name(place) in message or str(place[-1]) in message
        parent[place[-1]] = before


def test_a_number_that_no_float_can_hold(document: Document, refusal: Refusal):
    document["self_test"]["outputs"][0]["tolerance"] = 10**400
    refusal(document)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_of_json(number: float, document: Document, refusal: Refusal):
    document["rollout"]["discard_ratio"] = number
    assert "is no number of JSON's" in refusal(document)


def of_texts(prompts: list[list[str]]) -> Document:
    """A head of classes in words, without templates."""
    texts = {"templates": [], "prompts": prompts, "model": "clip", "libraries": "transformers 5"}
    return {"origin": "texts", "probabilities": "softmax", "texts": texts, "examples": None}


Changes = dict[Place, object]
INCONSISTENT: list[tuple[str, Changes]] = [
    ("1 labels for 3 classes", {("labels",): ["one"]}),
    ("3 labels for 0 classes", {("architecture", "classes"): 0}),
    ("crop_hw (16, 16) does not fit image_size 32", {("preprocessing", "crop_hw"): [16, 16]}),
    ("crop_hw should have 2 items", {("preprocessing", "crop_hw"): [32, 32, 3]}),
    ("exactly one of resize_shortest_edge and resize_hw", {("preprocessing", "resize_hw"): [37, 37]}),
    ("sizes should be at least 1", {("preprocessing", "resize_shortest_edge"): 0}),
    ("std (0.0, 0.224, 0.225) should be above zero", {("preprocessing", "std"): [0.0, 0.224, 0.225]}),
    ("supported: 'half_even', 'down'", {("preprocessing", "crop_rounding"): "up"}),
    ("supported: 'nearest', 'bilinear', 'bicubic', 'lanczos'", {("preprocessing", "interpolation"): "cubic"}),
    ("supported: 'fp32', 'int8', 'fp16'", {("precision",): "int4"}),
    ("supported: 'cpu', 'gpu', 'openvino', 'portable'", {("target",): "npu"}),
    ("supported: 'reference', 'export'", {("self_test", "answers"): "mine"}),
    ("supported: 'static', 'dynamic'", {("quantization", "scheme"): "mixed"}),
    ("supported: 'int8 per output channel'", {("quantization", "weights"): "int4 in groups"}),
    ("supported: 'logits', 'embedding', 'rollout'", {("outputs", 0): "hidden"}),
    ("supported: 'torchvision', 'timm', 'huggingface'", {("source", "family"): "unheard of"}),
    ("supported: 'erf', 'tanh', 'quick', 'silu'", {("architecture", "activation"): "sigmoid"}),
    (
        "'class_token_and_patch_mean', 'patch_mean', 'attention'",
        {("architecture", "pooling"): "largest"},
    ),
    ("image_size 32 is less than patch_size 33", {("architecture", "patch_size"): 33}),
    ("width 4 is no multiple of heads 3", {("architecture", "heads"): 3}),
    ("layers is 0", {("architecture", "layers"): 0}),
    ("classes is -1, should be at least 0", {("architecture", "classes"): -1}),
    ("registers is -1, should be at least 0", {("architecture", "registers"): -1}),
    ("pooling class_token_and_patch_mean without a class token", {("architecture", "class_token"): False}),
    (
        "pooling class_token without a class token",
        {("architecture", "class_token"): False, ("architecture", "pooling"): "class_token"},
    ),
    (
        "pooling class_and_distillation_token without a distillation token",
        {("architecture", "pooling"): "class_and_distillation_token"},
    ),
    (
        "norm_after_pooling with pooling class_token_and_patch_mean",
        {("architecture", "norm_after_pooling"): True},
    ),
    ("output rollout and key rollout do not go together", {("outputs",): ["logits", "embedding", "rollout"]}),
    (
        "output rollout and key rollout do not go together",
        {("rollout",): {"head_fusion": "mean", "discard_ratio": 0.0}},
    ),
    ("supported: 'mean', 'max', 'min'", {("rollout",): {"head_fusion": "sum", "discard_ratio": 0.0}}),
    *(
        (
            f"discard_ratio {ratio} should be at least 0 and below 1",
            {("rollout",): {"head_fusion": "mean", "discard_ratio": ratio}},
        )
        for ratio in (-0.25, 1.0)
    ),
    ("outputs logits, embedding with 0 classes", {("architecture", "classes"): 0, ("labels",): None}),
    ("outputs embedding with 3 classes", {("outputs",): ["embedding"]}),
    ("supported: 'softmax', 'sigmoid'", {("head", "probabilities"): "entmax"}),
    ("origin texts and key texts do not go together", {("head", "origin"): "texts"}),
    ("prompts of 2 classes for 3", {("head",): of_texts([["a cat"], ["a dog"]])}),
    ("classes without prompts of their own, and no templates", {("head",): of_texts([["a cat"], [], ["a dog"]])}),
    ("classes from texts without labels", {("head",): of_texts([["a"], ["b"], ["c"]]), ("labels",): None}),
    (
        "self_test has {'logits': 2, 'embedding': 4} values, should have {'logits': 3, 'embedding': 4}",
        {("self_test", "outputs", 0, "values"): [0.5, 0.5]},
    ),
    (
        "self_test has {'logits': 3, 'embedding': 1} values, should have {'logits': 3, 'embedding': 4}",
        {("self_test", "outputs", 1, "values"): [0.5]},
    ),
    (
        "self_test has {'rollout': 3, 'embedding': 4} values, should have {'logits': 3, 'embedding': 4}",
        {("self_test", "outputs", 0, "output"): "rollout"},
    ),
    (
        "self_test has no values, should have {'logits': 3, 'embedding': 4}",
        {("self_test", "outputs"): []},
    ),
]


@pytest.mark.parametrize(
    ("expected", "changes"), [pytest.param(*case, id=f"{index}: {case[0]}") for index, case in enumerate(INCONSISTENT)]
)
def test_values_that_do_not_fit_each_other_are_refused(
    expected: str, changes: Changes, int8_document: Document, refusal: Refusal
):
    for place, value in changes.items():
        look_up(int8_document, place[:-1])[place[-1]] = value
    assert expected in refusal(int8_document)


def test_attention_maps_of_another_size_are_refused(document: Document, refusal: Refusal):
    del document["self_test"]["outputs"][2]["values"][-1]
    assert "'rollout': 15} values, should have {'logits': 3, 'embedding': 4, 'rollout': 16}" in refusal(document)


def test_attention_maps_without_a_self_test_are_refused(document: Document, refusal: Refusal):
    del document["self_test"]["outputs"][2]
    assert "self_test has {'logits': 3, 'embedding': 4} values, should have {'logits': 3, " in refusal(document)


@pytest.mark.parametrize("change", [lambda outputs: outputs.pop(), lambda outputs: outputs.reverse()])
def test_a_verification_of_other_outputs_is_refused(change, document: Document, refusal: Refusal):
    change(document["verification"]["outputs"])
    assert "verification.outputs should be those of the graph, in the same order" in refusal(document)


SIZES = {"image_size": 32, "patch_size": 8, "layers": 2, "heads": 2, "width": 4, "mlp_width": 8, "classes": 3}
KINDS: dict[str, tuple[dict[str, Any], int, int]] = {
    "ViT": ({}, 1, 4),
    "AugReg, averaged": ({"pooling": "patch_mean", "class_token": False, "norm_after_pooling": True}, 0, 4),
    "averaged beside a class token": ({"pooling": "patch_mean"}, 1, 4),
    "DeiT": ({"distillation_token": True, "pooling": "class_and_distillation_token"}, 2, 8),
    "DeiT without its second head": ({"distillation_token": True}, 2, 4),
    "DINOv2": ({"pooling": "class_token_and_patch_mean"}, 1, 8),
    "DINOv2 with registers": ({"pooling": "class_token_and_patch_mean", "registers": 4}, 5, 8),
    "no head": ({"classes": 0}, 1, 4),
}


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_and_what_the_head_reads_follow_from_the_kind(kind: str):
    changes, prefix, head_width = KINDS[kind]
    arch = Architecture(layer_norm_eps=1e-6, **(SIZES | changes))
    assert (arch.prefix, arch.grid, arch.tokens, arch.head_width) == (prefix, 4, prefix + 16, head_width)
