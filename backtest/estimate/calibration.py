"""Calibration as of a time: what share of ones a prediction turned out to mean, learnt from settled periods alone.

Only periods older than the horizon teach: of younger ones the labels that have come are the fast ones, and where ones are
answered faster than zeros a calibrator would learn a rate that is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .score_table import BINS, TOP, centres

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Method = Literal["isotonic", "platt"]
"""A rising step function (any rising shape, needs thousands of labels) or a line in log odds (two numbers)."""


def calibrate(matured: Floats, ones: Floats, method: Method = "isotonic") -> Floats:
    """The calibrated probability of each bin, float64 [BINS]; NaN throughout where no labels or one class only is known.

    scikit-learn's `IsotonicRegression`, or its `LogisticRegression` on the log odds without a penalty (Platt, 1999).

    Args:
        matured: labels in each bin, float64 [BINS].
        ones: how many of them are 1, float64 [BINS].
        method: how.

    Example: half of what was predicted at 0.9 turned out to be a one.

        >>> matured, ones = np.zeros(BINS), np.zeros(BINS)
        >>> matured[[448, 582]], ones[[448, 582]] = 100, (0, 50)
        >>> calibrate(matured, ones)[[448, 582]].round(6).tolist()
        [0.0, 0.5]
    """
    if not 0.0 < ones.sum() < matured.sum():
        return np.full(BINS, np.nan)
    return _isotonic(matured, ones) if method == "isotonic" else _platt(matured, ones)


def _isotonic(matured: Floats, ones: Floats) -> Floats:
    from sklearn.isotonic import IsotonicRegression

    filled = matured > 0.0
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    fitted.fit(np.flatnonzero(filled), ones[filled] / matured[filled], sample_weight=matured[filled])
    return np.asarray(fitted.predict(np.arange(BINS)), dtype=np.float64)


def _platt(matured: Floats, ones: Floats) -> Floats:
    from sklearn.linear_model import LogisticRegression

    middle = centres()
    odds = (np.log(middle / (1.0 - middle)) / TOP)[:, None]
    weights = np.concatenate([matured - ones, ones])
    kept = weights > 0.0
    # a penalty too weak to matter keeps two classes that do not overlap from running away
    fitted = LogisticRegression(C=1e6, max_iter=1000)
    fitted.fit(np.tile(odds, (2, 1))[kept], np.repeat([0, 1], BINS)[kept], sample_weight=weights[kept])
    return np.asarray(fitted.predict_proba(odds)[:, 1], dtype=np.float64)
