"""Summaries and intervals: against SciPy, published and constructed cases, and how often they hold in simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest

from vit_bench.measure.statistics import cosine, paired_difference, paired_ratio, quantiles, share
from vit_bench.results import Ratio

Noise = Callable[[np.random.Generator, int], np.ndarray]
NOISE: dict[str, Noise] = {
    "normal": lambda rng, rounds: rng.normal(0, 0.1, rounds),
    "heavy tails": lambda rng, rounds: 0.1 * rng.standard_t(2, rounds),
    "now and then a slow round": lambda rng, rounds: (
        rng.normal(0, 0.02, rounds) + (rng.random(rounds) < 0.2) * rng.exponential(0.5, rounds)
    ),
}
"""What is left, as logarithms, of a round's ratio once the drift that hits both contenders has cancelled."""


# Quantiles.


def test_quantiles_interpolate_between_samples():
    found = quantiles([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (found.samples, found.median) == (5, 3.0)
    assert (found.p10, found.p90) == (pytest.approx(1.4), pytest.approx(4.6))


def test_quantiles_of_one_sample_are_that_sample():
    found = quantiles((0.25,))
    assert (found.samples, found.median, found.p10, found.p90) == (1, 0.25, 0.25, 0.25)


def test_an_outlier_moves_no_median():
    assert quantiles([1.0, 2.0, 1e9]).median == 2.0


# Shares.


@pytest.mark.parametrize("of", [1, 2, 7, 100, 3925, 50_000])
def test_a_shares_interval_is_wilsons_as_scipy_computes_it(of: int):
    for count in sorted({0, 1, of // 3, of // 2, of - 1, of}):
        theirs = binomtest(count, of).proportion_ci(method="wilson")
        found = share(count, of)
        assert (found.count, found.of) == (count, of)
        assert (found.low, found.high) == (pytest.approx(theirs.low, abs=1e-7), pytest.approx(theirs.high, abs=1e-7))
        assert 0 <= found.low <= count / of + 1e-12
        assert count / of - 1e-12 <= found.high <= 1


def test_none_and_all_still_have_a_width():
    none, every = share(0, 20), share(20, 20)
    assert none.low == pytest.approx(0, abs=1e-12)
    assert none.high == pytest.approx(0.1611, abs=1e-4)
    assert (every.low, every.high) == (pytest.approx(1 - none.high), pytest.approx(1 - none.low))


# Differences on the same pictures.


def pictures(both: int, ours: int, theirs: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Answers of two contenders, by how many only one of them got right."""
    pairs = [(True, True)] * both + [(True, False)] * ours + [(False, True)] * theirs + [(False, False)] * neither
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def test_the_difference_has_the_interval_of_a_published_example():
    """Airway hyper-responsiveness before and after a transplant, 21 children.

    Fagerland, Lydersen and Laake (2014), Statistics in Medicine 33, 2850: the Wald interval with Bonett and Price's
    Laplace adjustment.
    """
    found = paired_difference(*pictures(both=1, ours=1, theirs=7, neither=12))
    assert found.value == pytest.approx(-6 / 21)
    assert (round(found.low, 3), round(found.high, 3)) == (-0.508, -0.013)


def test_it_is_the_formulas_interval():
    """n12 = 1, n21 = 7, n = 21: p12 = 2/23, p21 = 8/23; d = -6/23 and its variance is (10/23 - 36/529) / 23."""
    found = paired_difference(*pictures(both=1, ours=1, theirs=7, neither=12))
    reach = 1.959964 * math.sqrt((10 / 23 - 36 / 529) / 23)
    assert found.low == pytest.approx(-6 / 23 - reach)
    assert found.high == pytest.approx(-6 / 23 + reach)


def test_the_other_way_round_it_is_the_mirror_image():
    ours, theirs = pictures(both=40, ours=9, theirs=3, neither=8)
    found, mirrored = paired_difference(ours, theirs), paired_difference(theirs, ours)
    assert found.value == pytest.approx(6 / 60)
    assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_pairing_matters_and_order_does_not():
    ours, theirs = pictures(both=50, ours=10, theirs=10, neither=30)
    order = np.random.default_rng(0).permutation(100)
    assert paired_difference([ours[i] for i in order], [theirs[i] for i in order]) == paired_difference(ours, theirs)
    agreeing = paired_difference(*pictures(both=60, ours=0, theirs=0, neither=40))
    assert agreeing.value == 0
    assert agreeing.low < 0 < agreeing.high  # a hundred pictures that agree prove no equality
    apart = paired_difference(ours, theirs)
    assert agreeing.high - agreeing.low < apart.high - apart.low


def test_it_keeps_to_what_a_difference_can_be():
    found = paired_difference([True], [False])
    assert (found.value, found.high) == (1, 1)
    assert -1 <= found.low < found.high


def test_answers_for_other_numbers_of_pictures_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([True, True], [True])


@pytest.mark.parametrize("total", [50, 500])
def test_about_95_of_100_intervals_hold_the_true_difference(total: int):
    chances = {"both": 0.7, "ours": 0.04, "theirs": 0.07, "neither": 0.19}
    true = chances["ours"] - chances["theirs"]
    rng = np.random.default_rng(11)
    held = 0
    for counts in rng.multinomial(total, list(chances.values()), size=1500):
        found = paired_difference(*pictures(*map(int, counts)))
        held += found.low <= true <= found.high
    # 1500 draws have a standard deviation of 0.6 %; the method is meant to be a little cautious with few pictures.
    assert 0.93 < held / 1500 < 0.985


# Ratios, round by round.


def test_a_drift_that_hits_both_cancels():
    drift = np.array([1.0, 3.0, 0.2, 17.0, 1.5])
    found = paired_ratio(list(drift * 0.3), list(drift * 0.2))
    assert found is not None
    assert (found.value, found.low, found.high, found.pairs) == (*[pytest.approx(1.5)] * 3, 5)


def test_the_value_is_the_median_of_the_rounds_ratios():
    found = paired_ratio([2.0, 30.0, 4.0], [1.0, 10.0, 1.0])
    assert found is not None
    assert found.value == pytest.approx(3)
    assert found.low <= found.value <= found.high
    # Of an even number of rounds it is the geometric middle, so that the inverse is the inverse.
    even = paired_ratio([2.0, 8.0], [1.0, 1.0])
    assert even is not None
    assert even.value == pytest.approx(4)


def test_the_interval_reaches_as_far_up_as_down():
    found = ratio(np.random.default_rng(5), "normal", 10)
    assert found.high / found.value == pytest.approx(found.value / found.low)
    assert found.low < found.value < found.high


def test_units_do_not_matter_and_neither_does_which_comes_first():
    rng = np.random.default_rng(1)
    ours, theirs = rng.uniform(1, 2, 9), rng.uniform(1, 2, 9)
    found = paired_ratio(list(ours), list(theirs))
    scaled = paired_ratio(list(ours * 1000), list(theirs * 1000))
    inverse = paired_ratio(list(theirs), list(ours))
    assert found is not None
    assert scaled is not None
    assert inverse is not None
    values = (found.value, found.low, found.high)
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx(values)
    assert (1 / inverse.value, 1 / inverse.high, 1 / inverse.low) == pytest.approx(values)


def test_one_pair_has_no_interval_and_none_no_ratio():
    alone = paired_ratio([3.0], [2.0])
    assert alone is not None
    assert (alone.value, alone.low, alone.high, alone.pairs) == (*[pytest.approx(1.5)] * 3, 1)
    assert paired_ratio([], []) is None


def test_the_same_samples_give_the_same_interval():
    samples = np.random.default_rng(2).uniform(1, 2, (2, 10)).tolist()
    assert paired_ratio(*samples) == paired_ratio(*samples)


def test_rounds_of_which_one_has_no_partner_are_refused():
    with pytest.raises(ValueError, match="broadcast"):
        paired_ratio([1.0, 2.0, 3.0], [1.0, 2.0])


def ratio(rng: np.random.Generator, noise: str, rounds: int) -> Ratio:
    """A run of two contenders, one of them twice as fast, on a machine whose speed drifts wildly."""
    drift = np.exp(rng.normal(0, 1, rounds))
    found = paired_ratio(list(2 * drift * np.exp(NOISE[noise](rng, rounds))), list(drift))
    assert found is not None
    return found


@pytest.mark.parametrize("rounds", [5, 10])
@pytest.mark.parametrize("noise", NOISE)
def test_a_second_run_lands_in_the_first_ones_interval(noise: str, rounds: int):
    rng = np.random.default_rng(rounds)
    pairs = [(ratio(rng, noise, rounds), ratio(rng, noise, rounds)) for _ in range(400)]
    held = sum(first.low <= second.value <= first.high for first, second in pairs)
    assert held / len(pairs) >= 0.9


@pytest.mark.parametrize("rounds", [5, 10])
def test_the_interval_is_hardly_wider_than_it_has_to_be(rounds: int):
    """Ideal is 1.96 standard deviations of the step from one run's value to the next one's."""
    rng = np.random.default_rng(rounds)
    runs = [ratio(rng, "normal", rounds) for _ in range(400)]
    ideal = 1.959964 * math.sqrt(2) * float(np.std([math.log(run.value) for run in runs]))
    reaches = [math.log(run.high / run.value) for run in runs]
    assert float(np.mean(reaches)) < 1.5 * ideal
    assert float(np.quantile(reaches, 0.95)) < 2.5 * ideal


# Cosines.


def test_the_cosine_is_that_of_the_angle():
    assert cosine([1.0, 0.0], [1.0, 1.0]) == pytest.approx(math.sqrt(0.5))
    assert cosine([3.0, 4.0], [-6.0, -8.0]) == pytest.approx(-1)
    assert cosine([2.0, 0.0], [0.0, 5.0]) == 0


def test_lengths_do_not_matter_for_the_cosine():
    ours, theirs = np.random.default_rng(3).normal(size=(2, 1000))
    assert cosine(list(ours * 1e-6), list(theirs * 1e6)) == pytest.approx(cosine(list(ours), list(theirs)))
    assert cosine(list(ours), list(ours)) == pytest.approx(1)


def test_zero_is_like_nothing_and_other_lengths_are_refused():
    assert cosine([0.0, 0.0], [1.0, 2.0]) == 0
    assert cosine((), ()) == 0
    with pytest.raises(ValueError, match=r"(?i)mismatch"):
        cosine([1.0, 2.0], [1.0, 2.0, 3.0])
