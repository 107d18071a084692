from __future__ import annotations

import pytest

from windtunnel.errors import ConfigError
from windtunnel.simulate.batching import IdealBatching, timetable

# batching, arrivals, executors, and when which requests start; every batch takes one second
TIMETABLES = {
    # whoever finds something idle leaves at once; who waits meanwhile leaves together
    "no wait": (IdealBatching(4), [0.0, 0.25, 0.5, 3.0], 1, [(0.0, (0,)), (1.0, (1, 2)), (3.0, (3,))]),
    # 0 waits half a second for company, which comes; 2 waits as long in vain
    "wait": (IdealBatching(4, 0.5), [0.0, 0.25, 2.0], 1, [(0.5, (0, 1)), (2.5, (2,))]),
    # a request that comes at the instant at which the batch leaves is in it
    "at the last moment": (IdealBatching(4, 0.5), [0.0, 0.5], 1, [(0.5, (0, 1))]),
    # the batch is full before the wait is over; 2 has waited long enough when the executor is idle, with 3
    "full": (IdealBatching(2, 0.5), [0.0, 0.25, 0.5, 1.0, 1.25], 1, [(0.25, (0, 1)), (1.25, (2, 3)), (2.25, (4,))]),
    # the second executor is idle when 1 comes
    "two executors": (IdealBatching(4), [0.0, 0.25, 0.5], 2, [(0.0, (0,)), (0.25, (1,)), (1.0, (2,))]),
}


@pytest.mark.parametrize("name", TIMETABLES)
def test_batches_leave_by_the_timetable(name: str) -> None:
    """Batches leave when something is idle and they are full or late, no sooner."""
    batching, arrivals_s, executors, expected = TIMETABLES[name]

    batches = timetable(batching, arrivals_s, lambda _: 1.0, executors)

    assert expected == [(batch.started_s, batch.requests) for batch in batches]


def test_settings_that_cannot_be_are_refused() -> None:
    """Each refusal names its field."""
    with pytest.raises(ConfigError, match=r"`max_batch` .=0. must be at least 1"):
        IdealBatching(max_batch=0)
    with pytest.raises(ConfigError, match=r"`max_wait` .=inf. must be zero or more, and finite"):
        IdealBatching(max_wait_s=float("inf"))
