"""A share of requests is bound to one station for a while; the others go where another router sends them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .ask import Ask

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_BELOW_ONE = math.nextafter(1.0, 0.0)

OWN = 5
"""How many settings stand before those of the router that gets the rest."""


@dataclass(frozen=True)
class Pinned:
    """Requests of one key live on one station: what a consistent hash, a shard or a session cookie does to a hot key.

    Which request has the key is drawn, independently of all others: a recorded one is not read (that is what
    `ConsistentHash` is for), and a request that is sent again draws anew. Where the station does not accept, the next that does takes over, as
    on a hash ring. Requests without the key are routed as by `otherwise`, with what is left of their draw.

    Args:
        share: of requests that have the key.
        station: where it lives.
        from_s: since when, in the trace's own time.
        until_s: how long.
        otherwise: routes the rest; any router but this one.

    Raises:
        ConfigError: a share beyond one, no such time, or one such router in another.
    """

    share: float
    station: int
    from_s: float
    until_s: float
    otherwise: Any

    code: ClassVar[int] = 4
    name: ClassVar[str] = "pinned"

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ConfigError("is no share", field="share", value=self.share, fix="write 50%")
        if self.station < 0:
            raise ConfigError("is no station", field="station", value=self.station)
        if not self.from_s <= self.until_s:
            raise ConfigError("end before they begin", field="from, until", value=(self.from_s, self.until_s))
        if isinstance(self.otherwise, Pinned):
            raise ConfigError("is pinned already", field="otherwise", fix="one hot key at a time")

    def settings(self) -> Floats:
        """Share, station, from and until, the other router's code, and its settings."""
        own = [self.share, float(self.station), self.from_s, self.until_s, float(self.otherwise.code)]
        return np.concatenate([own, self.otherwise.settings()])

    def memory(self, stations: int) -> Floats:
        """What it has in mind at first, for so many stations."""
        return np.asarray(self.otherwise.memory(stations), dtype=np.float64)

    def twin(self) -> SlowPinned:
        """The same, slowly."""
        return SlowPinned(self)


@njit(nogil=True, cache=True)
def route(now_s: float, accepting: Ints, count: int, draw: tuple[float, float], settings: Floats) -> int:
    """The station of the key, or −1 where the request does not have it."""
    if draw[0] >= settings[0] or now_s < settings[2] or now_s >= settings[3]:
        return -1
    for each in range(count):
        if accepting[each] >= settings[1]:
            return int(accepting[each])
    return int(accepting[0])


@njit(nogil=True, cache=True)
def rest_of(now_s: float, draw: tuple[float, float], settings: Floats) -> tuple[float, float]:
    """The draw of a request without the key, spread over [0, 1) again; as it was while nothing is pinned."""
    if now_s < settings[2] or now_s >= settings[3]:
        return draw
    return min((draw[0] - settings[0]) / (1.0 - settings[0]), _BELOW_ONE), draw[1]


class SlowPinned:
    """The same in plain Python."""

    def __init__(self, asked: Pinned) -> None:
        self.asked, self.otherwise = asked, asked.otherwise.twin()

    def route(self, now_s: float, accepting: Sequence[int], ongoing: Sequence[int], ask: Ask) -> int:
        """Round the ring from the key's home; else ask the other router."""
        asked, draw = self.asked, ask.draw
        if not asked.from_s <= now_s < asked.until_s:
            return int(self.otherwise.route(now_s, accepting, ongoing, ask))
        if draw[0] < asked.share:
            round_the_ring = [*(each for each in accepting if each >= asked.station), *accepting]
            return round_the_ring[0]
        left = (draw[0] - asked.share) / (1.0 - asked.share)
        rest = replace(ask, draw=(min(left, _BELOW_ONE), draw[1]))
        return int(self.otherwise.route(now_s, accepting, ongoing, rest))
