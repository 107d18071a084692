"""The domain classifier: if a small model can tell this week's requests from the reference's, something has moved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FOLDS = 3
LEAST_ROWS = 30


def domain_auc(reference: Floats, window: Floats, *, most_rows: int = 2000, seed: int = 1) -> float:
    """The ROC AUC with which a classifier tells the window from the reference on rows that it was not fitted on.

    0.5: it cannot; NaN: the window has fewer than thirty rows, of which nothing can be told. Sees what no single feature shows, such as two features that ceased to go together. A small
    `HistGradientBoostingClassifier` (scikit-learn), cross-fitted over three folds.

    Args:
        reference: float64 [n, features], NaN where missing.
        window: float64 [m, features].
        most_rows: at most so many rows of each, drawn at random.
        seed: of the draw, the folds and the classifier.

    Raises:
        DataError: too few rows in the reference, or other features.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(600, 2)), rng.normal(size=(600, 2))
        >>> together = np.column_stack([y[:, 0], y[:, 0]])  # each column as before, but now they go together
        >>> abs(domain_auc(x, y) - 0.5) < 0.06, domain_auc(x, together) > 0.9
        (True, True)
    """
    if len(reference) < LEAST_ROWS or reference.shape[1:] != window.shape[1:]:
        raise DataError(
            "cannot be told from the reference", field="window", value=window.shape,
            fix=f"give the reference at least {LEAST_ROWS} rows, and both the same features",
        )  # fmt: skip
    if len(window) < LEAST_ROWS:
        return math.nan
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    parts = [each[rng.permutation(len(each))[:most_rows]] for each in (reference, window)]
    side = np.repeat([0, 1], [len(each) for each in parts])
    scores = _cross_fit(np.concatenate(parts), side, rng.permutation(len(side)) % FOLDS, seed)
    return float(roc_auc_score(side, scores))


def _cross_fit(rows: Floats, side: NDArray[np.int64], fold: NDArray[np.int64], seed: int) -> Floats:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

    scores = np.empty(len(side))
    # unweighted: how the rows are ordered hangs little on how many there are of each side, and with weights nine tenths
    # of the time went into weighted percentiles for the bins (scikit-learn 1.9)
    # in several threads the sums are added in an order that changes
    with threadpool_limits(1):
        for held_out in range(FOLDS):
            model = HistGradientBoostingClassifier(
                max_iter=30, max_leaf_nodes=15, learning_rate=0.2, min_samples_leaf=10, early_stopping=False, random_state=seed,
            )  # fmt: skip
            kept = fold != held_out
            model.fit(rows[kept], side[kept])
            scores[~kept] = model.decision_function(rows[~kept])
    return scores
