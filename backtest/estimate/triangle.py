"""The reporting triangle: what was asked in each period, and how many looks later its labels came.

Everything that can be said of late labels at every look of a grid is in it, for a look sees just the cells whose period
and wait add up to no more than itself. Cells are exact sums over rows: shards add up, to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.backtest.exact import binned, carried, nearest
from windtunnel.errors import ConfigError, DataError

from .delay import survival

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .periods import Periods

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Times = NDArray[np.int64]

MOST_CELLS = 5_000_000
"""More cells than that (half a gigabyte a sum) are refused."""


@dataclass(frozen=True)
class Triangle:
    """Requests and labels by stratum, period and wait in looks.

    Args:
        periods: the grid.
        asked: requests, float64 [strata, looks].
        matured: labels that first came after so many looks, float64 [strata, looks, lags]; only what a look has seen.
        exact_losses: see `losses`; int64 [strata, looks, lags, LIMBS].
        exact_squares: see `squares`.
        exact_limits: see `limits`; int64 [2, strata, looks, LIMBS] and [2, strata, looks, lags, LIMBS].
        start: the first period that the arrays have room for; all of the grid but where a shard was made `compact`.
    """

    periods: Periods
    asked: Floats
    matured: Floats
    exact_losses: dict[str, Ints]
    exact_squares: dict[str, Ints]
    exact_limits: dict[str, tuple[Ints, Ints]]
    start: int = 0

    @staticmethod
    def of(
        time_us: Times,
        known_us: Times,
        *,
        periods: Periods,
        losses: Mapping[str, Floats],
        limits: Mapping[str, tuple[Floats, Floats]] | None = None,
        strata: NDArray[np.int64] | None = None,
        number_of_strata: int = 1,
        until_us: Times | None = None,
        first: NDArray[np.bool_] | None = None,
        compact: bool = False,
    ) -> Triangle:
        """Count canonical rows, one a request and version of its label, in any order.

        Args:
            time_us: when it was asked, int64 [n].
            known_us: when this version of the label could first be known, int64 [n]; 2^63 − 1 where never.
            periods: the grid.
            losses: by model, the loss of this version, float64 [n]; whatever where no label came.
            limits: by model, the least and the greatest loss that any label could make on this row, float64 [n] each.
            strata: what may decide how long a label takes and is known when it is asked, int64 [n] from 0.
            number_of_strata: how many there are, in all shards alike.
            until_us: when the next version was known, int64 [n]; None: nothing was corrected.
            first: whether the row counts the request as asked, bool [n]; None: all do.
            compact: whether to make room only for the periods that the rows lie in; see `whole`.

        Raises:
            ConfigError: a table too large to keep.
            DataError: a stratum out of range, or a loss that cannot be summed.
        """
        start, end = _touched(time_us, periods) if compact else (0, periods.looks)
        shape = (number_of_strata, end - start, periods.lags)
        _check(shape, strata)
        strata = np.zeros_like(time_us) if strata is None else strata
        placed = _Placed.of(time_us, known_us, until_us, periods, strata, start, end)
        request = placed.request if first is None else np.where(first, placed.request, -1)
        return Triangle(
            periods,
            _counts(request, shape[:2]),
            placed.labels(shape),
            {name: placed.matured(values, shape) for name, values in losses.items()},
            {name: placed.matured(values**2, shape) for name, values in losses.items()},
            {
                name: (
                    np.stack([binned(request, end, shape[0] * shape[1]).reshape(*shape[:2], -1) for end in ends]),
                    np.stack([placed.matured(end, shape) for end in ends]),
                )
                for name, ends in (limits or {}).items()
            },
            start,
        )

    def __add__(self, other: Triangle) -> Triangle:
        """Two shards of the same grid together."""
        start = min(self.start, other.start)
        end = max(self.start + self.asked.shape[1], other.start + other.asked.shape[1])
        a, b = self._over(start, end), other._over(start, end)
        return Triangle(
            a.periods,
            a.asked + b.asked,
            a.matured + b.matured,
            {name: carried(cells + b.exact_losses[name]) for name, cells in a.exact_losses.items()},
            {name: carried(cells + b.exact_squares[name]) for name, cells in a.exact_squares.items()},
            {
                name: (carried(asked + b.exact_limits[name][0]), carried(matured + b.exact_limits[name][1]))
                for name, (asked, matured) in a.exact_limits.items()
            },
            start,
        )

    def whole(self) -> Triangle:
        """The same with room for all periods of the grid."""
        return self._over(0, self.periods.looks)

    def _over(self, start: int, end: int) -> Triangle:
        """The same with room for the periods from one to another, beyond all that there are."""
        before, after = self.start - start, end - self.start - self.asked.shape[1]
        if not (before or after):
            return self

        def over(cells: NDArray[np.float64], axis: int = 1) -> NDArray[np.float64]:
            return np.pad(cells, [(before, after) if place == axis else (0, 0) for place in range(cells.ndim)])

        def exact(cells: Ints, axis: int = 1) -> Ints:
            return np.pad(cells, [(before, after) if place == axis else (0, 0) for place in range(cells.ndim)])

        return replace(
            self, asked=over(self.asked), matured=over(self.matured), start=start,
            exact_losses={name: exact(cells) for name, cells in self.exact_losses.items()},
            exact_squares={name: exact(cells) for name, cells in self.exact_squares.items()},
            exact_limits={name: (exact(asked, 2), exact(came, 2)) for name, (asked, came) in self.exact_limits.items()},
        )  # fmt: skip

    @cached_property
    def losses(self) -> dict[str, Floats]:
        """By model, the sum of the losses of the labels, float64 [strata, looks, lags]; a correction adds the difference that it makes, at its own wait."""
        return {name: nearest(cells) for name, cells in self.exact_losses.items()}

    @cached_property
    def squares(self) -> dict[str, Floats]:
        """By model, the sum of their squares, likewise."""
        return {name: nearest(cells) for name, cells in self.exact_squares.items()}

    @cached_property
    def limits(self) -> dict[str, tuple[Floats, Floats]]:
        """By model, the sums of the least and of the greatest loss that a label could make: over the requests, float64 [2, strata, looks], and over the labels that came, float64 [2, strata, looks, lags]."""
        return {name: (nearest(asked), nearest(came)) for name, (asked, came) in self.exact_limits.items()}

    def waiting(self, confidence: float = 0.95) -> tuple[Floats, Floats, Floats]:
        """Kaplan–Meier at every look: the share still waited for after so many looks, with its pointwise bounds.

        Returns:
            The share, its lower and its upper bound, float64 [strata, looks, lags] each; after more looks than any
            request was watched for, the share stays what it last was.

        Example: two requests a look; one label comes at once, the other a look later, the last one not yet.

            >>> from windtunnel.backtest.estimate import Periods
            >>> periods = Periods.of(np.array([10, 20]), 10)
            >>> triangle = Triangle.of(
            ...     np.array([1, 5, 11, 12]), np.array([3, 14, 15, 21]), periods=periods, losses={})
            >>> triangle.waiting()[0][0].tolist()
            [[0.5, 0.5], [0.5, 0.0]]
        """
        came_before = np.cumsum(self.matured, axis=-1) - self.matured
        at_risk = as_of(self.asked[..., None] - came_before)
        return survival(as_of(self.matured), at_risk, confidence)


@dataclass(frozen=True)
class _Placed:
    """The cell of each row.

    Args:
        request: of the request, int64 [n], strata × looks; −1 where it is asked after the last look.
        seen: of the label, int64 [n]; −1 where no look has seen it.
        superseded: of the version that takes its place, likewise.
    """

    request: Times
    seen: Times
    superseded: Times | None

    @staticmethod
    def of(
        time_us: Times, known_us: Times, until_us: Times | None, periods: Periods, strata: Times, start: int, end: int
    ) -> _Placed:
        period = periods.of_request(time_us)
        request = np.where(period < periods.looks, strata * (end - start) + period - start, -1)

        def cell(moment_us: Times) -> Times:
            lag = periods.waited(time_us, moment_us)
            seen = periods.on_time(time_us, moment_us) & (period + lag < periods.looks)
            return np.where(seen, request * periods.lags + lag, -1)

        return _Placed(request, cell(known_us), None if until_us is None else cell(until_us))

    def labels(self, shape: tuple[int, int, int]) -> Floats:
        """How many labels first came in each cell."""
        counts = _counts(self.seen, shape)
        if self.superseded is not None:
            counts = counts - _counts(np.where(self.seen >= 0, self.superseded, -1), shape)
        return counts

    def matured(self, values: Floats, shape: tuple[int, int, int]) -> Ints:
        """The sums over the cells, a superseded version taken out again where its successor was seen."""
        size = shape[0] * shape[1] * shape[2]
        cells = binned(self.seen, values, size)
        if self.superseded is not None:
            cells = carried(cells - binned(np.where(self.seen >= 0, self.superseded, -1), values, size))
        return cells.reshape(*shape, -1)


def _touched(time_us: Times, periods: Periods) -> tuple[int, int]:
    """The first of the grid's periods that requests lie in, and the one after the last; at least one."""
    first, last = (int(periods.of_request(np.array([each]))[0]) for each in (time_us.min(), time_us.max()))
    start = min(first, periods.looks - 1)
    return start, max(start, min(last, periods.looks - 1)) + 1


def as_of(cells: Floats) -> Floats:
    """What each look has seen of each wait, float64 [..., looks, lags]: periods that had so many looks, summed.

    Example:
        >>> as_of(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[1.0, 0.0], [4.0, 2.0]]
    """
    total = np.cumsum(cells, axis=-2)
    looks, lags = cells.shape[-2:]
    shown = np.zeros_like(total)
    for lag in range(min(lags, looks)):
        shown[..., lag:, lag] = total[..., : looks - lag, lag]
    return shown


def _counts(cell: Times, shape: tuple[int, ...]) -> Floats:
    return np.bincount(cell[cell >= 0], minlength=math.prod(shape)).astype(np.float64).reshape(shape)


def _check(shape: tuple[int, int, int], strata: NDArray[np.int64] | None) -> None:
    cells = shape[0] * shape[1] * shape[2]
    if cells > MOST_CELLS:
        raise ConfigError(
            f"makes {cells:,} cells of strata × looks × waits",
            field="every",
            fix="look less often, or use fewer strata",
        )
    if strata is not None and len(strata) and (strata.min() < 0 or strata.max() >= shape[0]):
        raise DataError("is out of range", field="strata", value=int(strata.max()), fix="number them from 0")
