"""Ray Serve's autoscaler: ongoing requests over a target, slow to rise and slower to fall."""

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

_EPSILON_S = 1e-6
_COUNTER, _SINCE, _FILLED, _NEXT, _RING = 0, 1, 2, 3, 4


@dataclass(frozen=True)
class RayServeScaling:
    """As many replicas as the mean of ongoing requests over the look-back asks for, once it has asked for long enough.

    Ongoing counts what waits at the router, in queues and being served. From no replicas at all the first starts without
    delay. Not modelled: that replicas push their figures every 10 s (`metrics_interval_s`), here each look sees them all.

    Source: Ray Serve 2.60, `serve/autoscaling_policy.py`: `_apply_default_params`, `_apply_scaling_factors`,
    `_apply_delay_logic`, and the defaults of `serve/config.py: AutoscalingConfig`.

    Args:
        target: ongoing requests a replica.
        up_s: how long more must be asked for in a row.
        down_s: how long fewer must be asked for in a row.
        look_back_s: over which ongoing requests are averaged.
        up_factor: by how much of the difference it rises.
        down_factor: by how much of the difference it falls.
        interval_s: between two looks.

    Raises:
        ConfigError: a target or an interval of nothing, a negative delay.
    """

    target: float = 2.0
    up_s: float = 30.0
    down_s: float = 600.0
    look_back_s: float = 30.0
    up_factor: float = 1.0
    down_factor: float = 1.0
    interval_s: float = 0.1

    code: ClassVar[int] = 0
    name: ClassVar[str] = "ray-serve"

    def __post_init__(self) -> None:
        for field in ("target", "interval_s", "up_factor", "down_factor"):
            if not 0.0 < getattr(self, field) < math.inf:
                raise ConfigError("must be above zero", field=field, value=getattr(self, field))
        for field in ("up_s", "down_s", "look_back_s"):
            if not 0.0 <= getattr(self, field) < math.inf:
                raise ConfigError("must be zero or more", field=field, value=getattr(self, field))

    @property
    def looks(self) -> int:
        """Looks in a look-back."""
        return max(1, round(self.look_back_s / self.interval_s))

    @property
    def memo(self) -> int:
        """Floats it keeps."""
        return _RING + self.looks

    def settings(self) -> Floats:
        """The figures, in the order in which `desired` reads them."""
        return np.array([self.target, self.up_s, self.down_s, float(self.looks), self.up_factor, self.down_factor])

    def twin(self) -> SlowRayServeScaling:
        """The same, slowly."""
        return SlowRayServeScaling(self)


@njit(nogil=True, cache=True)
def desired(now_s: float, running: int, ongoing_mean: float, settings: Floats, memo: Floats) -> int:
    """How many replicas there should be."""
    looks = int(settings[3])
    memo[_RING + int(memo[_NEXT])] = ongoing_mean
    memo[_NEXT] = (memo[_NEXT] + 1) % looks
    memo[_FILLED] = min(memo[_FILLED] + 1, looks)
    total = 0.0
    for back in range(int(memo[_FILLED]), 0, -1):
        total += memo[_RING + (int(memo[_NEXT]) - back) % looks]
    if running == 0:
        if ongoing_mean > 0.0:
            return math.ceil(float(settings[4]))
        memo[_COUNTER] = 0.0
        return 0
    # what rounding makes of this is Ray's
    asked_for = running * (total / memo[_FILLED] / (settings[0] * running))
    factor = settings[4] if asked_for > running else settings[5]
    wanted = math.ceil(running + factor * (asked_for - running))
    if math.ceil(asked_for) < running and wanted == running:
        wanted -= 1
    direction = 1.0 if wanted > running else -1.0 if wanted < running else 0.0
    if direction == 0.0 or direction != memo[_COUNTER]:
        memo[_COUNTER], memo[_SINCE] = direction, now_s
    if direction == 0.0:
        return running
    # from one to none it falls like elsewhere; from more, never past one
    if direction < 0.0 and running > 1:
        wanted = max(wanted, 1)
    if now_s - memo[_SINCE] + _EPSILON_S < (settings[1] if direction > 0.0 else settings[2]):
        return running
    memo[_COUNTER] = 0.0
    return int(max(wanted, 0))


class SlowRayServeScaling:
    """The same in plain Python."""

    def __init__(self, asked: RayServeScaling) -> None:
        self.asked = asked
        self.seen: deque[float] = deque(maxlen=asked.looks)
        self.rising_since_s: float | None = None
        self.falling_since_s: float | None = None

    def desired(self, now_s: float, running: int, ongoing_mean: float) -> int:
        """How many replicas there should be."""
        self.seen.append(ongoing_mean)
        if running == 0 and ongoing_mean > 0.0:
            return math.ceil(self.asked.up_factor)
        if running == 0:
            self.rising_since_s = self.falling_since_s = None
            return 0
        wanted = self._wanted(running)
        if wanted <= running:
            self.rising_since_s = None
        elif self.rising_since_s is None:
            self.rising_since_s = now_s
        if wanted >= running:
            self.falling_since_s = None
        elif self.falling_since_s is None:
            self.falling_since_s = now_s
        if self.rising_since_s is not None and now_s - self.rising_since_s + _EPSILON_S >= self.asked.up_s:
            self.rising_since_s = None
            return wanted
        if self.falling_since_s is not None and now_s - self.falling_since_s + _EPSILON_S >= self.asked.down_s:
            self.falling_since_s = None
            return max(wanted, 1) if running > 1 else max(wanted, 0)
        return running

    def _wanted(self, running: int) -> int:
        asked_for = running * (sum(self.seen) / len(self.seen) / (self.asked.target * running))
        if asked_for > running:
            return math.ceil(running + self.asked.up_factor * (asked_for - running))
        wanted = math.ceil(running + self.asked.down_factor * (asked_for - running))
        return wanted - 1 if math.ceil(asked_for) < running == wanted else wanted
