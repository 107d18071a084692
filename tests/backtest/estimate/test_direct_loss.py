from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.backtest.estimate import Periods, estimate_by_regression

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = np.iinfo(np.int64).max
DAY, DAYS, HORIZON = 1000, 36, 2000
PERIODS = Periods.of(np.arange(1, DAYS + 1) * DAY, HORIZON)


def traffic(rows: int = 9000) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """A regression that errs more where a feature is large, and a feature that swings over the days."""
    rng = np.random.default_rng(31)
    time = rng.integers(0, DAYS * DAY, rows)
    feature = rng.normal(np.sin(time / DAY), 0.5, rows)
    loss = np.exp(feature) * rng.chisquare(1, rows)
    known = np.where(rng.random(rows) < 0.1, NEVER, time + rng.integers(0, HORIZON, rows))
    return time, known, feature[:, None], np.where(known == NEVER, np.nan, loss)


def test_estimate_follows_what_is_asked() -> None:
    """The mean loss of days on which harder requests are asked is seen before their labels, better than by the last value."""
    found = estimate_by_regression(*traffic(), PERIODS, metric="squared_error", refit_every=12)
    trust = found.trust()

    assert trust.skill[-1] > 0.3
    assert trust.reliable[-1]


def test_order_of_rows_and_the_future_do_not_matter() -> None:
    """The rows in reverse give the same; labels known later than a look change no bit of what was estimated by then."""
    time, known, features, loss = traffic(3000)
    look = 20
    later = known > (look + 1) * DAY
    one = estimate_by_regression(time, known, features, loss, PERIODS, metric="m", refit_every=9)
    turned = estimate_by_regression(
        time[::-1], known[::-1], features[::-1], loss[::-1], PERIODS, metric="m", refit_every=9
    )
    other = estimate_by_regression(
        time, known, features, np.where(later, 99.0, loss), PERIODS, metric="m", refit_every=9
    )

    assert other.estimate[: look + 1].tobytes() == one.estimate[: look + 1].tobytes()
    assert not np.isnan(one.estimate[look])
    assert turned.realised == pytest.approx(one.realised, nan_ok=True)
    assert turned.estimate == pytest.approx(one.estimate, nan_ok=True, rel=0.05)


def test_too_little_teaches_nothing() -> None:
    """Fewer settled rows than a regressor needs give no estimate."""
    time, known, features, loss = traffic(150)

    assert np.isnan(estimate_by_regression(time, known, features, loss, PERIODS, metric="m").estimate).all()
