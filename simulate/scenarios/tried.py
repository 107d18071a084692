"""A mitigation that was tried: what it would have done, whether that is prevention, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.stats import Interval, mean_interval

from .harm import Harm
from .toll import CONFIDENCE, Toll, spelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from .run_through import Spent

    Floats = NDArray[np.float64]

SPARED = 0.9
"""A mitigation that spares this share of the hurt would have prevented it."""

_NONE = Toll((Harm(recovered=True, recovery_s=None, requests_hurt=0, metastable=None, requests_refused=0),))
"""For its keys."""


@dataclass(frozen=True)
class Cost:
    """What a mitigation costs on a day on which nothing happens. What it costs on the worst day is in its toll.

    Args:
        replicas: that there are more of, in the mean over the day.
        usd_per_hour: for them; None where nobody says what a replica costs.
        calm_lost: good answers fewer, in the mean over the runs; below zero where there are more.
    """

    replicas: float
    usd_per_hour: float | None
    calm_lost: Interval

    @staticmethod
    def of(spent: Sequence[Spent], usd_per_hour: float | None) -> Cost:
        """The cost over all runs, at the price of a replica."""
        replicas = round(float(np.mean([each.replicas for each in spent])), 2)
        lost = mean_interval(np.array([each.calm_lost for each in spent], dtype=np.float64), CONFIDENCE)
        return Cost(replicas, None if usd_per_hour is None else replicas * usd_per_hour, lost)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "replicas_added": self.replicas, "usd_per_hour_added": self.usd_per_hour,
            **spelled("calm_lost", self.calm_lost),
        }  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """What one mitigation would have done.

    Args:
        name: of it.
        says: what is done, with its figures.
        harm: of the day with it, beside the calm day without; None where it changes nothing here, as a budget does for
            clients that do not retry.
        prevented: whether it would have prevented the day, see `prevention`; None where the runs do not tell.
        spared: requests that are hurt without it, less those with it, under the same luck; None where it changes nothing.
        cost: on the calm day.
        goodput_per_s: float64 `[BINS]`, good answers to recorded requests, by when they were due, in the mean.
    """

    name: str
    says: str
    harm: Toll | None
    prevented: bool | None
    spared: Interval | None
    cost: Cost
    goodput_per_s: Floats

    @property
    def rank(self) -> tuple[float, float, float]:
        """By which the cheapest is found: machines, then good answers lost on a calm day, then requests hurt on the worst."""
        hurt = self.harm.requests_hurt.value if self.harm else 0.0
        return self.cost.replicas, max(0.0, self.cost.calm_lost.value), hurt

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; null where it changes nothing."""
        figures = self.harm.to_dict() if self.harm else dict.fromkeys(_NONE.to_dict())
        return {
            "name": self.name, "says": self.says, "applies": self.harm is not None, "prevented": self.prevented,
            **spelled("spared", self.spared), **self.cost.to_dict(), **figures,
        }  # fmt: skip


def prevention(without: Toll, after: Toll) -> bool | None:
    """Whether a mitigation would have prevented what a day did.

    With it the system recovers in every run; and either it did not in every run without, or of the hurt `SPARED` are
    spared: the far end of the paired interval says so. None where the runs with it disagree, or the interval does not tell.

    Args:
        without: the day.
        after: the same with the mitigation, run by run under the same luck.
    """
    if not after.recovered or not any(each.requests_hurt for each in without.runs):
        return False if after.recovered is not None else None
    if not without.recovered:
        return True
    # above zero where too few are spared
    left = mean_interval(SPARED * _each(without.runs) - (_each(without.runs) - _each(after.runs)), CONFIDENCE)
    if len(without.runs) == 1:
        return left.value <= 0.0
    return True if left.high <= 0.0 else False if left.low > 0.0 else None


def spared(without: Toll, after: Toll) -> Interval:
    """Requests hurt without, less those with, run by run."""
    return mean_interval(_each(without.runs) - _each(after.runs), CONFIDENCE)


def cheapest(tried: Iterable[Tried]) -> Tried | None:
    """The cheapest that would have prevented it; None where none would."""
    return min((each for each in tried if each.prevented), key=lambda each: each.rank, default=None)


def _each(runs: Sequence[Harm]) -> Floats:
    return np.array([each.requests_hurt for each in runs], dtype=np.float64)
