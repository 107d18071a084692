"""Triton's dynamic batcher.

Read off `src/dynamic_batch_scheduler.cc` (`GetDynamicBatch`, `Enqueue`, `BatcherThread`), `rate_limiter.cc`
(`PayloadSlotAvailable`), `instance_queue.cc` (`Dequeue`) and `scheduler_utils.cc` of triton-inference-server/core (2024).

One batcher thread fills payloads from the queue. Looking at the queue, it sends the largest preferred size that is there,
unless the oldest has waited `max_queue_delay`; then, or without a delay, all that is there; else it waits for the rest of the delay.
An empty list of preferred sizes means the largest size alone.

Prefetching: as long as there is no queue timeout, no limit and no priority, up to two payloads an instance are filled ahead. The last
one still grows until an instance takes it, unless it is *saturated*: of a preferred size without a delay, or as large as may be; and an
instance that takes one also takes those behind it, if they are older than the delay and fit. While it sleeps, the thread is
woken only by arrivals that make up the next preferred size: so a payload that left because its delay was over mostly does
not grow. Without prefetching the thread looks only while an instance is idle.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError

from .batcher import Decision, as_they_are, check_count, check_duration, vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .batcher import Floats

MOST_PREFERRED = 8
"""Preferred sizes that a settings vector has room for."""
MOST_INSTANCES = 16
"""Instances whose payloads the memo has room for."""
MOST_INSTANTS = 64
"""Instants of arrival that the memo tells apart among those who are in no payload; later ones count as the last of them."""
NAP_S = 0.5
"""How long the thread sleeps at an empty queue if nobody wakes it: `default_wait_microseconds`."""

_MAX_BATCH, _DELAY, _TIMEOUT, _PREFETCH, _INSTANCES, _SIZES, _PREFERRED = 0, 1, 2, 3, 4, 5, 6
"""Settings: the preferred sizes, rising, stand last."""

_FILLED, _GROWS, _SATURATED, _WANTED, _SLEEPS, _CALLED, _INSTANTS, _BEGUN, _TABLE = range(9)
_STARTS = _TABLE + 2 * MOST_INSTANCES
_TIMES = _STARTS + 2 * MOST_INSTANCES
_COUNTS = _TIMES + MOST_INSTANTS
"""The memo: payloads that wait for an instance; whether the last of them may grow, and is saturated; how many more the thread
wants before an arrival wakes it; until when it sleeps; whether an instance took a payload since; how many instants of arrival
follow. Then sizes and first arrivals of the payloads, times and numbers of the arrivals in none."""


@dataclass(frozen=True)
class TritonBatching:
    """`dynamic_batching` of a model configuration, for requests of one item and one shape each.

    Not in it: `timeout_action: DELAY` (it changes the order of the queue) and time-outs that single requests ask for. Times
    are not cut to whole microseconds. Priorities are the queue's; say here that there are any.

    Args:
        max_batch: `max_batch_size`.
        max_wait_s: `max_queue_delay_microseconds`, in seconds.
        preferred_sizes: `preferred_batch_size`, rising; empty: the largest alone. At most 8.
        queue_timeout_s: `default_timeout_microseconds` in seconds, with `timeout_action: REJECT`; 0: none.
        max_queue_size: requests beyond it are refused; 0: none is.
        priorities: whether `priority_levels` is set, which ends prefetching.
        instances: `instance_group.count`: batches that run at once. At most 16.

    Raises:
        ConfigError: a count below one, a duration that is none, or preferred sizes that do not rise to `max_batch` at most.

    Example:
        >>> from windtunnel.simulate.batching.timetable import timetable
        >>> batching = TritonBatching(max_batch=8, max_wait_s=0.25, preferred_sizes=(2, 8))
        >>> [(batch.started_s, batch.requests) for batch in timetable(batching, [0.0, 0.125, 1.0], lambda size: 0.5)]
        [(0.125, (0, 1)), (1.25, (2,))]
    """

    code: ClassVar[int] = 2
    memo: ClassVar[int] = _COUNTS + MOST_INSTANTS

    max_batch: int = 8
    max_wait_s: float = 0.0
    preferred_sizes: tuple[int, ...] = ()
    queue_timeout_s: float = 0.0
    max_queue_size: int = 0
    priorities: bool = False
    instances: int = 1

    def __post_init__(self) -> None:
        check_count("max_batch", self.max_batch)
        check_duration("max_wait", self.max_wait_s)
        check_duration("queue_timeout", self.queue_timeout_s)
        check_count("max_queue_size", self.max_queue_size, least=0)
        check_count("instances", self.instances)
        if self.instances > MOST_INSTANCES:
            raise ConfigError(f"must be at most {MOST_INSTANCES}", field="instances", value=self.instances)
        bounds = (0, *self.preferred_sizes, self.max_batch + 1)
        if any(a >= b for a, b in itertools.pairwise(bounds)):
            raise ConfigError(
                f"must rise, from 1 to {self.max_batch} at most", field="preferred_sizes", value=self.preferred_sizes
            )
        if len(self.preferred_sizes) > MOST_PREFERRED:
            raise ConfigError(
                f"must be at most {MOST_PREFERRED}", field="preferred_sizes", value=self.preferred_sizes,
                fix="leave some out",
            )  # fmt: skip

    @property
    def max_waiting(self) -> int:
        """`max_queue_size`; -1: as many as come."""
        return self.max_queue_size or -1

    @property
    def executors(self) -> int | None:
        """The instances."""
        return self.instances

    @property
    def prefetches(self) -> bool:
        """Whether payloads are filled before an instance is idle (`support_prefetching_`)."""
        return not (self.queue_timeout_s or self.max_queue_size or self.priorities)

    def settings(self) -> Floats:
        """`max_batch`, `max_wait_s`, `queue_timeout_s`, `prefetches`, `instances`, how many preferred sizes, and these."""
        sizes = self.preferred_sizes or (self.max_batch,)
        return vector(
            self.max_batch, self.max_wait_s, self.queue_timeout_s, self.prefetches, self.instances, len(sizes), *sizes
        )

    def padded(self, max_batch: int) -> NDArray[np.int64]:
        """What is closed is what is run."""
        return as_they_are(max_batch)

    def twin(self) -> PrefetchingTwin | TritonTwin:
        """The same in plain Python."""
        return PrefetchingTwin(self) if self.prefetches else TritonTwin(self)


@njit(nogil=True, cache=True)
def close(
    now_s: float, idle: int, waiting: int, oldest_s: float, settings: Floats, memo: Floats
) -> tuple[int, int, float]:
    """Decide for a model: fill payloads as the batcher thread does, and give the first to an idle instance."""
    if settings[_PREFETCH] > 0.0:
        return _prefetch(now_s, idle, waiting, settings, memo)
    if idle <= 0 or waiting <= 0:
        return 0, 0, np.inf
    timeout_s = settings[_TIMEOUT]
    # at the very instant, too: the thread wakes a little later than it asked for, and finds it expired
    if timeout_s > 0.0 and now_s >= oldest_s + timeout_s:
        return 0, 1, np.inf
    count, _, _ = _look(now_s, 0, waiting, oldest_s, settings)
    if count > 0:
        return count, 0, np.inf
    wake_s = oldest_s + settings[_DELAY]
    return 0, 0, min(wake_s, oldest_s + timeout_s) if timeout_s > 0.0 else wake_s


@njit(nogil=True, cache=True)
def _look(now_s: float, payload: int, waiting: int, oldest_s: float, settings: Floats) -> tuple[int, bool, bool]:
    """`GetDynamicBatch`: how many to add to a payload that holds some already (-1: wait).

    And whether that saturates the payload, and whether it sets anew how many the thread wants before it is woken.
    """
    max_batch, delay_s, sizes = int(settings[_MAX_BATCH]), settings[_DELAY], int(settings[_SIZES])
    largest = int(settings[_PREFERRED + sizes - 1])
    pending = min(waiting, max_batch - payload)
    best, payload_preferred = 0, False
    for each in range(sizes):
        size = int(settings[_PREFERRED + each])
        payload_preferred = payload_preferred or size == payload
        if payload < size <= payload + pending:
            best = size - payload
    saturated = payload >= largest
    if saturated and payload < max_batch and waiting > 1:
        best = 1  # the mark that was to stand before the first request too many is set before the second
    late = delay_s != 0.0 and now_s >= oldest_s + delay_s
    if best != 0 and not late:
        return best, saturated or delay_s == 0.0, False
    if payload + waiting > max_batch or payload + pending >= largest:
        return pending, True, False
    if late or delay_s == 0.0:
        return pending, saturated, False
    if payload != 0 and not payload_preferred:
        return pending, saturated, True
    return -1, saturated, True


@njit(nogil=True, cache=True)
def _prefetch(now_s: float, idle: int, waiting: int, settings: Floats, memo: Floats) -> tuple[int, int, float]:
    if memo[_BEGUN] == 0.0:
        memo[_BEGUN], memo[_SLEEPS] = 1.0, now_s
    queued = _count_in(now_s, waiting, settings, memo)
    queued = _fill(now_s, queued, settings, memo)
    if idle > 0 and memo[_FILLED] > 0.0:
        return _take(now_s, settings, memo), 0, np.inf
    return 0, 0, memo[_SLEEPS] if queued > 0 else np.inf


@njit(nogil=True, cache=True)
def _count_in(now_s: float, waiting: int, settings: Floats, memo: Floats) -> int:
    """Note who came, whether that wakes the thread, and return how many are in no payload."""
    before = 0
    for each in range(int(memo[_INSTANTS])):
        before += int(memo[_COUNTS + each])
    in_payloads = 0
    for each in range(int(memo[_FILLED])):
        in_payloads += int(memo[_TABLE + each])
    queued = waiting - in_payloads
    if queued > before:
        last = int(memo[_INSTANTS])
        if last == MOST_INSTANTS:
            memo[_COUNTS + last - 1] += queued - before
        else:
            memo[_TIMES + last], memo[_COUNTS + last] = now_s, queued - before
            memo[_INSTANTS] += 1.0
        if before == 0:
            while memo[_SLEEPS] < now_s:
                memo[_SLEEPS] += NAP_S
        slot = memo[_FILLED] < 2.0 * settings[_INSTANCES]
        if slot and (memo[_GROWS] == 0.0 or memo[_SATURATED] > 0.0 or queued >= memo[_WANTED]):
            memo[_SLEEPS] = now_s
    if memo[_CALLED] > 0.0:
        memo[_CALLED], memo[_SLEEPS] = 0.0, now_s
    return queued


@njit(nogil=True, cache=True)
def _fill(now_s: float, queued: int, settings: Floats, memo: Floats) -> int:
    """`BatcherThread`, until it sleeps; returns how many are still in no payload."""
    while memo[_SLEEPS] <= now_s:
        if memo[_GROWS] == 0.0 or memo[_SATURATED] > 0.0:
            memo[_GROWS], memo[_SATURATED], memo[_WANTED] = 0.0, 0.0, 0.0
        if queued <= 0:
            memo[_SLEEPS] = now_s + NAP_S
            break
        if memo[_FILLED] >= 2.0 * settings[_INSTANCES]:
            memo[_SLEEPS] = np.inf
            break
        last = int(memo[_FILLED]) - 1
        payload = int(memo[_TABLE + last]) if memo[_GROWS] > 0.0 else 0
        oldest_s = memo[_TIMES]
        count, saturated, wants = _look(now_s, payload, queued, oldest_s, settings)
        memo[_SATURATED] = 1.0 if saturated else 0.0
        if wants:
            memo[_WANTED] = _wanted(payload, queued, settings)
        if count < 0:
            memo[_SLEEPS] = oldest_s + settings[_DELAY]
            break
        if payload == 0:
            last += 1
            memo[_TABLE + last], memo[_STARTS + last] = 0.0, oldest_s
            memo[_FILLED] += 1.0
            memo[_GROWS] = 1.0
        memo[_TABLE + last] += count
        _forget(count, memo)
        queued -= count
    return queued


@njit(nogil=True, cache=True)
def _wanted(payload: int, pending: int, settings: Floats) -> int:
    """The next preferred size above what is there, less what the payload holds: fewer arrivals do not wake the thread."""
    for each in range(int(settings[_SIZES])):
        size = int(settings[_PREFERRED + each])
        if size > payload + pending:
            return size - payload
    return int(settings[_PREFERRED]) - payload


@njit(nogil=True, cache=True)
def _forget(count: int, memo: Floats) -> None:
    """Strike the first `count` from the arrivals that are in no payload."""
    struck = 0
    instants = int(memo[_INSTANTS])
    while struck < instants and count >= memo[_COUNTS + struck]:
        count -= int(memo[_COUNTS + struck])
        struck += 1
    for each in range(struck, instants):
        memo[_TIMES + each - struck], memo[_COUNTS + each - struck] = memo[_TIMES + each], memo[_COUNTS + each]
    memo[_INSTANTS] = instants - struck
    if count > 0:
        memo[_COUNTS] -= count


@njit(nogil=True, cache=True)
def _take(now_s: float, settings: Floats, memo: Floats) -> int:
    """`Dequeue`: the first payload, and those behind it that are older than the delay and fit."""
    filled, size, taken = int(memo[_FILLED]), int(memo[_TABLE]), 1
    while taken < filled and settings[_DELAY] > 0.0 and now_s - memo[_STARTS + taken] > settings[_DELAY]:
        if size + memo[_TABLE + taken] > settings[_MAX_BATCH]:
            # it was marked as running before it was found not to fit: nobody joins it any more
            memo[_GROWS] = 0.0 if taken == filled - 1 else memo[_GROWS]
            break
        size += int(memo[_TABLE + taken])
        taken += 1
    for each in range(taken, filled):
        memo[_TABLE + each - taken] = memo[_TABLE + each]
        memo[_STARTS + each - taken] = memo[_STARTS + each]
    memo[_FILLED] = filled - taken
    if taken == filled:
        memo[_GROWS] = 0.0
    memo[_CALLED] = 1.0
    return size


def _add(batching: TritonBatching, now_s: float, payload: int, arrived_s: list[float]) -> tuple[int | None, bool, bool]:
    """`GetDynamicBatch` request by request, as the real one walks; None: wait."""
    preferred = batching.preferred_sizes or (batching.max_batch,)
    pending, best, send_now, saturated = 0, 0, False, False
    for _ in arrived_s:
        if payload + pending:
            if payload + pending + 1 > max(preferred) and not best:
                best, saturated = pending, True
            if payload + pending + 1 > batching.max_batch:
                send_now = True
                break
        pending += 1
        if payload + pending in preferred:
            best = pending
    late = batching.max_wait_s != 0 and now_s >= arrived_s[0] + batching.max_wait_s
    if best and not late:
        return best, saturated or batching.max_wait_s == 0, False
    if send_now or payload + pending >= max(preferred):
        return pending, True, False
    if late or batching.max_wait_s == 0:
        return pending, saturated, False
    if payload and payload not in preferred and not saturated:
        return pending, saturated, True
    return None, saturated, True


class TritonTwin:
    """Without prefetching: look at the queue while an instance is idle."""

    def __init__(self, batching: TritonBatching) -> None:
        self.batching = batching

    def close(self, now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float) -> Decision:  # noqa: ARG002
        """Reject the head if it is too old; else send, or wait for the delay or the next timeout."""
        if not (idle and waiting):
            return 0, 0, math.inf
        expires_s = oldest_s + self.batching.queue_timeout_s if self.batching.queue_timeout_s else math.inf
        if expires_s <= now_s:
            return 0, 1, math.inf
        count, _, _ = _add(self.batching, now_s, 0, [oldest_s] * waiting)
        return (0, 0, min(expires_s, oldest_s + self.batching.max_wait_s)) if count is None else (count, 0, math.inf)

    def learn(self, now_s: float, batch: int, service_s: float, wait_s: float) -> None:
        """It does not."""


class PrefetchingTwin:
    """With prefetching: a list of payloads, each a list of the times at which its requests came."""

    def __init__(self, batching: TritonBatching) -> None:
        self.batching = batching
        self.queue: list[float] = []
        self.payloads: list[list[float]] = []
        self.current: list[float] | None = None
        self.saturated = False
        self.wanted = 0
        self.sleeps_until_s: float | None = None

    def close(self, now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float) -> Decision:  # noqa: ARG002
        """Enqueue who came, let the thread run until it sleeps, let an idle instance take what is first."""
        self._enqueue(now_s, waiting)
        while self.sleeps_until_s is None or self.sleeps_until_s <= now_s:
            self.sleeps_until_s = self._run(now_s)
        if idle and self.payloads:
            self.sleeps_until_s = now_s
            return len(self._dequeue(now_s)), 0, math.inf
        return 0, 0, self.sleeps_until_s if self.queue else math.inf

    def learn(self, now_s: float, batch: int, service_s: float, wait_s: float) -> None:
        """It does not."""

    def _slot(self) -> bool:
        return len(self.payloads) < 2 * self.batching.instances

    def _enqueue(self, now_s: float, waiting: int) -> None:
        came = waiting - len(self.queue) - sum(map(len, self.payloads))
        if not came:
            return
        while not self.queue and self.sleeps_until_s is not None and self.sleeps_until_s < now_s:
            self.sleeps_until_s += NAP_S
        self.queue += [now_s] * came
        if self._slot() and (self.current is None or self.saturated or len(self.queue) >= self.wanted):
            self.sleeps_until_s = now_s

    def _run(self, now_s: float) -> float | None:
        """Once round the thread's loop; until when it sleeps, or None."""
        if self.current is None or self.saturated:
            self.current, self.saturated, self.wanted = None, False, 0
        if not self.queue:
            return now_s + NAP_S
        if not self._slot():
            return math.inf
        held = len(self.current or [])
        count, self.saturated, wants = _add(self.batching, now_s, held, self.queue)
        if wants:
            self.wanted = self._next_preferred(held + len(self.queue)) - held
        if count is None:
            return self.queue[0] + self.batching.max_wait_s
        if self.current is None:
            self.current = []
            self.payloads.append(self.current)
        self.current += self.queue[:count]
        self.queue = self.queue[count:]
        return None

    def _next_preferred(self, there: int) -> int:
        preferred = self.batching.preferred_sizes or (self.batching.max_batch,)
        return min((size for size in preferred if size > there), default=preferred[0])

    def _dequeue(self, now_s: float) -> list[float]:
        taken = list(self.payloads[0])
        gone = [self.payloads.pop(0)]
        delay_s = self.batching.max_wait_s
        while delay_s and self.payloads and now_s - self.payloads[0][0] > delay_s:
            if len(taken) + len(self.payloads[0]) > self.batching.max_batch:
                self.current = None if self.payloads[0] is self.current else self.current
                break
            gone.append(self.payloads.pop(0))
            taken += gone[-1]
        if any(each is self.current for each in gone):
            self.current = None
        return taken
