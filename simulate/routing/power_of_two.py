"""Power of two choices: the less busy of two stations drawn at random, as far as the router knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .ask import Ask

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_AGES = 4


@dataclass(frozen=True)
class PowerOfTwo:
    """Of two accepting stations drawn at random, the one that the router believes to be less busy; of equals, the first drawn.

    The router asks a station how busy it is where its last answer is older than `cache_s`, and counts upon it what it has
    sent there since. With a cache of zero it always knows. Asking takes no time.

    Source: Ray Serve 2.60, `serve/_private/request_router/pow_2_router.py`, whose cache (10 s) is renewed by each answer
    that a replica gives; Mitzenmacher, *The power of two choices in randomized load balancing*, 2001.

    Args:
        cache_s: how old an answer may be.

    Raises:
        ConfigError: a negative age.
    """

    cache_s: float = 0.0

    code: ClassVar[int] = 3
    name: ClassVar[str] = "power-of-two"

    def __post_init__(self) -> None:
        if not self.cache_s >= 0.0:
            raise ConfigError("must be zero or more", field="cache", value=self.cache_s, fix="write 10s")

    def settings(self) -> Floats:
        """How old an answer may be."""
        return np.array([self.cache_s])

    def memory(self, stations: int) -> Floats:
        """What it has in mind at first, for so many stations."""
        return np.zeros(_AGES + 2 * stations)

    def twin(self) -> SlowPowerOfTwo:
        """The same, slowly."""
        return SlowPowerOfTwo(self.cache_s)


@njit(nogil=True, cache=True)
def route(
    now_s: float, accepting: Ints, count: int, ongoing: Ints, draw: tuple[float, float], settings: Floats, memo: Floats
) -> int:
    """The less busy of two; `memo` has after four floats, for each station, what is believed of it and until when."""
    one = int(draw[0] * count)
    if count == 1:
        return int(accepting[0])
    # another than the first: one of those that are left
    other = int(draw[1] * (count - 1))
    other += other >= one
    first, second = accepting[one], accepting[other]
    if settings[0] <= 0.0:
        return int(first if ongoing[first] <= ongoing[second] else second)
    for station in (first, second):
        believed = _AGES + 2 * station
        if memo[believed + 1] <= now_s:
            memo[believed], memo[believed + 1] = ongoing[station], now_s + settings[0]
    chosen = first if memo[_AGES + 2 * first] <= memo[_AGES + 2 * second] else second
    memo[_AGES + 2 * chosen] += 1.0
    return int(chosen)


class SlowPowerOfTwo:
    """The same in plain Python."""

    def __init__(self, cache_s: float) -> None:
        self.cache_s = cache_s
        self.believed: dict[int, int] = {}
        self.until_s: dict[int, float] = {}

    def route(self, now_s: float, accepting: Sequence[int], ongoing: Sequence[int], ask: Ask) -> int:
        """Draw one, then one of the others; ask both; take the less busy."""
        draw = ask.draw
        first = accepting[int(draw[0] * len(accepting))]
        others = [station for station in accepting if station != first]
        if not others:
            return first
        second = others[int(draw[1] * len(others))]
        if self.cache_s == 0.0:
            return first if ongoing[first] <= ongoing[second] else second
        for station in (first, second):
            if self.until_s.get(station, 0.0) <= now_s:
                self.believed[station], self.until_s[station] = ongoing[station], now_s + self.cache_s
        chosen = first if self.believed[first] <= self.believed[second] else second
        self.believed[chosen] += 1
        return chosen
