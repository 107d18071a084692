"""BentoML's CORK: hold the batch back as long as waiting pays, by a line fitted through what batches took.

Read off `bentoml/_internal/marshal/dispatcher.py` of BentoML 1.4.40. One batch is in flight; a controller looks when a request
comes to an empty queue, and from then on every millisecond. It believes that a batch of n takes a·n + b, fitted by least squares
through the last 50 batches at most every 5 seconds. It *cancels* the head while more than one waits and the head is
expected to be late; it holds back while another request would cost those who wait less than they wait on average,
n·(wn + dt + a) ≤ 0.95·w, where wn is the age of the newest. Before all that it trains: nine batches at once, one
when two wait, one when three do.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError

from .batcher import Decision, as_they_are, check_count, check_duration, vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .batcher import Floats

KEPT = 50
"""Batches that the line is fitted through."""
SKIPPED = 2
"""Batches at the start that are not believed."""
TICK_S = 0.001
REFRESH_S = 5.0
"""At most every so often the line is fitted anew."""
DECAY = 0.95
STAGES = ((2, 8, 1), (6, 1, 1), (5, 1, 2), (3, 1, 3))
"""The training: how many requests it still needs (more may be cancelled), how many batches, and of how many it would like."""

_STAGE, _SENT, _PATIENCE, _TICK, _A, _B, _WAIT, _COUNTED, _TOKENS, _SPENT, _ROWS, _NEXT, _TRAINING, _BEGUN = range(14)
_TABLE = 14
"""What the memo holds: the stage of the training (4: over), batches sent in it, how long it waits for company; when the
controller looks next; the line, the average wait; batches logged; the token bucket; rows of the table and where the next one
goes; whether what is in flight is training; whether anything was set. Then the table: size, service_s, wait_s."""

_REQUIRED = np.array([each[0] for each in STAGES])
_BATCHES = np.array([each[1] for each in STAGES])
_SIZES = np.array([each[2] for each in STAGES])


@dataclass(frozen=True)
class CorkBatching:
    """`@bentoml.api(batchable=True, max_batch_size, max_latency_ms)` of BentoML 1.4.40, for requests of one item each.

    Args:
        max_batch: `max_batch_size`.
        max_latency_s: `max_latency_ms` in seconds: a request expected to take longer is cancelled (answered 503).

    Raises:
        ConfigError: a batch below one or a latency that is no duration above zero.

    Example:
        While it trains, nine are served at once. It then believes in 10 ms a request and 10 ms a batch, and the tenth waits
        30 ms for a second; the eleventh, which should have been three, 40 ms.

        >>> from windtunnel.simulate.batching.timetable import timetable
        >>> batches = timetable(CorkBatching(), [float(second) for second in range(12)], lambda size: 0.02)
        >>> [round(batch.started_s, 3) for batch in batches[7:]]
        [7.0, 8.0, 9.031, 10.041, 11.0]
    """

    code: ClassVar[int] = 4
    memo: ClassVar[int] = _TABLE + 3 * KEPT

    max_batch: int = 100
    max_latency_s: float = 60.0

    def __post_init__(self) -> None:
        check_count("max_batch", self.max_batch)
        check_duration("max_latency", self.max_latency_s)
        if self.max_latency_s == 0.0:
            raise ConfigError("must be above zero", field="max_latency", value=self.max_latency_s)

    @property
    def max_waiting(self) -> int:
        """As many as come: what would be late is cancelled."""
        return -1

    @property
    def executors(self) -> int | None:
        """One batch in flight."""
        return 1

    def settings(self) -> Floats:
        """`max_batch`, `max_latency_s`."""
        return vector(self.max_batch, self.max_latency_s)

    def padded(self, max_batch: int) -> NDArray[np.int64]:
        """What is closed is what is run."""
        return as_they_are(max_batch)

    def twin(self) -> CorkTwin:
        """The same in plain Python."""
        return CorkTwin(self)


@njit(nogil=True, cache=True)
def close(
    now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float, settings: Floats, memo: Floats
) -> tuple[int, int, float]:
    """Decide for a dispatcher: look at arrivals to an empty queue, and at ticks."""
    if memo[_BEGUN] == 0.0:
        _begin(now_s, settings, memo)
    if waiting <= 0:
        memo[_TICK] = -np.inf
        return 0, 0, np.inf
    if now_s < memo[_TICK]:
        return 0, 0, memo[_TICK]
    if memo[_STAGE] < len(_SIZES):
        says = _train(now_s, idle, waiting, oldest_s, settings, memo)
    else:
        says = _cork(now_s, idle, waiting, oldest_s, newest_s, settings, memo)
    if says < 0:
        return 0, 1, np.inf
    if says == 0:
        memo[_TICK] = now_s + TICK_S
        return 0, 0, memo[_TICK]
    memo[_TICK] = -np.inf
    return says, 0, np.inf


@njit(nogil=True, cache=True)
def _begin(now_s: float, settings: Floats, memo: Floats) -> None:
    memo[_BEGUN], memo[_TICK], memo[_TOKENS], memo[_SPENT] = 1.0, -np.inf, 2.0, now_s
    memo[_A], memo[_B] = min(2.0, settings[1] * 2.0 / 30.0), min(1.0, settings[1] / 30.0)


@njit(nogil=True, cache=True)
def _cork(
    now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float, settings: Floats, memo: Floats
) -> int:
    """How many leave; 0: hold; -1: cancel the head."""
    max_batch, max_latency_s = int(settings[0]), settings[1]
    age_s = now_s - oldest_s
    if waiting > 1 and age_s + memo[_A] * waiting + memo[_B] >= max_latency_s:
        return -1
    if idle <= 0:
        return -1 if waiting == 1 and age_s >= max_latency_s else 0
    if waiting < max_batch and waiting * (now_s - newest_s + TICK_S + memo[_A]) <= memo[_WAIT] * DECAY:
        return 0
    memo[_TRAINING] = 0.0
    return min(waiting, max_batch)


@njit(nogil=True, cache=True)
def _train(now_s: float, idle: int, waiting: int, oldest_s: float, settings: Floats, memo: Floats) -> int:
    """As `_cork`, while the line is not known: cancel only what is late already."""
    stage, max_batch, age_s = int(memo[_STAGE]), int(settings[0]), now_s - oldest_s
    size = min(_SIZES[stage], max_batch)
    if waiting > _REQUIRED[stage] - memo[_SENT] and age_s >= settings[1]:
        return -1
    if size > 1 and waiting < size and size * memo[_A] + memo[_B] + age_s <= memo[_PATIENCE]:
        return 0
    if idle <= 0:
        return 0
    memo[_TRAINING] = 1.0
    memo[_SENT] += 1.0
    if memo[_SENT] == _BATCHES[stage]:
        if stage > 0:
            _fit(memo)
        memo[_STAGE], memo[_SENT] = stage + 1, 0.0
        if stage + 1 < len(_SIZES):
            wanted = min(_SIZES[stage + 1], max_batch)
            memo[_PATIENCE] = min(settings[1] * DECAY, (wanted * 2 + 1) * memo[_A] + memo[_B])
    return min(waiting, max_batch)


@njit(nogil=True, cache=True)
def learn(now_s: float, batch: int, service_s: float, wait_s: float, memo: Floats) -> None:
    """Log a batch, and fit the line anew if the last time was long enough ago."""
    if memo[_COUNTED] <= SKIPPED + 4:
        memo[_COUNTED] += 1.0
        if memo[_COUNTED] <= SKIPPED:
            return
    row = _TABLE + 3 * int(memo[_NEXT])
    memo[row], memo[row + 1], memo[row + 2] = batch, service_s, 0.0 if memo[_TRAINING] > 0.0 else wait_s
    memo[_NEXT] = (memo[_NEXT] + 1.0) % KEPT
    memo[_ROWS] = min(memo[_ROWS] + 1.0, float(KEPT))
    tokens = min((now_s - memo[_SPENT]) / REFRESH_S + memo[_TOKENS], 1.0)
    if tokens >= 1.0:
        memo[_TOKENS], memo[_SPENT] = tokens - 1.0, now_s
        _fit(memo)


@njit(nogil=True, cache=True)
def _fit(memo: Floats) -> None:
    """Least squares of service_s over size, oldest row first; of equal sizes the line of least norm, as numpy's `lstsq`."""
    rows = int(memo[_ROWS])
    if rows == 0:
        return
    first = int(memo[_NEXT]) - rows
    n, n_n, y, n_y, wait = 0.0, 0.0, 0.0, 0.0, 0.0
    for each in range(first, first + rows):
        row = _TABLE + 3 * (each % KEPT)
        n += memo[row]
        n_n += memo[row] * memo[row]
        y += memo[row + 1]
        n_y += memo[row] * memo[row + 1]
        wait += memo[row + 2]
    spread = rows * n_n - n * n
    if spread > 0.0:
        a = (rows * n_y - n * y) / spread
        b = (y - a * n) / rows
    else:
        size = n / rows
        b = y / rows / (size * size + 1.0)
        a = b * size
    memo[_A], memo[_B], memo[_WAIT] = max(1e-6, a), max(0.0, b), max(0.0, wait / rows)


