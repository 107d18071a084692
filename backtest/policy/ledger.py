"""A Ledger: what every rollout's replay needs of a recording, in one table of sums.

Who serves a request hangs on when it was asked and on where it falls in the split, on nothing else. So its rows are summed
once, by the look that first saw them, by how many looks their label took, and by the pieces into which the shares of the
policies cut the split; then a replay reads what was known as of any look from there, and costs the same for a million rows as for a
thousand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from windtunnel.backtest.estimate.periods import Periods
from windtunnel.errors import ConfigError, DataError
from windtunnel.loss import zero_one

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from windtunnel.backtest.rows import Rows
    from windtunnel.loss import Loss

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

MOST_CELLS = 20_000_000
"""A table of more cells than this (a gigabyte) is a slip of the unit, not a wish."""


class Sums(NamedTuple):
    """Of some requests: labels that stand, loss and wrong predictions by model, requests that only the candidate gets wrong.

    Arrays of one shape, those of the models with one axis before.
    """

    rows: Ints
    loss: Floats
    wrong: Ints
    harmed: Ints


@dataclass(frozen=True)
class Ledger:
    """One incumbent and one candidate on a recording, summed.

    Args:
        periods: the looks, and how long a label may take.
        edges: the pieces of the split, from 0 to 1, float64 [pieces + 1].
        asked: requests by the look that first saw them, int64 [looks, pieces]; those before the first look in its row.
        known: sums by that look and by how many looks had passed, [looks, waited, pieces]: labels as they stood then.
        alarm: whether there is a drift alarm as of each look, bool [looks].
    """

    periods: Periods
    edges: Floats
    asked: Ints
    known: Sums
    alarm: Flags

    @staticmethod
    def of(
        rows: Rows,
        split: Floats,
        loss: Loss,
        grid_us: Ints,
        horizon_s: float,
        shares: Iterable[float],
        *,
        candidate: int = 1,
        wrong_above: float = math.inf,
        alarm: Flags | None = None,
    ) -> Ledger:
        """Sum a recording.

        Args:
            rows: the requests and their labels' versions; the first model is the incumbent.
            split: where each row's key falls, float64 [n], see `split_of`.
            loss: of one prediction.
            grid_us: the looks, evenly spaced, int64 [looks].
            horizon_s: how long a label may take.
            shares: all that any policy will ever give the candidate, see `shares_of`.
            candidate: its place among the models.
            wrong_above: a prediction with a greater loss is wrong; not asked where the loss is binary, for there it is wrong
                on the wrong side of one half.
            alarm: drift alarms as of each look, bool [looks]; see `windtunnel.backtest.drift.watch`.

        Raises:
            ConfigError: looks that are not evenly spaced, or a table that would not fit.
            DataError: a split or alarms of another length, or labels or predictions that the loss cannot take.
        """
        periods = Periods.of(grid_us, round(horizon_s * 1e6))
        edges = np.unique(np.array([0.0, 1.0, *shares]))
        shape = periods.looks, periods.lags, len(edges) - 1
        alarm = np.zeros(periods.looks, dtype=np.bool_) if alarm is None else alarm
        _check(rows, split, alarm, periods, shape)
        seen, cell = periods.of_request(rows.time_us), np.searchsorted(edges[1:-1], split, side="right")
        within = (seen >= 0) & (seen < periods.looks)
        counted = within & rows.first if len(rows.first) else within
        asked = np.bincount(seen[counted] * shape[2] + cell[counted], minlength=shape[0] * shape[2])
        known = _known(rows, loss, periods, shape, (seen, cell, within), candidate, wrong_above)
        return Ledger(periods, edges, asked.reshape(shape[0], shape[2]), known, alarm)

    @property
    def looks(self) -> int:
        """How many there are."""
        return self.periods.looks

    def served(self, share: Floats) -> Flags:
        """Which pieces the candidate serves at shares by look, bool [looks, pieces].

        Raises:
            ConfigError: a share at which the split was not cut.
        """
        missing = share[~np.isin(share, self.edges)]
        if len(missing):
            raise ConfigError(
                "is a share at which this ledger was not cut", field="share", value=float(missing[0]),
                fix="give Ledger.of the shares of all policies",
            )  # fmt: skip
        return np.less_equal(self.edges[1:], share[:, None])

    def as_of(self, look: int, first: int = 0) -> Sums:
        """What was known as of a look of the requests that it and those before it first saw, [look + 1 − first, pieces]."""
        seen = np.arange(first, look + 1)
        waited = np.minimum(look - seen, self.periods.lags - 1)
        rows, loss, wrong, harmed = self.known
        return Sums(rows[seen, waited], loss[:, seen, waited], wrong[:, seen, waited], harmed[seen, waited])

    @property
    def true_difference(self) -> float:
        """Mean loss, candidate − incumbent, over all that the recording tells; NaN where it tells nothing."""
        final = self.as_of(self.looks - 1)
        rows = int(final.rows.sum())
        return float((final.loss[1] - final.loss[0]).sum()) / rows if rows else math.nan

    @property
    def reversed(self) -> Ledger:
        """The same recording with the models changed places: where one is a good candidate, the other is a bad one."""
        rows, loss, wrong, harmed = self.known
        swapped = Sums(rows, loss[::-1], wrong[::-1], harmed + wrong[0] - wrong[1])
        return replace(self, known=swapped)

    def looks_in(self, seconds: float) -> int:
        """How many looks a time takes, at least one, rounded up."""
        return max(1, math.ceil(seconds * 1e6 / self.periods.every_us - 1e-9))


def _check(rows: Rows, split: Floats, alarm: Flags, periods: Periods, shape: tuple[int, int, int]) -> None:
    if len(split) != len(rows):
        raise DataError("has another length than the rows", field="split", value=len(split), fix="split their own keys")
    if len(alarm) != periods.looks:
        raise DataError("has another length than the looks", field="alarm", value=len(alarm), fix="give one a look")
    if math.prod(shape) > MOST_CELLS:
        raise ConfigError(
            f"makes a table of {shape[0]:,} looks × {shape[1]:,} looks of waiting × {shape[2]} shares", field="every",
            value=periods.every_us / 1e6, fix="look less often: once a day suits a policy",
        )  # fmt: skip


def _known(
    rows: Rows,
    loss: Loss,
    periods: Periods,
    shape: tuple[int, int, int],
    where: tuple[Ints, Ints, Flags],
    candidate: int,
    wrong_above: float,
) -> Sums:
    """Add each version of a label where it comes to be known, and take it off where the next one does."""
    labelled = where[2] & ~np.isnan(rows.label) & periods.on_time(rows.time_us, rows.known_us)
    place, at = np.flatnonzero(labelled), _flat(rows.time_us, rows.known_us, labelled, periods, shape, where)
    sign = np.ones(len(place), dtype=np.int64)
    if len(rows.until_us):
        again = labelled & periods.on_time(rows.time_us, rows.until_us)
        place = np.concatenate([place, np.flatnonzero(again)])
        at = np.concatenate([at, _flat(rows.time_us, rows.until_us, again, periods, shape, where)])
        sign = np.concatenate([sign, np.full(int(again.sum()), -1)])
    losses, wrong = _losses(rows, loss, labelled, candidate, wrong_above)

    def count(weights: Floats) -> Floats:
        filled = np.bincount(at, weights * sign, minlength=math.prod(shape) + 1)[:-1]
        return np.cumsum(filled.reshape(shape), axis=1)

    def whole(flags: Flags) -> Ints:
        return count(flags[place].astype(np.float64)).astype(np.int64)

    return Sums(
        whole(np.ones(len(rows), dtype=np.bool_)),
        np.stack([count(each[place]) for each in losses]),
        np.stack([whole(each) for each in wrong]),
        whole(wrong[1] & ~wrong[0]),
    )


def _flat(
    time_us: Ints,
    known_us: Ints,
    chosen: Flags,
    periods: Periods,
    shape: tuple[int, int, int],
    where: tuple[Ints, Ints, Flags],
) -> Ints:
    """The cell of each chosen row; the one behind the last where the recording's looks end before its label."""
    seen, cell = where[0][chosen], where[1][chosen]
    waited = periods.waited(time_us[chosen], known_us[chosen])
    inside = (waited < shape[1]) & (seen + waited < shape[0])
    flat: Ints = np.where(inside, (seen * shape[1] + waited) * shape[2] + cell, math.prod(shape))
    return flat


def _losses(rows: Rows, loss: Loss, labelled: Flags, candidate: int, wrong_above: float) -> tuple[Floats, Flags]:
    """Loss, float64 [2, n], and whether the prediction is wrong, bool [2, n], of the incumbent and the candidate."""
    losses, wrong = np.zeros((2, len(rows))), np.zeros((2, len(rows)), dtype=np.bool_)
    label = rows.label[labelled]
    loss.check_labels(label)
    for place, model in enumerate((0, candidate)):
        prediction = rows.predictions[model]
        loss.check_predictions("incumbent" if place == 0 else "candidate", prediction, len(rows))
        each = loss.of(label, prediction[labelled])
        wrong[place, labelled] = zero_one(label, prediction[labelled]) == 1.0 if loss.binary else each > wrong_above
        losses[place, labelled] = each * rows.amount[labelled] if len(rows.amount) else each
    return losses, wrong
