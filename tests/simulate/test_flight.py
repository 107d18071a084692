from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.errors import DataError
from windtunnel.request_log import COMPLETED, FAILED, LEFT, SHED, TIMED_OUT
from windtunnel.seeds import Seeds
from windtunnel.simulate import arrivals
from windtunnel.simulate import flight as flight_module
from windtunnel.simulate.admission import Admission
from windtunnel.simulate.batching import IdealBatching, RayServeBatching
from windtunnel.simulate.client import Client
from windtunnel.simulate.fault import Crash, Preemption, ProxyStall, Slow
from windtunnel.simulate.flight import Flight, chunks_from, chunks_of, fly
from windtunnel.simulate.proxy import Proxy
from windtunnel.simulate.routing import LeastOutstanding, RoundRobin
from windtunnel.simulate.scaling import RayServeScaling
from windtunnel.simulate.system import Scaling, System
from windtunnel.trace import Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray


def table(max_batch: int, base_s: float = 0.001, per_item_s: float = 0.0004, points: int = 16) -> NDArray[np.float64]:
    luck = np.linspace(0.5, 1.5, points)
    return np.outer(base_s + per_item_s * np.arange(max_batch + 1), luck)


def busy(requests: int = 3000, rate_per_s: float = 900.0, seed: int = 3) -> Trace:
    return arrivals.parse(f"poisson(rate={rate_per_s})").arrivals(requests=requests, seed=seed)  # type: ignore[union-attr]


def one_by_one(start: float, *rest: float) -> Trace:
    return Trace("by hand", np.array([start, *rest]))


def fixed(seconds: float, max_batch: int = 1) -> NDArray[np.float64]:
    return np.full((max_batch + 1, 1), seconds)


def columns(flight: Flight) -> list[NDArray[Any]]:
    log = flight.log
    assert log is not None
    return [log.scheduled_s, log.started_s, log.finished_s, log.replica, log.batch_size, log.status]


