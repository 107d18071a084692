"""Periods: requests in the look that first saw them asked, and labels in the number of looks that they took.

Counted in looks, no row is ever cut short in the middle of a count: as of look g, every request that was first seen at
look c has been watched for exactly g − c looks. So what was known at every look of a grid comes from one table of whole
numbers, and adding rows to it in any order gives the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Times = NDArray[np.int64]

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Periods:
    """A regular grid of looks and how long a label may take.

    Args:
        first_us: the first look, microseconds.
        every_us: from one look to the next.
        looks: how many there are.
        horizon_us: how long a label may take.

    Example: looks at 10, 20 and 30. The request at 10 is not asked as of 10; its label at 20 is known as of 20.

        >>> periods = Periods.of(np.array([10, 20, 30]), horizon_us=15)
        >>> asked = periods.of_request(np.array([3, 10, 19]))
        >>> asked.tolist(), periods.waited(np.array([3, 10, 19]), np.array([4, 20, 31])).tolist(), periods.settle
        ([0, 1, 1], [0, 0, 2], 2)
    """

    first_us: int
    every_us: int
    looks: int
    horizon_us: int

    @staticmethod
    def of(grid_us: Times, horizon_us: int) -> Periods:
        """Take the step out of a grid.

        Raises:
            ConfigError: fewer than two looks, looks that are not evenly spaced, or a horizon that is not positive.
        """
        steps = np.diff(grid_us)
        if len(steps) == 0 or steps[0] <= 0 or (steps != steps[0]).any():
            raise ConfigError(
                "must be at least two evenly spaced looks", field="every", fix="look at whole days or hours"
            )
        if horizon_us <= 0:
            raise ConfigError("is not positive", field="horizon", value=horizon_us, fix="say how long a label may take")
        return Periods(int(grid_us[0]), int(steps[0]), len(grid_us), int(horizon_us))

    @property
    def settle(self) -> int:
        """After how many more looks the fate of each request of a period is known: it matured or it expired."""
        return -(-self.horizon_us // self.every_us)

    @property
    def lags(self) -> int:
        """How many different numbers of looks a label that counts can take."""
        return self.settle + 1

    def of_request(self, time_us: Times) -> Times:
        """The first look at which each request has been asked, int64 [n]; `looks` or more: after the last.

        Raises:
            DataError: a request more than one step before the first look, whose wait cannot be counted in looks.
        """
        period: Times = (time_us - self.first_us) // self.every_us + 1
        if len(period) and period.min() < 0:
            raise DataError(
                "lies more than one look before the first look",
                field="time",
                fix="begin the looks at the first one after the first request",
            )
        return period

    def waited(self, time_us: Times, known_us: Times) -> Times:
        """How many looks passed between the one that first saw the request and the one that first saw the label."""
        seen = -((self.first_us - known_us) // self.every_us)
        lag: Times = np.maximum(seen - self.of_request(time_us), 0)
        return lag

    def on_time(self, time_us: Times, known_us: Times) -> NDArray[np.bool_]:
        """Whether a label came within the horizon of its request, bool [n]."""
        return on_time(time_us, known_us, self.horizon_us)


def on_time(time_us: Times, known_us: Times, horizon_us: int) -> NDArray[np.bool_]:
    """Whether a label came within a horizon, bool [n]: never (2^63 − 1) is late, though the horizon be as long.

    Example: a sum of time and horizon would have gone round.

        >>> never = 2**63 - 1
        >>> on_time(np.array([5, 5]), np.array([9, never]), never).tolist()
        [True, False]
    """
    return (known_us < NEVER) & (known_us - time_us <= horizon_us)
