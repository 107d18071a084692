"""Which station gets a request: one file a policy, found by its name, dispatched by its code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import njit

from . import consistent_hash, least_outstanding, multiplexed, pinned, power_of_two, random_choice, round_robin
from .ask import Ask
from .consistent_hash import ConsistentHash
from .least_outstanding import LeastOutstanding
from .multiplexed import Multiplexed
from .pinned import OWN, Pinned
from .power_of_two import PowerOfTwo
from .random_choice import RandomChoice
from .round_robin import RoundRobin

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

Router = RoundRobin | RandomChoice | LeastOutstanding | PowerOfTwo | Multiplexed | ConsistentHash | Pinned
"""Chooses a station."""

ROUTERS: Mapping[str, type[Router]] = {
    each.name: each for each in (RoundRobin, RandomChoice, LeastOutstanding, PowerOfTwo, Multiplexed, ConsistentHash)
}
"""The routers, by the name they have on the command line; `Pinned` stands in front of one of them."""

_ROUND_ROBIN, _RANDOM, _LEAST, _PINNED = RoundRobin.code, RandomChoice.code, LeastOutstanding.code, Pinned.code
_MULTIPLEXED, _CONSISTENT_HASH = Multiplexed.code, ConsistentHash.code


@njit(nogil=True, cache=True)
def route(
    code: int,
    now_s: float,
    accepting: Ints,
    count: int,
    ongoing: Ints,
    draw: tuple[float, float],
    key: int,
    claims: Ints,
    settings: Floats,
    memo: Floats,
) -> int:
    """The station that gets a request.

    Args:
        code: of the policy.
        now_s: the time.
        accepting: int64, whose first `count` are the stations that accept, rising.
        count: at least 1.
        ongoing: int64 `[stations]`, attempts waiting or being served at each now.
        draw: two numbers in [0, 1), this request's own.
        key: of the request's model, client or entity; negative where it has none.
        claims: int64 `[stations, models + 1]`, as `world.World.claims`; of one column where models are not told apart.
        settings: the policy's.
        memo: the router's, its own to write; at first what its `memory` says.
    """
    if code == _PINNED:
        station = pinned.route(now_s, accepting, count, draw, settings)
        if station >= 0:
            return station
        draw, code, settings = pinned.rest_of(now_s, draw, settings), int(settings[OWN - 1]), settings[OWN:]
    if code == _ROUND_ROBIN:
        return round_robin.route(accepting, count, memo)
    if code == _RANDOM:
        return random_choice.route(accepting, count, draw)
    if code == _LEAST:
        return least_outstanding.route(accepting, count, ongoing)
    if code == _MULTIPLEXED:
        return multiplexed.route(accepting, count, ongoing, draw, key, claims)
    if code == _CONSISTENT_HASH:
        return consistent_hash.route(accepting, count, ongoing, draw, key, settings, memo)
    return power_of_two.route(now_s, accepting, count, ongoing, draw, settings, memo)


__all__ = [
    "ROUTERS", "Ask", "ConsistentHash", "LeastOutstanding", "Multiplexed", "Pinned", "PowerOfTwo", "RandomChoice", "RoundRobin",
    "Router", "route",
]  # fmt: skip
