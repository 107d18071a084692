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


@dataclass(frozen=True, kw_only=True)
class FlashCrowd(Episode):
    """Within one window the rate is a multiple of the recorded one.

    The crowd does not follow the recording's own rhythm: its moments are independent and uniform over the window. Each of
    it is like some request of the window: as large, as urgent.

    Source: Jung, Krishnamurthy & Rabinovich, *Flash crowds and denial of service attacks*, WWW 2002.

    Args:
        times: the mean rate within the window, as a multiple of the recorded one.

    Raises:
        ConfigError: `times` below 1.
    """

    times: float = 5.0

    name: ClassVar[str] = "flash-crowd"
    stream: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "times", least=1.0)

    def strike(self, day: Day, seeds: Seeds) -> Day:
        """The day with the crowd in it."""
        from_s, until_s = self.window(day)
        crowd_s, like = crowd(day.trace, from_s, until_s, self.times, self.chance(seeds))
        return day.joined(f"a flash crowd × {self.times:g}", crowd_s, like).during(from_s, until_s)


def crowd(
    trace: Trace, from_s: float, until_s: float, times: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """When a crowd comes that makes the rate of a window so many times as high, and which request each is like.

    For every request within the window `times − 1` more arrive: that many exactly where it is a whole number, else its
    whole part and one more with the chance of the rest.

    Raises:
        DataError: nothing was recorded within the window.
    """
    first, end = (int(each) for each in np.searchsorted(trace.arrivals_s, [from_s, until_s]))
    if first == end:
        raise DataError(
            f"has no request from {from_s:g} s to {until_s:g} s, so there is nothing to multiply", field=trace.name,
            fix="move the window with start_share, or widen it",
        )  # fmt: skip
    extra = (end - first) * int(times - 1.0) + int(rng.binomial(end - first, (times - 1.0) % 1.0))
    return rng.uniform(from_s, until_s, size=extra), rng.integers(first, end, size=extra)
