"""Logged decisions: what was done, how likely it was, what came of it, and what another policy would have done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_PROPENSITY = 1e-12
"""What is less likely does not happen in any log: the number is wrong, and its weight would drown or overflow all others."""


@dataclass(frozen=True)
class Logged:
    """Decisions whose outcome is known, checked.

    Args:
        reward: what came of the logged action, float64 [n]; a loss serves as well, then smaller is better.
        propensity: the probability with which the logging policy took the logged action, float64 [n].
        target: the probability with which the policy to be judged takes that same action, float64 [n]; 0 or 1 where it
            decides without chance.
        model_logged: what a reward model says of the logged action, float64 [n]; zero without a model.
        model_target: what it says of the other policy, averaged over its actions, float64 [n].
        block: rows of one block (a day, a user) may depend on each other, int64 [n]; None: all are independent.
    """

    reward: Floats
    propensity: Floats
    target: Floats
    model_logged: Floats
    model_target: Floats
    block: NDArray[np.int64] | None

    @staticmethod
    def of(
        reward: Floats,
        propensity: Floats,
        target: Floats,
        *,
        model_logged: Floats | None = None,
        model_target: Floats | None = None,
        block: NDArray[np.int64] | None = None,
    ) -> Logged:
        """Check the columns.

        Raises:
            DataError: no rows, columns of other lengths, a reward that is missing, a propensity that is missing, zero (or
                as good as), above one, a target outside 0 to 1, or half a reward model.

        Example:
            >>> Logged.of(np.ones(2), np.array([0.5, 0.0]), np.ones(2))
            Traceback (most recent call last):
            windtunnel.errors.DataError: `propensity` (=0.0) is zero in 1 of 2 rows, first in row 1: what had no chance \
of happening cannot have been logged; log the probability of the action that was taken, not of another
        """
        if (model_logged is None) != (model_target is None):
            raise DataError(
                "is half a reward model", field="model_logged" if model_target is None else "model_target",
                fix="give what it says of the logged action and of the other policy, or neither",
            )  # fmt: skip
        nothing = np.zeros(len(reward))
        logged = Logged(
            reward, propensity, target,
            nothing if model_logged is None else model_logged, nothing if model_target is None else model_target, block,
        )  # fmt: skip
        logged._check()
        return logged

    @property
    def weight(self) -> Floats:
        """How many rows of the other policy's each row stands for, float64 [n]."""
        return self.target / self.propensity

    def _check(self) -> None:
        if len(self.reward) == 0:
            raise DataError("has no decision with a known outcome", field="reward", fix="wait for labels")
        for name in ("propensity", "target", "model_logged", "model_target", "block"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.reward):
                raise DataError("has another number of rows", field=name, value=len(values), fix="give one a decision")
        p, sure = self.propensity, "log the probability of the action that was taken, not of another"
        _refuse("propensity", p, np.isnan(p), "is missing", "log it, or judge without propensities")
        _refuse("propensity", p, p == 0.0, "is zero", sure, ": what had no chance of happening cannot have been logged")
        _refuse("propensity", p, (p < 0.0) | (p > 1.0), "is no probability", sure)
        tiny = (p > 0.0) & (p < LEAST_PROPENSITY)
        _refuse("propensity", p, tiny, f"is below {LEAST_PROPENSITY:g}", sure, ", which no log can have seen happen")
        wrong = ~((self.target >= 0.0) & (self.target <= 1.0))
        _refuse("target", self.target, wrong, "is no probability", "give values from 0 to 1")
        for name in ("reward", "model_logged", "model_target"):
            values = getattr(self, name)
            _refuse(name, values, ~np.isfinite(values), "is not finite", "leave out decisions whose outcome is unknown")


def _refuse(field: str, values: Floats, wrong: NDArray[np.bool_], problem: str, fix: str, because: str = "") -> None:
    if wrong.any():
        row = int(wrong.argmax())
        where = f"{problem} in {int(wrong.sum())} of {len(values)} rows, first in row {row}{because}"
        raise DataError(where, field=field, value=float(values[row]), fix=fix)
