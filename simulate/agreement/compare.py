"""Comparison: how far the tunnel's figures lie from the road's, how sure that is, and where the difference comes from.

Tunnel and road had the same arrivals, so they are compared in pairs, stretch by stretch: what a burst does to both is not counted
as a difference, nor as doubt.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.quantity import format_share
from windtunnel.simulate.spread import ratio_error, student
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.road import Road

    from .observed import Observed
    from .predict import Prediction

    Floats = NDArray[np.float64]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
"""The quantiles of the latency that are judged."""

BLOCKS = 40
"""Stretches of consecutive requests into which both runs are cut."""

LEAST_REQUESTS = 1200
"""Fewer carry no interval: thirty a stretch."""

LEAST_BEYOND = 15
"""A quantile with fewer answers beyond it has no interval."""

THROUGHPUT = 0.2
"""A gap in throughput may be this share of the one in latency: 2% where that is 10%."""

PART_RUNS = 4
"""Of so many of the tunnel's runs the mean latency is taken apart."""

CURVE = np.concatenate([np.arange(0.05, 0.96, 0.05), [0.98, 0.99]])
"""The quantiles among which the largest gap is looked for."""


MOSTLY = 0.5
"""What takes half of a gap away is most of it."""


@dataclass(frozen=True)
class Gap:
    """One figure in the tunnel and on the road.

    Args:
        quantity: `p50`, `p90`, `p99` (seconds), `throughput` (answers a second), `mean_batch` (requests).
        tunnel: the tunnel's.
        road: the road's.
        gap: tunnel ÷ road − 1.
        low: the least that it may be.
        high: the most.
        bound: how far from zero it may lie to be called agreement; infinite where it is told and not judged.
        at_pace: what the gap would be if batches took as long in the tunnel as they took on the road; NaN where that is not asked.
    """

    quantity: str
    tunnel: float
    road: float
    gap: float
    low: float
    high: float
    bound: float = math.inf
    at_pace: float = math.nan

    @property
    def is_pace(self) -> bool:
        """Whether it lies beyond its bound, and most of it would not be there if batches had taken as long.

        Example:
            >>> [Gap("p50", 1.1, 1.0, 0.11, 0.1, 0.12, bound=0.1, at_pace=at_pace).is_pace for at_pace in (0.02, 0.09)]
            [True, False]
        """
        return abs(self.gap) > self.bound >= abs(self.at_pace) and abs(self.at_pace) <= MOSTLY * abs(self.gap)

    @property
    def holds(self) -> bool:
        """Whether it is shown to be within the bound."""
        return -self.bound <= self.low and self.high <= self.bound

    @property
    def breaks(self) -> bool:
        """Whether it is shown to be beyond the bound."""
        return self.low > self.bound or self.high < -self.bound

    @property
    def ends(self) -> str:
        """Its interval in words: no gap lies below −100%, so a least one there is none."""
        if self.low <= -1.0:
            return f"up to {self.high:+.1%}" if math.isfinite(self.high) else "not known"
        return f"{self.low:+.1%} to {self.high:+.1%}" if math.isfinite(self.high) else f"{self.low:+.1%} or more"

    def to_dict(self) -> dict[str, Any]:
        """The gap as JSON values; null where unknown."""
        figures = {
            "tunnel": self.tunnel, "road": self.road, "gap": self.gap, "gap_low": self.low, "gap_high": self.high,
            "within": self.bound, "gap_at_pace": self.at_pace,
        }  # fmt: skip
        return {"quantity": self.quantity} | {
            key: each if math.isfinite(each) else None for key, each in figures.items()
        }


@dataclass(frozen=True)
class Part:
    """A part of the mean latency in the tunnel and on the road, in seconds.

    Args:
        part: `proxy` (client, ingress, way back), `loop` (a loop that stood still), `queue` (waiting for company in the replica),
            `batch` (other batch sizes) or `service` (other times for the same sizes).
        tunnel_s: in the tunnel; for `batch` and `service` what of the difference is theirs.
        road_s: on the road; zero for those.
    """

    part: str
    tunnel_s: float
    road_s: float

    @property
    def gap_s(self) -> float:
        """Seconds that the tunnel has more."""
        return self.tunnel_s - self.road_s

    def to_dict(self) -> dict[str, Any]:
        """The part as JSON values."""
        return {"part": self.part, "tunnel_s": self.tunnel_s, "road_s": self.road_s, "gap_s": self.gap_s}


