"""Performance before the labels, learnt: a small regressor says from a request what its loss will be.

Unlike confidence-based estimation it needs no probabilities (so it serves regression), and knows from the features where a
model does badly. Like it, it is blind to a change of what the features mean. Source: the idea of NannyML's DLE (0.13.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .trust import Estimated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .periods import Periods

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

LEAST_ROWS = 200
"""Fewer settled rows than that teach nothing."""


def estimate_by_regression(
    time_us: Times,
    known_us: Times,
    features: Floats,
    loss: Floats,
    periods: Periods,
    *,
    metric: str,
    most_rows: int = 20_000,
    refit_every: int = 7,
    seed: int = 1,
) -> Estimated:
    """Estimate the mean loss of each period at the look that ends it, and what it turned out to be once it settled.

    The regressor (scikit-learn's `HistGradientBoostingRegressor`) is fitted anew every so many looks on the latest rows
    of settled periods, in one thread, so that the same past gives the same bits.

    Args:
        time_us: when each request was asked, int64 [n].
        known_us: when the label that counts was known, int64 [n]; 2^63 − 1 where never.
        features: known when it was asked, the prediction among them, float64 [n, features]; NaN where missing.
        loss: float64 [n]; whatever where no label came.
        periods: the grid.
        metric: the name of the loss.
        most_rows: how many rows at most the regressor learns from.
        refit_every: in looks.
        seed: of the regressor.
    """
    period, on_time = periods.of_request(time_us), periods.on_time(time_us, known_us)
    order = np.lexsort((np.arange(len(time_us)), time_us))
    period, on_time, features, loss = period[order], on_time[order], features[order], loss[order]
    edges = np.searchsorted(period, np.arange(periods.looks + 1))
    estimate, realised = np.full(periods.looks, np.nan), np.full(periods.looks, np.nan)
    model = None
    for look in range(periods.settle, periods.looks):
        old = look - periods.settle
        came = np.arange(edges[old], edges[old + 1])[on_time[edges[old] : edges[old + 1]]]
        realised[old] = loss[came].mean() if len(came) else np.nan
        if model is None or old % refit_every == 0:
            learn = np.flatnonzero(on_time[: edges[old + 1]])[-most_rows:]
            model = _fit(features[learn], loss[learn], seed) if len(learn) >= LEAST_ROWS else None
        asked = features[edges[look] : edges[look + 1]]
        if model is not None and len(asked):
            estimate[look] = float(np.mean(model.predict(asked)))
    return Estimated(metric, periods, estimate, realised)


def _fit(features: Floats, loss: Floats, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

    model = HistGradientBoostingRegressor(
        max_iter=60, max_leaf_nodes=15, learning_rate=0.1, min_samples_leaf=40, early_stopping=False, random_state=seed
    )
    # in several threads the sums are added in an order that changes
    with threadpool_limits(1):
        return model.fit(features, loss)
