from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.simulate.sketch import (
    BINS,
    BLOCKS,
    LEAST_S,
    SUB_BITS,
    TICKS,
    Sketch,
    bin_of,
    edges_s,
    make_room,
    record,
    record_all,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TIMES_S = np.random.default_rng(0).lognormal(-4.0, 2.0, size=20_000)


def filled(times_s: Floats, chunk: int) -> Sketch:
    sketch = Sketch.empty()
    for first in range(0, len(times_s), chunk):
        record_all(sketch, first, times_s[first : first + chunk])
    return sketch


def assert_same(expected: Sketch, actual: Sketch) -> None:
    for name in Sketch._fields:
        assert np.array_equal(getattr(expected, name), getattr(actual, name))


def test_a_bin_holds_its_times() -> None:
    """A time lies between the edges of its bin, which are at most 1/512 of it apart."""
    times_s = np.geomspace(LEAST_S, 2.0**24 * 0.9999, 30_000)
    bins = np.array([bin_of(each) for each in times_s.tolist()])
    low_s, high_s = edges_s(bins), edges_s(bins + 1)

    assert np.all((low_s <= times_s) & (times_s < high_s))
    assert np.all(high_s - low_s <= low_s * 2.0**-SUB_BITS)
    assert (int(bins[0]), int(bins[-1])) == (1, BINS - 1)


@pytest.mark.parametrize(
    ("time_s", "expected"), [(0.0, 0), (1e-12, 0), (1e-9, 1 + 37), (2.0**24, BINS - 1), (1e9, BINS - 1)]
)
def test_ends_of_the_range(time_s: float, expected: int) -> None:
    """What is below a nanosecond is zero; what is beyond the last bin is in it."""
    assert expected == bin_of(time_s)


@pytest.mark.parametrize("chunk", [1, 7, 1000, 4096])
def test_chunks_change_nothing(chunk: int) -> None:
    """However a trace is cut, its sketch is the same to the last bit."""
    assert_same(filled(TIMES_S, len(TIMES_S)), filled(TIMES_S, chunk))


def test_order_changes_nothing() -> None:
    """Requests that end in another order leave the same sketch, to the last bit."""
    shuffled = Sketch.empty()
    make_room(shuffled, len(TIMES_S))
    for request in np.random.default_rng(1).permutation(len(TIMES_S)).tolist():
        record(shuffled, request, float(TIMES_S[request]))

    assert_same(filled(TIMES_S, len(TIMES_S)), shuffled)


def test_a_late_answer_goes_to_its_own_block() -> None:
    """The block is that of the request, also when it is answered long after later ones made blocks longer."""
    late, timely = Sketch.empty(), Sketch.empty()
    for sketch, order in ((late, (4000, 40)), (timely, (40, 4000))):
        make_room(sketch, 4001)
        for request in order:
            record(sketch, request, 0.5)

    assert_same(timely, late)
    assert np.flatnonzero(late.counts.sum(axis=1)).tolist() == [0, 4000 >> 6]


def test_memory_does_not_grow() -> None:
    """A billion requests need the arrays that one needs: blocks become longer instead."""
    sketch = Sketch.empty()
    before = [each.nbytes for each in sketch]
    record_all(sketch, 0, TIMES_S)
    make_room(sketch, 10**9)
    record(sketch, 10**9 - 1, 1.0)

    assert before == [each.nbytes for each in sketch]
    assert int(sketch.counts.sum()) == len(TIMES_S) + 1
    assert BLOCKS << int(sketch.shift[0]) >= 10**9 > BLOCKS << (int(sketch.shift[0]) - 1)


def test_sums_are_exact_to_half_a_nanosecond() -> None:
    """The mean is as good as the sum of floats, and does not wear out."""
    sums = filled(TIMES_S, 1000).sums.sum(axis=0)

    assert float(sums[0]) + float(sums[1]) / TICKS == pytest.approx(TIMES_S.sum(), abs=len(TIMES_S) * 0.5 / TICKS)


def test_requests_without_a_time_are_left_out() -> None:
    """NaN takes its place in the order of requests, and is not counted."""
    sketch = Sketch.empty()
    record_all(sketch, 0, np.array([np.nan] * 32 + [1.0]))

    assert np.flatnonzero(sketch.counts.sum(axis=1)).tolist() == [1]
    assert sketch.extremes.tolist() == [1.0, 1.0]


def test_never_writes_beyond_its_arrays() -> None:
    """A request for which no room was made is counted in the last block."""
    sketch = Sketch.empty()
    record(sketch, 10**6, 1.0)

    assert np.flatnonzero(sketch.counts.sum(axis=1)).tolist() == [BLOCKS - 1]
