"""Two arms of a recording, added up day by day: all that their comparison needs, however many rows there were."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_ROWS = 50
"""Before so many rows were seen the covariate's slope is zero: a slope of a handful adds noise."""

LEAST_POWER = 1e-10
"""Of a covariate's square, what must be left about its mean: less (a deviation of 1/100,000 of the mean) is lost to rounding."""


@dataclass(frozen=True)
class Arms:
    """Sums over the rows of each day and arm. Those of two parts of a recording add up to those of the whole.

    Args:
        names: of the arms, the control first.
        sums: float64 [days, arms, 5]: rows, values, covariates, covariate × value, covariate².
    """

    names: tuple[str, str]
    sums: Floats

    @staticmethod
    def of(
        names: tuple[str, str],
        arm: Sequence[str] | NDArray[np.str_],
        day: NDArray[np.int64],
        value: Floats,
        covariate: Floats | None = None,
        *,
        days: int | None = None,
    ) -> Arms:
        """Add up the rows whose outcome counts.

        Args:
            names: the control's, then the treatment's.
            arm: of each row, one of the names, str [n].
            day: from 0, int64 [n]: of the request where each is assigned by itself; the block of its unit where units come
                back (`Units.block_of`), for their days are not independent.
            value: any loss or outcome a row, float64 [n].
            covariate: known of each row before the test began, float64 [n]; None: there is none.
            days: how many there are; those up to the last with a row where None.

        Raises:
            DataError: rows of another arm, columns of different lengths, a day out of range, or values that are not finite.

        Example:
            >>> both = Arms.of(("a", "b"), ["a", "b", "b"], np.array([0, 0, 1]), np.array([1.0, 2.0, 4.0]))
            >>> both.sums[:, :, 0].tolist(), both.differences().tolist()
            ([[1.0, 1.0], [0.0, 1.0]], [1.0, nan])
        """
        treated = sides(names, np.asarray(arm, dtype=np.str_))
        known = np.zeros(len(value)) if covariate is None else covariate
        if not len(treated) == len(day) == len(value) == len(known):
            raise DataError(
                "has another number of rows than its day, value or covariate", field="arm", value=len(treated)
            )
        for field, column in (("value", value), ("covariate", known)):
            if not np.isfinite(column).all():
                raise DataError(
                    "is not finite in some rows", field=field, fix="leave those rows out of both arms, or fill them in"
                )
        many = int(day.max(initial=-1)) + 1 if days is None else days
        if len(day) and not 0 <= day.min() <= day.max() < many:
            wrong = day.min() if day.min() < 0 else day.max()
            raise DataError(
                "is out of range", field="day", value=int(wrong), fix="number days from 0, and leave out the rest"
            )
        cell = day * 2 + treated
        columns = (np.ones(len(value)), value, known, known * value, known**2)
        sums = np.empty((many * 2, len(columns)))
        for at, column in enumerate(columns):
            sums[:, at] = np.bincount(cell, weights=column, minlength=many * 2)
        return Arms(names, sums.reshape(many, 2, len(columns)))

    def __add__(self, other: Arms) -> Arms:
        """The sums of both, of the same days and arms."""
        return Arms(self.names, self.sums + other.sums)

    @property
    def rows(self) -> NDArray[np.int64]:
        """How many rows each day and arm has, int64 [days, arms]."""
        return self.sums[:, :, 0].astype(np.int64)

    @cached_property
    def slopes(self) -> Floats:
        """How much of a covariate shows in the value, as it was known before each day, float64 [days].

        Fitted within days and arms, over the days before: so it depends on nothing that it is used on, and a difference
        made smaller by it is still a difference of the arms, no more and no less (Deng, Xu, Kohavi & Walker, *Improving the
        sensitivity of online controlled experiments by utilizing pre-experiment data*, WSDM 2013).
        """
        n, y, x, xy, xx = np.moveaxis(self.sums, -1, 0)
        safe = np.maximum(n, 1.0)
        within = (xy - x * y / safe, xx - x * x / safe, n, xx)
        shared, power, rows, squares = (np.append(0.0, np.cumsum(each.sum(axis=1))[:-1]) for each in within)
        slope = np.zeros(len(shared))
        np.divide(shared, power, out=slope, where=(rows >= LEAST_ROWS) & (power > LEAST_POWER * squares))
        return slope

    def differences(self, *, adjusted: bool = False) -> Floats:
        """Mean of the treatment minus mean of the control, day by day, float64 [days]; NaN where an arm has no row.

        Args:
            adjusted: less what the arms' covariates explain of it (CUPED).
        """
        n, y, x, _, _ = np.moveaxis(self.sums, -1, 0)
        kept = y - self.slopes[:, None] * x if adjusted else y
        means = np.full(n.shape, np.nan)
        np.divide(kept, n, out=means, where=n > 0.0)
        apart: Floats = means[:, 1] - means[:, 0]
        return apart


def sides(names: tuple[str, str], arm: NDArray[np.str_]) -> NDArray[np.int64]:
    """0 for the control's rows, 1 for the treatment's, int64 [n].

    Raises:
        DataError: a row of neither, or one arm that is both.
    """
    if names[0] == names[1]:
        raise DataError("is both arms: an arm cannot be compared with itself", field="arm", value=names[0])
    treated = np.asarray(arm == names[1])
    others = ~treated & (arm != names[0])
    if others.any():
        raise DataError(
            "is neither of the two arms compared",
            field="arm",
            value=str(arm[others][0]),
            fix=f"leave its rows out, or compare it by name instead of `{names[0]}` or `{names[1]}`",
        )
    return treated.astype(np.int64)
