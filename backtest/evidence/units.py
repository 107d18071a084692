"""Units that come back: whoever was assigned counts once, stands in one block, and is noticed where it was in both arms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ConfigError, DataError

from .arms import sides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Times = NDArray[np.int64]

NEVER = np.iinfo(np.int64).max

BLOCK_UNITS = 100
"""How many units make a block: enough for both arms to have some forty."""


@dataclass(frozen=True)
class Units:
    """Who was in which arm, since when. Those of two parts of a recording add up to those of the whole.

    A user's rows are assigned together, and are alike on every day on which the user comes back: so days of returning users
    are no independent blocks, however little one day tells of the next (what the users of one arm happen to be like is in
    all of them alike). Blocks of users, in the order in which they came, are.

    Args:
        names: of the arms, the control first.
        ids: of the units, each once, rising, [units].
        first_us: when each had its first row in each arm, microseconds, int64 [units, arms]; 2^63 − 1 where it had none.
    """

    names: tuple[str, str]
    ids: NDArray[Any]
    first_us: Times

    @staticmethod
    def of(names: tuple[str, str], ids: NDArray[Any], arm: Sequence[str] | NDArray[np.str_], time_us: Times) -> Units:
        """Find the units of rows, whether or not their outcome is known, in any order.

        Args:
            names: the control's, then the treatment's.
            ids: whose each row is, numbers or text [n].
            arm: of each row, one of the names, str [n].
            time_us: when it was asked, int64 [n].

        Raises:
            DataError: rows of another arm, or columns of different lengths.

        Example: unit 7 was in both arms.

            >>> units = Units.of(("a", "b"), np.array([7, 8, 7]), ["a", "b", "b"], np.array([1, 2, 3]))
            >>> units.ids.tolist(), units.crossed.tolist()
            ([7, 8], [True, False])
        """
        treated = sides(names, np.asarray(arm, dtype=np.str_))
        if not len(ids) == len(treated) == len(time_us):
            raise DataError("has another number of rows than its arm or time", field="unit", value=len(ids))
        return Units(names, *_first(ids, np.where(np.arange(2) == treated[:, None], time_us[:, None], NEVER)))

    def __add__(self, other: Units) -> Units:
        """The units of both parts, each once."""
        ids, first_us = np.concatenate([self.ids, other.ids]), np.concatenate([self.first_us, other.first_us])
        return Units(self.names, *_first(ids, first_us))

    @property
    def crossed(self) -> NDArray[np.bool_]:
        """Which units were in both arms, bool [units]."""
        both: NDArray[np.bool_] = np.less(self.first_us.max(axis=1, initial=0), NEVER)
        return both

    @cached_property
    def _came(self) -> Times:
        """When each unit came, int64 [units]."""
        came: Times = self.first_us.min(axis=1, initial=NEVER)
        return came

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """The units in the order in which they came."""
        return np.argsort(self._came, kind="stable")

    def assigned(self, size: int = BLOCK_UNITS) -> NDArray[np.int64]:
        """How many of each `size` consecutive units came to each arm first, int64 [blocks, arms]; to both at once: to none."""
        first = self.first_us[self._order]
        cell = np.arange(len(first)) // size * 2 + (first[:, 1] < first[:, 0])
        told = first[:, 0] != first[:, 1]
        return np.bincount(cell[told], minlength=-(-len(first) // size) * 2).reshape(-1, 2)

    def block_of(
        self, ids: NDArray[Any], time_us: Times, *, within_us: int, as_of_us: int, size: int = BLOCK_UNITS
    ) -> NDArray[np.int64]:
        """The block of each row; −1: the row does not count.

        Blocks are runs of `size` units in the order in which they came. A row counts where it was asked less than `within_us`
        after its unit came, the unit was in one arm only for so long, and all units of its block have been watched for as
        long: so no later row changes a block that was once there.

        Args:
            ids: whose each row is, [n].
            time_us: when it was asked, int64 [n].
            within_us: for how long a unit's rows count.
            as_of_us: the time of looking, less the horizon where outcomes are late.
            size: units in a block.

        Raises:
            ConfigError: a size or a time to watch that is not positive.
            DataError: a row of an unknown unit.

        Example:
            >>> who, time = np.array([7, 8, 7, 9]), np.array([1, 2, 9, 9])
            >>> units = Units.of(("a", "b"), who, ["a", "b", "a", "b"], time)
            >>> units.block_of(who, time, within_us=5, as_of_us=10, size=2).tolist()
            [0, 0, -1, -1]
        """
        for field, value in (("within", within_us), ("size", size)):
            if value < 1:
                raise ConfigError("is not positive", field=field, value=value, fix="give one above zero")
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        if len(ids) and (not len(self.ids) or (self.ids[place] != ids).any()):
            raise DataError(
                "has a row of a unit that was never assigned", field="unit", fix="make the units of all rows"
            )
        blocks = self._blocks(within_us, as_of_us, size)
        return np.where(time_us - self._came[place] < within_us, blocks[place], -1) if len(ids) else blocks[:0]

    def _blocks(self, within_us: int, as_of_us: int, size: int) -> NDArray[np.int64]:
        """The block of each unit, int64 [units]; −1 where it was in both arms within that time, or the block is not done."""
        pure = ~self.crossed | (self.first_us.max(axis=1, initial=0) - self._came >= within_us)
        order = self._order[pure[self._order]]
        whole = order[: len(order) // size * size].reshape(-1, size)
        done = as_of_us - self._came[whole[:, -1]] >= within_us
        blocks = np.full(len(self.ids), -1, dtype=np.int64)
        blocks[whole] = np.where(done, np.arange(len(whole)), -1)[:, None]
        return blocks


def _first(ids: NDArray[Any], first_us: Times) -> tuple[NDArray[Any], Times]:
    """Each unit once, with its first time in each arm."""
    distinct, place = np.unique(ids, return_inverse=True)
    earliest = np.full((len(distinct), 2), NEVER, dtype=np.int64)
    np.minimum.at(earliest, place, first_us)
    return distinct, earliest
