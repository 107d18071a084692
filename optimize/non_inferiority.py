"""How much a child may have lost: intervals of paired differences, for independent rows and for rows that come in groups.

A difference is always the child's loss less the parent's, row by row, so that above zero is worse. What is resampled or
summed is the group where rows come in groups (one query, one customer), for they are no independent witnesses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats as distributions
from scipy.optimize import brentq

from windtunnel.stats import Interval, auc_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A metric of child and parent, and how much the child has lost.

    Args:
        value: the child's.
        parent_value: the parent's.
        drop: how much worse than the parent (below zero: better), with the interval of the paired difference.
    """

    value: float
    parent_value: float
    drop: Interval


def nothing_known(drop: Interval) -> Interval:
    """The interval of a sample too small for it: the whole line, which proves nothing."""
    return replace(drop, low=-math.inf, high=math.inf)


def lost(gain: Interval) -> Interval:
    """The interval of a loss from that of a gain."""
    return Interval(-gain.value, -gain.high, -gain.low, gain.samples, gain.confidence)


def leave_room(drop: Interval, units: int, worst: float = 1.0) -> Interval:
    """The interval with room for units that were never seen to change, as `decision_drop` leaves it.

    Where nothing changed in any of n units, an interval of the seen differences has no width, and a few changes give it
    little; but up to z² ÷ (n + z²) of all units may change all the same (about 4 in n at 95%, the rule of three).

    Args:
        drop: of what was seen.
        units: rows, queries or groups that could have changed.
        worst: how much the metric loses where every unit changes.

    Source: Wilson, JASA 22 (1927), 209-212, at a count of zero.

    Example:
        >>> leave_room(Interval(0.0, 0.0, 0.0, 96, 0.95), 96).high < 0.04
        True
    """
    z = float(distributions.norm.ppf(0.5 + drop.confidence / 2))
    return replace(drop, high=max(drop.high, worst * z**2 / (units + z**2)))


def sum_groups(values: Floats, groups: Codes | None) -> Floats:
    """The sum over each group; the values themselves where every row stands alone."""
    if groups is None:
        return values
    return np.bincount(groups, weights=values).astype(np.float64)


def mean_drop(difference: Floats, confidence: float, groups: Codes | None = None) -> Interval:
    """The mean difference with Student's interval, bent by the skewness of what was seen; of groups, with that of their sums.

    Losses are skewed: most children err a little on most rows and much on a few, and Student's far end then lies too near.
    Hall's transformation takes the skewness out of the mean's own distribution, and back.

    Source: Hall, JRSS B 54 (1992), 221-228; for groups the linearized ratio estimator, Cochran, *Sampling Techniques*
    (1977), section 6.3.

    Example:
        >>> few_large = np.repeat([0.0, 1.0], [95, 5])
        >>> apart, together = mean_drop(few_large, 0.95), mean_drop(few_large, 0.95, np.arange(100) // 5)
        >>> apart.high - apart.value > apart.value - apart.low, together.high > apart.high
        (True, True)
    """
    mean, rows = float(difference.mean()), len(difference)
    sums = sum_groups(difference - mean, groups)
    count = len(sums)
    if count < 2:
        return Interval(mean, -math.inf, math.inf, rows, confidence)
    power = float(sums @ sums)
    if power == 0.0:
        return Interval(mean, mean, mean, rows, confidence)
    error = math.sqrt(count / (count - 1) * power) / rows
    bend = float(np.sum(sums**3)) / power**1.5  # the skewness over the root of the count
    t = float(distributions.t.ppf(0.5 + confidence / 2, count - 1))
    low, high = mean - error * _bent(t, bend), mean - error * _bent(-t, bend)
    return Interval(mean, min(low, mean), max(high, mean), rows, confidence)


def _bent(score: float, bend: float) -> float:
    """The score of a skewed mean that lies where a normal one's does: the inverse of Hall's cubic."""
    if abs(bend) < 1e-6:
        return score
    return 3.0 / bend * (math.cbrt(1.0 + bend * (score - bend / 6.0)) - 1.0)


def design_effect(difference: Floats, groups: Codes) -> float:
    """By how much grouping widens the variance of a mean, at least 1: so many rows tell as much as one that stands alone.

    Where nothing differs in any row, nothing says how alike the rows of a group are, and each group counts as one row.

    Source: Kish, *Survey Sampling* (1965), section 8.2.
    """
    rows, count = len(difference), int(groups.max()) + 1
    alone = float(difference.var())
    if alone == 0.0 or count < 2:
        return rows / count
    sums = sum_groups(difference - difference.mean(), groups)
    return max(1.0, count / (count - 1) * float(sums @ sums) / (rows * alone))


