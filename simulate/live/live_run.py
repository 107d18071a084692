"""A LiveRun: what became of the requests on the road, and whether whoever sent them can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.quantity import format_duration, format_figure
from windtunnel.request_log import COMPLETED, RequestLog

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .heard import Heard
    from .schedule import Schedule

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int32]

LAG_S = 0.002
"""A generator that sends one request in a hundred later than this was not an open loop."""

LOAD_SHARE = 0.5
"""More than this share of what the generators can make is not asked of them."""


@dataclass(frozen=True)
class LiveRun:
    """A run on the road.

    Args:
        log: one row a request that was due before the run ended, in order of schedule. `started_s`, `batch_size` and `replica` are what
            the server says (see `started`), NaN, 0 and −1 where it does not.
        request: int64, which entry of the schedule each row is.
        model_s: float64, how long its batch was served; NaN where the server does not say, as in the next two.
        queue_s: from joining the batch to the batch's start.
        handler_s: from the entry of the replica's code to its exit.
        send_lag_s: from when its first attempt should have been sent to when it was.
        http_status: int32, of the last answer; 0 where there was none.
        attempts: int32, how many were sent.
        generator_capacity_per_s: what the generators can send at most, measured against a server that does nothing.
        valid: whether the generators kept up, so that what is seen is the server's.
        reasons: why not, one sentence each.
        gone_s: when the server began to refuse every connection, for good; NaN where it did not.
        stopped_s: when the run was stopped by hand; NaN where it ran to its end.
        processes: generators.
        opened: connections that were opened.
        cpu_s: what the generators took of the machine's cores, with their start.
        wall_s: from the first request to the last answer.
        realtime: whether the system let the generators go before others who wanted their cores.
        heard: what was answered; None where that was not kept.
    """

    log: RequestLog
    request: NDArray[np.int64]
    model_s: Floats
    queue_s: Floats
    handler_s: Floats
    send_lag_s: Floats
    http_status: Ints
    attempts: Ints
    generator_capacity_per_s: float
    valid: bool
    reasons: tuple[str, ...]
    gone_s: float
    stopped_s: float
    processes: int
    opened: int
    cpu_s: float
    wall_s: float
    realtime: bool = False
    heard: Heard | None = None

    def __len__(self) -> int:
        return len(self.log)

    @property
    def send_lag_p99_s(self) -> float:
        """One request in a hundred was sent later than this."""
        return float(np.quantile(self.send_lag_s, 0.99))

    @property
    def completed(self) -> int:
        """How many were answered."""
        return int(np.count_nonzero(self.log.status == COMPLETED))


def started(sent_s: Floats, finished_s: Floats, queue_s: Floats, model_s: Floats) -> Floats:
    """When each batch began to be served, on the clients' clock.

    A server tells spans, not instants. What is neither queue nor model (the way there and back, the ingress, the replica's reading and
    writing) is laid half before and half after them, which is off by half of it at most.

    Example:
        >>> started(np.array([0.0]), np.array([0.010]), np.array([0.002]), np.array([0.004])).tolist()
        [0.004]
    """
    around_s = finished_s - sent_s - queue_s - model_s
    return np.asarray(sent_s + around_s / 2.0 + queue_s)


def judge(schedule: Schedule, send_lag_s: Floats, capacity_per_s: float, not_sent: int, most: int) -> tuple[str, ...]:
    """Why a run tells of its generators and not of the server; empty where it does not.

    Args:
        schedule: what was asked of them.
        send_lag_s: by how much each request left late.
        capacity_per_s: what they can send at most.
        not_sent: attempts for which there was no connection.
        most: connections that there may be.
    """
    found = []
    lag_s = float(np.quantile(send_lag_s, 0.99)) if len(send_lag_s) else 0.0
    if lag_s > LAG_S:
        found.append(
            f"One request in a hundred left more than {format_duration(lag_s)} late, where {format_duration(LAG_S)} are allowed: "
            "the machine or the generators were too busy; drive at a lower rate, or from other cores."
        )
    if schedule.rate_per_s > LOAD_SHARE * capacity_per_s:
        found.append(
            f"The {format_figure(schedule.rate_per_s)} requests a second that were asked are more than half of the "
            f"{format_figure(capacity_per_s)} that the generators can make; give more --generators, or a lower --speed."
        )
    if not_sent:
        found.append(
            f"{not_sent:,} attempts found all {most:,} connections in use and were not sent; give more --generators, or clients a timeout."
        )
    return tuple(found)
