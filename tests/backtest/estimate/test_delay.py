from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.backtest.estimate import DelayCurve, Periods
from windtunnel.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = np.iinfo(np.int64).max
SECOND = 1_000_000


def by_hand(time: list[int], known: list[int], as_of: int, horizon: int) -> tuple[list[float], list[float]]:
    """Kaplan–Meier straight from its definition: at each delay, those who waited so long and those answered then."""
    watched, events = [], []
    for asked, answered in zip(time, known, strict=True):
        if asked < as_of:
            came = answered <= as_of and answered - asked <= horizon
            watched.append(answered - asked if came else min(as_of - asked, horizon))
            events.append(came)
    share, delays, shares = 1.0, [], []
    for delay in sorted({w for w, came in zip(watched, events, strict=True) if came}):
        at_risk = sum(w >= delay for w in watched)
        share *= 1.0 - sum(came and w == delay for w, came in zip(watched, events, strict=True)) / at_risk
        delays.append(delay / 1e6)
        shares.append(share)
    return delays, shares


@given(
    rows=st.lists(st.tuples(st.integers(0, 20), st.one_of(st.integers(0, 12), st.none())), min_size=1, max_size=30),
    as_of=st.integers(1, 30),
    horizon=st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_curve_is_kaplan_meier(rows: list[tuple[int, int | None]], as_of: int, horizon: int) -> None:
    """The share still waited for is the product over delays of one minus answered over at risk, with ties everywhere."""
    time = [asked for asked, _ in rows]
    known = [NEVER if delay is None else asked + delay for asked, delay in rows]
    if min(time) >= as_of:
        return
    curve = DelayCurve.at(np.array(time), np.array(known), as_of_us=as_of, horizon_us=horizon)
    delays, shares = by_hand(time, known, as_of, horizon)

    assert curve.delay_s.tolist() == delays
    assert curve.waiting.tolist() == pytest.approx(shares, abs=1e-12)


def test_later_labels_change_nothing() -> None:
    """What becomes known after the look leaves every bit of the curve as it was."""
    rng = np.random.default_rng(0)
    time = rng.integers(0, 1000, 500)
    known = time + rng.integers(0, 400, 500)
    scrambled = np.where(known > 600, rng.integers(601, NEVER, 500), known)
    one, other = (DelayCurve.at(time, each, as_of_us=600, horizon_us=300) for each in (known, scrambled))

    assert one.waiting.tobytes() + one.low.tobytes() == other.waiting.tobytes() + other.low.tobytes()
    assert one.to_dict() == other.to_dict()


def test_interval_covers_the_truth() -> None:
    """At an early, a middle and a late delay, 95% intervals of censored samples of 80 cover the true share."""
    looked_at = np.array([0.1, 1.0, 2.0])
    covered = np.zeros(3)
    repeats = 600
    for repeat in range(repeats):
        rng = np.random.default_rng([3, repeat])
        time = rng.integers(0, 3 * SECOND, 80)
        known = time + (rng.exponential(1.0, 80) * SECOND).astype(np.int64)
        curve = DelayCurve.at(time, known, as_of_us=3 * SECOND, horizon_us=5 * SECOND)
        place = np.searchsorted(curve.delay_s, looked_at, side="right")
        low, high = np.append(1.0, curve.low)[place], np.append(1.0, curve.high)[place]
        covered += (low <= np.exp(-looked_at)) & (np.exp(-looked_at) <= high)

    assert (covered / repeats >= 0.95 - 3.0 * (0.05 * 0.95 / repeats) ** 0.5).all(), covered / repeats


def test_median_of_censored_delays_is_not_that_of_the_fast() -> None:
    """With half of the labels still to come, the median of those that came is far below the curve's."""
    rng = np.random.default_rng(1)
    time = rng.integers(0, 2 * SECOND, 4000)
    known = time + (rng.exponential(2.0, 4000) * SECOND).astype(np.int64)
    curve = DelayCurve.at(time, known, as_of_us=2 * SECOND, horizon_us=50 * SECOND)
    came = known <= 2 * SECOND

    assert curve.quantile_s(0.5) == pytest.approx(2.0 * np.log(2.0), rel=0.1)
    assert float(np.median((known - time)[came]) / SECOND) < 0.8
    assert curve.quantile_s(0.99) == float("inf")


def test_nothing_is_said_beyond_what_was_watched() -> None:
    """The share that comes within a delay longer than any request is old is not known; nor is anything before the first."""
    time: NDArray[np.int64] = np.array([0, 5 * SECOND])
    curve = DelayCurve.at(time, np.array([SECOND, NEVER]), as_of_us=9 * SECOND, horizon_us=100 * SECOND)
    shares = curve.arrived_by(np.array([0.5, 3.0, 7.0]))

    assert shares[:2].tolist() == [0.0, 0.5]
    assert np.isnan(shares[2])
    with pytest.raises(DataError, match="no request before then"):
        DelayCurve.at(time, time, as_of_us=0, horizon_us=1)


@pytest.mark.parametrize("horizon", [50, NEVER, NEVER - 1])
def test_a_horizon_without_end_forgets_no_label(horizon: int) -> None:
    """However long a label may take, one that came counts and one that never came does not; no sum of times goes round."""
    time, known = np.array([1, 2, 3]), np.array([4, 9, NEVER])
    curve = DelayCurve.at(time, known, as_of_us=10, horizon_us=horizon)

    assert pytest.approx([2.0 / 3.0, 1.0 / 3.0]) == curve.waiting.tolist()
    assert Periods.of(np.array([10, 20]), horizon).on_time(time, known).tolist() == [True, True, False]


def test_interval_is_greenwoods() -> None:
    """Against the sum of the textbook, worked out delay by delay: S^exp(±z·se), se² = Σ d / (n (n − d)) / ln² S."""
    rng = np.random.default_rng(6)
    time = rng.integers(0, 3 * SECOND, 60)
    known = time + (rng.exponential(1.0, 60) * 20).astype(np.int64) * SECOND // 20
    curve = DelayCurve.at(time, known, as_of_us=3 * SECOND, horizon_us=5 * SECOND)
    shares = np.append(1.0, curve.waiting)
    died = (1.0 - shares[1:] / shares[:-1]) * curve.at_risk
    for place in range(len(curve.delay_s) - 1):
        greenwood = sum(d / (n * (n - d)) for d, n in zip(died[: place + 1], curve.at_risk[: place + 1], strict=True))
        reach = 1.959964 * greenwood**0.5 / -np.log(curve.waiting[place])
        ends = curve.waiting[place] ** np.exp(reach), curve.waiting[place] ** np.exp(-reach)

        assert pytest.approx(ends, rel=1e-6) == (curve.low[place], curve.high[place])
