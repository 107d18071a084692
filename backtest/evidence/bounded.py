"""Values that cannot leave a range: what the exact methods need to be told, and what they refuse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bounded:
    """The range of a difference, known before anything was seen.

    Args:
        low: the least that a difference can be.
        high: the greatest.

    Raises:
        ConfigError: an end that is not finite, or no room between them.

    Example: losses of 0 or 1 differ by at most one.

        >>> Bounded(-1.0, 1.0).unit(np.array([-1.0, 0.0, 1.0])).tolist()
        [0.0, 0.5, 1.0]
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(
                "is no range that a difference can be bounded by",
                field="range",
                value=(self.low, self.high),
                fix="give the least and the greatest difference that the loss allows, such as (-1, 1) for zero_one",
            )

    @property
    def width(self) -> float:
        """From end to end."""
        return self.high - self.low

    def unit(self, values: Floats) -> Floats:
        """The values on a scale from 0 at the low end to 1 at the high end.

        Raises:
            DataError: a value outside the range, or NaN: what was promised of the differences does not hold.
        """
        wrong = ~((values >= self.low) & (values <= self.high))
        if wrong.any():
            raise DataError(
                f"is a difference outside its range [{self.low:g}, {self.high:g}]",
                field="difference",
                value=float(values[wrong][0]),
                fix="give a range that no difference can leave, or use the asymptotic sequence",
            )
        scaled: Floats = (values - self.low) / self.width
        return scaled

    @property
    def mirrored(self) -> Bounded:
        """The range of the negated values."""
        return Bounded(-self.high, -self.low)


def before(running: Floats, first: float) -> Floats:
    """What was known just before each value: `first`, then all but the last of what was known after each.

    Example:
        >>> before(np.array([1.0, 2.0, 3.0]), 0.5).tolist()
        [0.5, 1.0, 2.0]
    """
    return np.concatenate([np.full((*running.shape[:-1], 1), first), running[..., :-1]], axis=-1)