@dataclass(frozen=True)
class Agreement:
    """How well tunnel and road agree on one trace.

    Args:
        gaps: figure by figure.
        largest: the quantile with the largest gap in latency, and the gap.
        parts: where the difference comes from, in the mean.
        tail: the same of the slowest hundredth.
        sizes: share of requests by the size of their batch, in the tunnel and on the road; float64 `[2, max_batch + 1]`.
        queues: how many wait as a request is sent: its quantiles `CURVE`, in the tunnel and on the road; float64 `[2, quantiles]`.
        latency_s: quantiles of the latency at `shares`, in the tunnel and on the road; float64 `[2, shares]`.
        shares: float64.
        verdict: whether they agree.
        confidence: of each interval.
    """

    gaps: tuple[Gap, ...]
    largest: tuple[float, float]
    parts: tuple[Part, ...]
    tail: tuple[Part, ...]
    sizes: Floats
    queues: Floats
    latency_s: Floats
    shares: Floats
    verdict: Verdict
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """The agreement as JSON values."""
        return {
            "agreement": [each.to_dict() for each in self.gaps],
            "confidence": self.confidence,
            "largest_quantile_gap": {"quantile": self.largest[0], "gap": self.largest[1]},
            "parts": [each.to_dict() for each in self.parts],
            "parts_of_slowest": [each.to_dict() for each in self.tail],
            "batch_sizes": [
                {"size": size, "tunnel": float(tunnel), "road": float(road)}
                for size, (tunnel, road) in enumerate(self.sizes.T) if size
            ],
            "queue_lengths": [
                {"quantile": round(float(share), 2), "tunnel": float(tunnel), "road": float(road)}
                for share, (tunnel, road) in zip(CURVE, self.queues.T, strict=True)
            ],
        }  # fmt: skip


def compare(
    road: Road,
    told: Prediction,
    seen: Observed,
    *,
    within: float,
    confidence: float = 0.95,
    doubts: tuple[str, ...] = (),
    at_pace_s: Floats | None = None,
) -> Agreement:
    """Compare what the tunnel told of a trace with what was seen on the road.

    A quantile's interval is the set of ratios that the data do not refute: the share of answers within `ratio` × the tunnel's
    quantile on the road, less the tunnel's own share, has a mean over stretches of consecutive requests, and Student's interval
    of it, widened by its autocorrelation (see `Spread`), holds zero or does not. It is never narrower than the luck by which the
    tunnel's own runs differ where each has a calibration of its own, drawn anew: few clusters of slow requests make a p99, and
    neither a run nor a calibration of a minute can know how few. Agreement is shown where every judged interval
    lies within its bound (an equivalence test: Schuirmann, J. Pharmacokin. Biopharm. 15, 1987; all must hold, so none need be
    wider for the others), disagreement where one lies beyond of intervals that hold together (Bonferroni).

    Args:
        road: what it was told from.
        told: by the tunnel, of the very arrivals.
        seen: on the road; requests without an answer are missing in it.
        within: how far a quantile may be off, as a share of the road's; throughput by a fifth of it.
        confidence: of each interval.
        doubts: why the road's run does not count; the verdict is inconclusive then.
        at_pace_s: what the tunnel tells where batches take as long as on the road (`told_afterwards`); nothing is judged by it.
    """
    told_s, latency_s = told.latency_s, _in_order(told.scheduled_s, seen)
    judged = len(QUANTILES) + 1
    gaps, surer = (
        (
            *_quantile_gaps(told_s, told.redrawn_s, latency_s, within, level),
            _throughput_gap(told, seen, within * THROUGHPUT, level),
            _batch_gap(told, seen, level),
        )
        for level in (confidence, 1.0 - (1.0 - confidence) / judged)
    )
    gaps = tuple(_paced(each, at_pace_s) for each in gaps)
    shares = np.concatenate([np.arange(0.0, 0.99, 0.01), np.arange(0.99, 0.9995, 0.001)])
    curves = _curves(told_s, latency_s, shares)
    largest = _largest(told_s, latency_s)
    parts, tail = (_parts(road, told, seen, slowest) for slowest in (False, True))
    verdict = _judge(
        gaps, surer, parts, within, confidence, doubts=(*doubts, *_own_doubts(told)), lost=_lost(told, seen)
    )
    return Agreement(
        gaps, largest, parts, tail, _sizes(road, told, seen), _queues(told, seen), curves, shares, verdict, confidence
    )  # fmt: skip


