"""Does a predicted probability mean what it says: in bins, on the whole, and in its spread."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats as distributions
from sklearn.linear_model import LogisticRegression

from windtunnel.loss import CLIP

from .metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .judged import Judged

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

BINS = 15
"""Into how many bins of equal width probabilities are cut, as Guo et al. (arXiv 1706.04599) do."""


@dataclass(frozen=True)
class Reliability:
    """What was predicted and what came, bin by bin; bins are of equal width and the same for all data.

    Args:
        edges: float64 [bins + 1].
        rows: int64 [bins].
        predicted: their mean prediction, float64 [bins]; NaN in an empty bin.
        observed: their share of ones, float64 [bins]; NaN in an empty bin.
        low: lower end of the interval of that share, float64 [bins].
        high: upper end. By Clopper & Pearson (Biometrika 26, 1934), bin by bin, for rows that do not depend on each other.
    """

    edges: Floats
    rows: Ints
    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats

    @staticmethod
    def of(rows: Judged, bins: int = BINS, confidence: float = 0.95) -> Reliability:
        """Count rows that all have a label of 0 or 1.

        Example:
            >>> from windtunnel.backtest.metrics import Judged
            >>> found = Reliability.of(Judged(np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.9])), bins=2)
            >>> found.rows.tolist(), found.observed.tolist()
            ([2, 1], [0.5, 1.0])
        """
        place = _bin_of(rows.prediction, bins)
        count, ones = np.bincount(place, minlength=bins), np.bincount(place, rows.label, minlength=bins)
        tail = (1.0 - confidence) / 2.0
        # with nothing, or everything, counted one end has no distribution: it is 0, or 1
        low = np.where(ones > 0, distributions.beta.ppf(tail, np.maximum(ones, 1), count - ones + 1), 0.0)
        high = np.where(ones < count, distributions.beta.ppf(1.0 - tail, ones + 1, np.maximum(count - ones, 1)), 1.0)
        predicted = _share(np.bincount(place, rows.prediction, minlength=bins), count)
        return Reliability(np.linspace(0.0, 1.0, bins + 1), count, predicted, _share(ones, count), low, high)

    def to_dict(self) -> list[dict[str, Any]]:
        """One entry a bin that has rows."""
        return [
            {
                "from": float(self.edges[place]), "to": float(self.edges[place + 1]), "rows": int(self.rows[place]),
                "predicted": float(self.predicted[place]), "observed": float(self.observed[place]),
                "observed_low": float(self.low[place]), "observed_high": float(self.high[place]),
            }
            for place in np.flatnonzero(self.rows)
        ]  # fmt: skip


def _bin_of(prediction: Floats, bins: int) -> Ints:
    place: Ints = np.minimum((prediction * bins).astype(np.int64), bins - 1)
    return place


def _share(part: Floats | Ints, whole: Ints) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(len(whole), math.nan), where=whole > 0)
    return share


def _ece(rows: Judged) -> float:
    """The mean distance of what came from what was predicted, each bin by its share of the rows."""
    place, weight = _bin_of(rows.prediction, BINS), rows.weights
    weight = np.ones(len(rows)) if weight is None else weight
    gap = np.bincount(place, weight * (rows.label - rows.prediction), minlength=BINS)
    return float(np.abs(gap).sum() / weight.sum())


def _in_the_large(rows: Judged) -> Floats:
    return rows.label - rows.prediction


def _logit(prediction: Floats) -> Floats:
    clipped = prediction.clip(CLIP, 1.0 - CLIP)
    logit: Floats = np.log(clipped / (1.0 - clipped))
    return logit


def _slope(rows: Judged) -> float:
    """The slope of a logistic regression of the label on the prediction's log odds (Cox, Biometrika 45, 1958)."""
    odds = _logit(rows.prediction)
    centre, spread = float(odds.mean()), float(odds.std())
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
    model.fit(((odds - centre) / spread)[:, None], rows.label, sample_weight=rows.weights)
    return float(model.coef_[0, 0]) / spread


def _no_slope(rows: Judged) -> str:
    ones = rows.label == 1.0
    if ones.all() or not ones.any():
        return f"all {len(rows)} labels are {rows.label[0]:g}, and a slope needs both classes"
    odds = _logit(rows.prediction)
    if odds.min() == odds.max():
        return f"every prediction is {rows.prediction[0]:g}, so there is no slope"
    apart = odds[ones].min() >= odds[~ones].max() or odds[ones].max() <= odds[~ones].min()
    return "the predictions part the two classes wholly: no slope is steep enough" if apart else ""


CALIBRATION = (
    Metric("ece", "probability", "lower", "binary", "probability", whole=_ece),
    Metric("calibration_in_the_large", "probability", "nearer", "binary", "probability", row=_in_the_large),
    Metric("calibration_slope", "1", "nearer", "binary", "probability", whole=_slope, target=1.0, doubt=_no_slope),
)
