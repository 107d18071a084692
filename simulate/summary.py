"""A Summary: what became of the requests of a run, in a few figures that can be added to another run's."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError
from windtunnel.request_log import COMPLETED, FAILED, LEFT, SHED, TIMED_OUT

from .histogram import Histogram
from .spread import Spread

if TYPE_CHECKING:
    from windtunnel.request_log import RequestLog


@dataclass(frozen=True)
class Summary:
    """What a run says in a few figures. Every one is a sum over the run, so two runs can be merged.

    Args:
        requests: how many came.
        completed: how many were answered in time; `latency` and `wait` are about these.
        shed: how many were turned away.
        timed_out: how many were given up by their client, or dropped as too late.
        failed: how many were lost with what served them.
        left: how many went away for want of patience.
        attempts: how often anything was sent: first attempts, retries, hedges.
        served: attempts that were in a batch, also those that nobody waited for any more.
        batches: how many batches were served.
        seconds_simulated: from the first request to the last answer.
        busy_s: replica-seconds in which a batch was served.
        replica_s: replica-seconds that were there to be used, and are paid for.
        latency_times: from when a request should have been sent to its answer.
        wait_times: from when a request should have been sent to the start of its batch.
        usd: what it cost; None where there is no price.
        confidence: of the intervals.
    """

    requests: int
    completed: int
    shed: int
    timed_out: int
    failed: int
    left: int
    attempts: int
    served: int
    batches: int
    seconds_simulated: float
    busy_s: float
    replica_s: float
    latency_times: Histogram
    wait_times: Histogram
    usd: float | None = None
    confidence: float = 0.95

    @staticmethod
    def of_log(log: RequestLog, replicas: int, *, usd: float | None = None, confidence: float = 0.95) -> Summary:
        """The summary of a log; its times are the same to the last bit as those of the same run without one.

        A log has one row a request: what was served for nobody, and attempts that were followed by another, are not in
        it. So `busy_s`, `served` and `batches` are those of the requests that were answered, and `replica_s` is that of
        replicas that are all there from the first request to the last answer.

        Args:
            log: one row a request, in order of arrival.
            replicas: how many served.
            usd: what it cost.
            confidence: of the intervals.

        Raises:
            DataError: a log without a row.
        """
        if not len(log):
            raise DataError("holds no request", field="log", value=0)
        count = np.bincount(log.status, minlength=LEFT + 1).tolist()
        seconds = float(np.nanmax(log.finished_s) - log.scheduled_s[0])
        answered = log.status == COMPLETED
        size = log.batch_size[answered]
        return Summary(
            requests=len(log),
            completed=count[COMPLETED],
            shed=count[SHED],
            timed_out=count[TIMED_OUT],
            failed=count[FAILED],
            left=count[LEFT],
            attempts=int(np.sum(log.attempt + 1)),
            served=len(size),
            batches=round(float(np.sum(1.0 / size))),
            seconds_simulated=seconds,
            busy_s=float(np.sum((log.finished_s - log.started_s)[answered] / size)),
            replica_s=replicas * seconds,
            latency_times=Histogram.of_series(np.where(answered, log.latency_s, np.nan)),
            wait_times=Histogram.of_series(np.where(answered, log.wait_s, np.nan)),
            usd=usd,
            confidence=confidence,
        )

    @cached_property
    def latency(self) -> Spread:
        """How the time to the answer is spread over the requests that were answered."""
        return Spread.of(self.latency_times, self.confidence)

    @cached_property
    def wait(self) -> Spread:
        """How the time to the start of the batch is spread over them."""
        return Spread.of(self.wait_times, self.confidence)

    @property
    def throughput_per_s(self) -> float:
        """Answers a second."""
        return self.completed / self.seconds_simulated

    @property
    def mean_batch(self) -> float | None:
        """Attempts a batch; None where none was served."""
        return self.served / self.batches if self.batches else None

    @property
    def utilization(self) -> float | None:
        """The share of the replica-seconds in which a batch was served; None where there were none."""
        return self.busy_s / self.replica_s if self.replica_s else None

    def merged(self, other: Summary) -> Summary:
        """Both runs together, as one that lasted as long as both and was watched by block as each was.

        The cost of both is unknown where that of one is. The confidence is this one's.
        """
        sums = {each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)[:12]}
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        latency, wait = self.latency_times.merged(other.latency_times), self.wait_times.merged(other.wait_times)
        return Summary(**sums, latency_times=latency, wait_times=wait, usd=usd, confidence=self.confidence)

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON values, units in the key names."""
        names = "requests", "completed", "shed", "timed_out", "failed", "left", "attempts", "batches"
        derived = "seconds_simulated", "throughput_per_s", "mean_batch", "utilization", "usd"
        return {
            "basis": "simulated",
            **{name: getattr(self, name) for name in (*names, *derived)},
            "latency": self.latency.to_dict(),
            "wait": self.wait.to_dict(),
        }
