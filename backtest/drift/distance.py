"""How far the values of one stretch of time lie from those of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import stats
from scipy.spatial import distance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BINS = 10
"""Into how many bins of equal share the reference is cut for PSI and Jensen–Shannon, as scorecards do."""


def psi(reference: Floats, window: Floats) -> float:
    """The population stability index over tenths of the reference, Σ (w − r) ln(w / r); half a row is added to each bin.

    Missing values (NaN, infinite) are a bin of their own; where the reference has ten values or fewer each of them is one, and
    what it never had is one more. Source: Siddiqi, *Credit Risk Scorecards*, 2006; its rule of thumb that
    0.25 is a major shift ignores the size of the window, so thresholds are taken from the reference instead (`Watch`).

    Example:
        >>> x = np.arange(1000.0)
        >>> round(psi(x, x), 6), psi(x, x + 500.0) > 1.0
        (0.0, True)
    """
    r, w = _shares(reference, window)
    return float(np.sum((w - r) * np.log(w / r)))


def jensen_shannon(reference: Floats, window: Floats) -> float:
    """The Jensen–Shannon distance over the same bins, from 0 to 1 (scipy's `jensenshannon`, base 2).

    Example:
        >>> x = np.arange(1000.0)
        >>> round(jensen_shannon(x, x), 6), 0.5 < jensen_shannon(x, x + 500.0) < 1.0
        (0.0, True)
    """
    r, w = _shares(reference, window)
    return float(distance.jensenshannon(r, w, base=2.0))


def kolmogorov_smirnov(reference: Floats, window: Floats) -> float:
    """The greatest difference of the two distribution functions (the statistic of scipy's `ks_2samp`), NaN left out.

    Example:
        >>> kolmogorov_smirnov(np.arange(4.0), np.arange(4.0) + 2.0)
        0.5
    """
    r, w = np.sort(_known(reference)), np.sort(_known(window))
    if not len(r) or not len(w):
        return float(len(r) != len(w))
    # ks_2samp would work out a p-value too, which nobody reads and dependent rows make false. Between two values of the window its
    # own function stands still, so the greatest difference is at one of them, or just before
    sides: tuple[Literal["left"], Literal["right"]] = ("left", "right")
    apart = [np.searchsorted(r, w, side) / len(r) - np.searchsorted(w, w, side) / len(w) for side in sides]
    return float(np.abs(apart).max())


def wasserstein(reference: Floats, window: Floats) -> float:
    """How far the values moved on average, in standard deviations of the reference (scipy's `wasserstein_distance`).

    Example:
        >>> x = np.array([0.0, 2.0])
        >>> wasserstein(x, x + 3.0)
        3.0
    """
    r, w = _known(reference), _known(window)
    if not len(r) or not len(w):
        return float(len(r) != len(w))
    scale = float(np.std(r))
    return float(stats.wasserstein_distance(r, w)) / (scale if scale > 0.0 else 1.0)


DISTANCES: dict[str, Callable[[Floats, Floats], float]] = {
    "psi": psi,
    "js": jensen_shannon,
    "ks": kolmogorov_smirnov,
    "wasserstein": wasserstein,
}
"""The distances by the name that users write; each takes reference and window, float64 [any] each."""


def _known(values: Floats) -> Floats:
    """Without what is missing: NaN, and the infinities that a division by zero left."""
    return values[np.isfinite(values)]


def _shares(reference: Floats, window: Floats) -> tuple[Floats, Floats]:
    """The shares of both in the bins that either has a row in."""
    r, w = np.sort(_known(reference)), np.sort(_known(window))
    levels = r[np.append(True, r[1:] != r[:-1])] if len(r) else r
    if len(levels) <= BINS:
        counts = [_on(levels, values) for values in (r, w)]
    else:
        edges = np.unique(np.quantile(r, np.arange(1, BINS) / BINS))
        counts = [_up_to(edges, values) for values in (r, w)]
    missing = [[len(reference) - len(r)], [len(window) - len(w)]]
    both = np.hstack([counts, missing])
    filled = both[:, both.any(axis=0)] + 0.5
    shares = filled / filled.sum(axis=1, keepdims=True)
    return shares[0], shares[1]


def _on(levels: Floats, ordered: Floats) -> NDArray[np.int64]:
    """How many values there are of each level, and of none."""
    counts = np.searchsorted(ordered, levels, side="right") - np.searchsorted(ordered, levels, side="left")
    return np.append(counts, len(ordered) - counts.sum())


def _up_to(edges: Floats, ordered: Floats) -> NDArray[np.int64]:
    """How many values lie between one edge and the next, which still counts, and beyond the last."""
    return np.diff(np.searchsorted(ordered, edges, side="right"), prepend=0, append=len(ordered))
