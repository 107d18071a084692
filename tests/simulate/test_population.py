from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.errors import ConfigError
from windtunnel.request_log import COMPLETED, LEFT, TIMED_OUT
from windtunnel.seeds import Seeds
from windtunnel.simulate.admission import Admission
from windtunnel.simulate.arrivals import parse_service
from windtunnel.simulate.batching import IdealBatching
from windtunnel.simulate.client import Client
from windtunnel.simulate.flight import first_asks_s, fly
from windtunnel.simulate.population import Population
from windtunnel.simulate.system import System
from windtunnel.simulate.theory import finite_source
from windtunnel.stats import mean_interval

if TYPE_CHECKING:
    from windtunnel.request_log import RequestLog

RUNS = 20


def exponential(servers: int) -> System:
    """So many servers behind one queue, each a second on average; one at a time."""
    return System(parse_service("exponential(mean=1s)").table(1, points=16_384), 1, servers, IdealBatching(1, 0.0))


def constant(seconds: float, client: Client | None = None) -> System:
    return System(np.full((2, 1), seconds), client=client or Client())


def logged(system: System, population: Population, seed: int = 1) -> RequestLog:
    log = fly(system, population, Seeds(seed), log=True).log
    assert log is not None
    return log


@pytest.mark.parametrize(("users", "think_s", "servers"), [(1, 1.0, 1), (5, 4.0, 1), (20, 10.0, 1), (12, 2.0, 3)])
def test_m_m_c_n(users: int, think_s: float, servers: int) -> None:
    """Answers a second and the mean wait of users who wait for their answers are those of the finite-source queue."""
    throughput_per_s, wait_s = finite_source(users, think_s, 1.0, servers)
    rates, waits = [], []
    for run in range(RUNS):
        log = logged(exponential(servers), Population(users, think_s, requests=20_000), run)
        # settled: the first tenth is left out
        later = log.scheduled_s >= log.scheduled_s[2_000]
        rates.append((np.sum(later) - 1) / (log.scheduled_s[-1] - log.scheduled_s[2_000]))
        waits.append(log.wait_s[later].mean())

    for expected, found in ((throughput_per_s, rates), (wait_s, waits)):
        told = mean_interval(np.array(found), 0.999)
        assert told.low <= expected + 1e-12
        assert told.high >= expected - 1e-12
        assert told.high - told.low < 0.06 * max(expected, 0.2)


def test_think_time_of_any_law() -> None:
    """How a think time is spread does not matter to the finite-source queue, only how long it is."""
    throughput_per_s, _ = finite_source(5, 4.0, 1.0)
    rates = []
    for run in range(RUNS):
        log = logged(exponential(1), Population(5, 4.0, "constant", 20_000), run)
        rates.append(19_999 / (log.scheduled_s[-1] - log.scheduled_s[0]))

    told = mean_interval(np.array(rates), 0.999)

    assert told.low <= throughput_per_s <= told.high


def test_little() -> None:
    """Users are as many as answers a second times the time of one round: thinking, waiting and being served."""
    population = Population(7, 2.0, requests=50_000)

    log = logged(exponential(2), population)

    seconds = log.finished_s.max() - log.scheduled_s[0]
    thought_s = np.concatenate([log.scheduled_s[log_of][1:] - log.finished_s[log_of][:-1] for log_of in rounds(log)])
    assert len(log) / seconds * (log.latency_s.mean() + thought_s.mean()) == pytest.approx(7.0, rel=1e-3)


def rounds(log: RequestLog) -> list[list[int]]:
    """Which requests were each of the seven users': whoever asks next is the one whose last answer a think time ago it was.

    With one request a user at most under way and as many chains as users, any pairing of ends with later beginnings adds up alike.
    """
    chains: list[list[int]] = []
    for request in range(len(log)):
        free = [chain for chain in chains if log.finished_s[chain[-1]] <= log.scheduled_s[request]]
        if len(chains) < 7:
            chains.append([request])
        else:
            min(free, key=lambda chain: log.finished_s[chain[-1]]).append(request)
    return chains


