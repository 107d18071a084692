"""The clock that a core really runs at, which virtual machines do not tell: counted, not read."""

from __future__ import annotations

import time

import numba
import numpy as np

CYCLES = 6
"""Of one step of `_chain`: three shifts and three exclusive ors, each waiting for the last, a cycle each on x86-64 and ARM."""

STEPS = 2_000_000


@numba.njit(nogil=True, cache=True)
def _chain(state: np.uint64, steps: int) -> np.uint64:
    """Marsaglia's xorshift64 (*Xorshift RNGs*, 2003): no compiler and no processor can shorten it."""
    for _ in range(steps):
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
    return state


def clock_ghz(repeats: int = 30) -> float:
    """The clock of the core at hand in GHz, the highest of some trials of a few milliseconds each.

    Example:
        >>> 0.2 < clock_ghz() < 10.0
        True
    """
    _chain(np.uint64(1), 1)
    best = np.inf
    for _ in range(repeats):
        started = time.perf_counter()
        _chain(np.uint64(88172645463325252), STEPS)
        best = min(best, time.perf_counter() - started)
    return STEPS * CYCLES / best / 1e9
