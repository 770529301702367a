"""Which layers stay in float32: as many of the worst as asked for, those named, or the fewest that are enough."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vit_export import ExportRequest
from vit_export.checks import checked
from vit_export.errors import UnknownModelError
from vit_export.int8.float_layers import fewest, layers_to_keep, worst_first
from vit_export.options import parse_keep_float
from vit_runtime.errors import UsageError

LAYERS = (
    "patch_embed/projection",
    "encoder/0/attention/query",
    "encoder/0/mlp/output",
    "encoder/1/attention/query",
    "encoder/1/mlp/output",
    "encoder/10/mlp/output",
)
SQNR = dict(zip(LAYERS, (50.0, 30.5, 12.0, 44.0, 9.5, 30.0), strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("7", 7),
        (" 12 ", 12),
        ("007", 7),
        ("encoder/0/mlp/output", ("encoder/0/mlp/output",)),
        ("encoder/*/mlp/*, patch_embed/projection", ("encoder/*/mlp/*", "patch_embed/projection")),
        ("*", ("*",)),
        ("1,2", ("1", "2")),  # names, to be refused as unknown
        ("3 layers", ("3 layers",)),
    ],
)
def test_a_number_or_names(text: str, expected: int | tuple[str, ...]):
    assert parse_keep_float(text) == expected


@pytest.mark.parametrize("text", ["-1", "-12"])
def test_fewer_than_none_is_refused(text: str):
    request = ExportRequest(model="vit_b_16", precision="int8", keep_float=parse_keep_float(text))
    with pytest.raises(UsageError, match=f"^keep_float: {text} is no number of layers; give 0 or more"):
        checked(request)


@pytest.mark.parametrize("text", ["", " ", ",", "a,", ",a", "a,,b", "a, ,b"])
def test_an_empty_name_is_refused(text: str):
    request = ExportRequest(model="vit_b_16", precision="int8", keep_float=parse_keep_float(text))
    with pytest.raises(UsageError, match=r"^keep_float: .* has an empty name; leave it out"):
        checked(request)


@pytest.mark.parametrize("text", ["²", "1²", "٣", "--1", "-", "-²"])
def test_what_only_looks_like_a_number_is_a_name(text: str):
    """`str.isdigit` says yes to ², which `int` does not read."""
    parsed = parse_keep_float(text)
    assert parsed == (text,) or (isinstance(parsed, int) and parsed >= 0)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (0, ()),
        (1, (4,)),
        (2, (2, 4)),
        (3, (2, 4, 5)),
        (4, (1, 2, 4, 5)),
        (6, (0, 1, 2, 3, 4, 5)),
        (100, (0, 1, 2, 3, 4, 5)),
    ],
)
def test_a_number_takes_the_worst_in_the_order_of_the_graph(wanted: int, expected: tuple[int, ...]):
    assert layers_to_keep(wanted, LAYERS, SQNR) == tuple(LAYERS[index] for index in expected)


def test_none_at_all_needs_no_calibration():
    assert layers_to_keep(0, LAYERS, None) == ()


@pytest.mark.parametrize("sqnr", [None, SQNR], ids=["dynamic", "calibrated"])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (("encoder/0/mlp/output",), (2,)),
        (("encoder/1/*",), (3, 4)),
        (("*/mlp/output",), (2, 4, 5)),
        (("encoder/10/mlp/output", "patch_embed/projection"), (0, 5)),  # the graph's order, not the user's
        (("encoder/0/*", "*/query"), (1, 2, 3)),  # fits twice, kept once
        (("*",), (0, 1, 2, 3, 4, 5)),
    ],
)
def test_names_take_the_layers_that_they_fit(
    wanted: tuple[str, ...], expected: tuple[int, ...], sqnr: dict[str, float] | None
):
    assert layers_to_keep(wanted, LAYERS, sqnr) == tuple(LAYERS[index] for index in expected)


@pytest.mark.parametrize("wrong", ["encoder/2/mlp/output", "mlp", "ENCODER/0/mlp/output", "encoder/0", "logits", "3"])
def test_a_name_that_fits_no_layer_is_named(wrong: str):
    with pytest.raises(UnknownModelError) as caught:
        layers_to_keep(("encoder/0/mlp/output", wrong), LAYERS, SQNR)
    assert f"layer '{wrong}': unknown" in str(caught.value)
    assert "`vit-run info` of an int8 file lists them" in str(caught.value)


def test_a_misspelled_name_is_offered_the_closest():
    with pytest.raises(UnknownModelError, match=r"did you mean .*encoder/0/mlp/output"):
        layers_to_keep(("encoder/0/mlp/ouptut",), LAYERS, SQNR)


def test_the_worst_come_first():
    assert [SQNR[layer] for layer in worst_first(SQNR)] == [9.5, 12.0, 30.0, 30.5, 44.0, 50.0]


def test_equally_bad_layers_stay_in_the_order_of_the_graph():
    assert worst_first(dict.fromkeys(LAYERS, 20.0)) == list(LAYERS)


def test_no_layers():
    assert worst_first({}) == []
    assert layers_to_keep(3, (), {}) == ()


class Trials:
    """Whether a count is enough, and which were tried."""

    def __init__(self, least: int) -> None:
        self.least = least
        self.counts: list[int] = []

    def __call__(self, count: int) -> bool:
        self.counts.append(count)
        return count >= self.least


@given(most=st.integers(0, 400), least=st.integers(0, 400))
@example(most=0, least=0)
@example(most=0, least=1)
@example(most=1, least=1)
@example(most=3, least=3)
def test_the_fewest_that_are_enough_are_found(most: int, least: int):
    trials = Trials(least)
    assert fewest(most, trials) == (least if least <= most else None)
    assert all(0 <= count <= most for count in trials.counts)
    assert len(set(trials.counts)) == len(trials.counts)  # a trial is an export


@given(most=st.integers(1, 10**6), share=st.floats(0, 1))
def test_few_trials_are_made(most: int, share: float):
    """Doubling, then halving: about twice the logarithm of the answer."""
    trials = Trials(round(share * most))
    fewest(most, trials)
    assert len(trials.counts) <= 3 + 2 * math.log2(max(1, trials.least))


def test_a_model_that_needs_none_is_tried_once():
    trials = Trials(0)
    assert fewest(100, trials) == 0
    assert trials.counts == [0]


def test_where_not_even_all_are_enough_all_were_tried():
    trials = Trials(101)
    assert fewest(100, trials) is None
    assert trials.counts[-1] == 100
    assert len(trials.counts) < 10


@given(enough=st.sets(st.integers(0, 60)), most=st.integers(0, 60))
def test_a_predicate_that_wavers_still_ends_with_a_count_that_is_enough(enough: set[int], most: int):
    """Answers may change for the worse with one more layer in float; then it is not always the fewest."""
    found = fewest(most, enough.__contains__)
    assert found in enough if found is not None else most not in enough
