from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.request_log import COMPLETED, FAILED, TIMED_OUT, RequestLog
from windtunnel.seeds import Seeds
from windtunnel.simulate.flight import Flight, fly
from windtunnel.simulate.scenarios import Day
from windtunnel.simulate.scenarios.harm import good, harm
from windtunnel.simulate.system import System
from windtunnel.trace import Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]

REQUESTS = 4000


def a_day(from_s: float, until_s: float) -> Day:
    """One request a second."""
    trace = Trace("by the clock", np.arange(float(REQUESTS)))
    return Day.calm(trace, System(np.full((2, 1), 0.5))).during(from_s, until_s)


def flight_of(day: Day, lost: Bools, attempts: float = 1.0, served: float = 1.0) -> Flight:
    """A flight in which those requests are lost, and so many attempts are sent and served for each."""
    flown = fly(day.system, day.trace, Seeds(1), log=True, bin_s=10.0)
    assert flown.log is not None
    log = replace(flown.log, status=np.where(lost, TIMED_OUT, COMPLETED).astype(np.int32))
    over_time = flown.over_time.copy()
    over_time[:, 7] *= attempts
    over_time[:, 12] *= served
    return replace(flown, log=log, over_time=over_time)


def between(first: int, end: int) -> Bools:
    rows = np.arange(REQUESTS)
    return (rows >= first) & (rows < end)


def test_good_is_answered_in_time() -> None:
    """Late, refused and never settled requests are no good answers."""
    zeros, ints = np.zeros(4), np.ones(4, dtype=np.int32)
    log = RequestLog(
        zeros, zeros, zeros, np.array([1.0, 3.0, 1.0, 0.0]), ints, np.array([1, 1, 1, 0], dtype=np.int32), ints,
        np.array([COMPLETED, COMPLETED, FAILED, COMPLETED], dtype=np.int32),
    )  # fmt: skip

    assert good(log, 2.0).tolist() == [True, False, False, False]


def test_recovery_is_timed_from_the_end_of_the_trigger() -> None:
    """All are lost from 1,000 to 1,500 s, the trigger ends at 1,100 s: 390 s later a window of 200 loses a twentieth."""
    day = a_day(1000.0, 1100.0)

    found = harm(np.ones(REQUESTS, dtype=bool), day, flight_of(day, between(1000, 1500)), 10.0)

    assert (found.recovered, found.recovery_s, found.requests_hurt, found.metastable) == (True, 390.0, 500, False)


def test_what_was_bad_anyway_is_not_counted() -> None:
    """Requests that get no good answer on the calm day either are not hurt, and do not delay the recovery."""
    day, ill = a_day(1000.0, 1100.0), np.arange(REQUESTS) % 4 == 0

    found = harm(~ill, day, flight_of(day, ill | between(1000, 1100)), 10.0)

    assert (found.recovery_s, found.requests_hurt) == (0.0, 75)


def test_before_and_long_after_is_not_counted() -> None:
    """A request lost before the trigger, or long after the recovery, was not hurt by it."""
    day = a_day(1000.0, 1100.0)

    found = harm(np.ones(REQUESTS, dtype=bool), day, flight_of(day, between(10, 20) | between(3000, 3010)), 10.0)

    assert (found.recovered, found.requests_hurt) == (True, 0)


def test_metastable_needs_a_collapse_that_keeps_itself_alive() -> None:
    """Collapsed to the end with more attempts than get served: metastable; without those, a backlog that is worked off."""
    day, calm, lost = a_day(1000.0, 1100.0), np.ones(REQUESTS, dtype=bool), between(1000, REQUESTS)

    assert harm(calm, day, flight_of(day, lost, attempts=4.0), 10.0).metastable is True
    assert harm(calm, day, flight_of(day, lost), 10.0).metastable is False
    assert harm(calm, day, flight_of(day, lost, attempts=4.0, served=5.0), 10.0).metastable is False


def test_metastable_is_unknown_where_the_trace_ends_too_soon() -> None:
    """Ten triggers after the trigger nobody comes any more: nothing is claimed."""
    day = a_day(1000.0, 1400.0)

    found = harm(np.ones(REQUESTS, dtype=bool), day, flight_of(day, between(1000, REQUESTS), attempts=4.0), 10.0)

    assert (found.recovered, found.recovery_s, found.metastable) == (False, None, None)
