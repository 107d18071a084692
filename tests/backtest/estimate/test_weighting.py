from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from windtunnel.backtest.estimate import Periods, Triangle, bound_mean, mean_by_age, mean_by_delay, plain_mean
from windtunnel.backtest.estimate.triangle import as_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.backtest.estimate import WeightedMean

    Floats = NDArray[np.float64]

NEVER = np.iinfo(np.int64).max
DAY = 1000
DAYS, HORIZON_DAYS = 20, 8
PERIODS = Periods.of(np.arange(1, DAYS + 1) * DAY, HORIZON_DAYS * DAY)
REPEATS = 80


def world(
    seed: int, delayed_by: str, *, growing: bool, strata: bool = True, shocks: float = 0.0, rows: int = 6000
) -> tuple[Triangle, Floats]:
    """Labels of loss 0 or 1 that are slow for stratum 1 or for loss 1; and the true mean loss of all asked at each look.

    Where it is growing, stratum 1 (which errs more) becomes more frequent from day to day. Days may share a shock.
    """
    rng = np.random.default_rng([17, seed])
    time = rng.integers(0, DAYS * DAY, rows)
    stratum = (rng.random(rows) < (0.1 + 0.8 * time / (DAYS * DAY) if growing else 0.5)).astype(np.int64)
    chance = np.where(stratum == 1, 0.6, 0.2) + shocks * rng.choice([-1.0, 1.0], DAYS)[time // DAY]
    loss = (rng.random(rows) < chance).astype(float)
    slow = stratum == 1 if delayed_by == "stratum" else loss == 1.0
    delay = np.minimum(rng.exponential(np.where(slow, 4.0, 0.5) * DAY), HORIZON_DAYS * DAY).astype(np.int64)
    known = np.where(rng.random(rows) < 0.05, NEVER, time + delay)
    triangle = Triangle.of(
        time, known, periods=PERIODS, losses={"m": loss}, strata=stratum if strata else None, number_of_strata=1 + strata,
        limits={"m": (np.zeros(rows), np.ones(rows))},
    )  # fmt: skip
    asked = np.bincount(time // DAY, minlength=DAYS).cumsum()
    return triangle, np.bincount(time // DAY, weights=loss, minlength=DAYS).cumsum() / asked


LOOK = 19


def bias(kind: str, delayed_by: str, *, growing: bool, strata: bool = True) -> tuple[float, float, float]:
    """The mean error of one estimator at one look, the standard error of that, and how often its interval holds the truth."""
    errors, covered = [], []
    for seed in range(REPEATS):
        triangle, truth = world(seed, delayed_by, growing=growing, strata=strata)
        if kind == "plain":
            value = low = high = plain_mean(triangle, "m")
        else:
            weighted = (mean_by_age if kind == "age" else mean_by_delay)(triangle, "m")
            value, low, high = weighted.mean, weighted.low, weighted.high
        errors.append(value[LOOK] - truth[LOOK])
        covered.append(low[LOOK] <= truth[LOOK] <= high[LOOK])
    return float(np.mean(errors)), float(np.std(errors) / len(errors) ** 0.5), float(np.mean(covered))


def test_plain_mean_favours_the_fast() -> None:
    """Without weights, the stratum that is answered fast counts too much and errs less, so the metric looks better."""
    error, noise, _ = bias("plain", "stratum", growing=True)

    assert error < -0.02
    assert error < -10.0 * noise


def test_weighing_by_age_undoes_it_within_strata() -> None:
    """Where delay depends on the label through the stratum alone, weighing by age leaves no bias, though traffic changes."""
    error, noise, covered = bias("age", "stratum", growing=True)

    assert abs(error) < 4.0 * noise
    assert covered >= 0.9


def test_without_the_stratum_age_does_not_help() -> None:
    """Pooled over the stratum that decides both delay and loss, weighing by age stays biased: the stratum must be named."""
    error, noise, _ = bias("age", "stratum", growing=True, strata=False)

    assert error < -5.0 * noise


def test_age_is_wrong_where_the_label_itself_decides_the_delay() -> None:
    """Losses that are slow because they are losses are missed by weighing by age, and caught by weighing by delay."""
    by_age, noise_of_age, _ = bias("age", "label", growing=False)
    by_delay, noise_of_delay, covered = bias("delay", "label", growing=False)

    assert by_age < -5.0 * noise_of_age
    assert abs(by_delay) < 4.0 * noise_of_delay
    assert covered >= 0.9


def test_delay_is_wrong_where_traffic_changes() -> None:
    """Weighing by delay takes yesterday's slow labels for today's: growing traffic of another kind biases it, pooled."""
    error, noise, _ = bias("delay", "stratum", growing=True, strata=False)

    assert abs(error) > 5.0 * noise


def test_weighing_by_delay_waits_for_the_first_fate() -> None:
    """Before the first period is settled its slowest labels are unknown, and weighing by delay says nothing."""
    weighted = mean_by_delay(world(0, "stratum", growing=False)[0], "m")

    assert np.isnan(weighted.mean).tolist() == [True] * HORIZON_DAYS + [False] * (DAYS - HORIZON_DAYS)


def test_effective_rows_and_what_is_left_out() -> None:
    """Weights cost effective rows, never more than the matured ones; early looks leave out what can hardly have come."""
    triangle, _ = world(0, "stratum", growing=True)
    weighted = mean_by_age(triangle, "m")
    matured = as_of(triangle.matured).sum(axis=(0, 2))

    assert (weighted.effective <= matured + 1e-9).all()
    assert (weighted.effective[1:] > 0.5 * matured[1:]).all()
    assert weighted.left_out[LOOK] == 0.0


@given(seed=st.integers(0, 10_000), delayed_by=st.sampled_from(["stratum", "label"]), growing=st.booleans())
@settings(max_examples=15, deadline=None)
def test_bounds_hold_whatever_is_missing(seed: int, delayed_by: str, growing: bool) -> None:
    """The truth lies between the bounds at every look, under every mechanism of delay."""
    triangle, truth = world(seed, delayed_by, growing=growing, rows=300)
    low, high = bound_mean(triangle, "m")

    assert (low <= truth + 1e-12).all()
    assert (truth <= high + 1e-12).all()


def test_the_future_does_not_reach_back() -> None:
    """Labels that become known after a look change no bit of the weighted means and bounds by then."""
    rng = np.random.default_rng(1)
    time, loss = rng.integers(0, DAYS * DAY, 3000), rng.random(3000)
    known = time + rng.integers(0, 12 * DAY, 3000)
    later = known > (LOOK - 3) * DAY
    ends = {"m": (np.zeros(3000), np.ones(3000))}
    one, other = (
        Triangle.of(time, each, periods=PERIODS, losses={"m": values}, limits=ends)
        for each, values in ((known, loss), (np.where(later, NEVER, known), np.where(later, 9.0, loss)))
    )
    for estimate in (mean_by_age, mean_by_delay):
        pair = estimate(one, "m"), estimate(other, "m")
        for field in ("mean", "low", "high", "effective", "left_out"):
            a, b = (getattr(each, field)[: LOOK - 3].tobytes() for each in pair)
            assert a == b, field
    assert [each[: LOOK - 3].tobytes() for each in bound_mean(one, "m")] == [
        each[: LOOK - 3].tobytes() for each in bound_mean(other, "m")
    ]


def test_nothing_asked_nothing_said() -> None:
    """A grid without rows gives NaN, not zero and not an error."""
    none = np.array([], dtype=np.int64)
    triangle = Triangle.of(none, none, periods=PERIODS, losses={"m": none.astype(float)})

    assert np.isnan(mean_by_age(triangle, "m").mean).all()
    assert np.isnan(plain_mean(triangle, "m")).all()


@pytest.mark.parametrize(
    ("kind", "delayed_by", "shocks"),
    [("age", "stratum", 0.0), ("age", "stratum", 0.15), ("delay", "label", 0.0), ("delay", "label", 0.15)],
)
def test_intervals_hold_what_the_mean_turns_out_to_be(kind: str, delayed_by: str, shocks: float) -> None:
    """Late in the recording 95% intervals hold the mean over all that was asked in 92 to 98% of 250 recordings, shocks or none."""
    held = []
    for seed in range(250):
        triangle, truth = world(seed, delayed_by, growing=kind == "age", shocks=shocks, rows=2000)
        found = (mean_by_age if kind == "age" else mean_by_delay)(triangle, "m")
        held.append(((found.low <= truth) & (truth <= found.high))[[17, 18, LOOK]])

    assert 0.92 <= np.mean(held) <= 0.98


def test_intervals_close_as_the_labels_come() -> None:
    """Once every label is there nothing is unknown: the mean is the mean, and its interval a point."""
    time, loss = np.arange(0, 500), np.random.default_rng(1).random(500)
    periods = Periods.of(np.arange(100, 1100, 100), 200)
    found = mean_by_age(Triangle.of(time, time + 150, periods=periods, losses={"m": loss}), "m")

    assert found.low[3] < found.mean[3] < found.high[3]
    assert pytest.approx([loss.mean()] * 3) == [found.low[-1], found.mean[-1], found.high[-1]]


def test_what_never_varied_bounds_nothing() -> None:
    """Forty labels without loss say nothing of how the missing ones differ, so the interval has no ends."""
    time = np.arange(40)
    triangle = Triangle.of(
        time, time + time % 9 * 3, periods=Periods.of(np.arange(10, 60, 10), 20), losses={"m": np.zeros(40)}
    )
    found = mean_by_age(triangle, "m")

    assert found.mean.tolist() == [0.0] * 5
    assert np.isinf(found.high).all()


def rows_and_weights(by_age: bool) -> tuple[WeightedMean, NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
    """What is estimated of 300 rows at the tenth look, and of each row its period, lag, loss and (bare) weight."""
    rng = np.random.default_rng(2)
    time, loss, delay = rng.integers(0, 100, 300), rng.random(300) * 3.0, rng.integers(0, 60, 300)
    triangle = Triangle.of(time, time + delay, periods=Periods.of(np.arange(10, 110, 10), 45), losses={"m": loss})
    period, lag = time // 10, np.maximum(-(-(time + delay) // 10) - 1 - time // 10, 0)
    if by_age:
        weight = 1.0 / (1.0 - triangle.waiting()[0][0, 9][np.minimum(9 - period, 5)])
    else:
        weight = np.array([300.0 / (period <= 9 - each).sum() for each in lag])
    weight = np.where((time + delay <= 100) & (delay <= 45), weight, 0.0)
    return (
        (mean_by_age if by_age else mean_by_delay)(triangle, "m"),
        period,
        np.where(delay <= 45, lag, 99),
        loss,
        weight,
    )


def test_interval_by_age_is_a_sum_over_rows() -> None:
    """Mean and interval are those of a plain sum over rows, each with its own weight."""
    found, _, _, loss, weight = rows_and_weights(by_age=True)
    weight = weight * 300.0 / weight.sum()
    mean, effective = weight @ loss / 300.0, weight.sum() ** 2 / (weight**2).sum()
    error = (np.maximum(weight - 1.0, 0.0) * weight) @ (loss - mean) ** 2 * effective / (effective - 1.0)
    reach = t.ppf(0.975, effective - 1.0) * error**0.5 / 300.0

    assert pytest.approx([mean, mean - reach, mean + reach, effective]) == [
        found.mean[9], found.low[9], found.high[9], found.effective[9],
    ]  # fmt: skip


def test_interval_by_delay_tries_itself_on_settled_periods() -> None:
    """Each settled period, cut off at each age, is missed by so much: in a plain loop over rows, periods and ages."""
    found, period, lag, loss, weight = rows_and_weights(by_age=False)
    scale = 300.0 / weight.sum()
    mean = weight @ loss / weight.sum()
    size = np.bincount(period, minlength=10)
    bare = [300.0 / (period <= 9 - each).sum() for each in range(6)]
    error = scale * (scale - 1.0) * (weight @ (loss - mean) ** 2)
    for age in range(6):
        missed = []
        for old in range(5):
            rows = period == old
            of_lag = [float((loss - mean)[rows & (lag == each)].sum()) for each in range(6)]
            seen = sum((bare[each] - 1.0) * of_lag[each] for each in range(age + 1))
            missed.append(scale * (seen - sum(of_lag[age + 1 :])) / size[old])
        young = [size[p] for p in range(10) if min(9 - p, 5) == age]
        error += float(np.var(missed, ddof=1)) * sum(each**2 for each in young)
    reach = t.ppf(0.975, 4) * error**0.5 / 300.0

    assert pytest.approx([mean, mean - reach, mean + reach]) == [found.mean[9], found.low[9], found.high[9]]
