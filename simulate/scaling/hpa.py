"""Kubernetes' HorizontalPodAutoscaler: ongoing requests over a target, with a tolerance; quick to rise, five minutes to fall."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_BEGUN, _NEXT, _RING = 0, 1, 2


@dataclass(frozen=True)
class HPAScaling:
    """`ceil(ongoing / target)` replicas, unless that is within the tolerance of how many there are.

    It rises by `up_pods`, or by `up_share` of what is there, whichever is more, at a look; it falls to the most that was asked
    for within the last `down_s`, what there was at first included. Modelled is an external metric with an `AverageValue`
    target, as KEDA sets one up, read as its mean since the last look; from none to one it goes at once, as KEDA does, for the
    autoscaler itself leaves what is at zero alone. Not modelled: rates over other periods than one look, a window
    for rising, several metrics.

    Source: kubernetes/kubernetes, `autoscaling/v2`: `pkg/controller/podautoscaler/replica_calculator.go` at 0006726
    (`GetExternalPerPodMetricReplicas`), `horizontal.go` beside it (`stabilizeRecommendationWithBehaviors`,
    `calculateScaleUpLimitWithScalingRules`, `recordInitialRecommendation`), with the defaults of
    `pkg/apis/autoscaling/v2/defaults.go` at 1adaa75: 4 pods or 100% in 15 s.

    Args:
        target: ongoing requests a replica.
        tolerance: by which share of the target they may be off.
        down_s: the stabilization window of falling.
        up_pods: replicas that may be added at a look.
        up_share: the share of the replicas that may be added at a look.
        interval_s: between two looks.

    Raises:
        ConfigError: a target or an interval of nothing, a negative bound.
    """

    target: float = 2.0
    tolerance: float = 0.1
    down_s: float = 300.0
    up_pods: int = 4
    up_share: float = 1.0
    interval_s: float = 15.0

    code: ClassVar[int] = 1
    name: ClassVar[str] = "hpa"

    def __post_init__(self) -> None:
        for field in ("target", "interval_s"):
            if not 0.0 < getattr(self, field) < math.inf:
                raise ConfigError("must be above zero", field=field, value=getattr(self, field))
        for field in ("tolerance", "down_s", "up_pods", "up_share"):
            if not 0.0 <= getattr(self, field) < math.inf:
                raise ConfigError("must be zero or more", field=field, value=getattr(self, field))
        if self.up_pods == 0 and self.up_share == 0.0:
            raise ConfigError("are both zero: it could never rise", field="up_pods, up_share", value=0)

    @property
    def looks(self) -> int:
        """Looks that may lie within the window."""
        return math.ceil(self.down_s / self.interval_s) + 1

    @property
    def memo(self) -> int:
        """Floats it keeps: when it asked for how many."""
        return _RING + 2 * self.looks

    def settings(self) -> Floats:
        """The figures, in the order in which `desired` reads them."""
        return np.array([self.target, self.tolerance, self.down_s, self.up_pods, self.up_share, self.looks])

    def twin(self) -> SlowHPAScaling:
        """The same, slowly."""
        return SlowHPAScaling(self)


@njit(nogil=True, cache=True)
def desired(now_s: float, running: int, ongoing_mean: float, settings: Floats, memo: Floats) -> int:
    """How many replicas there should be."""
    looks = int(settings[5])
    if memo[_BEGUN] == 0.0:
        memo[_BEGUN] = 1.0
        for each in range(looks):
            memo[_RING + 2 * each] = -np.inf
        memo[_RING], memo[_RING + 1], memo[_NEXT] = now_s, running, 1 % looks
    wanted = running
    if running == 0:
        wanted = 1 if ongoing_mean > 0.0 else 0
    elif abs(1.0 - ongoing_mean / (settings[0] * running)) > settings[1]:
        wanted = math.ceil(ongoing_mean / settings[0])
    most = wanted
    for each in range(looks):
        if memo[_RING + 2 * each] > now_s - settings[2]:
            most = max(most, int(memo[_RING + 2 * each + 1]))
    at = _RING + 2 * int(memo[_NEXT])
    memo[at], memo[at + 1], memo[_NEXT] = now_s, wanted, (memo[_NEXT] + 1) % looks
    if running == 0:
        return wanted
    limit = max(running + settings[3], math.ceil(running * (1.0 + settings[4])))
    return int(min(max(running, wanted), most, limit))


class SlowHPAScaling:
    """The same in plain Python."""

    def __init__(self, asked: HPAScaling) -> None:
        self.asked = asked
        self.asked_for: list[tuple[float, int]] = []

    def desired(self, now_s: float, running: int, ongoing_mean: float) -> int:
        """Up to what is asked for now; down to the most that was asked for lately."""
        if not self.asked_for:
            self.asked_for.append((now_s, running))
        wanted = self._wanted(running, ongoing_mean)
        lately = [count for time_s, count in self.asked_for if time_s > now_s - self.asked.down_s]
        self.asked_for.append((now_s, wanted))
        if running == 0:
            return wanted
        if wanted > running:
            by_share = math.ceil(running * (1.0 + self.asked.up_share))
            return min(wanted, max(running + self.asked.up_pods, by_share))
        return min(running, max([wanted, *lately]))

    def _wanted(self, running: int, ongoing_mean: float) -> int:
        if running == 0:
            return 1 if ongoing_mean > 0.0 else 0
        off = abs(1.0 - ongoing_mean / (self.asked.target * running))
        return running if off <= self.asked.tolerance else math.ceil(ongoing_mean / self.asked.target)
