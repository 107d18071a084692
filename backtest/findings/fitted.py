"""What the user's `fit` would have answered at each look: for the leak test, which asks whether any of it hangs on the future."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.policy import Labels, Order, Workshop, train
from windtunnel.errors import InputError
from windtunnel.report.section import Section

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.backtest.policy import Trainer
    from windtunnel.recording import Recording

    from .finding import Series
    from .held import Held

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Fitted:
    """The answers of models that were trained now and then, summed by look.

    Args:
        looks_us: int64 [looks].
        answered: the sum of what the latest model answered to the requests of each look, float64 [looks]; NaN before the
            first training, and from one on that could not be made.
    """

    looks_us: Ints
    answered: Floats

    @staticmethod
    def of(
        held: Held, recording: Recording, corrections: pl.DataFrame | None, trainer: Trainer, *, start_us: int
    ) -> Fitted:
        """Train some time after the first look, and again whenever twice that time has passed, so that trainings are few.

        Args:
            held: the recording.
            recording: the same, as it was replayed.
            corrections: later versions of its labels.
            trainer: the user's `fit`.
            start_us: how long after the first look the first model is trained.
        """
        looks_us = held.looks_us
        shop = Workshop(recording, Labels.of(recording, corrections), looks_us, trainer, held.judge)
        answered = np.full(len(looks_us), np.nan)
        for start, end in _stretches(looks_us, start_us):
            try:
                model = train(shop, (Order(int(looks_us[start])), None))
            except InputError:
                # of a future that was taken away there is nothing to learn; at a look that was not, this shows as moved
                break
            edges = [shop.place(int(us)) - model.first for us in looks_us[start : end + 1]]
            sums = np.append(0.0, np.cumsum(model.predictions))
            answered[start + 1 : end + 1] = np.diff(sums[edges])
        return Fitted(looks_us, answered)

    @property
    def doubts(self) -> tuple[str, ...]:
        """None: it is asked for the leak test alone."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """Nothing of it is told."""
        return {}

    def draw(self) -> Section:
        """Nothing of it is drawn."""
        return Section("", "", ())

    def series(self) -> Series:
        """The answers."""
        return self.looks_us, {"answers of fit": self.answered}


def _stretches(looks_us: Ints, start_us: int) -> list[tuple[int, int]]:
    """From which look to which each model serves: trainings after the given time, after twice, four times that, and so on.

    Example:
        >>> _stretches(np.arange(10), 2)
        [(2, 4), (4, 8), (8, 9)]
    """
    starts = [int(np.searchsorted(looks_us, looks_us[0] + start_us))]
    while starts[-1] < len(looks_us) - 1:
        starts.append(min(2 * starts[-1], len(looks_us) - 1) if starts[-1] else 1)
    return list(itertools.pairwise(starts))
