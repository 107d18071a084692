from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.errors import DataError
from windtunnel.request_log import COMPLETED, FAILED
from windtunnel.seeds import Seeds
from windtunnel.simulate import flight as flights
from windtunnel.simulate.admission import Admission
from windtunnel.simulate.batching import (
    CorkBatching,
    FixedBatching,
    IdealBatching,
    RayServeBatching,
    TFServingBatching,
    TritonBatching,
)  # fmt: skip
from windtunnel.simulate.client import Client
from windtunnel.simulate.fault import Crash, Preemption, ProxyStall, Slow
from windtunnel.simulate.flight import Flight, chunks_of, fly
from windtunnel.simulate.multiplex import Multiplex
from windtunnel.simulate.population import Population
from windtunnel.simulate.proxy import Proxy
from windtunnel.simulate.reference import fly_slowly
from windtunnel.simulate.routing import (
    ROUTERS,
    ConsistentHash,
    LeastOutstanding,
    Multiplexed,
    Pinned,
    PowerOfTwo,
    RoundRobin,
)
from windtunnel.simulate.scaling import HPAScaling, KnativeScaling, RayServeScaling
from windtunnel.simulate.system import Scaling, System
from windtunnel.trace import Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.simulate.batching import Batcher
    from windtunnel.simulate.fault import Fault
    from windtunnel.simulate.reference.request import Row
    from windtunnel.simulate.routing import Router
    from windtunnel.simulate.scaling import Scaler

# quarters of a second meet each other at the same instant; the others meet nobody
SPANS = st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 1 / 3, 0.01])
SPANS_OR_NONE = st.just(0.0) | SPANS
TIMES = st.integers(0, 40).map(lambda n: n / 4)
EVERY_ROUTER: list[Router] = [
    *(router() for router in ROUTERS.values()),  # type: ignore[call-arg]  # those with a name of their own need nothing
    PowerOfTwo(1.0),
    Pinned(0.5, 1, 2.0, 6.0, PowerOfTwo()),
    Pinned(0.5, 1, 2.0, 6.0, Multiplexed()),
    ConsistentHash(3, 1.25),
]
CAPS = st.sampled_from([-1, 1, 2, 3, 5])


@st.composite
def batchers(draw: st.DrawFn) -> Batcher:
    """Every batcher there is, with small batches."""
    max_batch, wait_s = draw(st.integers(1, 4)), draw(SPANS_OR_NONE)
    every: list[Batcher] = [
        IdealBatching(max_batch, wait_s),
        FixedBatching(max_batch, draw(st.sampled_from([0.0, 0.5, np.inf]))),
        RayServeBatching(max_batch, wait_s, 2),
        RayServeBatching(max_batch, wait_s, 2, blocking=True, python=draw(st.sampled_from([(3, 11), (3, 12)]))),
        TritonBatching(max_batch, wait_s),
        TritonBatching(max_batch, wait_s, (1, max_batch) if max_batch > 1 else (), max_queue_size=draw(st.integers(0, 3))),
        TritonBatching(max_batch, wait_s, queue_timeout_s=0.5),
        TFServingBatching(max_batch, wait_s, draw(st.integers(1, 3)), look_s=draw(st.sampled_from([0.0, 0.125]))),
        CorkBatching(max_batch),
    ]  # fmt: skip
    return draw(st.sampled_from(every))


@st.composite
def clients(draw: st.DrawFn) -> Client:
    """Clients with and without each of their habits."""
    return Client(
        timeout_s=draw(SPANS_OR_NONE), retries=draw(st.integers(0, 3)), backoff_s=draw(SPANS_OR_NONE), backoff_max_s=2.0,
        jitter=draw(st.sampled_from([0.0, 0.5, 1.0])), budget_ratio=draw(st.sampled_from([0.0, 0.25, 1.0])),
        budget_burst=draw(st.sampled_from([0.0, 1.0, 2.5, np.inf])), hedge_s=draw(SPANS_OR_NONE),
        patience_s=draw(st.sampled_from([0.0, 0.5, 5.0])),
    )  # fmt: skip


def scalers() -> st.SearchStrategy[Scaler]:
    """Every scaler there is, in a hurry."""
    interval_s = st.sampled_from([0.25, 0.3])
    return st.one_of(
        st.builds(
            RayServeScaling, st.sampled_from([1.0, 2.5]), st.sampled_from([0.0, 0.5]), st.sampled_from([0.0, 1.0]),
            st.sampled_from([0.5, 1.0]), st.sampled_from([1.0, 2.0]), st.sampled_from([1.0, 0.3]), interval_s,
        ),
        st.builds(
            HPAScaling, st.sampled_from([1.0, 2.5]), st.sampled_from([0.0, 0.1]), st.sampled_from([0.0, 2.0]), st.integers(1, 4),
            st.sampled_from([0.0, 0.5]), interval_s,
        ),
        st.builds(
            KnativeScaling, st.sampled_from([1.0, 3.0]), st.just(0.7), st.just(3.0), st.sampled_from([0.5, 1.0]), st.just(2.0),
            st.sampled_from([1.5, 1000.0]), st.just(2.0), st.sampled_from([0.0, 1.0]), interval_s,
        ),
    )  # fmt: skip