def _in_order(scheduled_s: Floats, seen: Observed) -> Floats:
    """The road's latency of each request of the trace; infinite where there was no answer."""
    latency_s = np.full(len(scheduled_s), np.inf)
    latency_s[seen.number] = seen.latency_s
    return latency_s


def _blocks(requests: int) -> NDArray[np.int64]:
    """Where each stretch begins, and the last ends."""
    return np.linspace(0, requests, BLOCKS + 1).astype(np.int64)


def _quantile_gaps(told_s: Floats, redrawn_s: Floats, seen_s: Floats, within: float, confidence: float) -> list[Gap]:
    effect, gaps = 0.0, []
    for name, share in QUANTILES.items():
        tunnel_s, road_s = float(np.quantile(told_s, share)), float(np.quantile(seen_s, share, method="inverted_cdf"))
        low, high, effect = ratio_interval(told_s, seen_s, share, confidence, effect)
        gap, reach = tunnel_s / road_s - 1.0, _own_reach(redrawn_s, share, confidence)
        low, high = min(low, (gap + 1.0) / reach - 1.0), max(high, (gap + 1.0) * reach - 1.0)
        gaps.append(Gap(name, tunnel_s, road_s, gap, low, high, within))
    return gaps


def _paced(gap: Gap, at_pace_s: Floats | None) -> Gap:
    if at_pace_s is None or gap.quantity not in QUANTILES or not math.isfinite(gap.road):
        return gap
    return replace(gap, at_pace=float(np.quantile(at_pace_s, QUANTILES[gap.quantity])) / gap.road - 1.0)


def _own_reach(told_s: Floats, share: float, confidence: float) -> float:
    """By which factor one run's quantile may differ from the mean of the tunnel's by luck alone, and by that of the calibration, as its runs differ among themselves."""
    runs = len(told_s)
    if runs < 2:
        return 1.0
    logs = np.log(np.quantile(told_s, share, axis=1))
    return math.exp(student(runs, confidence) * float(np.std(logs, ddof=1)) * math.sqrt(1.0 + 1.0 / runs))


