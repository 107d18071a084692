"""Whether a run tells of the server or of those who sent it."""

from __future__ import annotations

import numpy as np

from windtunnel.simulate.live import Bodies, Schedule
from windtunnel.simulate.live.live_run import judge, started
from windtunnel.trace import Trace

SCHEDULE = Schedule.of(Trace("t", np.arange(0.0, 10.005, 0.01)), Bodies((b"",), (0, 1)))
"""A hundred requests a second."""

ON_TIME = np.full(1001, 0.0005)


def test_generators_that_keep_up_are_believed() -> None:
    """On time, at less than half of what they can, with connections to spare: nothing is said against the run."""
    assert judge(SCHEDULE, ON_TIME, 250.0, 0, 4096) == ()


def test_each_reason_is_said() -> None:
    """More than one in a hundred late, more than half of what they can, or no connection left."""
    late = np.where(np.arange(1001) % 50 == 0, 0.003, ON_TIME)
    found = judge(SCHEDULE, late, 150.0, 7, 20)

    assert [each.split()[0] for each in found] == ["One", "The", "7"]
    assert "more than 3 ms late, where 2 ms are allowed" in found[0]
    assert "more than half of the 150 that" in found[1]
    assert "all 20 connections" in found[2]


def test_one_in_two_hundred_may_be_late() -> None:
    """The tail beyond the 99th percentile is chance's."""
    late = np.where(np.arange(1001) % 200 == 0, 0.5, ON_TIME)

    assert judge(SCHEDULE, late, 1e6, 0, 4096) == ()


def test_a_batch_begins_between_sending_and_the_answer() -> None:
    """What is neither queue nor model is laid half before and half after them; unknown spans leave it unknown."""
    found = started(np.array([1.0, 0.0]), np.array([1.010, 1.0]), np.array([0.003, np.nan]), np.array([0.005, 0.1]))

    assert found[0] == 1.004
    assert np.isnan(found[1])
