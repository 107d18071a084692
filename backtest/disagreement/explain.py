"""Where two models part, from logged answers alone: a small tree that says so in rules, and how far it can be believed.

No model is asked. The tree learns how far the answers lie apart from the earlier rows, and is held against the later
ones: a rule that only fits the rows it was made of explains nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sklearn.tree import DecisionTreeRegressor

from windtunnel.backtest.kernel import DAY_US
from windtunnel.backtest.slices import Cut
from windtunnel.errors import ConfigError, DataError
from windtunnel.quantity import format_figure
from windtunnel.stats import mean_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    _Way = tuple[tuple[int, float, bool, bool], ...]
    # splits: the column, its threshold, whether what is missing goes left, and whether the way does

DEPTH = 3
"""Eight rules at most: more are not read."""

LEAST_LEAF = 0.01
"""A rule speaks of at least so large a share of the rows it was learnt from."""

LEARNT = 0.7
"""The tree is learnt from so large a share of the rows, the earliest."""


@dataclass(frozen=True)
class Rule:
    """One leaf of the tree, as the later rows have it.

    Args:
        conditions: that a row meets to fall into it.
        rows: later rows that do.
        share: of all later rows.
        apart: how far the answers lie apart there, on average; NaN without rows.
        learnt: how far they did in the rows it was learnt from.
    """

    conditions: tuple[str, ...]
    rows: int
    share: float
    apart: float
    learnt: float

    def to_dict(self) -> dict[str, Any]:
        """The rule as JSON values."""
        apart = None if math.isnan(self.apart) else self.apart
        return {
            "conditions": list(self.conditions),
            "rows": self.rows,
            "share": self.share,
            "apart": apart,
            "apart_learnt": self.learnt,
        }


@dataclass(frozen=True)
class Explanation:
    """What logged features tell of where two models part.

    Args:
        fidelity: the share of the variance of their distance that the tree explains on later rows, at most 1; below zero it does
            worse than their mean.
        low: lower end of its 95% interval, over days.
        high: upper end.
        rows: later rows it was held against.
        mean: how far the answers lie apart on average on them.
        rules: the leaves, those where they part most first.
        importance: by feature, how much of the fidelity is lost where the feature is hidden; the greatest first, none that is zero.
    """

    fidelity: float
    low: float
    high: float
    rows: int
    mean: float
    rules: tuple[Rule, ...]
    importance: tuple[tuple[str, float], ...]

    @property
    def trusted(self) -> bool:
        """Whether it is shown to explain anything at all."""
        return self.low > 0.0

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON values."""
        return {
            "fidelity": self.fidelity,
            "fidelity_low": self.low if math.isfinite(self.low) else None,
            "fidelity_high": self.high if math.isfinite(self.high) else None,
            "trusted": self.trusted, "rows": self.rows, "apart": self.mean,
            "rules": [each.to_dict() for each in self.rules],
            "importance": [{"feature": name, "fidelity_lost": lost} for name, lost in self.importance],
        }  # fmt: skip


