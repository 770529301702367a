"""One entry of a table from those of several sessions.

What changes from session to session (other neighbours in the data centre, another temperature) no session can see by
itself. So a ratio is taken in each session, and the table shows their mean with an interval that holds all of theirs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vit_bench.results import ContenderLatency, ContenderThroughput, Entry, Footprint, Quantiles, Ratio, Timing


def pool(sessions: Sequence[Entry]) -> Entry:
    """One contender's entry from those of its sessions, the newest first; the newest of what is counted, not timed."""
    newest = sessions[0]
    if isinstance(newest, ContenderLatency):
        latencies = [entry for entry in sessions if isinstance(entry, ContenderLatency)]
        cosines = [entry.cosine for entry in latencies if entry.cosine is not None]
        return replace(newest, timings=tuple(_timings(latencies)), cosine=min(cosines, default=None))
    if isinstance(newest, ContenderThroughput):
        return _throughput([entry for entry in sessions if isinstance(entry, ContenderThroughput)])
    if isinstance(newest, Footprint):
        prints = [entry for entry in sessions if isinstance(entry, Footprint)]
        return replace(
            newest,
            first_answer=_quantiles([entry.first_answer for entry in prints]),
            first_answer_speedup=_ratio([entry.first_answer_speedup for entry in prints]),
            peak_bytes=_quantiles([entry.peak_bytes for entry in prints]),
            peak_ratio=_ratio([entry.peak_ratio for entry in prints]),
        )
    return newest


def differ(sessions: Sequence[Entry]) -> bool:
    """Whether sessions contradict each other: two intervals of the same ratio that have nothing in common."""
    of_each_kind = zip(*map(_ratios, sessions), strict=False)
    return any(
        max(ratio.low for ratio in known) > min(ratio.high for ratio in known)
        for ratios in of_each_kind
        if (known := [ratio for ratio in ratios if ratio is not None])
    )


def _ratios(entry: Entry) -> list[Ratio | None]:
    if isinstance(entry, ContenderLatency):
        return [timing.speedup for timing in entry.timings]
    if isinstance(entry, ContenderThroughput):
        return [entry.rate_ratio, entry.photo_speedup]
    return [entry.first_answer_speedup, entry.peak_ratio] if isinstance(entry, Footprint) else []


def _throughput(sessions: Sequence[ContenderThroughput]) -> ContenderThroughput:
    """Each session has looked for the fastest settings by itself, so all that were found are told."""
    return replace(
        sessions[0],
        reading="; in another session: ".join(dict.fromkeys(entry.reading for entry in sessions)),
        passes=sum(entry.passes for entry in sessions),
        rate=_quantiles([entry.rate for entry in sessions]),
        rate_ratio=_ratio([entry.rate_ratio for entry in sessions]),
        photo=_quantiles([entry.photo for entry in sessions]),
        photo_speedup=_ratio([entry.photo_speedup for entry in sessions]),
    )


def _timings(sessions: Sequence[ContenderLatency]) -> Iterator[Timing]:
    for newest in sessions[0].timings:
        timings = [timing for entry in sessions if (timing := entry.timing(newest.kind)) is not None]
        yield Timing(
            kind=newest.kind,
            all_rounds=_quantiles([timing.all_rounds for timing in timings]),
            rounds=tuple(one for timing in timings for one in timing.rounds),
            speedup=_ratio([timing.speedup for timing in timings]),
        )


def _quantiles(sessions: Sequence[Quantiles]) -> Quantiles:
    """The median of the sessions' medians, between the lowest 10th and the highest 90th percentile of them."""
    return Quantiles(
        samples=sum(one.samples for one in sessions),
        median=statistics.median(one.median for one in sessions),
        p10=min(one.p10 for one in sessions),
        p90=max(one.p90 for one in sessions),
    )


def _ratio(sessions: Sequence[Ratio | None]) -> Ratio | None:
    """The geometric mean of the sessions' ratios, between the lowest and the highest end of their intervals."""
    known = [ratio for ratio in sessions if ratio is not None]
    if not known:
        return None
    return Ratio(
        value=math.exp(statistics.fmean(math.log(ratio.value) for ratio in known)),
        low=min(ratio.low for ratio in known),
        high=max(ratio.high for ratio in known),
        pairs=sum(ratio.pairs for ratio in known),
    )
