"""The method tried where there is nothing to find: on the recording's own noise with its difference taken out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats as distributions

from windtunnel.errors import DataError
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sequence import Sequence

    Floats = NDArray[np.float64]

REPEATS = 500
"""How many placebos: a rate of 5% is then known to within 2%."""


def placebo_rate(
    values: Floats, sequence: Sequence, rng: np.random.Generator, *, run: int = 1, repeats: int = REPEATS
) -> Interval:
    """How often the bounds would ever leave zero out, if there were no difference and the noise were as it is.

    The differences are centred and each run of neighbours has its sign drawn anew: the two models change names, day by day.
    That keeps each day's size and what its rows share, so heavy tails and a few wild days show as too high a rate; it
    does not keep what is carried from run to run. A rate whose low end is above the level says: do not trust this method here.

    Args:
        values: block differences, float64 [blocks].
        sequence: the method to be tried.
        rng: of this question alone.
        run: how many neighbours share a sign.
        repeats: how many placebos.

    Raises:
        DataError: no blocks, or NaN among them.

    Returns:
        The rate with the exact binomial interval of Clopper & Pearson (Biometrika 26, 1934).

    Example:
        >>> from windtunnel.backtest.evidence.asymptotic import Asymptotic
        >>> x = np.random.default_rng(0).normal(0.3, 1.0, size=120)
        >>> placebo_rate(x, Asymptotic(), np.random.default_rng(1)).low < 0.05
        True
    """
    if len(values) == 0 or np.isnan(values).any():
        raise DataError(
            "are none, or NaN in some block", field="difference", fix="leave out blocks in which no row counts"
        )
    signs = rng.choice([-1.0, 1.0], size=(repeats, math.ceil(len(values) / run)))
    drawn = (values - values.mean()) * np.repeat(signs, run, axis=1)[:, : len(values)]
    low, high = sequence.bounds(drawn)
    alarms = int(np.sum(((low > 0.0) | (high < 0.0)).any(axis=-1)))
    exact = distributions.binomtest(alarms, repeats).proportion_ci(0.95, method="exact")
    return Interval(alarms / repeats, float(exact.low), float(exact.high), repeats, 0.95)
