from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.errors import DataError
from windtunnel.trace import Trace


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([], "fewer than two"),
        ([1.0], r"\(=1\) has fewer than two"),
        ([0.0, math.nan, 2.0], "not a number in row 1"),
        ([0.0, 1.0, math.inf], "not a number in row 2"),
        ([-1.0, 0.0], r"\(=-1\.0\) has negative times"),
        ([0.0, 2.0, 1.0], "row 2 lies before row 1"),
        ([3.0, 3.0, 3.0], "at one instant"),
    ],
)
def test_impossible_times(times: list[float], message: str) -> None:
    """Times that no traffic can have are refused, with the trace's name and the row."""
    with pytest.raises(DataError, match=rf"`morning` .*{message}"):
        Trace("morning", np.array(times))


def test_columns() -> None:
    """What is known of each request is kept read-only, in the tunnel's own types, through scaling and between processes."""
    sizes = np.array([2.0, 0.0, 1.0])
    trace = Trace("t", np.array([0.0, 1.0, 4.0]), {"size": sizes, "tokens": np.array([5, 6, 7])})
    travelled = pickle.loads(pickle.dumps(trace.speed_up(2.0)))  # noqa: S301  # our own bytes

    assert trace.columns["size"].dtype == np.int32
    assert sizes.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        trace.columns["tokens"][0] = 9
    with pytest.raises(TypeError):
        trace.columns["more"] = sizes  # type: ignore[index]  # that it cannot be written is what is tested
    assert travelled.arrivals_s.tolist() == [0.0, 0.5, 2.0]
    assert {name: values.tolist() for name, values in travelled.columns.items()} == {
        "size": [2, 0, 1],
        "tokens": [5, 6, 7],
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], r"`t\.size` has 1 values for 2 requests"),
        ([1.0, math.nan], r"`t\.size` \(=nan\) has 1 values that are no whole numbers, the first in row 1"),
        (
            [1.7, 2.5],
            r"`t\.size` \(=1\.7\) has 2 values that are no whole numbers, the first in row 0; give a whole number",
        ),
        ([1, 2**31], r"`t\.size` \(=2147483648\) has 1 values that do not fit into 32 bits, the first in row 1"),
        ([-(2.0**31) - 1.0, 0.0], r"`t\.size` .* do not fit into 32 bits"),
    ],
)
def test_impossible_figures(values: list[float], message: str) -> None:
    """A column has one value a request, and a size class is a whole number that fits: none is cut, or wraps around."""
    with pytest.raises(DataError, match=message):
        Trace("t", np.array([0.0, 1.0]), {"size": np.array(values)})


def test_keys_of_64_bits() -> None:
    """A key is kept to its last digit, up to the ends of its 64 bits and no further."""
    times = np.array([0.0, 1.0])
    ends = np.array([-(2**63), 2**63 - 1])

    assert Trace("t", times, {"key": ends}).columns["key"].tolist() == ends.tolist()
    for beyond in (np.array([0, 2**63], dtype=np.uint64), np.array([0.0, 2.0**63])):
        with pytest.raises(DataError, match=r"`t\.key` .* do not fit into 64 bits, the first in row 1"):
            Trace("t", times, {"key": beyond})


@given(st.lists(st.floats(0.001, 1e4), min_size=2, max_size=50), st.floats(0.01, 100.0))
def test_speed_up(steps: list[float], factor: float) -> None:
    """The same requests in the same order, so much faster: rates are multiplied, shapes stay."""
    trace = Trace("t", np.cumsum(steps))
    fast = trace.speed_up(factor)

    assert math.isclose(trace.duration_s, fast.duration_s * factor, rel_tol=1e-9)
    assert math.isclose(trace.rate_per_s * factor, fast.rate_per_s, rel_tol=1e-9)
    assert len(trace) == len(fast)
    assert math.isclose(
        trace.describe()["interarrival_cv"], fast.describe()["interarrival_cv"], rel_tol=1e-6, abs_tol=1e-9
    )


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan])
def test_speed_up_refused(factor: float) -> None:
    """Time cannot stop or run backwards."""
    with pytest.raises(DataError, match="speed"):
        Trace("t", np.array([0.0, 1.0])).speed_up(factor)


def test_poisson_is_not_bursty() -> None:
    """Poisson traffic has burstiness 1 (four deviations of an index of dispersion over 1,000 bins) and CV 1."""
    steps = np.random.default_rng(8).exponential(0.1, size=100_000)
    described = Trace("poisson", np.cumsum(steps)).describe()

    assert abs(described["burstiness"] - 1.0) < 4 * math.sqrt(2 / 1000)
    assert abs(described["interarrival_cv"] - 1.0) < 0.02
    assert abs(described["rate_per_s"] - 10.0) < 0.13
    assert described["same_instant_share"] == 0.0


def test_clocked_and_bunched_traffic() -> None:
    """Clocked traffic has no burstiness; the same requests in bunches of twenty have twenty times Poisson's."""
    clocked = Trace("clock", np.arange(20_000.0)).describe()
    starts = np.cumsum(np.random.default_rng(9).exponential(20.0, size=1000))
    bunched = Trace("bunches", np.repeat(starts, 20)).describe()

    assert clocked["burstiness"] < 0.05
    assert clocked["interarrival_cv"] == 0.0
    assert 15 < bunched["burstiness"] < 25
    assert math.isclose(0.95, bunched["same_instant_share"], abs_tol=0.001)
    assert bunched["peak_rate_per_s"] >= 3 * clocked["peak_rate_per_s"]
