"""Least outstanding: the station with the fewest attempts waiting or being served."""

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
class LeastOutstanding:
    """The accepting station with the fewest ongoing attempts; of several, the one with the lowest index.

    Source: AWS Application Load Balancer's *least outstanding requests* and nginx 1.27 `least_conn`
    (`ngx_http_upstream_least_conn_module.c`), for one balancer that sees all its requests; those break ties in turn or by
    weight, here the lowest index wins so that the answer is decided.
    """

    code: ClassVar[int] = 2
    name: ClassVar[str] = "least-outstanding"

    def settings(self) -> Floats:
        """Nothing to set."""
        return np.zeros(0)

    def memory(self, stations: int) -> Floats:  # noqa: ARG002  # it has nothing in mind of each
        """What it has in mind at first, for so many stations."""
        return np.zeros(0)

    def twin(self) -> SlowLeastOutstanding:
        """The same, slowly."""
        return SlowLeastOutstanding()


@njit(nogil=True, cache=True)
def route(accepting: Ints, count: int, ongoing: Ints) -> int:
    """The least busy, the first of equals."""
    chosen = accepting[0]
    for each in range(1, count):
        if ongoing[accepting[each]] < ongoing[chosen]:
            chosen = accepting[each]
    return int(chosen)


class SlowLeastOutstanding:
    """The same in plain Python."""

    def route(self, _now_s: float, accepting: Sequence[int], ongoing: Sequence[int], _ask: Ask) -> int:
        """The least busy, the first of equals."""
        return min(accepting, key=lambda station: (ongoing[station], station))