def explain_difference(
    features: pl.DataFrame, incumbent: Floats, candidate: Floats, time_us: Ints, rng: np.random.Generator, *,
    columns: Sequence[str] | None = None, depth: int = DEPTH, learnt: float = LEARNT,
) -> Explanation:  # fmt: skip
    """Explain how far two models' answers lie apart by what was logged of each request.

    Args:
        features: as known when each request was asked, [n, columns].
        incumbent: its logged answers, float64 [n].
        candidate: likewise.
        time_us: when each was asked, int64 [n].
        rng: of this question alone; it draws which rows lend values when a feature is hidden.
        columns: to explain by; None: all numbers, texts and flags.
        depth: of the tree.
        learnt: the share of rows it is learnt from, the earliest.

    Raises:
        ConfigError: a share or depth that is none.
        DataError: answers that are everywhere the same distance apart, too few rows, or no column to explain by.

    Example: they part where `km` is large.

        >>> rng = np.random.default_rng(0)
        >>> km, time = rng.uniform(0.0, 100.0, size=4000), np.arange(4000) * (DAY_US // 100)
        >>> base = rng.random(4000) / 2
        >>> told = explain_difference(pl.DataFrame({"km": km}), base, base + 0.2 * (km > 70), time, rng)
        >>> round(told.fidelity, 2), told.trusted, told.rules[0].conditions, [name for name, _ in told.importance]
        (1.0, True, ('km > 70',), ['km'])
    """
    _check(learnt, depth)
    apart = np.abs(candidate - incumbent)
    early, late = _parted(time_us, learnt)
    if not len(early) or not len(late) or np.ptp(apart[early]) == 0.0 or np.ptp(apart[late]) == 0.0:
        raise DataError(
            "lie everywhere the same distance apart, or there are too few: there is nothing to explain", field="predictions",
            fix="take a longer recording",
        )  # fmt: skip
    names = list(columns) if columns is not None else [each.name for each in features if _can_be_used(each)]
    encoded = [_Encoded.of(features[name], early) for name in names]
    if not encoded:
        raise DataError("has no column of numbers, texts or flags", field="features", fix="log what the models are fed")
    matrix = np.column_stack([each.matrix for each in encoded])
    tree = DecisionTreeRegressor(
        max_depth=depth, min_samples_leaf=max(1, math.ceil(LEAST_LEAF * len(early))), random_state=0
    ).fit(matrix[early], apart[early])
    held = _Held(tree, matrix[late], apart[late], time_us[late] // DAY_US, encoded)
    fidelity, low, high = held.fidelity(float(apart[early].mean()))
    return Explanation(
        fidelity, low, high, len(late), float(apart[late].mean()), held.rules(), held.importance(rng)
    )  # fmt: skip


def _check(learnt: float, depth: int) -> None:
    if not 0.0 < learnt < 1.0:
        raise ConfigError("must lie between 0 and 1", field="learnt", value=learnt, fix="write 0.7")
    if depth < 1:
        raise ConfigError("must be 1 or more", field="depth", value=depth, fix="write 3")


def _parted(time_us: Ints, learnt: float) -> tuple[Ints, Ints]:
    """The earlier rows and the later, cut at a day so that no day lies on both sides."""
    order = np.argsort(time_us, kind="stable")
    if not len(order):
        return order, order
    day = time_us[order] // DAY_US
    cut = np.searchsorted(day, day[min(len(day) - 1, round(learnt * len(day)))])
    return order[:cut], order[cut:]


def _can_be_used(values: pl.Series) -> bool:
    return values.dtype.is_numeric() or values.dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum)


@dataclass(frozen=True)
class _Encoded:
    """One column as the tree takes it: the numbers themselves, or one flag for each value it may have.

    Args:
        name: of the column.
        levels: of a text, the value that each of its flags stands for; empty for numbers.
        matrix: float64 [n, flags], or [n, 1] with NaN for a missing number.
    """

    name: str
    levels: tuple[str, ...]
    matrix: Floats

    @staticmethod
    def of(values: pl.Series, early: Ints) -> _Encoded:
        if values.dtype.is_numeric():
            numbers = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
            return _Encoded(values.name, (), numbers[:, None])
        reference = np.zeros(len(values), dtype=np.bool_)
        reference[early] = True
        cut = Cut.of(values, reference)
        return _Encoded(values.name, cut.names, (cut.codes[:, None] == np.arange(len(cut.names))).astype(np.float64))