@st.composite
def faults(draw: st.DrawFn, stations: int) -> tuple[Fault, ...]:
    """A few faults, which may overlap."""
    station, at_s, span_s = st.integers(0, stations - 1), TIMES, SPANS_OR_NONE
    back_s = st.sampled_from([0.0, 0.25, 1.0, 3.0, np.inf])
    each = st.one_of(
        st.builds(Crash, station, at_s, back_s),
        st.builds(Slow, station, at_s, span_s, st.sampled_from([0.5, 2.0, 3.0])),
        st.builds(Preemption, station, at_s, span_s, back_s),
        st.builds(ProxyStall, at_s, span_s),
    )
    return tuple(draw(st.lists(each, max_size=4)))


@st.composite
def systems(draw: st.DrawFn) -> System:
    """Small systems of every kind."""
    batcher, most, groups, sizes = draw(batchers()), draw(st.integers(1, 5)), draw(st.integers(1, 2)), 2
    service_s = st.sampled_from([0.25, 0.5, 1.0, 1 / 3, 0.01])
    points = draw(st.integers(1, 2))
    shape = groups, sizes, batcher.max_batch + 1, points
    table = np.array(draw(st.lists(service_s, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))).reshape(
        shape
    )
    scaling, stations = None, most
    if draw(st.booleans()):
        scaling = Scaling(draw(scalers()), draw(st.integers(0, most)), most, draw(st.sampled_from([0.0, 0.5, 1 / 3])))
        stations = draw(st.integers(0, most))
    multiplex, routers = draw(st.none() | multiplexes()), EVERY_ROUTER
    if multiplex is None:
        routers = [
            router for router in EVERY_ROUTER if Multiplexed() not in (router, getattr(router, "otherwise", None))
        ]
    return System(
        table, stations, batcher.executors or draw(st.integers(1, 3)), batcher,
        draw(st.sampled_from(routers)), scaling, draw(clients()),
        Admission(
            draw(st.sampled_from([2**62, 1, 2, 4])), draw(CAPS), draw(CAPS | st.just(0)), draw(st.booleans()), draw(st.booleans())
        ),
        draw(st.none() | st.builds(Proxy, st.integers(1, 3), SPANS_OR_NONE)), draw(faults(most)),
        tuple(draw(st.lists(st.integers(0, groups - 1), min_size=most, max_size=most))),
        tuple(draw(st.lists(st.sampled_from([1.0, 2.0, 1 / 3]), min_size=most, max_size=most))), multiplex,
    )  # fmt: skip


def multiplexes() -> st.SearchStrategy[Multiplex]:
    """Few places for models."""
    return st.builds(Multiplex, st.integers(1, 3), SPANS_OR_NONE, st.sampled_from(["constant", "exponential"]))


