"""Flash crowd: everybody comes at once, because of the news."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from windtunnel.errors import DataError

from .scenario import Episode, check

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds
    from windtunnel.trace import Trace

    from .day import Day

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class FlashCrowd(Episode):
    """Within one window the rate is a multiple of the recorded one.

    The crowd does not follow the recording's own rhythm: its moments are independent and uniform over the window. Each of
    it is like some request of the window: as large, as urgent.

    Source: Jung, Krishnamurthy & Rabinovich, *Flash crowds and denial of service attacks*, WWW 2002.

    Args:
        times: the mean rate within the window, as a multiple of the recorded one.

    Raises:
        ConfigError: `times` not above 1.
    """

    times: float = 5.0

    name: ClassVar[str] = "flash-crowd"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "times", least=1.0, above=True)

    def strike(self, day: Day, seeds: Seeds) -> Day:
        """The day with the crowd in it."""
        window = self.window(day)
        crowd_s, like = crowd_of(day, window, self.times, self.chance(seeds))
        return day.joined(f"a flash crowd × {self.times:g}", crowd_s, like).during(*window)


def crowd_of(day: Day, window: tuple[float, float], times: float, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """When a crowd comes that makes the recorded rate of a window so many times as high, and like which rows each is.

    Raises:
        DataError: nothing was recorded within the window.
    """
    return _crowd(day.recorded_between(*window), window, times, rng, day.trace.name)


def crowd(trace: Trace, from_s: float, until_s: float, times: float, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """When a crowd comes that makes the rate of a window so many times as high, and which request each is like.

    For every request within the window `times − 1` more arrive: that many exactly where it is a whole number, else its
    whole part and one more with the chance of the rest.

    Raises:
        DataError: nothing was recorded within the window.
    """
    first, end = (int(each) for each in np.searchsorted(trace.arrivals_s, [from_s, until_s]))
    return _crowd(np.arange(first, end), (from_s, until_s), times, rng, trace.name)


def _crowd(
    rows: Ints, window: tuple[float, float], times: float, rng: np.random.Generator, name: str
) -> tuple[Floats, Ints]:
    if not len(rows):
        raise DataError(
            f"has no request from {window[0]:g} s to {window[1]:g} s, so there is nothing to multiply", field=name,
            fix="move the window with start_share or after, or widen it with lasts",
        )  # fmt: skip
    extra = len(rows) * int(times - 1.0) + int(rng.binomial(len(rows), (times - 1.0) % 1.0))
    return rng.uniform(*window, size=extra), rows[rng.integers(0, len(rows), size=extra)]
