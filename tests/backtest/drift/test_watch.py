from __future__ import annotations

import numpy as np
import pytest

from windtunnel.backtest.drift import DISTANCES, domain_auc, watch
from windtunnel.errors import ConfigError, DataError


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_false_alarms_keep_the_rate(name: str) -> None:
    """While nothing moves, though days differ in size, each period alarms about as often as the rate says."""
    alarms = []
    for seed in range(60):
        rng = np.random.default_rng([41, seed])
        days = [rng.normal(size=100) for _ in range(30)]
        alarms.append(watch("x", days, DISTANCES[name], reference=20, rate=0.1).alarm[20:].mean())

    assert np.mean(alarms) <= 0.1 + 3.0 * float(np.std(alarms)) / 60**0.5


def test_days_that_differ_by_nature_are_no_alarm() -> None:
    """Where every day has a level of its own, PSI's rule of thumb cries all the time; the reference's threshold does not."""
    rng = np.random.default_rng(2)
    days = [rng.normal(rng.normal(0.0, 0.7), 1.0, size=200) for _ in range(60)]
    found = watch("x", days, DISTANCES["psi"], reference=30, rate=0.05)

    assert (found.distance[30:] > 0.25).mean() > 0.3
    assert found.alarm.mean() <= 0.1


def test_later_periods_change_nothing() -> None:
    """The threshold and the distances up to a period are the same bits whatever comes after it."""
    rng = np.random.default_rng(3)
    days = [rng.normal(size=50) for _ in range(40)]
    one = watch("x", days, DISTANCES["ks"], reference=20)
    other = watch("x", days[:30] + [day + 9.0 for day in days[30:]], DISTANCES["ks"], reference=20)

    assert one.threshold == other.threshold
    assert one.distance[:30].tobytes() == other.distance[:30].tobytes()
    assert other.alarms.tolist()[-10:] == list(range(30, 40))


def test_empty_periods_are_passed_over() -> None:
    """A day without a request has no distance and raises no alarm."""
    days = [np.arange(20.0) + day % 3 for day in range(26)]
    days[5] = days[23] = np.empty(0)
    found = watch("x", days, DISTANCES["wasserstein"], reference=21)

    assert np.flatnonzero(np.isnan(found.distance)).tolist() == [5, 23]
    assert found.to_dict()["distance"][23] is None
    assert found.alarms.tolist() == []


def test_domain_classifier_watches_rows() -> None:
    """Two features that cease to go together are seen by the domain classifier and by no single column."""
    rng = np.random.default_rng(4)
    days = []
    for day in range(7):
        x = rng.normal(size=(150, 2))
        days.append(np.column_stack([x[:, 0], x[:, 0] if day < 6 else x[:, 1]]))
    together = watch("all", days, lambda r, w: domain_auc(r, w, most_rows=300), reference=4, rate=0.2)
    alone = watch("second", [day[:, 1] for day in days], DISTANCES["ks"], reference=4, rate=0.2)

    assert together.distance[6] > 0.8 > together.distance[5]
    assert together.alarm[6]
    assert alone.distance[6] < 0.2


def test_refusals() -> None:
    """A reference that leaves nothing to watch, or is too short for its rate, says what would do; so does a tiny window."""
    days = [np.arange(5.0)] * 10
    with pytest.raises(ConfigError, match="leaves nothing to watch of 10 periods"):
        watch("x", days, DISTANCES["ks"], reference=10)
    with pytest.raises(ConfigError, match="at least 19 periods"):
        watch("x", days, DISTANCES["ks"], reference=5, rate=0.05)
    with pytest.raises(ConfigError, match=r"a reference of [01] periods that have rows enough"):
        watch("x", [days[0], *[np.empty(0)] * 8, days[0]], DISTANCES["ks"], reference=9, rate=0.5)
    with pytest.raises(DataError, match="at least 30 rows"):
        domain_auc(np.zeros((5, 2)), np.zeros((50, 2)))


def test_a_quiet_day_is_passed_over() -> None:
    """A day with too few rows for the domain classifier has no distance, in the reference or after it, and stops nothing."""
    rng = np.random.default_rng(5)
    days = [rng.normal(size=(5 if day in (2, 7) else 60, 2)) for day in range(9)]
    found = watch("all", days, lambda r, w: domain_auc(r, w, most_rows=60), reference=6, rate=0.2)

    assert np.flatnonzero(np.isnan(found.distance)).tolist() == [2, 7]
    assert np.isfinite(found.threshold)
    assert not found.alarm[7]
