"""Knative's autoscaler (KPA): concurrency over a target in a long window, and in a short one when it panics."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_FILLED, _NEXT, _PANICS, _PANIC_S, _MOST, _WAITS, _ZERO_S, _RING = range(8)


@dataclass(frozen=True)
class KnativeScaling:
    """`ceil(concurrency / (concurrency · utilization))` replicas, averaged over the stable window or, in panic, the panic window.

    It panics where the short window asks for `panic_threshold` times as many as there are, or begins with more than one, and
    then does not fall before the long window has passed without another reason. It rises at most to `max_up` times as
    many at a look and falls at most to one in `max_down`. The last replica stays for `grace_s` after none is asked for: the
    longest that Knative waits for its activator to take over. Concurrency is what waits at the router, in queues and is
    served, as the mean since the last look. Not modelled: that the activator asks at once for the first replica, instead of at the
    next look; replicas that are starting count as ready.

    Source: knative/serving, `pkg/autoscaler/scaling/autoscaler.go` at 00a4a55 (`Scale`, `newAutoscaler`), and the defaults
    of `config/core/configmaps/autoscaler.yaml` at 0d68a7b.

    Args:
        concurrency: requests that a replica may take on at once: `containerConcurrency`, or where that is unbounded
            `container-concurrency-target-default`.
        utilization: the share of that it aims at.
        stable_s: the long window.
        panic_s: the short one: 10% of it.
        panic_threshold: how many times the replicas there are the short window must ask for.
        max_up: `max-scale-up-rate`.
        max_down: `max-scale-down-rate`.
        grace_s: `scale-to-zero-grace-period`.
        interval_s: between two looks: `tick-interval`.

    Raises:
        ConfigError: a figure of nothing, a short window that is longer than the long one, a rate that is not above 1.
    """

    concurrency: float = 100.0
    utilization: float = 0.7
    stable_s: float = 60.0
    panic_s: float = 6.0
    panic_threshold: float = 2.0
    max_up: float = 1000.0
    max_down: float = 2.0
    grace_s: float = 30.0
    interval_s: float = 2.0

    code: ClassVar[int] = 2
    name: ClassVar[str] = "knative"

    def __post_init__(self) -> None:
        for field in ("concurrency", "utilization", "stable_s", "panic_s", "panic_threshold", "interval_s"):
            if not 0.0 < getattr(self, field) < math.inf:
                raise ConfigError("must be above zero", field=field, value=getattr(self, field))
        for field in ("max_up", "max_down"):
            if not 1.0 < getattr(self, field) < math.inf:
                raise ConfigError("must be above 1", field=field, value=getattr(self, field))
        if self.panic_s > self.stable_s:
            raise ConfigError("is longer than the stable window", field="panic", value=self.panic_s)
        if not 0.0 <= self.grace_s < math.inf:
            raise ConfigError("must be zero or more", field="grace", value=self.grace_s)

    @property
    def looks(self) -> tuple[int, int]:
        """Looks within the long window, and within the short one."""
        return max(1, round(self.stable_s / self.interval_s)), max(1, round(self.panic_s / self.interval_s))

    @property
    def memo(self) -> int:
        """Floats it keeps."""
        return _RING + self.looks[0]

    def settings(self) -> Floats:
        """The figures, in the order in which `desired` reads them."""
        return np.array([
            self.concurrency * self.utilization, *self.looks, self.stable_s, self.panic_threshold, self.max_up, self.max_down,
            self.grace_s,
        ])  # fmt: skip

    def twin(self) -> SlowKnativeScaling:
        """The same, slowly."""
        return SlowKnativeScaling(self)


@njit(nogil=True, cache=True)
def _mean(looks: int, settings: Floats, memo: Floats) -> float:
    """Over so many looks, the oldest first; over fewer where there were no more."""
    count = int(min(float(looks), memo[_FILLED]))
    total = 0.0
    for back in range(count, 0, -1):
        total += memo[_RING + (int(memo[_NEXT]) - back) % int(settings[1])]
    return total / count


@njit(nogil=True, cache=True)
def desired(now_s: float, running: int, ongoing_mean: float, settings: Floats, memo: Floats) -> int:
    """How many replicas there should be."""
    target, stable_s = settings[0], settings[3]
    if memo[_FILLED] == 0.0 and running > 1:
        memo[_PANICS], memo[_PANIC_S], memo[_MOST] = 1.0, now_s, running
    memo[_RING + int(memo[_NEXT])] = ongoing_mean
    memo[_NEXT] = (memo[_NEXT] + 1) % settings[1]
    memo[_FILLED] = min(memo[_FILLED] + 1, settings[1])
    ready = max(1, running)
    most, least = math.ceil(settings[5] * ready), math.floor(ready / settings[6])
    over_long = math.ceil(_mean(int(settings[1]), settings, memo) / target)
    over_short = math.ceil(_mean(int(settings[2]), settings, memo) / target)
    wanted = int(min(max(over_long, least), most))
    if over_short / ready >= settings[4]:
        memo[_PANICS], memo[_PANIC_S] = 1.0, now_s
    elif memo[_PANICS] > 0.0 and memo[_PANIC_S] + stable_s < now_s:
        memo[_PANICS], memo[_MOST] = 0.0, 0.0
    if memo[_PANICS] > 0.0:
        memo[_MOST] = max(memo[_MOST], float(wanted), float(min(max(over_short, least), most)))
        wanted = int(memo[_MOST])
    if wanted > 0 or running == 0:
        memo[_WAITS] = 0.0
        return wanted
    if memo[_WAITS] == 0.0:
        memo[_WAITS], memo[_ZERO_S] = 1.0, now_s
    return 1 if now_s - memo[_ZERO_S] < settings[7] else 0


class SlowKnativeScaling:
    """The same in plain Python."""

    def __init__(self, asked: KnativeScaling) -> None:
        self.asked = asked
        self.seen: deque[float] = deque(maxlen=asked.looks[0])
        self.panics_since_s: float | None = None
        self.most_in_panic = 0
        self.none_since_s: float | None = None

    def desired(self, now_s: float, running: int, ongoing_mean: float) -> int:
        """Calm or in panic; the last one stays a while."""
        if not self.seen and running > 1:
            self.panics_since_s, self.most_in_panic = now_s, running
        self.seen.append(ongoing_mean)
        wanted = self._in_panic(now_s, running)
        if wanted > 0 or running == 0:
            self.none_since_s = None
            return wanted
        if self.none_since_s is None:
            self.none_since_s = now_s
        return 0 if now_s - self.none_since_s >= self.asked.grace_s else 1

    def _in_panic(self, now_s: float, running: int) -> int:
        asked, short = self.asked, list(self.seen)[-self.asked.looks[1] :]
        calm, panicked = self._within(list(self.seen), running), self._within(short, running)
        if self._pods(short) / max(1, running) >= asked.panic_threshold:
            self.panics_since_s = now_s
        elif self.panics_since_s is not None and self.panics_since_s + asked.stable_s < now_s:
            self.panics_since_s, self.most_in_panic = None, 0
        if self.panics_since_s is None:
            return calm
        self.most_in_panic = max(self.most_in_panic, calm, panicked)
        return self.most_in_panic

    def _pods(self, seen: list[float]) -> int:
        return math.ceil(sum(seen) / len(seen) / (self.asked.concurrency * self.asked.utilization))

    def _within(self, seen: list[float], running: int) -> int:
        """As the rates allow."""
        ready = max(1, running)
        least, most = math.floor(ready / self.asked.max_down), math.ceil(ready * self.asked.max_up)
        return min(max(self._pods(seen), least), most)
