"""Chance that nobody has to take turns for: the n-th number of a seed's stream is a pure function of both."""

from __future__ import annotations

import numpy as np
from numba import njit

_WEYL = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@njit(nogil=True, cache=True, inline="always")
def mix(state: np.uint64) -> np.uint64:
    """Stir 64 bits so that near ones come out far apart."""
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))


@njit(nogil=True, cache=True, inline="always")
def origin(seed: np.uint64) -> np.uint64:
    """Where a seed's stream begins: the part of `uniform` that a loop over one seed need not repeat."""
    return mix(seed + _WEYL)


@njit(nogil=True, cache=True, inline="always")
def uniform_from(start: np.uint64, counter: int) -> float:
    """The `counter`-th number of the stream that begins at `origin(seed)`."""
    return float(mix(start + (np.uint64(counter) + np.uint64(1)) * _WEYL) >> np.uint64(11)) * 2.0**-53


@njit(nogil=True, cache=True, inline="always")
def uniform(seed: np.uint64, counter: int) -> float:
    """The `counter`-th number in [0, 1) of a seed's stream.

    SplitMix64 (Steele, Lea & Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014, with the constants of
    Vigna's splitmix64.c) read at any position; the seed is mixed first, so that neighbouring seeds are strangers.
    """
    return uniform_from(origin(seed), counter)
