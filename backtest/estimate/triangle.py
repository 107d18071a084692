"""The reporting triangle: what was asked in each period, and how many looks later its labels came.

Everything that can be said of late labels at every look of a grid is in it, for a look sees just the cells whose period
and wait add up to no more than itself. Cells are sums over rows: shards add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, DataError

from .delay import survival

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .periods import Periods

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

MOST_CELLS = 50_000_000
"""More cells than that (400 MB) are refused."""


@dataclass(frozen=True)
class Triangle:
    """Requests and labels by stratum, period and wait in looks.

    Args:
        periods: the grid.
        asked: requests, float64 [strata, looks].
        matured: labels that first came after so many looks, float64 [strata, looks, lags]; only what a look has seen.
        losses: by model, the sum of the losses of those labels, float64 [strata, looks, lags]; a correction adds the
            difference that it makes, at its own wait.
        squares: by model, the sum of their squares, likewise.
        limits: by model, the sums of the least and of the greatest loss that a label could make: over the requests,
            float64 [2, strata, looks], and over the labels that came, float64 [2, strata, looks, lags].
    """

    periods: Periods
    asked: Floats
    matured: Floats
    losses: dict[str, Floats]
    squares: dict[str, Floats]
    limits: dict[str, tuple[Floats, Floats]]

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

        Raises:
            ConfigError: a table too large to keep.
            DataError: a stratum out of range.
        """
        shape = (number_of_strata, periods.looks, periods.lags)
        _check(shape, strata)
        placed = _Placed.of(time_us, known_us, until_us, periods, np.zeros_like(time_us) if strata is None else strata)
        counted = np.ones(len(time_us)) if first is None else first.astype(np.float64)
        return Triangle(
            periods,
            placed.asked(counted, shape),
            placed.matured(np.ones(len(time_us)), shape),
            {name: placed.matured(values, shape) for name, values in losses.items()},
            {name: placed.matured(values**2, shape) for name, values in losses.items()},
            {
                name: (
                    np.stack([placed.asked(counted * end, shape) for end in ends]),
                    np.stack([placed.matured(end, shape) for end in ends]),
                )
                for name, ends in (limits or {}).items()
            },
        )

    def __add__(self, other: Triangle) -> Triangle:
        """Two shards of the same grid together."""
        return Triangle(
            self.periods,
            self.asked + other.asked,
            self.matured + other.matured,
            {name: cells + other.losses[name] for name, cells in self.losses.items()},
            {name: cells + other.squares[name] for name, cells in self.squares.items()},
            {
                name: (asked + other.limits[name][0], matured + other.limits[name][1])
                for name, (asked, matured) in self.limits.items()
            },
        )

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
    def of(time_us: Times, known_us: Times, until_us: Times | None, periods: Periods, strata: Times) -> _Placed:
        period = periods.of_request(time_us)
        request = np.where(period < periods.looks, strata * periods.looks + period, -1)

        def cell(moment_us: Times) -> Times:
            lag = periods.waited(time_us, moment_us)
            seen = periods.on_time(time_us, moment_us) & (period + lag < periods.looks)
            return np.where(seen, request * periods.lags + lag, -1)

        return _Placed(request, cell(known_us), None if until_us is None else cell(until_us))

    def asked(self, values: Floats, shape: tuple[int, int, int]) -> Floats:
        return _sums(self.request, values, shape[0] * shape[1]).reshape(shape[:2])

    def matured(self, values: Floats, shape: tuple[int, int, int]) -> Floats:
        """The sums over the cells, a superseded version taken out again where its successor was seen."""
        size = shape[0] * shape[1] * shape[2]
        cells = _sums(self.seen, values, size)
        if self.superseded is not None:
            cells = cells - _sums(np.where(self.seen >= 0, self.superseded, -1), values, size)
        return cells.reshape(shape)


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


def _sums(cell: Times, values: Floats, size: int) -> Floats:
    kept = cell >= 0
    return np.bincount(cell[kept], weights=values[kept], minlength=size).astype(np.float64, copy=False)


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