def test_one_user_by_hand() -> None:
    """A user who thinks two seconds over an answer that takes one asks every three."""
    begins_s = first_asks_s(Population(1, 2.0, "constant"), Seeds(1))[0]

    log = logged(constant(1.0), Population(1, 2.0, "constant", 4))

    assert 0.0 <= begins_s < 2.0
    np.testing.assert_allclose(log.scheduled_s, begins_s + np.array([0.0, 3.0, 6.0, 9.0]))
    np.testing.assert_allclose(log.finished_s, log.scheduled_s + 1.0)


def test_slow_answers_are_asked_for_less() -> None:
    """Feedback: twice the service time halves what saturating users ask; a trace would not notice."""
    asked = [
        fly(constant(service_s), Population(4, 0.1, seconds=1000.0), Seeds(1)).summary.requests
        for service_s in (1.0, 2.0)
    ]

    assert asked == [pytest.approx(1000, abs=5), pytest.approx(500, abs=5)]


def test_given_up_user_thinks_when_all_is_over() -> None:
    """A user whose attempts time out thinks after the last of them, not while a retry is still to come."""
    client = Client(timeout_s=1.0, retries=1, backoff_s=0.5)

    log = logged(constant(10.0, client), Population(1, 4.0, "constant", 2))

    # sent, given up at 1, sent again at 1.5, given up at 2.5; then four seconds of thinking
    assert log.status.tolist() == [TIMED_OUT, TIMED_OUT]
    np.testing.assert_allclose(np.diff(log.scheduled_s), [6.5])
    np.testing.assert_allclose(log.finished_s - log.scheduled_s, [2.5, 2.5])


def test_who_leaves_comes_back() -> None:
    """A user who runs out of patience leaves the request, thinks, and asks again."""
    log = logged(constant(50.0, Client(patience_s=1.0)), Population(2, 1.0, requests=40))

    assert set(log.status.tolist()) == {LEFT}
    assert len(log) == 40


def test_refused_users_ask_again() -> None:
    """Who is turned away at the door thinks too: of two users one is served, and the other asks meanwhile in vain."""
    system = System(np.full((2, 1), 1.0), admission=Admission(max_ongoing=1, max_queued=0))

    summary = fly(system, Population(2, 0.25, requests=200), Seeds(1)).summary

    assert summary.completed + summary.shed == 200
    assert summary.shed > summary.completed > 20


def test_stops_in_time() -> None:
    """After so many seconds nobody asks, and what was asked is answered."""
    log = logged(constant(0.5), Population(3, 0.25, requests=10_000, seconds=20.0))

    assert 30 <= len(log) <= 42
    assert log.scheduled_s[-1] < log.scheduled_s[0] + 20.0
    assert set(log.status.tolist()) == {COMPLETED}


def test_histograms_know_each_request() -> None:
    """A long closed loop is counted to the last request, without a log, block by block."""
    summary = fly(constant(0.001), Population(3, 0.0, requests=5_000), Seeds(1)).summary

    assert summary.requests == summary.completed == 5_000
    assert summary.latency_times.mean_s == pytest.approx(0.003, rel=1e-3)


@pytest.mark.parametrize(
    "asked",
    [{"users": 0}, {"think_s": -1.0}, {"think_s": math.inf}, {"requests": 0}, {"seconds": 0.0}, {"law": "slowly"}],
)
def test_refused(asked: dict[str, object]) -> None:
    """What is no population is refused, by the name of what is wrong."""
    with pytest.raises(ConfigError, match=next(iter(asked)).removesuffix("_s")):
        Population(**{"users": 1, "think_s": 1.0, **asked})  # type: ignore[arg-type]  # that is the point


def test_no_queue_outgrows_its_users() -> None:
    """Nearly all users wait when the last one asks, a tenth of all requests: that is the loop, and no queue that grows."""
    flown = fly(constant(1.0), Population(users=200, think_s=0.001, requests=2000), Seeds(1))

    assert flown.drift_per_s == 0.0
    assert not flown.overflowed
