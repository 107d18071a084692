"""A parent's and a child's answers to the same rows, beside what turned out true."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.seeds import Seeds

from .bootstrap import BLOCKS, RESAMPLES, Statistic, paired_bootstrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.stats import Interval

    Array = NDArray[Any]


@dataclass(frozen=True)
class Pair:
    """What a comparison looks at.

    Args:
        label: what turned out true, float64 `[rows]`, or None.
        parent: the parent's answers, rows on axis 0.
        child: the child's, of the same shape.
        groups: to which group each row belongs, int64 `[rows]`; rows of one group are no independent witnesses. None where
            all are.
        seed: of resampling.
        resamples: how often rows are drawn anew where an interval is bootstrapped.
    """

    label: NDArray[np.float64] | None
    parent: Array
    child: Array
    groups: NDArray[np.int64] | None = None
    seed: int = 1
    resamples: int = RESAMPLES

    @property
    def rows(self) -> int:
        """How many rows both have answered."""
        return len(self.parent)

    @property
    def truth(self) -> NDArray[np.float64]:
        """The labels, which the metric has been checked to have."""
        assert self.label is not None
        return self.label

    def take(self, rows: NDArray[np.bool_]) -> Pair:
        """The same comparison on some of the rows."""
        label = None if self.label is None else self.label[rows]
        groups = None if self.groups is None else np.unique(self.groups[rows], return_inverse=True)[1]
        return replace(self, label=label, parent=self.parent[rows], child=self.child[rows], groups=groups)


def resample_drop(
    pair: Pair, statistic: Statistic, confidence: float, resamples: int | None = None, blocks: int = BLOCKS
) -> Interval:
    """The bootstrap interval of a statistic of weighted rows; whole groups are drawn where rows come in groups.

    Args:
        pair: what is compared.
        statistic: takes a weight a row, `[resamples, rows]`.
        confidence: of the interval.
        resamples: how many; as the pair says where None.
        blocks: see `paired_bootstrap`.
    """
    rng, groups, count = Seeds(pair.seed).stream("bootstrap"), pair.groups, resamples or pair.resamples
    if groups is None:
        return paired_bootstrap(statistic, pair.rows, confidence, rng, resamples=count, blocks=blocks)
    units = int(groups.max()) + 1
    drop = paired_bootstrap(
        lambda drawn: statistic(drawn[:, groups]), units, confidence, rng, resamples=count, blocks=blocks
    )
    return replace(drop, samples=pair.rows)