def ended(flight: Flight) -> list[tuple[float, int, int]]:
    """When each request ended, how, and after how many attempts."""
    log = flight.log
    assert log is not None
    return list(zip(log.finished_s.tolist(), log.status.tolist(), log.attempt.tolist(), strict=True))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 40).map(lambda n: n / 4), min_size=2, max_size=60).filter(lambda t: min(t) < max(t)),
    st.integers(1, 5), st.sampled_from([0.0, 0.25, 1 / 3, 5.0]), st.integers(1, 4), st.integers(0, 99),
)  # fmt: skip
def test_one_queue_through_both_loops(
    times: list[float], max_batch: int, max_wait_s: float, replicas: int, seed: int
) -> None:
    """The loop for one queue and the loop for whole systems agree on every request, to the last bit."""
    trace = Trace("t", np.array(sorted(times)))
    plain = System(table(max_batch, 0.5, 0.25), 1, replicas, IdealBatching(max_batch, max_wait_s))
    whole = replace(plain, client=Client(timeout_s=1e6))

    expected, told = (columns(fly(system, trace, Seeds(seed), log=True)) for system in (plain, whole))

    for one, other in zip(expected, told, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "system",
    [
        System(table(8), 1, 2, IdealBatching(8, 0.002)),
        System(
            table(8), 6, 1, RayServeBatching(8, 0.002), scaling=Scaling(RayServeScaling(up_s=0.1, down_s=0.2), 2, 8, 0.05),
            client=Client(timeout_s=0.02, retries=3, backoff_s=0.01, jitter=0.5, hedge_s=0.005, patience_s=0.5),
            admission=Admission(max_ongoing=12, max_queued=40, drops_abandoned=True), proxy=Proxy(2, 0.0005),
            faults=(Crash(1, 0.5, 0.2), Slow(0, 0.2, 1.0, 3.0), Preemption(3, 0.4, 0.3, 0.3), ProxyStall(1.0, 0.05)),
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("length", [1, 7, 1000, 2999])
def test_result_does_not_depend_on_the_pieces(system: System, length: int) -> None:
    """A trace in pieces of any length ends in the same counts, histograms and timeline, to the last bit."""
    trace = busy()

    whole, pieces = fly(system, trace, Seeds(5)), fly(system, chunks_of(trace, length), Seeds(5))

    assert whole.summary.to_dict() == pieces.summary.to_dict()
    np.testing.assert_array_equal(whole.over_time, pieces.over_time)
    assert (whole.wasted, whole.drift_per_s) == (pieces.wasted, pieces.drift_per_s)


def test_generated_pieces_are_the_trace() -> None:
    """Arrivals that are generated piece by piece are those of the trace."""
    generator = arrivals.parse("poisson(rate=900)")
    assert isinstance(generator, arrivals.Generator)

    pieces = np.concatenate([chunk.arrivals_s for chunk in chunks_from(generator, 100_001, 7)])

    np.testing.assert_array_equal(generator.arrivals(requests=100_001, seed=7).arrivals_s, pieces)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 5), st.integers(0, 3), st.sampled_from([0.0, 0.004, 0.02]),
    st.sampled_from([-1, 0, 3]), st.sampled_from([0.0, 0.003]), st.booleans(), st.sampled_from([0.0, 0.05]),
)  # fmt: skip
def test_every_request_ends_once(
    seed: int,
    stations: int,
    retries: int,
    timeout_s: float,
    max_queued: int,
    hedge_s: float,
    drops: bool,
    patience_s: float,
) -> None:
    """Whatever clients, caps and crashes do, each request ends exactly once, no earlier than it came, and is counted so."""
    faults = tuple(Crash(station, 0.1 * (station + 1), 0.1) for station in range(stations))
    system = System(
        table(4), stations, 1, RayServeBatching(4, 0.001), RoundRobin(), faults=faults,
        client=Client(timeout_s, retries, 0.002, jitter=1.0, hedge_s=hedge_s, patience_s=patience_s),
        admission=Admission(max_ongoing=8, max_queued=max_queued, drops_abandoned=drops), proxy=Proxy(3, 0.0002),
    )  # fmt: skip

    flight = fly(system, busy(600, 2000.0, seed), Seeds(seed), log=True)

    log, told = flight.log, flight.summary
    assert log is not None
    counted = np.bincount(log.status, minlength=5).tolist()
    assert counted == [told.completed, told.timed_out, told.shed, told.failed, told.left]
    assert sum(counted) == len(log) == told.requests == 600
    assert np.all(log.finished_s >= log.scheduled_s)
    answered = log.status == COMPLETED
    assert np.all(log.finished_s[answered] > log.started_s[answered])
    assert np.all(log.started_s[answered] >= log.sent_s[answered])
    assert told.served <= told.attempts


def test_timeout_and_retry_by_hand() -> None:
    """The first attempt is given up after 1 s, though served to the end; the second is sent 0.5 s later and answered."""
    system = System(fixed(1.5), client=Client(timeout_s=1.0, retries=1, backoff_s=0.5))

    flight = fly(replace(system, table=fixed(1.5)), one_by_one(0.0, 100.0), Seeds(1), log=True)

    # sent at 0, given up at 1, served for nothing until 1.5; sent again at 1.5, given up at 2.5
    assert ended(flight) == [(2.5, TIMED_OUT, 1), (102.5, TIMED_OUT, 1)]
    assert flight.wasted == 4


def test_retry_after_the_server_is_free_by_hand() -> None:
    """A queue in front makes the first attempt late; the retry finds the server idle and is answered within its own timeout."""
    trace = one_by_one(0.0, 0.1)
    system = System(
        fixed(1.0), client=Client(timeout_s=1.2, retries=1, backoff_s=1.0), admission=Admission(drops_abandoned=True)
    )

    # the second waits until 1.0, would be answered at 2.0, is given up at 1.3 while it is served; again at 2.3, until 3.3
    assert ended(fly(system, trace, Seeds(1), log=True)) == [(1.0, COMPLETED, 0), (3.3, COMPLETED, 1)]


def test_hedge_by_hand() -> None:
    """The second attempt goes to another station and its answer counts; the first is served for nothing."""
    system = System(
        fixed(1.0), 2, 1, router=RoundRobin(), slowness=(5.0, 1.0), client=Client(hedge_s=0.5)
    )  # fmt: skip

    flight = fly(system, one_by_one(0.0, 100.0), Seeds(1), log=True)

    # station 0 would take 5 s; the hedge at 0.5 s goes to station 1. At 100 s it is station 0's turn again
    assert ended(flight) == [(1.5, COMPLETED, 1), (101.5, COMPLETED, 1)]
    assert flight.summary.attempts == 4


def test_budget_by_hand() -> None:
    """One token in the bucket lets one of two timed-out requests ask again."""
    client = Client(timeout_s=1.0, retries=5, backoff_s=0.0, budget_burst=1.0)
    system = System(fixed(50.0), client=client)

    flight = fly(system, one_by_one(0.0, 0.5), Seeds(1), log=True)

    assert ended(flight) == [(2.0, TIMED_OUT, 1), (1.5, TIMED_OUT, 0)]


def test_crash_by_hand() -> None:
    """What is served and what waits fails at the moment of the crash; what comes later waits for the station to be back."""
    system = System(fixed(1.0), router=LeastOutstanding(), faults=(Crash(0, 0.5, 2.0),))

    flight = fly(system, one_by_one(0.0, 0.25, 1.0), Seeds(1), log=True)

    assert ended(flight) == [(0.5, FAILED, 0), (0.5, FAILED, 0), (3.5, COMPLETED, 0)]


def test_shed_by_hand() -> None:
    """With one place at the station and none to wait, a request that comes meanwhile is refused at once."""
    system = System(fixed(1.0), admission=Admission(max_ongoing=1, max_queued=0))

    assert ended(fly(system, one_by_one(0.0, 0.5, 1.0), Seeds(1), log=True)) == [
        (1.0, COMPLETED, 0), (0.5, SHED, 0), (2.0, COMPLETED, 0),
    ]  # fmt: skip


def test_proxy_by_hand() -> None:
    """A proxy of one worker lets requests through one after the other, and none while it stalls."""
    system = System(fixed(0.25), 1, 9, proxy=Proxy(1, 0.5), faults=(ProxyStall(1.0, 2.0),))

    flight = fly(system, one_by_one(0.0, 0.0, 1.5), Seeds(1), log=True)

    assert ended(flight) == [(0.75, COMPLETED, 0), (1.25, COMPLETED, 0), (3.75, COMPLETED, 0)]


def test_priorities_by_hand() -> None:
    """A request of a more urgent class overtakes those that wait, not those that are served."""
    trace = Trace("t", np.array([0.0, 0.1, 0.2]), {"priority": np.array([1, 1, 0], dtype=np.int32)})

    flight = fly(System(fixed(1.0)), trace, Seeds(1), log=True)

    assert ended(flight) == [(1.0, COMPLETED, 0), (3.0, COMPLETED, 0), (2.0, COMPLETED, 0)]


def test_largest_of_a_batch_decides_by_hand() -> None:
    """A batch of mixed sizes takes as long as one of its largest."""
    trace = Trace("t", np.array([0.0, 0.0, 5.0]), {"size": np.array([0, 1, 0], dtype=np.int32)})
    system = System(np.stack([fixed(1.0, 2), fixed(3.0, 2)]), batcher=IdealBatching(2, 0.0))

    assert ended(fly(system, trace, Seeds(1), log=True)) == [(3.0, 0, 0), (3.0, 0, 0), (6.0, 0, 0)]


def test_deadline_by_hand() -> None:
    """What is past its deadline when its turn comes is told so, and takes no time."""
    trace = Trace("t", np.array([0.0, 0.1, 0.2]), {"deadline_s": np.array([9.0, 0.5, 9.0])})
    system = System(fixed(1.0), admission=Admission(drops_late=True))

    assert ended(fly(system, trace, Seeds(1), log=True)) == [
        (1.0, COMPLETED, 0),
        (1.0, TIMED_OUT, 0),
        (2.0, COMPLETED, 0),
    ]


def test_impatient_clients_leave() -> None:
    """Clients whose patience ends go away for good; the others are answered."""
    system = System(fixed(1.0), client=Client(patience_s=2.0, retries=3))
    trace = busy(2000, 1.5)

    flight = fly(system, trace, Seeds(1), log=True)

    assert flight.summary.left > 0
    assert flight.summary.left + flight.summary.completed == 2000
    assert flight.log is not None
    left = flight.log.status == LEFT
    # exponential patience with a mean of 2 s, of those who left before they were answered
    assert float(np.mean(flight.log.latency_s[left])) < 2.0


def test_cold_start_by_hand() -> None:
    """From no replica at all the first look starts one, which serves after its cold start."""
    scaling = Scaling(RayServeScaling(interval_s=0.5), 0, 1, cold_start_s=2.0)

    flight = fly(System(fixed(1.0), stations=0, scaling=scaling), one_by_one(0.0, 0.1), Seeds(1), log=True)

    assert ended(flight) == [(3.5, COMPLETED, 0), (4.5, COMPLETED, 0)]


def test_replicas_follow_the_load() -> None:
    """While requests pile up more replicas are paid for, and fewer once they are gone."""
    quiet, crowd = np.arange(0.0, 100.0, 1.0), 100.0 + np.arange(0.0, 50.0, 0.02)
    trace = Trace("t", np.concatenate([quiet, crowd, 150.0 + quiet]))
    scaling = Scaling(RayServeScaling(target=1.0, up_s=1.0, down_s=5.0, look_back_s=2.0, interval_s=0.5), 1, 10, 1.0)

    flight = fly(System(fixed(0.1), scaling=scaling), trace, Seeds(1), bin_s=1.0)

    replicas = flight.over_time[:, -1] / flight.bin_s
    assert abs(replicas[50] - 1.0) < 1e-9
    assert replicas[130] > 4.0
    assert abs(replicas[240] - 1.0) < 1e-9
    assert abs(np.sum(flight.over_time[:, -1]) - flight.summary.replica_s) < 1e-6 * flight.summary.replica_s


def test_overload_is_told() -> None:
    """A queue that grows is told with its drift; one that is worked off has none."""
    system = System(fixed(0.01))

    assert fly(system, busy(20_000, 90.0), Seeds(1)).drift_per_s == 0.0
    assert abs(fly(system, busy(20_000, 150.0), Seeds(1)).drift_per_s - 50.0) < 3.0


def test_log_of_a_stream_is_refused() -> None:
    """Rows are kept of a trace only; nothing can be flown without a request."""
    with pytest.raises(DataError, match="streams"):
        fly(System(fixed(1.0)), chunks_of(busy(10)), Seeds(1), log=True)
    with pytest.raises(DataError, match="no request"):
        fly(System(fixed(1.0)), iter(()), Seeds(1))


def test_a_queue_that_overflows_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more attempts are under way than there is room for the flight ends, and says by how much the queue grew."""
    monkeypatch.setattr(flight_module, "MOST_LIVE", 500)
    system = System(fixed(0.1), client=Client(timeout_s=0.5, retries=1))

    flight = fly(system, busy(20_000, 100.0), Seeds(1))

    assert flight.overflowed
    # attempts pile up at a hundred a second at least, of which ten are served
    assert flight.drift_per_s > 80.0
    assert 0.0 < flight.summary.seconds_simulated < 20.0
    assert flight.summary.replica_s == pytest.approx(flight.summary.seconds_simulated)


def test_timeline_adds_up() -> None:
    """Over time, everything adds up to what the summary says, and good answers are those within the bound."""
    system = System(table(8), 1, 2, IdealBatching(8, 0.002))
    flight = fly(system, busy(), Seeds(5), log=True, slo_s=0.004)
    told = flight.timeline()

    assert flight.log is not None
    assert flight.good == int(np.sum(flight.log.latency_s <= 0.004))
    assert {name: told[name].sum() for name in ("arrived", "completed", "batches", "served")} == {
        "arrived": 3000, "completed": 3000, "batches": flight.summary.batches, "served": 3000,
    }  # fmt: skip
    assert told["busy_s"].sum() == pytest.approx(flight.summary.busy_s)
    assert told["start_s"][0] == flight.first_s
