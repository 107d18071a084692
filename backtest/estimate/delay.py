"""How long labels take, as of one time: Kaplan–Meier, because those still waited for are slower than those that came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats as distributions

from windtunnel.errors import DataError

from .periods import on_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]


@dataclass(frozen=True)
class DelayCurve:
    """The share of labels still waited for after each delay, as it could be told at one time.

    Args:
        delay_s: the delays at which labels came, float64 [delays], rising.
        waiting: the share still waited for just after each, float64 [delays].
        low: lower end of its interval, pointwise.
        high: upper end.
        at_risk: how many requests had waited so long without a label, int64 [delays].
        requests: asked by then.
        longest_s: the longest that any request has been watched; beyond it nothing is said.
        confidence: of the interval.

    Example: three requests seen at 10. One label came after 2 s, one after 4 s, and one request is 3 s old.

        >>> time, known = np.array([1, 2, 7]) * 10**6, np.array([3, 6, 99]) * 10**6
        >>> curve = DelayCurve.at(time, known, as_of_us=10**7, horizon_us=10**8)
        >>> curve.delay_s.tolist(), curve.waiting.round(3).tolist(), curve.quantile_s(0.5)
        ([2.0, 4.0], [0.667, 0.0], 4.0)
    """

    delay_s: Floats
    waiting: Floats
    low: Floats
    high: Floats
    at_risk: NDArray[np.int64]
    requests: int
    longest_s: float
    confidence: float

    @staticmethod
    def at(time_us: Times, known_us: Times, *, as_of_us: int, horizon_us: int, confidence: float = 0.95) -> DelayCurve:
        """Estimate it from what was known at a time; what became known later changes no bit of it.

        A request still pending is censored at its age, an expired one at the horizon. Greenwood's variance on the scale
        of log(−log), which keeps the interval within 0 and 1 (Kalbfleisch & Prentice, *The Statistical Analysis of
        Failure Time Data*, 2nd edition, section 1.4).

        Args:
            time_us: when each request was asked, int64 [n].
            known_us: when its first label was known, int64 [n]; 2^63 − 1 where never.
            as_of_us: the time of looking.
            horizon_us: how long a label may take.
            confidence: of the interval at each delay by itself.

        Raises:
            DataError: nothing was asked before then.
        """
        asked = time_us < as_of_us
        if not asked.any():
            raise DataError("has no request before then", field="as_of", value=as_of_us, fix="look later")
        time, known = time_us[asked], known_us[asked]
        came = (known <= as_of_us) & on_time(time, known, horizon_us)
        watched = np.where(came, known - time, np.minimum(as_of_us - time, horizon_us))
        delays, events = np.unique(watched[came], return_counts=True)
        # a label that comes at the moment of censoring still counts as seen
        at_risk = len(watched) - np.searchsorted(np.sort(watched), delays, side="left")
        waiting, low, high = survival(events.astype(np.float64), at_risk.astype(np.float64), confidence)
        return DelayCurve(
            delays / 1e6, waiting, low, high, at_risk, len(watched), float(watched.max()) / 1e6, confidence
        )

    @staticmethod
    def of_steps(steps: Times, longest_us: Times, confidence: float = 0.95) -> DelayCurve:
        """The same of requests that were counted by how long they had been waited for, in steps of 1/128 of that.

        Each step counts as the longest wait in it, so a delay is told at most 1/128 too long.

        Args:
            steps: whose label came, and who still waited, int64 [2, steps]; see `kernel.watch`.
            longest_us: the longest wait in each, int64 [2, steps].
            confidence: of the interval at each delay by itself.

        Raises:
            DataError: nothing was asked.
        """
        requests = int(steps.sum())
        if requests == 0:
            raise DataError("has no request before then", field="as_of", fix="look later")
        came = np.flatnonzero(steps[0])
        at_risk = np.cumsum(steps.sum(axis=0)[::-1])[::-1][came]
        waiting, low, high = survival(steps[0][came].astype(np.float64), at_risk.astype(np.float64), confidence)
        return DelayCurve(
            longest_us[0][came] / 1e6, waiting, low, high, at_risk, requests, float(longest_us.max()) / 1e6, confidence
        )

    def arrived_by(self, delay_s: Floats) -> Floats:
        """The share of labels that take at most so long, float64; NaN beyond what was watched, unless all had come."""
        steps = np.append(0.0, 1.0 - self.waiting)
        share = steps[np.searchsorted(self.delay_s, delay_s, side="right")]
        return np.where((np.asarray(delay_s) <= self.longest_s) | (share == 1.0), share, np.nan)

    def quantile_s(self, share: float) -> float:
        """The delay within which that share of all labels comes; ∞ where it is not seen to come at all."""
        reached = np.flatnonzero(1.0 - self.waiting >= share - 1e-12)
        return float(self.delay_s[reached[0]]) if len(reached) else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """Three quantiles and the share that never came, as JSON values; null where it was not seen."""
        quantiles = {f"p{p}_s": self.quantile_s(p / 100) for p in (50, 90, 99)}
        return {
            "requests": self.requests,
            "longest_s": self.longest_s,
            "waiting_at_longest": float(self.waiting[-1]) if len(self.waiting) else 1.0,
            **{name: value if np.isfinite(value) else None for name, value in quantiles.items()},
        }


def survival(events: Floats, at_risk: Floats, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Kaplan–Meier's product along the last axis, with pointwise bounds by Greenwood on the scale of log(−log).

    Where no label has come yet, and where all have, that scale has no end: there the bound is the binomial one for no
    event (or no survivor) among those at risk.

    Args:
        events: labels that came at each delay, float64 [..., delays].
        at_risk: requests that could have, float64 [..., delays]; a delay at which none could says nothing.
        confidence: of each interval by itself.

    Returns:
        The share still waiting, its lower and its upper bound, float64 [..., delays] each.

    Example:
        >>> waiting, low, high = survival(np.array([1.0, 1.0]), np.array([4.0, 2.0]), 0.95)
        >>> waiting.tolist(), low.round(3).tolist(), high.round(3).tolist()
        ([0.75, 0.375], [0.128, 0.01], [0.961, 0.808])
    """
    shape = np.broadcast_shapes(events.shape, at_risk.shape)
    hazard = np.divide(events, at_risk, out=np.zeros(shape), where=at_risk > 0.0)
    # never below zero: corrected counts may leave −0.0
    waiting = np.asarray(np.cumprod(np.clip(1.0 - hazard, 0.0, 1.0), axis=-1), dtype=np.float64)
    left = at_risk * (at_risk - events)
    greenwood = np.cumsum(np.divide(events, left, out=np.zeros(shape), where=left > 0.0), axis=-1)
    tail = (1.0 - confidence) / 2.0
    inside = (waiting > 0.0) & (waiting < 1.0)
    log = np.log(np.where(inside, waiting, 0.5))
    reach = float(distributions.norm.ppf(1.0 - tail)) * np.sqrt(greenwood) / -log
    none = tail ** (1.0 / np.maximum(np.broadcast_to(at_risk, shape), 1.0))
    low = np.where(inside, np.exp(log * np.exp(reach)), np.where(waiting > 0.0, none, 0.0))
    high = np.where(inside, np.exp(log * np.exp(-reach)), np.where(waiting > 0.0, 1.0, 1.0 - none))
    return waiting, low, high
