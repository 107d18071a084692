from __future__ import annotations

import numpy as np
import pytest

from windtunnel.errors import ConfigError, DataError
from windtunnel.simulate.arrivals import Poisson, merge, slice_seconds, slice_share, splice
from windtunnel.trace import Trace


def _trace(seed: int) -> Trace:
    """A hundred requests that know their own number and time."""
    times_s = Poisson(10.0).arrivals(requests=100, seed=seed).arrivals_s
    return Trace(f"t{seed}", times_s, {"key": np.arange(100) + 1000 * seed, "bytes": times_s * 8.0})


def test_splice_puts_one_after_another() -> None:
    """The second begins where the first ended and keeps its own rhythm; columns go along."""
    first, second = _trace(1), _trace(2)
    both = splice(first, second, gap_s=3.0)

    assert len(both) == 200
    assert np.array_equal(both.arrivals_s[:100], first.arrivals_s)
    assert both.arrivals_s[100:] == pytest.approx(second.arrivals_s + first.arrivals_s[-1] + 3.0)
    assert both.columns["key"].tolist() == [*range(1000, 1100), *range(2000, 2100)]


def test_merge_keeps_each_request_with_its_columns() -> None:
    """Every request of either is there once, at its time, with its row."""
    both = merge(_trace(1), _trace(2))

    assert len(both) == 200
    assert both.columns["bytes"] == pytest.approx(both.arrivals_s * 8.0)
    assert sorted(both.columns["key"].tolist()) == [*range(1000, 1100), *range(2000, 2100)]


def test_slices_cover_a_trace_once() -> None:
    """Windows that touch share no request and leave none out."""
    trace = _trace(1)
    parts = [slice_share(trace, a, b) for a, b in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.0))]
    window = slice_seconds(trace, 2.0, 4.0)

    assert trace.columns["key"].tolist() == [key for part in parts for key in part.columns["key"].tolist()]
    assert window.arrivals_s == pytest.approx(window.columns["bytes"] / 8.0 - 2.0)


def test_joins_and_cuts_that_make_no_trace_are_refused() -> None:
    """Different columns, an empty window, shares out of order: each is refused with what was found."""
    trace, bare = _trace(1), Poisson(1.0).arrivals(requests=10, seed=1)

    with pytest.raises(DataError, match="give both the same columns"):
        merge(trace, bare)
    with pytest.raises(DataError, match="fewer than two requests from 1000 s"):
        slice_seconds(trace, 1000.0, 2000.0)
    with pytest.raises(ConfigError, match="0 ≤ start < end ≤ 1"):
        slice_share(trace, 0.5, 0.5)
    with pytest.raises(ConfigError, match="zero or more"):
        splice(trace, trace, gap_s=-1.0)
    with pytest.raises(DataError, match="give one at least"):
        merge()
