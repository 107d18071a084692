from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from windtunnel.errors import DataError
from windtunnel.request_log import COMPLETED, FAILED, LEFT, SHED, TIMED_OUT, RequestLog
from windtunnel.simulate.histogram import Histogram
from windtunnel.simulate.sketch import Sketch, record_all
from windtunnel.simulate.summary import Summary

BY_HAND = RequestLog(
    scheduled_s=np.array([0.0, 0.5, 9.0]),
    sent_s=np.array([0.0, 0.5, 9.0]),
    started_s=np.array([0.5, 0.5, 10.0]),
    finished_s=np.array([2.5, 2.5, 11.0]),
    replica=np.zeros(3, dtype=np.int32),
    batch_size=np.array([2, 2, 1], dtype=np.int32),
    attempt=np.zeros(3, dtype=np.int32),
    status=np.full(3, COMPLETED, dtype=np.int32),
)
"""Two share a batch of two seconds, one is served alone in one."""


def random_log(requests: int) -> RequestLog:
    rng = np.random.default_rng(requests)
    scheduled_s = np.cumsum(rng.exponential(size=requests))
    started_s = scheduled_s + np.maximum(rng.normal(size=requests), 0.0)
    ones = np.ones(requests, dtype=np.int32)
    status = rng.choice([COMPLETED, COMPLETED, SHED], size=requests).astype(np.int32)
    lost = np.where(status == SHED, np.nan, 1.0)
    return RequestLog(
        scheduled_s,
        scheduled_s,
        started_s * lost,
        started_s + 1.0,
        0 * ones,
        ones * (status == COMPLETED),
        0 * ones,
        status,
    )


def test_a_timetable() -> None:
    """Three requests by hand."""
    summary = Summary.of_log(BY_HAND, 2)

    assert (summary.requests, summary.completed, summary.attempts, summary.batches) == (3, 3, 3, 2)
    assert summary.seconds_simulated == 11.0
    assert summary.throughput_per_s == 3 / 11
    assert summary.mean_batch == 1.5
    assert summary.utilization == 3 / 22
    assert summary.latency.mean.value == pytest.approx((2.5 + 2.0 + 2.0) / 3, abs=1e-9)
    assert summary.wait.mean.value == pytest.approx((0.5 + 0.0 + 1.0) / 3, abs=1e-9)
    assert (summary.latency.greatest_s, summary.wait.greatest_s) == (2.5, 1.0)


def test_every_end_is_counted() -> None:
    """Each request ends in one way; times are about those that were answered, attempts about all."""
    log = random_log(5)
    status = np.array([COMPLETED, TIMED_OUT, SHED, FAILED, LEFT], dtype=np.int32)
    summary = Summary.of_log(replace(log, status=status, attempt=np.array([0, 3, 0, 0, 0], dtype=np.int32)), 1)

    ends = summary.completed, summary.timed_out, summary.shed, summary.failed, summary.left
    assert ends == (1, 1, 1, 1, 1)
    assert summary.attempts == 8
    assert len(summary.latency_times) == len(summary.wait_times) == 1


def test_log_and_sketch_say_the_same() -> None:
    """Whether requests were written down or only counted as they came, the figures are the same to the last bit."""
    log = random_log(20_000)
    latency, wait = Sketch.empty(), Sketch.empty()
    for first in range(0, 20_000, 777):
        part = slice(first, first + 777)
        lost = np.where(log.status[part] == COMPLETED, 0.0, np.nan)
        record_all(latency, first, log.latency_s[part] + lost)
        record_all(wait, first, log.wait_s[part] + lost)
    from_log = Summary.of_log(log, 3)
    streamed = replace(from_log, latency_times=Histogram.of(latency), wait_times=Histogram.of(wait))

    assert from_log.to_dict() == streamed.to_dict()


def test_merging() -> None:
    """Two runs together are what each was, added up; a cost that is known of one alone is not known."""
    one, other = Summary.of_log(BY_HAND, 2, usd=1.5), Summary.of_log(random_log(4000), 2, usd=0.5)
    both = one.merged(other)

    assert both.requests == 4003
    assert both.seconds_simulated == one.seconds_simulated + other.seconds_simulated
    assert both.usd == 2.0
    assert len(both.latency_times) == both.completed
    assert both.to_dict() == other.merged(one).to_dict()
    assert replace(one, usd=None).merged(other).usd is None


def test_as_json() -> None:
    """The keys are those that the commands print, units in their names."""
    figures = Summary.of_log(random_log(3000), 1, usd=0.25).to_dict()

    assert list(figures) == [
        "basis", "requests", "completed", "shed", "timed_out", "failed", "left", "attempts", "batches", "seconds_simulated",
        "throughput_per_s", "mean_batch", "utilization", "usd", "latency", "wait",
    ]  # fmt: skip
    assert list(figures["latency"]) == list(figures["wait"])
    assert figures["latency"]["mean_s_low"] < figures["latency"]["mean_s"] < figures["latency"]["mean_s_high"]


def test_refuses_an_empty_log() -> None:
    """Of no request there is nothing to say."""
    log = RequestLog(*(getattr(BY_HAND, name)[:0] for name in RequestLog.__dataclass_fields__))

    with pytest.raises(DataError, match="holds no request"):
        Summary.of_log(log, 1)


def test_nobody_served() -> None:
    """A run in which all were turned away has no batch, and says so."""
    log = replace(random_log(10), status=np.full(10, SHED, dtype=np.int32))
    summary = Summary.of_log(log, 1)

    assert (summary.completed, summary.shed, summary.mean_batch) == (0, 10, None)
    assert summary.latency.to_dict()["p99_s"] is None