def populations() -> st.SearchStrategy[Population]:
    """Few users, in step or not; some stop early."""
    return st.builds(
        Population, st.integers(1, 6), SPANS, st.sampled_from(["constant", "exponential"]), st.integers(1, 30),
        st.sampled_from([0.5, 5.0, np.inf]),
    )  # fmt: skip


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Few requests, many at the same instant, of two sizes, three priorities and five keys, some with a deadline."""
    times = sorted(draw(st.lists(TIMES, min_size=2, max_size=40).filter(lambda times: min(times) < max(times))))

    def column(values: st.SearchStrategy[Any], dtype: type[np.generic]) -> NDArray[Any]:
        return np.array(draw(st.lists(values, min_size=len(times), max_size=len(times))), dtype=dtype)

    columns = {
        "size": column(st.integers(0, 1), np.int32),
        "priority": column(st.integers(0, 2), np.int32),
        "deadline_s": column(st.sampled_from([0.25, 1.0, 3.0, np.inf]), np.float64),
        "key": column(st.integers(0, 4), np.int64),
    }
    kept = draw(st.sets(st.sampled_from(sorted(columns)))) | {"key"}
    return Trace("t", np.array(times), {name: column for name, column in columns.items() if name in kept})


def rows(flight: Flight) -> list[Row]:
    """The log as the reference tells it."""
    log = flight.log
    assert log is not None
    names = "sent_s", "started_s", "finished_s", "replica", "batch_size", "attempt", "status"
    return list(zip(*(getattr(log, name).tolist() for name in names), strict=True))


def ended(flight: Flight) -> list[tuple[float, int, int]]:
    """When each request ended, how, and in which attempt."""
    return [(finished_s, status, attempt) for _, _, finished_s, _, _, attempt, status in rows(flight)]


def fixed(seconds: float, max_batch: int = 1) -> NDArray[np.float64]:
    return np.full((max_batch + 1, 1), seconds)


def with_none(told: list[Row]) -> list[tuple[object, ...]]:
    """Rows that may be compared: what is no number equals itself."""
    return [tuple(None if each != each else each for each in row) for row in told]  # noqa: PLR0124  # only NaN differs


def assert_same(system: System, traffic: Trace | Population, seeds: Seeds) -> None:
    expected, totals = fly_slowly(system, traffic, seeds)

    flight = fly(system, traffic, seeds, log=True)

    assert with_none(expected) == with_none(rows(flight))
    told = flight.summary
    assert (totals.attempts, totals.batches, totals.served) == (told.attempts, told.batches, told.served)
    assert totals.wasted == flight.wasted
    assert totals.replica_s == pytest.approx(told.replica_s, rel=1e-9, abs=1e-9)
    assert (totals.parts, totals.misses, totals.loads) == (flight.parts, flight.misses, flight.loads)
    assert totals.loading_s == pytest.approx(flight.loading_s)


@settings(max_examples=600, deadline=None)
@given(systems(), traces(), st.integers(0, 2**31 - 1), st.sampled_from([1, 2, 1024]))
def test_kernel_equals_reference(system: System, trace: Trace, seed: int, room: int) -> None:
    """The compiled loop and the calendar of events tell of every request the same, to the last bit and through every tie."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flights, "ROOM", room)
        assert_same(system, trace, Seeds(seed))


