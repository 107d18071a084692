"""How far the values of one stretch of time lie from those of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

    Missing values (NaN) are a bin of their own. Source: Siddiqi, *Credit Risk Scorecards*, 2006; its rule of thumb that
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
    both = np.concatenate([r, w])
    # ks_2samp would work out a p-value too, which nobody reads and dependent rows make false
    apart = np.searchsorted(r, both, side="right") / len(r) - np.searchsorted(w, both, side="right") / len(w)
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
    return values[~np.isnan(values)]


def _shares(reference: Floats, window: Floats) -> tuple[Floats, Floats]:
    """The shares of both in the tenths of the reference, each distinct value its own bin where there are few."""
    known = _known(reference)
    levels = np.unique(known)
    if len(levels) <= BINS:
        edges = (levels[1:] + levels[:-1]) / 2.0
    else:
        edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS))
    counts = []
    for values in (reference, window):
        there = _known(values)
        inside = np.bincount(np.searchsorted(edges, there, side="left"), minlength=len(edges) + 1)
        counts.append(np.append(inside, len(values) - len(there)) + 0.5)
    return counts[0] / counts[0].sum(), counts[1] / counts[1].sum()