def ratio_interval(
    told_s: Floats, seen_s: Floats, share: float, confidence: float, effect: float = 0.0
) -> tuple[float, float, float]:
    """The gaps (tunnel ÷ road − 1) at a quantile that the data do not refute.

    Args:
        told_s: float64 `[runs, requests]`, the tunnel's.
        seen_s: float64 `[requests]`, the road's.
        share: of the quantile.
        confidence: of the interval.
        effect: the design effect that it has at least.

    Returns:
        The least and the greatest gap, and the design effect.
    """
    requests = len(seen_s)
    if requests < LEAST_REQUESTS or requests * (1.0 - share) < LEAST_BEYOND:
        return -1.0, math.inf, effect
    edges, quantile_s = _blocks(requests), float(np.quantile(told_s, share))
    counts = np.diff(edges).astype(np.float64)
    below = np.add.reduceat((told_s <= quantile_s).mean(axis=0), edges[:-1])
    own = float(np.quantile(seen_s, share, method="inverted_cdf")) / quantile_s
    ratios = own * np.exp(np.linspace(-2.0, 2.0, 1601))
    stretches = [np.sort(seen_s[first:end]) for first, end in itertools.pairwise(edges)]
    within = np.stack([np.searchsorted(each, ratios * quantile_s, side="right") for each in stretches], axis=1)
    independent = share * (1.0 - share) / requests
    at_own = ratio_error(within[len(ratios) // 2] - below, counts)
    effect = max(effect, at_own**2 / independent)
    reach = student(BLOCKS, confidence) * math.sqrt(effect * independent)
    off = (within - below).sum(axis=1) / requests
    held = np.flatnonzero(np.abs(off) <= reach)
    if not len(held):
        return 1.0 / own - 1.0, 1.0 / own - 1.0, effect
    low = -1.0 if held[-1] == len(ratios) - 1 else 1.0 / float(ratios[held[-1] + 1]) - 1.0
    high = math.inf if held[0] == 0 else 1.0 / float(ratios[held[0] - 1]) - 1.0
    return low, high, effect


def _throughput_gap(told: Prediction, seen: Observed, within: float, confidence: float) -> Gap:
    """Answers a second from the first request to the last answer, compared stretch of time by stretch of time."""
    begin_s = float(told.scheduled_s[0])
    tunnel = float(np.mean([len(run.finished_s) / (run.finished_s.max() - begin_s) for run in told.runs]))
    road = len(seen) / (float(seen.finished_s.max()) - begin_s)
    edges = np.linspace(begin_s, float(told.scheduled_s[-1]), BLOCKS + 1)
    mine = np.mean([np.histogram(run.finished_s, edges)[0] for run in told.runs], axis=0)
    theirs = np.histogram(seen.finished_s, edges)[0].astype(np.float64)
    answering = int(np.count_nonzero(theirs))
    if len(seen) < LEAST_REQUESTS or answering < 2:
        return Gap("throughput", tunnel, road, tunnel / road - 1.0, -1.0, math.inf, within)
    reach = student(answering, confidence) * ratio_error(mine, theirs)
    gap = tunnel / road - 1.0
    return Gap("throughput", tunnel, road, gap, gap - reach, gap + reach, within)


def _batch_gap(told: Prediction, seen: Observed, confidence: float) -> Gap:
    """Requests a batch; told and not judged."""
    share = np.mean([1.0 / run.batch_size for run in told.runs], axis=0)[seen.number]
    tunnel, road = (float(1.0 / np.mean(each)) for each in (share, 1.0 / seen.batch_size))
    gap = tunnel / road - 1.0
    if len(seen) < LEAST_REQUESTS:
        return Gap("mean_batch", tunnel, road, gap, -1.0, math.inf)
    edges = _blocks(len(seen))
    off = np.add.reduceat(1.0 / seen.batch_size - share, edges[:-1])
    reach = student(BLOCKS, confidence) * ratio_error(off, np.diff(edges).astype(np.float64)) * tunnel
    return Gap("mean_batch", tunnel, road, gap, gap - reach, gap + reach)


def _curves(told_s: Floats, seen_s: Floats, shares: Floats) -> Floats:
    answered_s = seen_s[np.isfinite(seen_s)]
    return np.stack([np.quantile(told_s, shares), np.quantile(answered_s, shares)])


def _largest(told_s: Floats, seen_s: Floats) -> tuple[float, float]:
    """The quantile at which tunnel and road lie farthest apart."""
    tunnel_s, road_s = _curves(told_s, seen_s, CURVE)
    gap = tunnel_s / road_s - 1.0
    at = int(np.argmax(np.abs(gap)))
    return round(float(CURVE[at]), 2), float(gap[at])


def _parts(road: Road, told: Prediction, seen: Observed, slowest: bool) -> tuple[Part, ...]:
    """Where the time goes, in the mean over requests, or over the slowest hundredth of each."""
    runs = [told.observed(each) for each in range(min(PART_RUNS, len(told.runs)))]
    mine, theirs = np.mean([_means(road, run, slowest) for run in runs], axis=0), _means(road, seen, slowest)
    proxy, loop, queue, service, expected = zip(mine, theirs, strict=True)
    batch_s = expected[0] - expected[1]
    return (
        Part("proxy", *proxy), Part("loop", *loop), Part("queue", *queue), Part("batch", batch_s, 0.0),
        Part("service", service[0] - service[1] - batch_s, 0.0),
    )  # fmt: skip


def _means(road: Road, run: Observed, slowest: bool) -> tuple[float, ...]:
    """Means of the way of those who met nobody, of what is outside besides, of queue, service, and service by size."""
    chosen = run.latency_s >= np.quantile(run.latency_s, 0.99) if slowest else np.ones(len(run), dtype=bool)
    outside_s = float(np.mean(run.outside_s[chosen]))
    way_s = float(np.mean(run.outside_s[run.was_free])) if run.was_free.any() else outside_s
    rest = (float(np.mean(each[chosen])) for each in (run.queue_s, run.model_s, road.service_s[run.batch_size]))
    return min(way_s, outside_s), max(outside_s - way_s, 0.0), *rest


def _sizes(road: Road, told: Prediction, seen: Observed) -> Floats:
    """Share of requests by the size of their batch."""
    most = road.batch.max_batch + 1
    mine = np.mean([np.bincount(run.batch_size, minlength=most) / len(run.batch_size) for run in told.runs], axis=0)
    return np.stack([mine, np.bincount(np.minimum(seen.batch_size, most - 1), minlength=most) / len(seen)])


def waiting(scheduled_s: Floats, started_s: Floats) -> NDArray[np.int64]:
    """How many have been sent and wait for their batch to begin as each request is sent, itself left out."""
    return np.arange(len(scheduled_s)) - np.searchsorted(np.sort(started_s), scheduled_s, side="right")


def _queues(told: Prediction, seen: Observed) -> Floats:
    """Quantiles of how many wait."""
    mine = [np.quantile(waiting(told.scheduled_s, run.started_s), CURVE) for run in told.runs]
    began_s = (
        seen.finished_s - seen.model_s - (seen.outside_s[seen.was_free].mean() / 2.0 if seen.was_free.any() else 0.0)
    )
    return np.stack([np.mean(mine, axis=0), np.quantile(waiting(seen.scheduled_s, began_s), CURVE)])


def _own_doubts(told: Prediction) -> tuple[str, ...]:
    """Why the tunnel's own word does not count."""
    if not told.extrapolated:
        return ()
    if told.beyond == 1.0:
        return ("the trace asks for a rate at which the road was never measured",)
    why = "near its capacity the line grows for as long as that lasts, and a hundredth of speed decides how far"
    return (f"{told.beyond:.0%} of the requests come while more is asked than the road was measured at: {why}",)


def _lost(told: Prediction, seen: Observed) -> tuple[str, ...]:
    """How many requests the road did not answer, where there are any: they count as answered late without end."""
    lost = len(told.scheduled_s) - len(seen)
    return (f"{lost:,} of {len(told.scheduled_s):,} requests had no answer that tells of its batch",) if lost else ()


def _judge(
    gaps: tuple[Gap, ...],
    surer: tuple[Gap, ...],
    parts: tuple[Part, ...],
    within: float,
    confidence: float,
    *,
    doubts: tuple[str, ...],
    lost: tuple[str, ...],
) -> Verdict:
    """Agreement needs every interval within its bound, so each may stand alone; disagreement one of several beyond it, so they hold at once."""
    judged = [each for each in gaps if math.isfinite(each.bound)]
    broken, open_ = [each for each in surer if each.breaks], [each for each in judged if not each.holds]
    besides = (*lost, *_pace(gaps))
    worst = max(parts, key=lambda part: abs(part.gap_s))
    evidence = {each.quantity: each.gap for each in gaps} | {"within": within, "largest_part": worst.part}
    if doubts:
        return Verdict(
            "inconclusive",
            (*doubts, *besides),
            ("measure again where nothing else runs, at a load that the road was measured at",),
            evidence,
        )
    if broken:
        told = tuple(f"{_sentence(each)}, which is beyond {format_share(each.bound)}" for each in broken)
        where = f"most of it in the mean is {worst.part}: {worst.gap_s * 1e3:+.2f} ms"
        return Verdict(
            "no-go", (*told, *besides, where), ("calibrate the road anew, or name what is missing in it",), evidence
        )
    if open_:
        told = tuple(f"{_sentence(each)}, and {format_share(each.bound)} was asked" for each in open_)
        longer = "measure for longer (--duration), with a trace that has as many requests"
        return Verdict("inconclusive", (*told, *besides), (longer,), evidence)
    told = (f"tunnel and road agree within {format_share(within)} with {format_share(confidence)} confidence",)
    return Verdict("go", (*told, *(_sentence(each) for each in judged), *besides), (), evidence)


def _pace(gaps: tuple[Gap, ...]) -> tuple[str, ...]:
    """What of the gaps is how long batches took, be it that the machine was as fast another time, or what was calibrated: where that is all of one."""
    told = " and ".join(f"{each.quantity} {each.at_pace:+.1%} off" for each in gaps if each.is_pace)
    if not told:
        return ()
    return (
        f"with batches as long as they were on the road it would be {told}: what differs is how long batches took, not ways, loops and queues",
    )


def _sentence(gap: Gap) -> str:
    """Such as `the tunnel's p99 is 4.1% above the road's (+1.0% to +7.2%)`."""
    side = "above" if gap.gap >= 0 else "below"
    return f"the tunnel's {gap.quantity} is {abs(gap.gap):.1%} {side} the road's ({gap.ends})"
