"""How fine a rate curve a recording can carry: chosen by what it says of blocks of time that it was not shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .calendar import DAY_S, WEEK_S
from .curve import RateCurve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .generator import Floats

_BLOCKS = 288
"""Into how many blocks a recording without a known period is cut; four neighbours at least share a bin."""

_NEARLY = 0.97
"""A recording of two weeks lacks some minutes, or it would be three."""

_IN_DAY = (1, 2, 3, 4, 6, 8, 12, 24, 48, 96)
_IN_RECORDING = (1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 36, 72)


@dataclass(frozen=True)
class Resolution:
    """A period cut into equal bins, and how well it foretold what was held out.

    Args:
        period_s: after which the curve begins again.
        bins: of the period.
        score: Poisson's log-likelihood of the held-out blocks, a request, beyond that of one constant rate.
    """

    period_s: float
    bins: int
    score: float

    @property
    def bin_s(self) -> float:
        """How long a bin is."""
        return self.period_s / self.bins


@dataclass(frozen=True)
class _Slots:
    """The recording as counts in short slots, some of which are held out at a time."""

    begin_s: Floats
    length_s: Floats
    counts: Floats
    fold: NDArray[np.int64]
    block: NDArray[np.int64]


def choose_curve(times_s: Floats, duration_s: float, period_s: float = 0.0) -> tuple[RateCurve, tuple[Resolution, ...]]:
    """The rate curve of a recording, and all resolutions that were tried, the chosen one first.

    From two days on the curve repeats by the day, from two weeks on it may repeat by the week; whole days are held out.
    A shorter recording gets a curve of its whole length; blocks of 1/288 of it are held out. Poisson's likelihood is a proper
    score of a mean, whatever the burstiness; bursts shorter than a block cannot be mistaken for the curve. Of all resolutions
    the coarsest is taken that is within one standard error of the best (Breiman et al., *Classification and Regression
    Trees*, 1984, section 3.4.3).

    Args:
        times_s: sorted, from zero to `duration_s`.
        duration_s: how long was recorded.
        period_s: after which the curve repeats, where it is known; the recording's length, or more, for a curve that
            follows it from end to end. Zero: chosen as above.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> two_levels = np.sort(np.concatenate([rng.uniform(0, 50, 1000), rng.uniform(50, 100, 3000)]))
        >>> curve, tried = choose_curve(two_levels, 100.0)
        >>> tried[0].bins, [round(each) for each in curve.left_per_s]
        (2, [20, 60])
    """
    unit_s = period_s or DAY_S
    if duration_s < _NEARLY * 2.0 * unit_s:
        unit_s = 0.0
    slots = _slots(times_s, duration_s, unit_s)
    candidates = _candidates(len(times_s), duration_s, period_s, unit_s)
    scores = [_held_out(slots, period, bins) for period, bins in candidates]
    gains = [score - scores[0] for score in scores]
    chosen = _coarsest(gains)
    tried = [
        Resolution(period, bins, float(gain.sum()) / len(times_s))
        for (period, bins), gain in zip(candidates, gains, strict=True)
    ]
    curve = _curve(slots, *candidates[chosen])
    return curve, (tried[chosen], *tried[:chosen], *tried[chosen + 1 :])


def _candidates(requests: int, duration_s: float, period_s: float, unit_s: float) -> list[tuple[float, int]]:
    """Periods and bins, coarse first, with 20 requests a bin at least on average."""
    if not unit_s:
        found = [(duration_s, bins) for bins in _IN_RECORDING]
    else:
        found = [(unit_s, bins) for bins in _IN_DAY]
        if not period_s and duration_s >= _NEARLY * 2.0 * WEEK_S:
            found += [(WEEK_S, 7 * bins) for bins in _IN_DAY]
    kept = [each for each in found if each[1] == 1 or requests * each[0] / duration_s >= 20 * each[1]]
    return sorted(kept, key=lambda each: each[1])


def _slots(times_s: Floats, duration_s: float, unit_s: float) -> _Slots:
    """Slots of 1/288 of the recording, or of the unit after which it repeats; then whole units are the blocks."""
    if not unit_s:
        edges = np.linspace(0.0, duration_s, _BLOCKS + 1)
        block, folds = np.arange(_BLOCKS), 4
    else:
        slot_s = unit_s / _BLOCKS
        edges = np.append(np.arange(math.ceil(duration_s / slot_s)) * slot_s, duration_s)
        block = np.arange(len(edges) - 1) // _BLOCKS
        folds = min(8, int(block[-1]) + 1)
    inner = np.searchsorted(times_s, edges[1:-1])
    counts = np.diff(np.concatenate([[0], inner, [len(times_s)]])).astype(np.float64)
    return _Slots(edges[:-1], np.diff(edges), counts, block % folds, block)


def _bin_of(slots: _Slots, period_s: float, bins: int) -> NDArray[np.int64]:
    middle_s = slots.begin_s + 0.5 * slots.length_s
    found = np.floor(np.mod(middle_s, period_s) / period_s * bins).astype(np.int64)
    return np.minimum(found, bins - 1)


def _held_out(slots: _Slots, period_s: float, bins: int) -> Floats:
    """The log-likelihood of each block, by a curve that was fitted to the other folds."""
    which = _bin_of(slots, period_s, bins)
    overall = slots.counts.sum() / slots.length_s.sum()
    score = np.zeros(len(slots.counts))
    for fold in range(int(slots.fold.max()) + 1):
        out = slots.fold == fold
        counts = np.bincount(which, slots.counts * ~out, bins)
        exposed_s = np.bincount(which, slots.length_s * ~out, bins)
        # half a request of the overall rate in each bin: an empty bin does not say never
        expected = ((counts + 0.5) / (exposed_s + 0.5 / overall))[which] * slots.length_s
        score[out] = (slots.counts * np.log(expected) - expected)[out]
    return np.asarray(np.bincount(slots.block, score), dtype=np.float64)


def _coarsest(gains: list[Floats]) -> int:
    best = int(np.argmax([gain.sum() for gain in gains]))
    for candidate, gain in enumerate(gains[:best]):
        behind = gains[best] - gain
        if behind.sum() <= np.std(behind, ddof=1) * math.sqrt(len(behind)):
            return candidate
    return best


def _curve(slots: _Slots, period_s: float, bins: int) -> RateCurve:
    which = _bin_of(slots, period_s, bins)
    seconds = np.bincount(which, slots.length_s, bins)
    rates = tuple((np.bincount(which, slots.counts, bins) / seconds).tolist())
    edges = tuple((np.arange(bins + 1) * (period_s / bins)).tolist())
    return RateCurve(edges, rates, rates, repeats=True)
