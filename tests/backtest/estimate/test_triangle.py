from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.backtest.estimate import DelayCurve, Periods, Triangle
from windtunnel.backtest.estimate.triangle import as_of
from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = np.iinfo(np.int64).max


@given(
    rows=st.lists(st.tuples(st.integers(0, 49), st.one_of(st.integers(0, 40), st.none())), min_size=1, max_size=40),
    horizon=st.integers(1, 35),
)
@settings(max_examples=50, deadline=None)
def test_looks_count_what_the_definition_says(rows: list[tuple[int, int | None]], horizon: int) -> None:
    """Asked and matured at every look are those of the definition, whatever the ties, and so is the sum of losses."""
    time = np.array([asked for asked, _ in rows])
    known = np.array([NEVER if delay is None else asked + delay for asked, delay in rows])
    grid = np.arange(10, 70, 10)
    worth = np.arange(len(rows), dtype=np.float64) + 1.0
    triangle = Triangle.of(time, known, periods=Periods.of(grid, horizon), losses={"m": worth})
    matured = [(time < g) & (known <= g) & (known <= time + horizon) for g in grid]

    assert np.cumsum(triangle.asked[0]).tolist() == [float((time < g).sum()) for g in grid]
    assert as_of(triangle.matured)[0].sum(axis=1).tolist() == [float(each.sum()) for each in matured]
    assert as_of(triangle.losses["m"])[0].sum(axis=1).tolist() == [float(worth[each].sum()) for each in matured]


@given(delays=st.lists(st.one_of(st.integers(1, 9), st.none()), min_size=1, max_size=40), horizon=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_curves_agree_with_the_exact_one(delays: list[int | None], horizon: int) -> None:
    """Where requests and labels fall on whole steps, the curve of every look is Kaplan–Meier's of that time."""
    time = np.arange(len(delays)) % 7 * 10
    known = np.array([NEVER if d is None else t + 10 * d for t, d in zip(time.tolist(), delays, strict=True)])
    grid = np.arange(10, 120, 10)
    waiting = Triangle.of(time, known, periods=Periods.of(grid, 10 * horizon), losses={}).waiting()[0][0]
    for look, now in enumerate(grid.tolist()):
        exact = DelayCurve.at(time, known, as_of_us=now, horizon_us=10 * horizon)
        lags = np.arange(min(horizon, look + 1))
        place = np.searchsorted(exact.delay_s, (lags + 1) * 10 / 1e6, side="right")

        assert waiting[look, lags].tolist() == pytest.approx(np.append(1.0, exact.waiting)[place].tolist(), abs=1e-12)


def test_corrections_replace_what_they_correct() -> None:
    """A corrected label leaves one matured request, whose loss is the new one from the look that knows of it."""
    time, known, until = np.array([1, 1]), np.array([5, 25]), np.array([25, NEVER])
    triangle = Triangle.of(
        time, known, periods=Periods.of(np.array([10, 20, 30]), 40), losses={"m": np.array([1.0, 0.25])},
        until_us=until, first=np.array([True, False]),
    )  # fmt: skip

    assert triangle.asked.sum() == 1.0
    assert as_of(triangle.matured)[0].sum(axis=1).tolist() == [1.0, 1.0, 1.0]
    assert as_of(triangle.losses["m"])[0].sum(axis=1).tolist() == [1.0, 1.0, 0.25]


def test_a_correction_beyond_the_horizon_does_not_count() -> None:
    """A version known later than the horizon neither counts nor takes the place of the one before it."""
    triangle = Triangle.of(
        np.array([1, 1]), np.array([5, 25]), periods=Periods.of(np.array([10, 20, 30]), 20),
        losses={"m": np.array([1.0, 0.25])}, until_us=np.array([25, NEVER]), first=np.array([True, False]),
    )  # fmt: skip

    assert as_of(triangle.losses["m"])[0].sum(axis=1).tolist() == [1.0, 1.0, 1.0]


def traffic(rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Requests over 1,000 ticks with labels that come late or never."""
    rng = np.random.default_rng(5)
    time = rng.integers(0, 1000, rows)
    known = np.where(rng.random(rows) < 0.1, NEVER, time + rng.integers(0, 300, rows))
    return time, known, rng.integers(0, 8, rows) / 8.0


def test_shards_add_up() -> None:
    """Shards of the rows, cut anywhere, add up to the whole, bit by bit where the losses are sums without rounding."""
    time, known, loss = traffic(5000)
    periods = Periods.of(np.arange(100, 1300, 100), 250)
    zero = np.zeros(5000)

    def part(rows: slice) -> Triangle:
        ends = {"m": (zero[rows], 1.0 + zero[rows])}
        return Triangle.of(time[rows], known[rows], periods=periods, losses={"m": loss[rows]}, limits=ends)

    whole, added = part(slice(0, 5000)), part(slice(1234, 5000)) + part(slice(0, 1234))

    assert added.matured.tobytes() == whole.matured.tobytes()
    assert added.losses["m"].tobytes() == whole.losses["m"].tobytes()
    assert [each.tobytes() for each in added.limits["m"]] == [each.tobytes() for each in whole.limits["m"]]


def test_the_future_does_not_reach_back() -> None:
    """Labels that become known after a look change no bit of what it sees."""
    time, known, loss = traffic(5000)
    scrambled = np.where(known > 600, np.random.default_rng(0).integers(601, NEVER, 5000), known)
    periods = Periods.of(np.arange(100, 1300, 100), 250)
    one, other = (Triangle.of(time, each, periods=periods, losses={"m": loss}) for each in (known, scrambled))
    looks = 6  # those up to 600

    for a, b in zip(one.waiting(), other.waiting(), strict=True):
        assert a[:, :looks].tobytes() == b[:, :looks].tobytes()
    assert as_of(one.losses["m"])[:, :looks].tobytes() == as_of(other.losses["m"])[:, :looks].tobytes()


def test_refusals() -> None:
    """Uneven looks, requests far before the first look, strata out of range and tables beyond memory are refused."""
    time = np.array([1, 35])
    with pytest.raises(ConfigError, match="evenly spaced"):
        Periods.of(np.array([10, 20, 40]), 5)
    with pytest.raises(ConfigError, match="is not positive"):
        Periods.of(np.array([10, 20]), 0)
    with pytest.raises(DataError, match="before the first look"):
        Triangle.of(time, time, periods=Periods.of(np.array([30, 40]), 10), losses={})
    with pytest.raises(DataError, match="out of range"):
        Triangle.of(time, time, periods=Periods.of(np.array([10, 20]), 10), losses={}, strata=np.array([0, 1]))
    with pytest.raises(ConfigError, match="look less often"):
        Triangle.of(time, time, periods=Periods.of(np.arange(10, 200_000, 10), 100_000), losses={})
