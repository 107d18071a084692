"""What another policy would have earned, from the log of the one that ran.

- `ips`, inverse propensity scoring: unbiased where propensities are right, and noisy.
- `snips`, self-normalised: divides by the weights' sum instead of their number; a little bias for much less noise.
- `doubly_robust`: a reward model's guess, corrected by the weighted errors of that guess: unbiased where either the
  propensities or the model are right, and the less noisy the better the model.

Sources: Horvitz & Thompson (1952); Swaminathan & Joachims, *The Self-Normalized Estimator for Counterfactual Learning*
(NIPS 2015); Dudík, Langford & Li, *Doubly Robust Policy Evaluation and Learning* (ICML 2011).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats as distributions

from windtunnel.stats import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .logged import Logged

    Floats = NDArray[np.float64]


def ips(logged: Logged, confidence: float = 0.95) -> Interval:
    """Inverse propensity scoring.

    Example: a coin decided; the other policy always says yes, which earned 3 each time.

        >>> from windtunnel.backtest.off_policy import Logged
        >>> yes = np.tile([0.0, 1.0], 50)
        >>> logged = Logged.of(1.0 + 2.0 * yes, np.full(100, 0.5), yes)
        >>> ips(logged).value, snips(logged).value
        (3.0, 3.0)
    """
    return mean_of(logged.weight * logged.reward, logged.block, confidence)


def snips(logged: Logged, confidence: float = 0.95) -> Interval:
    """Self-normalised inverse propensity scoring, with the interval of a linearised ratio."""
    weight = logged.weight
    total = float(weight.sum())
    if total == 0.0:
        return Interval(math.nan, -math.inf, math.inf, len(weight), confidence)
    value = float(weight @ logged.reward) / total
    influence = weight * (logged.reward - value) * (len(weight) / total)
    return mean_of(value + influence, logged.block, confidence)


def doubly_robust(logged: Logged, confidence: float = 0.95) -> Interval:
    """A reward model's guess plus the weighted errors of that guess; without a model it is `ips`.

    The model must not have seen the rows it is asked about: see `guess_rewards`.
    """
    correction = logged.weight * (logged.reward - logged.model_logged)
    return mean_of(logged.model_target + correction, logged.block, confidence)


def mean_of(values: Floats, block: NDArray[np.int64] | None, confidence: float) -> Interval:
    """The mean of values with Student's interval; values of one block may depend on each other.

    With blocks, the variance is that of the blocks' sums around what their sizes make one expect (a linearised ratio).

    Example:
        >>> mean_of(np.array([1.0, 2.0, 3.0]), None, 0.95).value
        2.0
    """
    n, mean = len(values), float(np.mean(values))
    sums = values - mean if block is None else np.bincount(np.unique(block, return_inverse=True)[1], values - mean)
    count = len(sums)
    if count < 2:
        return Interval(mean, -math.inf, math.inf, n, confidence)
    deviation = math.sqrt(float(sums @ sums) * count / (count - 1)) / n
    reach = float(distributions.t.ppf(0.5 + confidence / 2.0, count - 1)) * deviation
    return Interval(mean, mean - reach, mean + reach, n, confidence)
