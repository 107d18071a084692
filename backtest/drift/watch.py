"""Watching a column period by period against a reference that lies before, with a threshold that the reference sets.

Rules of thumb (PSI above 0.25) know nothing of the size of a window or of how days differ when nothing is wrong. So each
period of the reference is held against the other ones first, and a later period raises an alarm only where it lies
farther off than all but a stated share of those. Serves features and predictions alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Distance = Callable[[Floats, Floats], float]


@dataclass(frozen=True)
class Watch:
    """What was seen of one column, period by period.

    Args:
        name: of the column and the distance.
        reference: how many of the first periods are the reference; nothing is said of them.
        distance: of each period from the reference, float64 [periods]; for periods of the reference from its others,
            NaN for a period without rows, or with too few for the distance.
        threshold: beyond which a period is an alarm; chosen from the reference alone.
        alarm: bool [periods].
        rate: the share of alarms to expect while nothing moves.
    """

    name: str
    reference: int
    distance: Floats
    threshold: float
    alarm: NDArray[np.bool_]
    rate: float

    @property
    def alarms(self) -> NDArray[np.int64]:
        """The periods that raised an alarm."""
        return np.flatnonzero(self.alarm)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; null where a period had no rows."""
        return {
            "name": self.name,
            "reference_periods": self.reference,
            "threshold": self.threshold,
            "rate": self.rate,
            "distance": [value if math.isfinite(value) else None for value in self.distance.tolist()],
            "alarms": self.alarms.tolist(),
        }


def watch(
    name: str, periods: Sequence[Floats], distance: Distance, *, reference: int = 30, rate: float = 0.05
) -> Watch:
    """Hold each period against the first ones.

    Where periods are exchangeable while nothing moves, the chance of an alarm in one of them is at most `rate` (the
    rank of a new distance among those of the reference; approximately, as each of those is held against one period less).

    Args:
        name: of the column and the distance.
        periods: the rows of each period, float64 [any] or [any, features].
        distance: a value of `DISTANCES`, or `domain_auc`.
        reference: how many of the first periods are the reference.
        rate: the share of alarms while nothing moves.

    Raises:
        ConfigError: too few periods for a reference, or a reference too short for the rate.

    Example: from the 40th period on everything is moved by one standard deviation.

        >>> from windtunnel.backtest.drift import DISTANCES
        >>> rng = np.random.default_rng(1)
        >>> days = [rng.normal(size=200) + (day >= 40) for day in range(45)]
        >>> watch("x, ks", days, DISTANCES["ks"], rate=0.04).alarms.tolist()
        [40, 41, 42, 43, 44]
    """
    if not 1 < reference < len(periods):
        raise ConfigError(
            f"leaves nothing to watch of {len(periods)} periods", field="reference", value=reference,
            fix="record longer, or take a shorter reference",
        )  # fmt: skip
    before, all_of_it = list(periods[:reference]), np.concatenate(list(periods[:reference]))
    apart = [_distance(distance, np.concatenate(before[:k] + before[k + 1 :]), before[k]) for k in range(reference)]
    told = np.sort(np.array(apart)[~np.isnan(apart)])
    rank = math.ceil((len(told) + 1) * (1.0 - rate) - 1e-9)
    if len(told) < 2 or rank > len(told):
        raise ConfigError(
            f"cannot be kept with a reference of {len(told)} periods that have rows enough", field="rate", value=rate,
            fix=f"take at least {max(2, math.ceil(1.0 / rate) - 1)} periods, or a higher rate",
        )  # fmt: skip
    threshold = float(told[rank - 1])
    apart += [_distance(distance, all_of_it, each) for each in periods[reference:]]
    distances = np.array(apart)
    alarm = np.greater(distances, threshold) & (np.arange(len(periods)) >= reference)
    return Watch(name, reference, distances, threshold, alarm, rate)


def _distance(distance: Distance, reference: Floats, window: Floats) -> float:
    return distance(reference, window) if len(window) and len(reference) else math.nan
