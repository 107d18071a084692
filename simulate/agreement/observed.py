"""What is seen of a run on the road: per request from outside, and per batch as far as answers tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.request_log import COMPLETED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.request_log import RequestLog

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Batches:
    """Batches that answers told of, in the order in which they ended.

    Args:
        size: int64, requests in each.
        model_s: float64, what each took.
        queue_s: float64, the longest that any of its requests waited in the replica for it to begin.
        ended_s: float64, when its first answer was there: its end, and the way back.
        spread_s: float64, how much later its last answer was there.
        replica: int64, where.
        before: int64, the batch before it on the same replica; −1 where there was none.
        of: int64 `[requests]`, the batch of each request.
    """

    size: Ints
    model_s: Floats
    queue_s: Floats
    ended_s: Floats
    spread_s: Floats
    replica: Ints
    before: Ints
    of: Ints

    @cached_property
    def idle_s(self) -> Floats:
        """How long the loop stood idle before each: the way back is the same for both, and falls out."""
        first = self.before < 0
        return np.where(first, np.inf, np.maximum(self.ended_s - self.model_s - self.ended_s[self.before], 0.0))


@dataclass(frozen=True)
class Observed:
    """Requests that were answered, in the order in which they should have been sent.

    Args:
        scheduled_s: float64, when each should have been sent.
        finished_s: float64, when its answer was there.
        queue_s: float64, from joining the batch to its start.
        model_s: float64, the batch's service.
        batch_size: int64, requests in its batch.
        replica: int64, which replica served it.
        number: int64, which request of the trace each is.
        asked: how many requests were sent in all.
    """

    scheduled_s: Floats
    finished_s: Floats
    queue_s: Floats
    model_s: Floats
    batch_size: Ints
    replica: Ints
    number: Ints
    asked: int

    @staticmethod
    def of(log: RequestLog, queue_s: Floats, model_s: Floats) -> Observed:
        """What a live run saw of the requests that were answered by a server that says how long each part took."""
        told = (log.status == COMPLETED) & np.isfinite(model_s) & (log.batch_size > 0)
        order = np.argsort(log.scheduled_s, kind="stable")
        number = np.flatnonzero(told[order])
        order = order[number]
        return Observed(
            log.scheduled_s[order], log.finished_s[order], queue_s[order], model_s[order],
            log.batch_size[order].astype(np.int64), log.replica[order].astype(np.int64), number, len(log),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.scheduled_s)

    @property
    def latency_s(self) -> Floats:
        """From when each should have been sent to its answer."""
        return np.asarray(self.finished_s - self.scheduled_s)

    @property
    def outside_s(self) -> Floats:
        """Of it, what was neither waiting for company nor service: client, ingress, a loop that stood still, the way back."""
        return np.asarray(self.latency_s - self.queue_s - self.model_s)

    @cached_property
    def batches(self) -> Batches:
        """The batches: answers of one replica that tell of the same service and size, and came close together."""
        # the clock of a header has a microsecond; two batches may look alike, and are told apart by when they came
        key = np.stack([self.replica, self.batch_size, np.rint(self.model_s * 1e7).astype(np.int64)])
        order = np.lexsort((self.finished_s, *key))
        alike = np.all(key[:, order[1:]] == key[:, order[:-1]], axis=0)
        of, batch, left, began_s = np.empty(len(order), dtype=np.int64), -1, 0, 0.0
        for at, each in enumerate(order):
            late_s = self.finished_s[each] - began_s
            if at == 0 or not alike[at - 1] or left == 0 or late_s > TOGETHER_S:
                batch, left, began_s = batch + 1, int(self.batch_size[each]), self.finished_s[each]
            of[each] = batch
            left -= 1
        return self._gathered(of, batch + 1)

    def _gathered(self, of: Ints, count: int) -> Batches:
        ended_s, last_s, queue_s = np.full(count, np.inf), np.full(count, -np.inf), np.zeros(count)
        np.minimum.at(ended_s, of, self.finished_s)
        np.maximum.at(last_s, of, self.finished_s)
        np.maximum.at(queue_s, of, self.queue_s)
        one = np.zeros(count, dtype=np.int64)
        one[of] = np.arange(len(of))
        order = np.argsort(ended_s, kind="stable")
        place = np.empty(count, dtype=np.int64)
        place[order] = np.arange(count)
        one = one[order]
        replicas, before = self.replica[one], np.full(count, -1)
        for replica in np.unique(replicas):
            mine = np.flatnonzero(replicas == replica)
            before[mine[1:]] = mine[:-1]
        return Batches(
            self.batch_size[one], self.model_s[one], queue_s[order], ended_s[order], (last_s - ended_s)[order], replicas, before, place[of],
        )  # fmt: skip

    @cached_property
    def was_free(self) -> NDArray[np.bool_]:
        """Which requests met nobody: the batch before theirs had been answered when they should have been sent."""
        return np.asarray(self.before_s < self.scheduled_s)

    @cached_property
    def before_s(self) -> Floats:
        """When the batch before that of each request was answered; −inf where there was none."""
        batches = self.batches
        before_s = np.where(batches.before < 0, -np.inf, batches.ended_s[batches.before])
        return np.asarray(before_s[batches.of])

    @cached_property
    def has_knocked(self) -> NDArray[np.bool_]:
        """Which requests came to a loop that stood still: the batch before theirs had not ended, way out and back left aside."""
        way_s = float(np.median(self.outside_s[self.was_free])) if self.was_free.any() else 0.0
        return np.asarray(self.scheduled_s < self.before_s - way_s)


TOGETHER_S = 0.5
"""Answers of one batch come no further apart."""