@dataclass(frozen=True)
class _Held:
    """The tree before the later rows."""

    tree: Any
    matrix: Floats
    apart: Floats
    day: Ints
    encoded: list[_Encoded]

    def fidelity(self, guess: float) -> tuple[float, float, float]:
        """1 − the squared error of the tree over that of the earlier mean; its interval from days, by linearization."""
        error = (self.apart - self.tree.predict(self.matrix)) ** 2
        plain = (self.apart - guess) ** 2
        share = float(error.sum() / plain.sum())
        days = np.unique(self.day, return_inverse=True)[1]
        left = np.bincount(days, error - share * plain)  # sums to zero; its spread is that of the ratio
        found = mean_interval(left * len(left) / float(plain.sum()))
        return 1.0 - share, 1.0 - share - (found.high - found.value), 1.0 - share + (found.high - found.value)

    def rules(self) -> tuple[Rule, ...]:
        """The leaves, as the later rows fall into them."""
        leaf = self.tree.apply(self.matrix)
        told = []
        for node, conditions in _walk(self.tree.tree_, _columns(self.encoded)):
            inside = leaf == node
            apart = float(self.apart[inside].mean()) if inside.any() else math.nan
            learnt = float(self.tree.tree_.value[node, 0, 0])
            told.append(Rule(conditions, int(inside.sum()), float(inside.mean()), apart, learnt))
        return tuple(sorted(told, key=lambda each: -each.learnt))

    def importance(self, rng: np.random.Generator) -> tuple[tuple[str, float], ...]:
        """How much more of the variance is missed where all that is told of a feature is that of another row."""
        spread = float(((self.apart - self.apart.mean()) ** 2).sum())
        missed = float(((self.apart - self.tree.predict(self.matrix)) ** 2).sum())
        used = _columns(self.encoded)
        split = {used[place][0] for place in self.tree.tree_.feature if place >= 0}
        lost, first = [], 0
        for each in self.encoded:
            width = each.matrix.shape[1]
            if each.name in split:
                hidden = self.matrix.copy()
                hidden[:, first : first + width] = hidden[rng.permutation(len(hidden)), first : first + width]
                worse = float(((self.apart - self.tree.predict(hidden)) ** 2).sum())
                lost.append((each.name, (worse - missed) / spread))
            first += width
        return tuple(sorted(lost, key=lambda pair: (-pair[1], pair[0])))


def _columns(encoded: list[_Encoded]) -> list[tuple[str, str | None, bool]]:
    """For each column of the matrix: the feature, the value where it is a flag, and whether it has gaps."""
    return [
        (each.name, level, bool(np.isnan(each.matrix).any())) for each in encoded for level in (each.levels or (None,))
    ]


def _walk(tree: Any, columns: list[tuple[str, str | None, bool]]) -> list[tuple[int, tuple[str, ...]]]:
    """The leaves, each with the conditions on the way to it; a number that is bounded twice is told once."""
    leaves: list[tuple[int, tuple[str, ...]]] = []
    waiting: list[tuple[int, _Way]] = [(0, ())]
    while waiting:
        node, way = waiting.pop()
        if tree.children_left[node] < 0:
            leaves.append((node, _told(way, columns)))
            continue
        split = int(tree.feature[node]), float(tree.threshold[node]), bool(tree.missing_go_to_left[node])
        waiting.append((int(tree.children_left[node]), (*way, (*split, True))))
        waiting.append((int(tree.children_right[node]), (*way, (*split, False))))
    return leaves


def _told(way: _Way, columns: list[tuple[str, str | None, bool]]) -> tuple[str, ...]:
    last: dict[tuple[int, bool], str] = {}
    for place, threshold, missing_left, left in way:
        name, level, gaps = columns[place]
        if level is not None:
            last[place, left] = f"{name} {'≠' if left else '='} {level}"
        elif math.isinf(threshold):  # scikit-learn's way to part the known from the missing
            last[place, left] = f"{name} is {'known' if left else 'missing'}"
        else:
            figure = ("-" if threshold < 0 else "") + format_figure(abs(threshold))
            with_missing = " or missing" if gaps and missing_left == left else ""
            last[place, left] = f"{name} {'≤' if left else '>'} {figure}{with_missing}"
    return tuple(last.values())
