"""Schedules: the trace's requests, each with the body of its size and key."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.errors import DataError
from windtunnel.simulate.live import Bodies, Schedule
from windtunnel.trace import Trace


def test_sizes_and_keys_choose_the_body() -> None:
    """A request carries a body of its class; the same key the same one, without a key each in turn."""
    columns = {"size": np.array([0, 1, 1, 0, 1]), "key": np.array([7, 7, -1, 7, 8])}
    schedule = Schedule.of(
        Trace("t", np.array([3.0, 4.0, 4.5, 5.0, 9.0]), columns), Bodies((b"a", b"b", b"c", b"d", b"e"), (0, 2, 5))
    )

    assert schedule.scheduled_s.tolist() == [0.0, 1.0, 1.5, 2.0, 6.0]
    assert schedule.body.tolist() == [0 + 7 % 2, 2 + 7 % 3, 2 + 2 % 3, 1, 2 + 8 % 3]


def test_rates_are_of_what_is_left() -> None:
    """Requests after the duration are left out; the peak is that of the busiest second, wherever it begins."""
    trace = Trace("t", np.array([0.0, 1.6, 2.0, 2.5, 4.0, 100.0]))
    schedule = Schedule.of(trace, Bodies((b"a",), (0, 1)), duration_s=10.0)

    assert len(schedule) == 5
    assert schedule.peak_per_s == 3.0
    assert schedule.rate_per_s == 5 / 4.0


def test_what_cannot_be_sent_is_refused() -> None:
    """A class without bodies, or a duration in which nearly nothing comes."""
    trace = Trace("t", np.array([0.0, 50.0]), {"size": np.array([0, 1])})
    with pytest.raises(DataError, match="no size class that there are bodies of"):
        Schedule.of(trace, Bodies((b"a",), (0, 1)))
    with pytest.raises(DataError, match="fewer than two requests in 10 s"):
        Schedule.of(trace, Bodies((b"a", b"b"), (0, 1, 2)), 10.0)