class CorkTwin:
    """The dispatcher in plain Python."""

    def __init__(self, batching: CorkBatching) -> None:
        self.max_batch, self.max_latency_s = batching.max_batch, batching.max_latency_s
        self.a, self.b = min(2.0, self.max_latency_s * 2.0 / 30.0), min(1.0, self.max_latency_s / 30.0)
        self.wait_s = 0.0
        self.log: deque[tuple[int, float, float]] = deque(maxlen=KEPT)
        self.logged = 0
        self.to_train = [[required, batches, min(size, self.max_batch)] for required, batches, size in STAGES]
        self.sent = 0
        self.patience_s = 0.0
        self.training = False
        self.asleep_until_s: float | None = None
        self.refreshed_s: float | None = None

    def close(self, now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float) -> Decision:
        """Look, unless asleep."""
        if not waiting:
            self.asleep_until_s = None
            return 0, 0, math.inf
        if self.asleep_until_s is not None and now_s < self.asleep_until_s:
            return 0, 0, self.asleep_until_s
        if self.to_train:
            verdict = self._train(idle, waiting, now_s - oldest_s)
        else:
            verdict = self._cork(idle, waiting, now_s - oldest_s, now_s - newest_s)
        if verdict == "cancel":
            return 0, 1, math.inf
        if verdict == "hold":
            self.asleep_until_s = now_s + TICK_S
            return 0, 0, self.asleep_until_s
        self.asleep_until_s = None
        return min(waiting, self.max_batch), 0, math.inf

    def _cork(self, idle: int, waiting: int, first_s: float, last_s: float) -> str:
        if waiting > 1 and first_s + self.a * waiting + self.b >= self.max_latency_s:
            return "cancel"
        if not idle:
            return "cancel" if waiting == 1 and first_s >= self.max_latency_s else "hold"
        worth = waiting * (last_s + TICK_S + self.a) <= self.wait_s * DECAY
        if waiting < self.max_batch and worth:
            return "hold"
        self.training = False
        return "send"

    def _train(self, idle: int, waiting: int, first_s: float) -> str:
        required, batches, size = self.to_train[0]
        if waiting > required - self.sent and first_s >= self.max_latency_s:
            return "cancel"
        alone = waiting < size
        if (alone and size * self.a + self.b + first_s <= self.patience_s) or not idle:
            return "hold"
        self.training = True
        self.sent += 1
        if self.sent == batches:
            self._next_stage()
        return "send"

    def _next_stage(self) -> None:
        if len(self.to_train) < len(STAGES):
            self._refresh()
        self.to_train, self.sent = self.to_train[1:], 0
        if self.to_train:
            size = self.to_train[0][2]
            self.patience_s = min(self.max_latency_s * DECAY, (size * 2 + 1) * self.a + self.b)

    def learn(self, now_s: float, batch: int, service_s: float, wait_s: float) -> None:
        """Log, and refresh what is believed every five seconds."""
        if not batch:
            return
        self.logged += 1
        if self.logged <= SKIPPED:
            return
        self.log.append((batch, service_s, 0.0 if self.training else wait_s))
        if self.refreshed_s is None or (now_s - self.refreshed_s) / REFRESH_S >= 1.0:
            self.refreshed_s = now_s
            self._refresh()

    def _refresh(self) -> None:
        if not self.log:
            return
        rows, n, y = len(self.log), sum(float(row[0]) for row in self.log), sum(row[1] for row in self.log)
        spread = rows * sum(float(row[0] * row[0]) for row in self.log) - n * n
        if spread:
            a = (rows * sum(row[0] * row[1] for row in self.log) - n * y) / spread
            b = (y - a * n) / rows
        else:
            b = y / rows / ((n / rows) * (n / rows) + 1.0)
            a = b * (n / rows)
        self.a, self.b = max(1e-6, a), max(0.0, b)
        self.wait_s = max(0.0, sum(row[2] for row in self.log) / rows)
