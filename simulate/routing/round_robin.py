"""Round robin: the stations in turn, whatever they have to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .ask import Ask

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class RoundRobin:
    """Every accepting station in turn, by its index.

    Source: what nginx 1.27 calls `round-robin` with equal weights (`ngx_http_upstream_round_robin.c`) and a Kubernetes
    service behind IPVS `rr`, for one router.
    """

    code: ClassVar[int] = 0
    name: ClassVar[str] = "round-robin"

    def settings(self) -> Floats:
        """Nothing to set."""
        return np.zeros(0)

    def memory(self, stations: int) -> Floats:  # noqa: ARG002  # it has nothing in mind of each
        """What it has in mind at first, for so many stations."""
        return np.zeros(1)

    def twin(self) -> SlowRoundRobin:
        """The same, slowly."""
        return SlowRoundRobin()


@njit(nogil=True, cache=True)
def route(accepting: Ints, count: int, memo: Floats) -> int:
    """The first accepting station after the last that was chosen; `memo[0]` is that one and one."""
    chosen = accepting[0]
    for each in range(count):
        if accepting[each] >= memo[0]:
            chosen = accepting[each]
            break
    memo[0] = chosen + 1.0
    return int(chosen)


class SlowRoundRobin:
    """The same in plain Python."""

    def __init__(self) -> None:
        self.last = -1

    def route(self, _now_s: float, accepting: Sequence[int], _ongoing: Sequence[int], _ask: Ask) -> int:
        """Walk up from the last one chosen, and from the start where there is none above."""
        above = [station for station in accepting if station > self.last]
        self.last = min(above) if above else min(accepting)
        return self.last
