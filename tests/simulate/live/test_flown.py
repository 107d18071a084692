"""A live run in the tunnel's terms."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from windtunnel.request_log import COMPLETED, FAILED, SHED, RequestLog
from windtunnel.seeds import Seeds
from windtunnel.simulate.batching import IdealBatching
from windtunnel.simulate.flight import fly
from windtunnel.simulate.live import Bodies, LiveRun, Schedule, draw_live, flown
from windtunnel.simulate.live.flown import summarize
from windtunnel.simulate.system import System
from windtunnel.trace import Trace


def run_of(log: RequestLog, model_s: Any, **changed: Any) -> LiveRun:
    """A valid run with that log."""
    count = len(log)
    usual: dict[str, Any] = {
        "log": log, "request": np.arange(count), "model_s": np.asarray(model_s), "queue_s": np.zeros(count),
        "handler_s": np.asarray(model_s), "send_lag_s": np.zeros(count), "http_status": np.full(count, 200, np.int32),
        "attempts": log.attempt + 1, "generator_capacity_per_s": 9e3, "valid": True, "reasons": (), "gone_s": math.nan,
        "stopped_s": math.nan, "processes": 1, "opened": 1, "cpu_s": 0.1,
        "wall_s": float(np.nanmax(log.finished_s) - log.scheduled_s[0]) if count else 0.0,
    }  # fmt: skip
    return LiveRun(**{**usual, **changed})


@pytest.fixture
def tunnelled() -> Any:
    """A flight with a log, of two replicas that batch."""
    arrivals = np.sort(np.random.default_rng(2).uniform(0.0, 20.0, 4000))
    table = np.array([[0.0], [0.004], [0.006], [0.008], [0.010]])
    return fly(
        System(table, executors=2, batcher=IdealBatching(4, 0.002)), Trace("t", arrivals), Seeds(1), log=True, slo_s=0.02
    )  # fmt: skip


def test_the_same_log_has_the_same_figures(tunnelled: Any) -> None:
    """A road whose log is a flight's has the flight's figures: latency, wait, batches, utilization, what was good in time."""
    log = tunnelled.log
    found = flown(run_of(log, log.finished_s - log.started_s), replicas=2, slo_s=0.02)
    ours, theirs = found.summary.to_dict(), tunnelled.summary.to_dict()

    assert ours["latency"] == theirs["latency"]
    assert ours["wait"] == theirs["wait"]
    for name in ("requests", "completed", "batches"):
        assert ours[name] == theirs[name]
    for name in ("mean_batch", "utilization", "throughput_per_s"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-9)
    assert found.good == tunnelled.good
    assert found.drift_per_s == tunnelled.drift_per_s == 0.0


def test_a_server_that_tells_nothing_has_no_batches(tunnelled: Any) -> None:
    """Batches, waits and utilization are unknown, not zero."""
    log, unknown = tunnelled.log, np.full(len(tunnelled.log), np.nan)
    silent = RequestLog(
        log.scheduled_s, log.sent_s, unknown, log.finished_s, log.replica, np.zeros_like(log.batch_size), log.attempt, log.status
    )  # fmt: skip
    told = summarize(run_of(silent, unknown, queue_s=unknown, handler_s=unknown)).to_dict()

    assert told["mean_batch"] is None
    assert told["utilization"] is None
    assert told["wait"]["p50_s"] is None
    assert told["latency"]["p50_s"] is not None


def test_what_is_answered_long_after_it_came_grew_a_queue() -> None:
    """Twice as much as is served comes for ten seconds: half of it is answered afterwards, and the queue grew by as much a second."""
    scheduled_s = np.arange(0.0, 9.995, 0.01)
    finished_s = 2.0 * scheduled_s + 0.02
    ones = np.ones(1000, np.int32)
    log = RequestLog(scheduled_s, scheduled_s, finished_s - 0.02, finished_s, 0 * ones, ones, 0 * ones, 0 * ones)

    assert flown(run_of(log, np.full(1000, 0.02))).drift_per_s == pytest.approx(50.0, rel=0.02)


def test_the_section_says_what_happened(tunnelled: Any) -> None:
    """A server that went is a no-go, a run that was stopped or is not valid tells nothing; what was lost is counted by its answer."""
    log = tunnelled.log
    status = np.where(np.arange(4000) < 3000, COMPLETED, np.where(np.arange(4000) % 2, SHED, FAILED)).astype(np.int32)
    broken = replace(log, status=status)
    http = np.where(status == SHED, 503, np.where(status == FAILED, 0, 200)).astype(np.int32)
    schedule = Schedule.of(Trace("t", np.concatenate([log.scheduled_s, [40.0]])), Bodies((b"",), (0, 1)))

    def drawn(**changed: Any) -> Any:
        run = run_of(broken, log.finished_s - log.started_s, http_status=http, **changed)
        return draw_live(run, flown(run), schedule, name="t", server="s")

    assert drawn().outcome == "go"
    assert drawn(gone_s=12.0).outcome == "no-go"
    assert "gone from 12 s on" in drawn(gone_s=12.0).sentences[1]
    assert drawn(stopped_s=20.0).outcome == "inconclusive"
    assert drawn(valid=False, reasons=("Too slow.",)).outcome == "inconclusive"
    assert "Too slow." in drawn(valid=False, reasons=("Too slow.",)).sentences
    lost = next(each for each in drawn().tables if each.caption == "Not answered")
    assert [row[:2] for row in lost.rows] == [
        ("shed", "500"), ("failed", "500"), ("of these, without an answer", "500"), ("of these, answered with 503", "500"),
    ]  # fmt: skip
