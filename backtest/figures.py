"""The figures of all models: of every look, of every day, and the differences that are compared, however the metric is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .kernel import DAY_US

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .question import Question
    from .tally import Tally

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Figures:
    """What a metric comes to; NaN wherever nothing says it.

    Args:
        metric: over the rows matured as of each look, float64 [models, looks].
        turned_out: over all requests asked before each look that is a UTC midnight, once every label was in that counts,
            float64 [models, looks].
        days: over each UTC day's requests, by their final labels, float64 [models, days].
        differences: of each day, from the incumbent's, float64 [models, days].
        halves: the incumbent's on one half of each day's requests less that on the other, float64 [days].
    """

    metric: Floats
    turned_out: Floats
    days: Floats
    differences: Floats
    halves: Floats

    @staticmethod
    def of_sums(tally: Tally, question: Question, as_of_us: Ints) -> Figures:
        """Of a metric that is a mean over rows: the difference of a day is the mean difference of its rows."""
        models, looks = range(len(question.models)), len(as_of_us)
        shown = question.loss.shown
        return Figures(
            shown(np.array([tally.metric(model, looks) for model in models])),
            shown(np.array([tally.turned_out(model, as_of_us) for model in models])),
            shown(np.array([tally.day_means(model) for model in models])),
            np.array([tally.differences(model) for model in models]),
            tally.half_differences(),
        )


def midnights(as_of_us: Ints) -> NDArray[np.bool_]:
    """Which looks are at a UTC midnight: before those lie whole days of requests."""
    told: NDArray[np.bool_] = as_of_us % DAY_US == 0
    return told
