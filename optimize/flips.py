"""Whose decisions changed, and which of them were right before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .answer import decisions, vectors

if TYPE_CHECKING:
    from .pair import Pair


@dataclass(frozen=True)
class Flips:
    """Rows that a child decides otherwise than its parent.

    Args:
        share: of all rows.
        negative: the share of all rows in which the parent was right and the child is not; None without labels.
        positive: the share in which the child is right and the parent was not; None without labels.
        first_row: the first such row (a negative one where labels tell), or None where there is none.

    Source: negative flips, Yan et al., *Positive-Congruent Training* (CVPR 2021).
    """

    share: float
    negative: float | None
    positive: float | None
    first_row: int | None

    def to_dict(self) -> dict[str, Any]:
        """The flips as JSON values."""
        return dict(vars(self))


@dataclass(frozen=True)
class LargestChange:
    """The row whose answer moved most.

    Args:
        row: its number.
        change: the largest distance of one of its numbers from the parent's.
    """

    row: int
    change: float

    def to_dict(self) -> dict[str, Any]:
        """The change as JSON values."""
        return dict(vars(self))


def count_flips(pair: Pair) -> Flips:
    """Count the decisions that changed, and with labels those that changed for the worse."""
    before, after = decisions(pair.parent), decisions(pair.child)
    changed = before != after
    if pair.label is None:
        return Flips(float(changed.mean()), None, None, _first(changed))
    right, wrong = before == pair.label, after != pair.label
    negative = right & wrong
    return Flips(
        float(changed.mean()), float(negative.mean()), float((~right & ~wrong).mean()), _first(negative)
    )  # fmt: skip


def find_largest_change(pair: Pair) -> LargestChange:
    """Find the row whose answer moved most."""
    change = np.abs(vectors(pair.child) - vectors(pair.parent)).max(axis=1)
    return LargestChange(int(change.argmax()), float(change.max()))


def _first(rows: np.ndarray[Any, np.dtype[np.bool_]]) -> int | None:
    return int(rows.argmax()) if rows.any() else None
