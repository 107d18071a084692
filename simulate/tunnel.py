"""The tunnel: a trace meets a deployment, and every request is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, DataError
from windtunnel.request_log import COMPLETED, RequestLog

from .shared_queue import serve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.deployment import BatchPolicy
    from windtunnel.trace import Trace

    Floats = NDArray[np.float64]


def simulate(trace: Trace, table: Floats, batch: BatchPolicy, replicas: int, *, seed: int) -> RequestLog:
    """Fly a trace through replicas behind one shared queue.

    Args:
        trace: when requests arrive.
        table: service times in seconds, float64 `[at least max_batch + 1, points]`, as `LatencyProfile.service_table`
            gives them: each point of the row of a batch's size is as likely.
        batch: when a batch leaves.
        replicas: how many servers.
        seed: of the service times; zero or more.

    Returns:
        One row a request, in order of arrival. Nothing is lost or retried: every status is `COMPLETED`.

    Raises:
        ConfigError: no replica.
        DataError: a table that does not reach `max_batch`, or with times that are not finite and above zero.

    Example:
        >>> from windtunnel.deployment import BatchPolicy
        >>> from windtunnel.trace import Trace
        >>> table = np.array([[0.0], [1.0], [1.5]])
        >>> simulate(Trace("t", np.array([0.0, 0.5, 0.5])), table, BatchPolicy(2), 1, seed=1).finished_s
        array([1. , 2.5, 2.5])
    """
    if replicas < 1:
        raise ConfigError("must be at least 1", field="replicas", value=replicas)
    _check_table(table, batch.max_batch)
    requests = len(trace)
    started_s, finished_s = np.empty(requests), np.empty(requests)
    replica, batch_size = np.empty(requests, dtype=np.int32), np.empty(requests, dtype=np.int32)
    serve(
        trace.arrivals_s, table, batch.max_batch, batch.max_wait_s, replicas, np.uint64(seed),
        started_s, finished_s, replica, batch_size,
    )  # fmt: skip
    zeros = np.zeros(requests, dtype=np.int32)
    return RequestLog(
        trace.arrivals_s, trace.arrivals_s, started_s, finished_s, replica, batch_size, zeros, zeros + COMPLETED
    )


def _check_table(table: Floats, max_batch: int) -> None:
    if len(table) <= max_batch:
        raise DataError(
            "is larger than the largest batch in the service table",
            field="max_batch",
            value=max_batch,
            fix=f"ask for batches of up to {len(table) - 1}, or profile larger ones",
        )
    rows = table[1 : max_batch + 1]
    if rows.size == 0 or not np.all(np.isfinite(rows)) or np.min(rows) <= 0.0:
        raise DataError("has times that are missing, not finite, or not above zero", field="service table")


def busy_s(log: RequestLog) -> float:
    """The seconds that replicas spent serving, added up: each batch once."""
    return float(np.sum((log.finished_s - log.started_s) / log.batch_size))


def batches(log: RequestLog) -> int:
    """How many batches were served."""
    return round(float(np.sum(1.0 / log.batch_size)))
