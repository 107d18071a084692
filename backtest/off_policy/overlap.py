"""Overlap: whether the logging policy did often enough what the other would do, for its log to speak of that."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .estimator import mean_of

if TYPE_CHECKING:
    from windtunnel.stats import Interval

    from .logged import Logged

TINY = 0.01
"""A propensity below it lets one row speak for a hundred."""

LEAST_EFFECTIVE = 100.0
"""With fewer effective rows the normal intervals are not believed."""

ROUNDING = 1e-3
"""How far from 1 the weights may average by what a logger rounds off a propensity."""

MOST_OF_ONE = 0.05
"""No single row may carry more of the whole weight than this."""


@dataclass(frozen=True)
class Overlap:
    """How far a log carries.

    Args:
        rows: decisions with a known outcome.
        effective: how many unweighted rows the weighted ones are worth (Kish: (Σw)² / Σw²).
        greatest_weight: the weight of the row that counts most.
        greatest_share: its share of the whole weight.
        tiny_share: share of rows with a propensity below `TINY`.
        used_share: share of rows that the other policy might have produced (weight above zero).
        mean_weight: the mean weight with its interval: 1 if the propensities are right and nothing the other policy
            does is beyond the log.
    """

    rows: int
    effective: float
    greatest_weight: float
    greatest_share: float
    tiny_share: float
    used_share: float
    mean_weight: Interval

    @staticmethod
    def of(logged: Logged, confidence: float = 0.99) -> Overlap:
        """Look at the weights.

        Example: the other policy always does what the log did half of the time.

            >>> from windtunnel.backtest.off_policy import Logged
            >>> logged = Logged.of(np.ones(8), np.full(8, 0.5), np.tile([0.0, 1.0], 4))
            >>> overlap = Overlap.of(logged)
            >>> overlap.effective, overlap.greatest_weight, overlap.mean_weight.value, overlap.reasons[0]
            (4.0, 2.0, 1.0, 'only 4 effective rows of 8, where 100 are needed')
        """
        weight = logged.weight
        total = float(weight.sum())
        return Overlap(
            len(weight),
            total**2 / float(weight @ weight) if total > 0.0 else 0.0,
            float(weight.max()),
            float(weight.max()) / total if total > 0.0 else math.nan,
            float(np.mean(logged.propensity < TINY)),
            float(np.mean(weight > 0.0)),
            mean_of(weight, logged.block, confidence),
        )

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why an estimate from this log is not to be believed; empty where nothing speaks against it."""
        mean = self.mean_weight
        told = []
        if self.effective < LEAST_EFFECTIVE:
            told.append(
                f"only {self.effective:.0f} effective rows of {self.rows}, where {LEAST_EFFECTIVE:.0f} are needed"
            )
        if self.greatest_share > MOST_OF_ONE:
            told.append(f"one row carries {self.greatest_share:.0%} of the whole weight")
        if not mean.low - ROUNDING <= 1.0 <= mean.high + ROUNDING:
            told.append(
                f"the weights average {mean.value:.2f} and not 1: wrong propensities, or actions that were never logged"
            )
        return tuple(told)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values = asdict(self) | self.mean_weight.to_dict("mean_weight")
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        return finite | {"reasons": list(self.reasons)}