@settings(max_examples=150, deadline=None)
@given(systems(), populations(), st.integers(0, 2**31 - 1), st.sampled_from([1, 2, 1024]))
def test_closed_loop_equals_reference(system: System, population: Population, seed: int, room: int) -> None:
    """Also where requests depend on the answers before them, however often the loop stops for more room."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flights, "ROOM", room)
        assert_same(system, population, Seeds(seed))


@settings(max_examples=100, deadline=None)
@given(systems(), traces(), st.integers(0, 2**31 - 1), st.integers(1, 7))
def test_pieces_of_any_length(system: System, trace: Trace, seed: int, length: int) -> None:
    """However a trace is cut into pieces, its counts, histograms and timeline are the same, to the last bit."""
    whole, pieces = fly(system, trace, Seeds(seed)), fly(system, chunks_of(trace, length), Seeds(seed))

    assert whole.summary.to_dict() == pieces.summary.to_dict()
    np.testing.assert_array_equal(whole.over_time, pieces.over_time)
    assert whole.wasted == pieces.wasted


@pytest.mark.parametrize("room", [1, 1024])
def test_crash_of_a_long_queue(room: int) -> None:
    """A crash that sends a thousand clients back at once finds room in the calendar for all they do next."""
    client = Client(timeout_s=50.0, retries=3, backoff_s=1.0, jitter=0.5, hedge_s=40.0, patience_s=1000.0)
    system = System(
        fixed(0.25, 4),
        2,
        1,
        RayServeBatching(4, 0.25),
        client=client,
        faults=(Crash(0, 20.0, 1.0), Crash(1, 20.5, 1.0)),
    )
    trace = Trace("t", np.sort(np.random.default_rng(1).uniform(0.0, 20.0, size=700)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flights, "ROOM", room)
        assert_same(system, trace, Seeds(1))


# What differed once, by hand.


def test_stall_holds_those_who_wait_for_the_proxy() -> None:
    """A proxy that stalls begins with nothing, also not with what came before; what it has begun goes on."""
    system = System(fixed(0.25), 1, 9, proxy=Proxy(1, 0.5), faults=(ProxyStall(0.25, 2.0),))

    flight = fly(system, Trace("t", np.array([0.0, 0.0, 0.125])), Seeds(1), log=True)

    assert [finished_s for finished_s, _, _ in ended(flight)] == [0.75, 3.0, 3.5]


def test_slow_faults_multiply_and_end() -> None:
    """Faults that make a station slow multiply, and leave it as slow as it was by itself."""
    faults = (Slow(0, 10.0, 20.0, 3.0), Slow(0, 20.0, 20.0, 2.0))
    trace = Trace("t", np.array([0.0, 10.0, 20.0, 32.0, 50.0]))

    flight = fly(System(fixed(1.0), slowness=(2.0,), faults=faults), trace, Seeds(1), log=True)

    assert [finished_s for finished_s, _, _ in ended(flight)] == [2.0, 16.0, 32.0, 36.0, 52.0]


def test_scaled_to_none_and_back() -> None:
    """A system that was scaled to nothing comes back when requests do."""
    scaling = Scaling(RayServeScaling(up_s=0.0, down_s=1.0, look_back_s=0.5, interval_s=0.5), 0, 2, cold_start_s=1.0)

    flight = fly(System(fixed(0.25), 1, scaling=scaling), Trace("t", np.array([0.0, 100.125])), Seeds(1), log=True)

    assert ended(flight) == [(0.25, COMPLETED, 0), (101.75, COMPLETED, 0)]
    assert flight.summary.replica_s < 10.0


def test_router_offers_when_a_batch_begins() -> None:
    """Where the queue of a station is capped, the router fills it up as soon as a batch has left it."""
    system = System(fixed(1.0, 2), batcher=IdealBatching(2, 0.0), admission=Admission(max_waiting=2))

    flight = fly(system, Trace("t", np.array([0.0, 0.0, 0.0, 0.0, 0.5])), Seeds(1), log=True)

    assert [(started_s, size) for _, started_s, _, _, size, _, _ in rows(flight)] == [
        (0.0, 2), (0.0, 2), (1.0, 2), (1.0, 2), (2.0, 1),
    ]  # fmt: skip


def test_company_that_never_comes() -> None:
    """Requests that wait for company which never comes fail, also where a scaler looks on; it does not look for ever."""
    trace = Trace("t", np.array([0.0, 0.0, 1.0]))
    for scaling in (None, Scaling(RayServeScaling(), 1, 2)):
        system = System(fixed(1.0, 2), batcher=FixedBatching(2), router=RoundRobin(), scaling=scaling)

        flight = fly(system, trace, Seeds(1), log=True)

        assert [status for _, status, _ in ended(flight)] == [COMPLETED, COMPLETED, FAILED]
        assert (flight.summary.completed, flight.summary.failed) == (2, 1)
        assert np.isnan(ended(flight)[2][0])


def test_batch_of_which_nobody_is_left() -> None:
    """A batch that is dropped whole ends at once, and its batcher goes on."""
    batcher = RayServeBatching(1, 0.25, 2, blocking=True)
    trace = Trace("t", np.array([*[0.0] * 7, 0.75]), {"deadline_s": np.full(8, 0.25)})

    flight = fly(System(fixed(0.25), batcher=batcher, admission=Admission(drops_late=True)), trace, Seeds(1), log=True)

    assert ended(flight)[-1] == (1.0, COMPLETED, 0)


def test_machine_on_notice_is_not_started_again() -> None:
    """A machine that is to be taken away drains; the scaler starts another, and does not lose that one too."""
    scaling = Scaling(RayServeScaling(1.0, 0.0, 1000.0, 0.5, interval_s=0.5), 1, 2, cold_start_s=0.5)
    system = System(fixed(0.25), 1, router=LeastOutstanding(), scaling=scaling, faults=(Preemption(0, 1.0, 10.0),))
    trace = Trace("t", np.array([0.0, 5.0, 11.0, 11.5]))

    flight = fly(system, trace, Seeds(1), log=True)

    assert [(replica, status) for _, _, _, replica, _, _, status in rows(flight)] == [
        (0, COMPLETED), (1, COMPLETED), (1, COMPLETED), (1, COMPLETED),
    ]  # fmt: skip


def test_new_machine_begins_anew() -> None:
    """What comes up in the place of a machine that was drained knows nothing of what that one was about."""
    trace = Trace("t", np.array([0.0, 0.25, 20.0]))
    scaling = Scaling(RayServeScaling(1.0, 0.0, 1.0, 0.5, interval_s=0.5), 0, 1)

    assert_same(System(fixed(0.25, 4), 1, 1, RayServeBatching(4, 0.5), scaling=scaling), trace, Seeds(1))


def test_pieces_with_more_priorities() -> None:
    """A piece may bring classes of requests of which those before it knew nothing."""
    trace = Trace("t", np.arange(20.0) / 4, {"priority": np.array([0] * 10 + [5, 0] * 5)})
    system = System(fixed(0.5))

    pieces = [fly(system, chunks_of(trace, length), Seeds(1)).summary.to_dict() for length in (1, 3, 10, 20)]

    assert pieces[0] == pieces[1] == pieces[2] == pieces[3]


@pytest.mark.parametrize(("column", "value"), [("size", 1), ("size", -1), ("priority", -1)])
def test_classes_there_are_not(column: str, value: int) -> None:
    """A size class without service times, or a negative class, is refused before anything is looked up by it."""
    trace = Trace("t", np.array([0.0, 1.0, 2.0]), {column: np.array([0, 0, value])})

    with pytest.raises(DataError, match=column):
        fly(System(fixed(1.0), client=Client(timeout_s=5.0)), trace, Seeds(1))
