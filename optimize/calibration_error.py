"""Does a probability of 0.7 come true in 7 cases of 10? For a parent and its child, in the same bins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.stats import Interval

from .non_inferiority import Estimate, mean_drop, sum_groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .pair import Pair

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]

BINS = 15
"""Into how many bins of as many rows each the parent's probabilities are cut."""


@dataclass(frozen=True)
class Bin:
    """Some rows that the parent gave much the same probability.

    Args:
        rows: how many.
        observed: the share that came true.
        parent: the mean of the parent's probabilities.
        child: the mean of the child's.
    """

    rows: int
    observed: float
    parent: float
    child: float


@dataclass(frozen=True)
class Calibration:
    """How well probabilities come true.

    Args:
        ece: the child's expected calibration error.
        parent_ece: the parent's.
        shift: the mean of the child's probabilities less the parent's.
        bins: from the least probable to the most.
    """

    ece: float
    parent_ece: float
    shift: float
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """The calibration as JSON values."""
        bins = [vars(each) | {} for each in self.bins]
        return {"ece": self.ece, "parent_ece": self.parent_ece, "shift": self.shift, "bins": bins}


def confidence_and_hit(array: NDArray[Any], label: Floats) -> tuple[Floats, Floats]:
    """What is said and whether it came true: the probability of 1, or that of the most probable class.

    Example:
        >>> confidence_and_hit(np.array([[0.7, 0.2, 0.1]]), np.array([1.0]))
        (array([0.7]), array([0.]))
    """
    if array.ndim == 1:
        return array, label
    return array.max(axis=1), (array.argmax(axis=1) == label).astype(np.float64)


def bin_rows(confidence: Floats, bins: int = BINS) -> Codes:
    """The bin of each row: as many rows in each, equal probabilities together.

    Source: bins of equal mass, Nixon et al., *Measuring Calibration in Deep Learning* (CVPR workshops 2019).

    Example:
        >>> bin_rows(np.array([0.1, 0.2, 0.3, 0.4]), 2).tolist()
        [0, 0, 1, 1]
    """
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins))
    _, codes = np.unique(np.searchsorted(edges, confidence, side="left"), return_inverse=True)
    return codes.astype(np.int64)


def calibrate(pair: Pair) -> Calibration:
    """Compare the calibration of parent and child, in bins of the parent's probabilities."""
    parent, hit = confidence_and_hit(pair.parent, pair.truth)
    child, child_hit = confidence_and_hit(pair.child, pair.truth)
    codes = bin_rows(parent)
    sizes = np.bincount(codes)
    observed, said, said_by_child = (np.bincount(codes, weights=each) / sizes for each in (hit, parent, child))
    bins = tuple(
        Bin(int(rows), float(o), float(p), float(c))
        for rows, o, p, c in zip(sizes, observed, said, said_by_child, strict=True)
    )
    errors = [float(np.abs(_by_bin(excess, codes)).sum()) for excess in (child - child_hit, parent - hit)]
    return Calibration(errors[0], errors[1], float(np.mean(child - parent)), bins)


def calibration_drop(pair: Pair, confidence: float) -> Estimate:
    """How much larger the child's expected calibration error is than the parent's, in bins of the parent's probabilities.

    The same bins for both let the luck of the labels cancel. A mean of absolute gaps is too large by chance, the more so
    the better the calibration, so a parent without fault would hide a child with one. Two bounds need no luck, and each
    holds at half the chance of error: the difference plus the most that chance can have added to the parent's (√(2/π) of
    each bin's standard error), and the sum of the distances between the child's mean and the parent's in each bin, which
    by the triangle inequality no difference of their errors can exceed, whatever the labels are.
    """
    parent, hit = confidence_and_hit(pair.parent, pair.truth)
    child, child_hit = confidence_and_hit(pair.child, pair.truth)
    codes, half = bin_rows(parent), 0.5 + confidence / 2
    of_parent, of_child = parent - hit, child - child_hit
    signed = [_signs(each, codes) * each for each in (of_child, of_parent)]
    apart = of_child - of_parent
    between = mean_drop(signed[0] - signed[1], half, pair.groups)
    bound = mean_drop(_signs(apart, codes) * apart, half, pair.groups).high
    high = min(between.high + _luck(of_parent, codes, pair.groups), bound)
    low = max(between.low - _luck(of_child, codes, pair.groups), -bound)
    drop = Interval(between.value, low, high, pair.rows, confidence)
    return Estimate(float(signed[0].mean()), float(signed[1].mean()), drop)


def _by_bin(values: Floats, codes: Codes) -> Floats:
    """Each bin's share of the mean over all rows."""
    return np.bincount(codes, weights=values) / len(values)


def _signs(excess: Floats, codes: Codes) -> Floats:
    """For each row, on which side of the truth its bin lies."""
    return np.sign(_by_bin(excess, codes))[codes]


def _luck(excess: Floats, codes: Codes, groups: Codes | None) -> float:
    """How much a mean of absolute gaps can be too large by chance: as much as if every true gap were zero."""
    total = 0.0
    for each in range(int(codes.max()) + 1):
        rows = codes == each
        centred = np.where(rows, excess - excess[rows].mean(), 0.0)
        sums = sum_groups(centred, groups)
        total += math.sqrt(float(sums @ sums)) / len(excess)
    return math.sqrt(2.0 / math.pi) * total
