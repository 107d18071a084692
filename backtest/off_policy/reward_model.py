"""A reward model for the doubly robust estimate, which learns from the past only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_ROWS = 200


def guess_rewards(
    time_us: NDArray[np.int64],
    known_us: NDArray[np.int64],
    features: Floats,
    action: NDArray[np.int64],
    reward: Floats,
    chances: Floats,
    *,
    stretches: int = 5,
    seed: int = 1,
) -> tuple[Floats, Floats]:
    """What a model says of the logged action, and of the other policy, each row by a model fitted before it was asked.

    The time is cut into stretches; for each of them scikit-learn's `HistGradientBoostingRegressor` is fitted on what was
    known when it began. In the first it says zero, where the doubly robust estimate is plain inverse propensity.

    Args:
        time_us: when each decision was asked for, int64 [n].
        known_us: when its outcome was known, int64 [n].
        features: float64 [n, features].
        action: what was done, int64 [n], from 0.
        reward: what came of it, float64 [n].
        chances: the other policy's probability of each action, float64 [n, actions].
        stretches: how many.
        seed: of the model.

    Returns:
        The model's reward of the logged action and of the other policy, float64 [n] each.

    Raises:
        DataError: an action that has no column in `chances`.
    """
    if action.min(initial=0) < 0 or action.max(initial=0) >= chances.shape[1]:
        raise DataError(
            "has no probability under the other policy", field="action", value=int(action.max(initial=0)),
            fix="give `chances` one column for each action",
        )  # fmt: skip
    of_logged, of_target = np.zeros(len(reward)), np.zeros(len(reward))
    order = np.argsort(time_us, kind="stable")
    for rows in np.array_split(order, stretches):
        past = np.flatnonzero(known_us < time_us[rows].min(initial=np.iinfo(np.int64).max))
        if len(past) < LEAST_ROWS or not len(rows):
            continue
        model = _fit(np.column_stack([features[past], _one_hot(action[past], chances.shape[1])]), reward[past], seed)
        guesses = np.stack([_guess(model, features[rows], each, chances.shape[1]) for each in range(chances.shape[1])])
        of_logged[rows] = guesses[action[rows], np.arange(len(rows))]
        of_target[rows] = np.einsum("na,an->n", chances[rows], guesses)
    return of_logged, of_target


def _fit(inputs: Floats, reward: Floats, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

    model = HistGradientBoostingRegressor(max_iter=50, max_leaf_nodes=15, early_stopping=False, random_state=seed)
    # in several threads the sums are added in an order that changes
    with threadpool_limits(1):
        return model.fit(inputs, reward)


def _guess(model: Any, features: Floats, action: int, actions: int) -> Floats:
    taken = _one_hot(np.full(len(features), action), actions)
    return np.asarray(model.predict(np.column_stack([features, taken])), dtype=np.float64)


def _one_hot(action: NDArray[np.int64], actions: int) -> Floats:
    return np.eye(actions)[action]