def decision_drop(difference: Floats, confidence: float, groups: Codes | None = None) -> Interval:
    """The mean of differences that are −1, 0 or 1, with the score interval for paired shares.

    Student's interval knows nothing of the rows that did not differ this time: with 300 rows and one flip it would prove a
    drop of 0.01 that is there in one case of six. The score interval asks which drops could have given such counts, so
    even no flip at all leaves room for some. At no drop it is McNemar's test. Rows in groups are counted for what they
    are worth (`design_effect`), and the doubt of a variance known from few groups is added as Student's quantile.

    Source: Tango, Statistics in Medicine 17 (1998), 891-908; effective counts: Rao & Scott, Biometrics 48 (1992), 577-585.

    Example:
        >>> decision_drop(np.zeros(1000), 0.95).high < 0.004 < decision_drop(np.zeros(1000), 0.95, np.arange(1000) // 10).high
        True
    """
    rows, losses, wins = len(difference), float(np.sum(difference > 0)), float(np.sum(difference < 0))
    z, effect = float(distributions.norm.ppf(0.5 + confidence / 2)), 1.0
    if groups is not None:
        effect = design_effect(difference, groups)
        z = float(distributions.t.ppf(0.5 + confidence / 2, max(1, int(groups.max()))))
    counted = losses / effect, wins / effect, rows / effect
    high, low = _largest_drop(*counted, z), -_largest_drop(counted[1], counted[0], counted[2], z)
    return Interval((losses - wins) / rows, low, high, rows, confidence)


def _largest_drop(losses: float, wins: float, rows: float, z: float) -> float:
    """The largest drop under which so few rows lost, and so many won, is not yet surprising."""

    def room(drop: float) -> float:
        linear = (2 * rows - losses + wins) * drop - losses - wins
        constant = wins * drop * (1.0 - drop)
        share_won = (np.sqrt(linear**2 + 8 * rows * constant) - linear) / (4 * rows)
        variance = rows * max(0.0, 2.0 * share_won + drop * (1.0 - drop))
        return float(losses - wins - rows * drop + z * np.sqrt(variance))

    seen = (losses - wins) / rows
    # a hair above what was seen: where nothing differed, what was seen is a root itself
    return float(brentq(room, seen + 1e-12, 1.0)) if seen < 1.0 - 1e-12 else 1.0


PLACE = 0.5
"""What a row's place is worth to the AUC: one that is thrown anywhere stands at one half on average, for all but 1 at best."""


def auc_drop(label: Floats, parent: Floats, child: Floats, confidence: float, groups: Codes | None = None) -> Interval:
    """How much ROC AUC a child has lost, with DeLong's interval for correlated curves; of groups, with that of their sums.

    It leaves room for rows of the rarer class that were not seen to lose their place (`leave_room`).

    Args:
        label: 0 or 1 a row.
        parent: the parent's scores.
        child: the child's, on the same rows.
        confidence: of the interval.
        groups: to which group each row belongs, or None.

    Source: DeLong et al., Biometrics 44 (1988), 837-845; clustered: Obuchowski, Biometrics 53 (1997), 567-578.
    """
    drop = lost(auc_difference(label, parent, child, confidence))
    if not math.isfinite(drop.high):
        return drop
    if groups is not None:
        influence = _auc_influence(label, parent) - _auc_influence(label, child)
        around = mean_drop(influence, confidence, groups)
        drop = replace(drop, low=drop.value + around.low - around.value, high=drop.value + around.high - around.value)
    positive = label > 0.5
    return leave_room(drop, min(count_units(positive, groups), count_units(~positive, groups)), PLACE)


def count_units(rows: NDArray[np.bool_], groups: Codes | None) -> int:
    """How many of some rows are witnesses of their own: all, or one for each group that has any."""
    return int(rows.sum()) if groups is None else len(np.unique(groups[rows]))


def _auc_influence(label: Floats, score: Floats) -> Floats:
    """What each row does to the AUC: how it is placed among the other class, less the AUC itself, by its class's weight."""
    positive = label > 0.5
    m, n = int(positive.sum()), int((~positive).sum())
    overall = distributions.rankdata(score)
    placed = np.empty(len(score))
    placed[positive] = (overall[positive] - distributions.rankdata(score[positive])) / n
    placed[~positive] = 1.0 - (overall[~positive] - distributions.rankdata(score[~positive])) / m
    area = placed[positive].mean()
    influence: Floats = (placed - area) * np.where(positive, (m + n) / m, (m + n) / n)
    return influence
