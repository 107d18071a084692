"""The figures of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.request_log import COMPLETED, SHED, RequestLog
from windtunnel.simulate.by_class import by_class

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _log(latency_s: NDArray[Any], status: NDArray[Any]) -> RequestLog:
    rows = len(latency_s)
    due_s, zeros = np.arange(float(rows)), np.zeros(rows, dtype=np.int32)
    return RequestLog(due_s, due_s, due_s + 0.5 * latency_s, due_s + latency_s, zeros, zeros + 1, zeros, status)


def test_classes_add_up_to_the_whole() -> None:
    """Every request is in one class, answered or lost; means weighted by the answered are the mean of all."""
    rng = np.random.default_rng(0)
    latency_s, classes = rng.exponential(size=5000), rng.integers(0, 3, 5000)
    status = np.where(rng.random(5000) < 0.1, SHED, COMPLETED).astype(np.int32)
    found = by_class(_log(latency_s, status), classes, ["a", "b", "c"])

    assert sum(each.requests for each in found) == 5000
    assert sum(each.completed for each in found) == np.sum(status == COMPLETED)
    assert sum(each.lost["shed"] for each in found) == np.sum(status == SHED)
    whole = sum(each.completed * each.latency.mean.value for each in found) / sum(each.completed for each in found)
    assert abs(whole - latency_s[status == COMPLETED].mean()) < 1e-8


def test_a_class_of_nobody_is_not_told() -> None:
    """Names stay with their classes where one is empty; the figures have a name in JSON each."""
    (only,) = by_class(_log(np.ones(3), np.full(3, COMPLETED, dtype=np.int32)), np.array([1, 1, 1]), ["a", "b"])

    assert only.to_dict().keys() >= {
        "name",
        "requests",
        "completed",
        "shed",
        "timed_out",
        "failed",
        "left",
        "latency",
        "wait",
    }
    assert (only.name, only.latency.mean.value, only.wait.mean.value) == ("b", 1.0, 0.5)
