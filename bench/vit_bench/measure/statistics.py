"""Summaries and intervals. Every random number here is seeded: the same samples give the same interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from vit_bench.results import Difference, Quantiles, Ratio, Share

_Values = npt.NDArray[np.float64]

_Z95: Final = 1.959964
"""The normal distribution's 97.5th percentile: 95 % lie within so many standard deviations."""
_RESAMPLES: Final = 4000
_COVERAGE: Final = 0.95


def quantiles(samples: Sequence[float]) -> Quantiles:
    """Median, 10th and 90th percentile of at least one sample."""
    p10, median, p90 = np.percentile(np.asarray(samples, np.float64), [10, 50, 90])
    return Quantiles(samples=len(samples), median=float(median), p10=float(p10), p90=float(p90))


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio | None:
    """The ratio of two contenders that were measured in the same rounds, from each round's two values.

    Each round gives one ratio, in which what slows both down cancels; the value is their median. The interval is where
    the value of another run of as many rounds should lie in 95 of 100 cases: rounds are drawn with replacement, twice,
    as if for this run and for the next, and the interval holds 95 % of the steps from one to the other (a bootstrap,
    Efron 1979). An interval of the underlying ratio would be narrower by a factor of 1.4, and a repetition would miss
    it once in six times. Of fewer than five rounds it says little; of a single one low and high are the value itself.

    Returns:
        None without any round.
    """
    logs = np.log(np.asarray(numerators, np.float64)) - np.log(np.asarray(denominators, np.float64))
    if not len(logs):
        return None
    value = float(np.median(logs))
    rng = np.random.default_rng(0)
    this, following = (
        np.median(rng.choice(logs, (_RESAMPLES, len(logs)), replace=True), axis=1) for _ in ("this", "next")
    )
    # Resampling underestimates the spread of few rounds, by the same factor as a sum of squares divided by n does.
    widening = math.sqrt(len(logs) / (len(logs) - 1)) if len(logs) > 1 else 1.0
    reach = widening * float(np.quantile(np.abs(following - this), _COVERAGE))
    return Ratio(value=math.exp(value), low=math.exp(value - reach), high=math.exp(value + reach), pairs=len(logs))


def share(count: int, of: int) -> Share:
    """A share with its 95 % score interval (Wilson 1927, Journal of the American Statistical Association 22, 209).

    It keeps to 0 and 1, and has a width also where all or none were counted.
    """
    z2 = _Z95**2
    rate = count / of
    middle = (rate + z2 / (2 * of)) / (1 + z2 / of)
    reach = _Z95 * math.sqrt(rate * (1 - rate) / of + z2 / (4 * of**2)) / (1 + z2 / of)
    return Share(count=count, of=of, low=max(0.0, middle - reach), high=min(1.0, middle + reach))


def paired_difference(ours: Sequence[bool], reference: Sequence[bool]) -> Difference:
    """The difference of two shares counted on the same pictures, with its 95 % interval.

    Bonett and Price (2012), Journal of Educational and Behavioral Statistics 37, 479: a Wald interval on the pictures
    that only one of the two got right, after adding one to each of the two counts. Pictures that both get right say
    nothing about the difference, so the interval is much narrower than one of unpaired shares.
    """
    total = len(ours)
    gained = sum(a and not b for a, b in zip(ours, reference, strict=True))
    lost = sum(b and not a for a, b in zip(ours, reference, strict=True))
    more, less = (gained + 1) / (total + 2), (lost + 1) / (total + 2)
    reach = _Z95 * math.sqrt((more + less - (more - less) ** 2) / (total + 2))
    return Difference(
        value=(gained - lost) / total, low=max(-1.0, more - less - reach), high=min(1.0, more - less + reach)
    )


def cosine(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The cosine of two vectors; 0 where one of them is zero."""
    a, b = (np.asarray(values, np.float64) for values in (ours, theirs))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0
