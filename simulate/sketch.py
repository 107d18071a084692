"""A Sketch: how times are spread over the requests, block by block, in memory that does not grow with their number.

It is the mutable half of a `Histogram`: the event loop fills it, request by request, and `Histogram.of` freezes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BLOCKS = 64
"""How many blocks of consecutive requests are told apart; in a run of more than 2,048 requests over half of them are in use."""

FIRST_SHIFT = 5
"""Blocks begin at 2^5 = 32 requests: shorter ones would say nothing about chance."""

SUB_BITS = 9
"""Every octave is cut into 2^9 = 512 bins of equal width: no bin is wider than 1/512 of the least time in it."""

LEAST_S = 2.0**-30
"""Below this (0.93 ns) a time counts as zero: the first bin."""

OCTAVES = 54
"""The last octave ends at 2^24 s, 194 days; its last bin holds what is longer too."""

BINS = 1 + (OCTAVES << SUB_BITS)
"""The first bin and those of the octaves."""

TICKS = 2.0**31
"""Sums are kept in whole seconds and in so many parts of one: integers, whose sum does not depend on their order."""

_SHIFT = 52 - SUB_BITS
_BASE = (int(np.float64(LEAST_S).view(np.int64)) >> _SHIFT) - 1


class Sketch(NamedTuple):
    """Counts by block and bin, as arrays that compiled code writes to.

    Args:
        counts: int32 `[BLOCKS, BINS]`; none can overflow below 2^37 requests.
        sums: int64 `[BLOCKS, 2]`, the times in each block added up: whole seconds, and the rest in `TICKS` of a second.
        extremes: float64 `[2]`, the least and the greatest time; inf and −inf at first.
        shift: int64 `[1]`; request `r` belongs to block `r >> shift`.
    """

    counts: NDArray[np.int32]
    sums: NDArray[np.int64]
    extremes: Floats
    shift: NDArray[np.int64]

    @staticmethod
    def empty() -> Sketch:
        """A sketch of nothing: 7 MB of address space, of which the bins in use become memory.

        Example:
            >>> sketch = Sketch.empty()
            >>> record_all(sketch, 0, np.array([0.0, 0.5, 2.0]))
            >>> int(sketch.counts.sum()), sketch.sums[0].tolist() == [2, TICKS / 2], sketch.extremes.tolist()
            (3, True, [0.0, 2.0])
        """
        counts, sums = np.zeros((BLOCKS, BINS), dtype=np.int32), np.zeros((BLOCKS, 2), dtype=np.int64)
        return Sketch(counts, sums, np.array([np.inf, -np.inf]), np.array([FIRST_SHIFT], dtype=np.int64))


@njit(nogil=True, cache=True, inline="always")
def bin_of(time_s: float) -> int:
    """The bin of a time, read off its float64 bits: the exponent and the first bits of the mantissa. It has no branch."""
    return min(max((int(np.float64(time_s).view(np.int64)) >> _SHIFT) - _BASE, 0), BINS - 1)


def edges_s(bins: NDArray[np.int64]) -> Floats:
    """Where bins begin, in seconds: the inverse of `bin_of`. The first bin is zero itself.

    Example:
        >>> edges_s(np.array([0, 1, BINS])).tolist() == [0.0, 2.0**-30, 2.0**24]
        True
    """
    return np.asarray(np.where(bins > 0, ((bins + _BASE) << _SHIFT).view(np.float64), 0.0))


@njit(nogil=True, cache=True)
def coarsen(sketch: Sketch) -> None:
    """Merge neighbouring blocks in pairs, so that twice as many requests have room."""
    used = bin_of(sketch.extremes[1]) + 1
    half = BLOCKS // 2
    for block in range(half):
        for part in range(2):
            sketch.sums[block, part] = sketch.sums[2 * block, part] + sketch.sums[2 * block + 1, part]
        for each in range(used):
            sketch.counts[block, each] = sketch.counts[2 * block, each] + sketch.counts[2 * block + 1, each]
    sketch.sums[half:] = 0
    sketch.counts[half:, :used] = 0
    sketch.shift[0] += 1


@njit(nogil=True, cache=True)
def make_room(sketch: Sketch, requests: int) -> None:
    """Let the blocks be long enough for requests 0 to `requests` − 1, before any of them is recorded.

    Example:
        >>> sketch = Sketch.empty()
        >>> make_room(sketch, 2049)
        >>> sketch.shift.tolist()
        [6]
    """
    while (requests - 1) >> sketch.shift[0] >= BLOCKS:
        coarsen(sketch)


@njit(nogil=True, cache=True, inline="always")
def record(sketch: Sketch, request: int, time_s: float) -> None:
    """Count a request's time, for which `make_room` has made room.

    What a sketch says in the end depends on which requests were recorded with which times and for how many there is room:
    neither on their order, nor on how the trace was cut into chunks, to the last bit.

    Args:
        sketch: written to.
        request: its index in the trace, which decides the block.
        time_s: finite, zero or more, below 2^24 s where the mean is to be right.
    """
    # never beyond the arrays, even where no room was made
    block = min(request >> sketch.shift[0], BLOCKS - 1)
    whole = int(time_s)
    sketch.counts[block, bin_of(time_s)] += 1
    sketch.sums[block, 0] += whole
    sketch.sums[block, 1] += int((time_s - whole) * TICKS + 0.5)
    sketch.extremes[0] = min(sketch.extremes[0], time_s)
    sketch.extremes[1] = max(sketch.extremes[1], time_s)


@njit(nogil=True, cache=True)
def record_all(sketch: Sketch, first: int, times_s: Floats) -> None:
    """Count the times of consecutive requests, leaving out those that are NaN: requests without an answer.

    Args:
        sketch: written to; room is made.
        first: the index of the first request.
        times_s: float64 `[n]`.
    """
    make_room(sketch, first + len(times_s))
    for each in range(len(times_s)):
        if times_s[each] >= 0.0:
            record(sketch, first + each, times_s[each])
