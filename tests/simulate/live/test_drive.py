"""Driving: an open loop, clients as in the tunnel, and an end whatever happens."""

from __future__ import annotations

import math
import os
import signal
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.request_log import COMPLETED, FAILED, LEFT, SHED, TIMED_OUT
from windtunnel.simulate.client import Client
from windtunnel.simulate.live import Slow
from windtunnel.simulate.live import drive as drive_on_the_road

if TYPE_CHECKING:
    from windtunnel.simulate.live.drive import Progress


drive = partial(drive_on_the_road, capacity_per_s=1e6)
"""What generators can make is not what is tested here."""


def poisson(rate: float, seconds: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Arrivals at random, as many as expected."""
    return np.sort(np.random.default_rng(3).uniform(0.0, seconds, int(rate * seconds)))


def test_a_stall_holds_back_no_request_and_is_in_every_latency(nothing: Any, planned: Any) -> None:
    """Requests leave on time while the server stalls (variance over mean of sent counts is the schedule's), and each waits for its end."""
    times_s = poisson(200, 2.5)
    with nothing(service_s=1e-6, max_batch=100_000, stall_after_s=0.5, stall_s=1.5) as url:
        target, schedule, bodies = planned(url, times_s)
        run = drive(target, schedule, bodies, generators=2)

    def burstiness(of_s: Any) -> float:
        counts, _ = np.histogram(of_s, bins=100, range=(0.0, 2.5))
        return float(counts.var() / counts.mean())

    assert len(run) == len(schedule)
    assert (run.log.status == COMPLETED).all()
    assert burstiness(run.log.sent_s) == pytest.approx(burstiness(schedule.scheduled_s), rel=0.25)
    assert 0.7 < burstiness(run.log.sent_s) < 1.4
    first_s, ends_s = schedule.scheduled_s[0], schedule.scheduled_s[0] + 2.0
    within = (schedule.scheduled_s > first_s + 0.6) & (schedule.scheduled_s < ends_s - 0.1)
    # coordinated omission would show one long latency where there are three hundred
    waited_s = ends_s - schedule.scheduled_s[within]
    assert (run.log.latency_s[within] > waited_s - 0.05).all()
    assert np.median(run.log.latency_s[within]) == pytest.approx(np.median(waited_s), rel=0.2)
    assert run.attempts.sum() == len(run)


def test_what_the_server_tells_is_in_the_log(nothing: Any, planned: Any) -> None:
    """Batches, replicas and the spans of a server that tells them are kept, and lie within the latency."""
    with nothing(service_s=0.004, max_batch=4) as url:
        run = drive(*planned(url, np.repeat(np.arange(20) * 0.05, 5) + 1e-4))

    assert set(run.log.batch_size.tolist()) <= {1, 2, 3, 4}
    assert run.log.batch_size.max() > 1
    assert set(run.log.replica.tolist()) == {0}
    assert (run.model_s > 0.002).all()
    assert (run.handler_s >= run.model_s).all()
    assert (run.log.sent_s <= run.log.started_s).all()
    assert (run.log.started_s + run.model_s <= run.log.finished_s + 1e-9).all()
    assert (run.http_status == 200).all()


def test_a_server_that_tells_nothing_leaves_it_unknown(nothing: Any, planned: Any) -> None:
    """Where a server says neither spans nor batches they are NaN, 0 and −1."""
    with nothing() as url:
        run = drive(*planned(url, poisson(100, 0.3)))

    assert np.isnan(run.model_s).all()
    assert np.isnan(run.log.started_s).all()
    assert set(run.log.batch_size.tolist()) == {0}
    assert set(run.log.replica.tolist()) == {-1}


def test_clients_ask_again_when_they_are_turned_away(nothing: Any, planned: Any) -> None:
    """One in three is turned away: with a retry most of those are answered at the second attempt; without one they are shed."""
    with nothing(refuse_every=3) as url:
        plain = drive(*planned(url, poisson(100, 0.6)))
        again = drive(*planned(url, poisson(100, 0.6)), client=Client(retries=2, backoff_s=0.001))
        broke = drive(*planned(url, poisson(100, 0.6)), client=Client(retries=2, backoff_s=0.001, budget_burst=5.0))

    assert np.count_nonzero(plain.log.status == SHED) == 20
    assert set(plain.http_status[plain.log.status == SHED].tolist()) == {503}
    assert (again.log.status == COMPLETED).sum() >= 58
    assert again.attempts.sum() > 60
    assert (again.log.attempt == again.attempts - 1).all()
    assert broke.attempts.sum() == 65


def test_clients_give_up_and_go_away(nothing: Any, planned: Any) -> None:
    """A server that stalls: who has a timeout gives up after it, who has no patience leaves, and who waits for ever is drained."""
    with nothing(service_s=1e-6, stall_after_s=0.0, stall_s=60.0) as url:
        times_s = poisson(100, 0.3)
        late = drive(*planned(url, times_s), client=Client(timeout_s=0.1))
        left = drive(*planned(url, times_s), client=Client(patience_s=0.1))
        held = drive(*planned(url, times_s), drain_s=0.2)

    assert set(late.log.status.tolist()) == {TIMED_OUT}
    assert (late.log.finished_s - late.log.sent_s > 0.099).all()
    assert (late.log.finished_s - late.log.sent_s < 0.3).all()
    assert set(left.log.status.tolist()) == {LEFT}
    assert left.log.latency_s.mean() == pytest.approx(0.1, rel=0.5)
    assert set(held.log.status.tolist()) == {TIMED_OUT}
    assert (held.log.finished_s > 0.3).all()


def test_a_hedge_is_a_second_attempt_beside_the_first(nothing: Any, planned: Any) -> None:
    """Requests that take longer than the hedge are sent twice, and the first answer counts."""
    with nothing(service_s=0.05, max_batch=64) as url:
        run = drive(*planned(url, np.arange(10) * 0.06), client=Client(hedge_s=0.02))

    assert (run.log.status == COMPLETED).all()
    assert (run.attempts == 2).all()
    assert (run.log.latency_s < 0.15).all()


def test_slow_clients_take_their_time(nothing: Any, planned: Any) -> None:
    """A share of the clients sends for as long as it was told, the others do not wait for them."""
    with nothing() as url:
        run = drive(*planned(url, poisson(100, 0.6)), slow=Slow(0.3, 0.4))

    slow = run.log.latency_s > 0.35
    assert 8 <= slow.sum() <= 28
    assert np.median(run.log.latency_s[~slow]) < 0.1


def test_a_server_that_dies_is_in_the_log(nothing: Any, planned: Any) -> None:
    """What comes after its death has failed; the run comes to an end and is valid: it is the server's doing."""
    with nothing(die_after=30) as url:
        run = drive(*planned(url, poisson(100, 1.0)))

    assert (run.log.status[:25] == COMPLETED).all()
    assert (run.log.status[40:] == FAILED).all()
    assert len(run) == 100
    assert not any("connection" in each for each in run.reasons)


def test_connections_run_out_and_that_is_said(nothing: Any, planned: Any) -> None:
    """More requests under way than there may be connections: the rest is not sent, and the run is not valid."""
    with nothing(service_s=1e-6, stall_after_s=0.0, stall_s=60.0) as url:
        run = drive(*planned(url, poisson(200, 0.3)), most_connections=20, client=Client(timeout_s=5.0), drain_s=0.1)

    assert not run.valid
    assert any("40 attempts found all 20 connections in use" in each for each in run.reasons)
    assert np.count_nonzero(run.log.status == FAILED) == 40
    assert run.opened == 20


def test_ctrl_c_ends_it_and_keeps_what_there_is(nothing: Any, planned: Any) -> None:
    """Ctrl-C in a run: what was due until then is returned, and no process is left."""
    seen: list[int] = []

    def interrupt(progress: Progress) -> None:
        if progress.sent and not seen:
            seen.append(progress.sent)
            raise KeyboardInterrupt  # as Python does where the signal meets it; a real one would go to whatever else runs in this process

    with nothing() as url:
        run = drive(*planned(url, poisson(100, 30.0)), watch=interrupt)

    assert not math.isnan(run.stopped_s)
    assert seen[0] <= len(run) < 1000
    assert (run.log.status[: seen[0] - 5] == COMPLETED).all()
    assert children() == []


def children() -> list[int]:
    """Generators and null servers that this process has left."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123  # not a file that Path may buffer
        return [each for each in map(int, file.read().split()) if b"windtunnel.driving" in _command(each)]


def _command(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
        return file.read()


def test_a_generator_that_dies_is_an_error(nothing: Any, planned: Any) -> None:
    """Where a generator is killed nothing is known, and that is said; the others are ended."""
    from windtunnel.errors import MeasurementError

    def kill(progress: Progress) -> None:
        if progress.sent:
            for pid in children():
                if b"generator" in _command(pid):
                    os.kill(pid, signal.SIGKILL)
                    return

    with nothing() as url, pytest.raises(MeasurementError, match="the generator ended with exit code -9"):
        drive(*planned(url, poisson(50, 30.0)), watch=kill)

    assert children() == []


def test_progress_is_the_sum_over_generators() -> None:
    """Counts are added, the median is weighted by what was answered, the tail is the worst."""
    line = {"at_s": 1.0, "sent": 10, "answered": 8, "lost": 1, "under_way": 1, "p50_s": 0.1, "p99_s": 0.2, "recent": 8}
    other = line | {"at_s": 1.2, "p50_s": None, "p99_s": None, "recent": 0}

    found = import_module("windtunnel.simulate.live.drive")._progress([line, other], 40)

    assert (found.at_s, found.sent, found.answered, found.under_way) == (1.2, 20, 16, 2)
    assert (found.p50_s, found.p99_s) == (0.1, 0.2)
