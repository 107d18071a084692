"""Consistent hash: a key goes to the same station as long as that one accepts and is not far busier than the others."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError
from windtunnel.simulate.chance import origin, uniform_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .ask import Ask

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

KEYS, NODES = 0xF9B4CA77, 0xF9B4CA78
"""The seeds by which keys and stations are laid on the ring: fixed, so that a key stays where it was from run to run."""

_KEYS = int(origin(np.uint64(KEYS)))


@dataclass(frozen=True)
class ConsistentHash:
    """The first station clockwise from the key's place on a ring that accepts, and has room within the bound on its load.

    Every station lies on the ring at `virtual_nodes` places. A key whose station is away, full or too busy goes to the next
    one clockwise, and comes home later; other keys stay where they are. Requests without a key are laid anywhere, each anew.

    With a `balance` of 125%, no station is chosen that has as much as its part of 1.25 times all that is ongoing, this request
    included, rounded up: the bounded loads of Mirrokni, Thorup & Zadimoghaddam (arXiv 1608.01350), shared out as HAProxy does.
    With 0 there is no bound, and a hot key hurts the one station that has it.

    Source: Ray Serve 2.60.0, `serve/experimental/consistent_hash_router.py`: 100 virtual nodes, requests without a session laid
    by an identifier of their own (there, two successors are tried before the request is held back; here all are, in
    order); HAProxy `src/lb_chash.c`, `chash_server_is_eligible`, for equal weights, where `hash-balance-factor 125` is 125%.
    Ours hashes whole numbers by SplitMix64, so *which* station has a key differs from either.

    Args:
        virtual_nodes: places a station has on the ring.
        balance: how many times its fair part of what is ongoing a station may have; 0 for no bound, else 1 at least.

    Raises:
        ConfigError: no place on the ring, or a balance that no station could keep to.

    Example:
        >>> ConsistentHash(balance=1.25).memory(4).shape
        (800,)
    """

    virtual_nodes: int = 100
    balance: float = 0.0

    code: ClassVar[int] = 6
    name: ClassVar[str] = "consistent-hash"

    def __post_init__(self) -> None:
        if not 1 <= self.virtual_nodes <= 1 << 16:
            raise ConfigError("is outside 1 to 65,536", field="virtual_nodes", value=self.virtual_nodes)
        if self.balance != 0.0 and not 1.0 <= self.balance < float("inf"):
            raise ConfigError(
                "is less than a fair part for each",
                field="balance",
                value=self.balance,
                fix="write 125%, or 0 for no bound",
            )

    def settings(self) -> Floats:
        """The bound on the load in per cent."""
        return np.array([float(self.per_cent)])

    @property
    def per_cent(self) -> int:
        """The bound as HAProxy counts it."""
        return round(100.0 * self.balance)

    def memory(self, stations: int) -> Floats:
        """The ring: places in rising order, then whose they are."""
        begin, nodes = np.uint64(origin(np.uint64(NODES))), stations * self.virtual_nodes
        places = np.array([uniform_from(begin, node) for node in range(nodes)])
        order = np.argsort(places, kind="stable")
        return np.concatenate([places[order], (order // self.virtual_nodes).astype(np.float64)])

    def twin(self) -> SlowConsistentHash:
        """The same, slowly."""
        return SlowConsistentHash(self)


@njit(nogil=True, cache=True)
def _has_room(station: int, accepting: Ints, count: int, ongoing: Ints, slots: int) -> bool:
    """Whether a station accepts, and has not yet its part of what may be ongoing; any number may where `slots` is negative."""
    place = np.searchsorted(accepting[:count], station)
    if place == count or accepting[place] != station:
        return False
    if slots < 0:
        return True
    rest = slots % count
    part = slots // count + (place + 1) * rest // count - place * rest // count
    return bool(ongoing[station] < max(part, 1))


@njit(nogil=True, cache=True)
def route(
    accepting: Ints, count: int, ongoing: Ints, draw: tuple[float, float], key: int, settings: Floats, memo: Floats
) -> int:
    """Walk the ring from the key's place."""
    place = uniform_from(np.uint64(_KEYS), key) if key >= 0 else draw[0]
    nodes, slots, per_cent = len(memo) // 2, -1, int(settings[0])
    if per_cent > 0:
        slots = 1
        for each in range(count):
            slots += ongoing[accepting[each]]
        slots = (slots * per_cent + 99) // 100
    at = np.searchsorted(memo[:nodes], place, side="right")
    for step in range(nodes):
        station = int(memo[nodes + (at + step) % nodes])
        if _has_room(station, accepting, count, ongoing, slots):
            return station
    return int(accepting[0])


class SlowConsistentHash:
    """The same in plain Python."""

    def __init__(self, asked: ConsistentHash) -> None:
        self.asked = asked
        self.rings: dict[int, list[tuple[float, int]]] = {}

    def route(self, _now_s: float, accepting: Sequence[int], ongoing: Sequence[int], ask: Ask) -> int:
        """Walk the ring from the key's place, and take the first with room."""
        from windtunnel.simulate.reference.luck import uniform

        ring = self._ring(len(ongoing))
        place = uniform(KEYS, ask.key) if ask.key >= 0 else ask.draw[0]
        at = bisect.bisect_right([where for where, _ in ring], place)
        return next(station for _, station in ring[at:] + ring[:at] if self._has_room(station, accepting, ongoing))

    def _ring(self, stations: int) -> list[tuple[float, int]]:
        from windtunnel.simulate.reference.luck import uniform

        nodes = self.asked.virtual_nodes
        if stations not in self.rings:
            self.rings[stations] = sorted((uniform(NODES, node), node // nodes) for node in range(stations * nodes))
        return self.rings[stations]

    def _has_room(self, station: int, accepting: Sequence[int], ongoing: Sequence[int]) -> bool:
        """HAProxy's sharing out of whole places: so many each, and the rest spread over them."""
        if station not in accepting:
            return False
        if not self.asked.balance:
            return True
        asked = math.ceil(Fraction(sum(ongoing[each] for each in accepting) + 1) * Fraction(self.asked.per_cent, 100))
        each_has, left = divmod(asked, len(accepting))
        turn = accepting.index(station)
        each_has += (turn + 1) * left // len(accepting) - turn * left // len(accepting)
        return ongoing[station] < max(each_has, 1)
