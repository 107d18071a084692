"""Waits: what is counted of late labels, so that all that can be said of them is said of a recording of any length.

The look by which a wait is cut off is that of the last look, so that must be known before counting; where it was guessed and
turns out another, rows are counted anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from .estimate import DelayCurve, Periods, Triangle
from .kernel import DAY_US, STEPS, watch
from .question import losses_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from .question import Question
    from .rows import Rows

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

SOME = 2**17
"""So many rows are counted at a time."""

MOST_WAITS = 64
"""A horizon is cut into at most so many waits: more make tables large and curves no smoother."""


@dataclass(frozen=True)
class Waits:
    """How long requests were waited for at the last look, and what labels said by how long they took.

    Args:
        as_of_us: the last look.
        steps: requests whose label came, and who still waited, by step of the wait, int64 [2, STEPS].
        longest_us: the longest wait in each, int64 [2, STEPS].
        triangle: on a grid of days or more; of the losses of every model where a metric is a mean over rows alike, else of none.
    """

    as_of_us: int
    steps: Ints
    longest_us: Ints
    triangle: Triangle

    @staticmethod
    def of(rows: Rows, question: Question, as_of_us: int, *, compact: bool = True) -> Waits:
        """Count the rows of one piece.

        Args:
            rows: the piece.
            question: what is asked of it.
            as_of_us: the last look of the whole recording.
            compact: whether to make room only for the periods that the rows lie in.
        """
        # some at a time: much is made of each row on the way
        starts = range(SOME, len(rows), SOME)
        first = Waits._of(rows.between(0, SOME), question, as_of_us, compact=compact)
        rest = (Waits._of(rows.between(start, start + SOME), question, as_of_us, compact=compact) for start in starts)
        return Waits.merged(chain([first], rest))

    @staticmethod
    def _of(rows: Rows, question: Question, as_of_us: int, *, compact: bool) -> Waits:
        steps, longest_us = np.zeros((2, STEPS), np.int64), np.zeros((2, STEPS), np.int64)
        watch((rows.time_us, rows.known_us), rows.first, as_of_us, question.horizon_us, steps, longest_us)
        losses, limits = _losses(rows, question)
        triangle = Triangle.of(
            rows.time_us, rows.known_us, periods=periods_of(question, as_of_us), losses=losses, limits=limits,
            until_us=rows.until_us if len(rows.until_us) else None, first=rows.first if len(rows.first) else None, compact=compact,
        )  # fmt: skip
        return Waits(as_of_us, steps, longest_us, triangle)

    @staticmethod
    def merged(parts: Iterable[Waits]) -> Waits:
        """Those of all their rows together, exactly."""
        return reduce(_joined, parts)

    @property
    def curve(self) -> DelayCurve:
        """Kaplan and Meier's, of delays in steps of 1/128."""
        return DelayCurve.of_steps(self.steps, self.longest_us)


def periods_of(question: Question, as_of_us: int) -> Periods:
    """The grid of a triangle: steps of a day or more that are whole looks, so that the horizon has at most `MOST_WAITS` of them."""
    every_us = coarse_us(question.every_us, question.horizon_us)
    looks = max(0, (as_of_us - question.first_us) // every_us) + 1
    return Periods(question.first_us, every_us, looks, question.horizon_us)


def coarse_us(every_us: int, horizon_us: int) -> int:
    """A multiple of the step between looks that is a day or more, and cuts the horizon into no more than `MOST_WAITS`.

    Example:
        >>> coarse_us(DAY_US // 4, 7 * DAY_US) // DAY_US, coarse_us(5 * DAY_US, 640 * DAY_US) // DAY_US
        (1, 10)
    """
    least = max(DAY_US, -(-horizon_us // MOST_WAITS))
    return every_us * -(-least // every_us)


def _losses(rows: Rows, question: Question) -> tuple[dict[str, Floats], dict[str, tuple[Floats, Floats]]]:
    """By model the loss of each row, and the least and the greatest that a label could make of it where labels are 0 or 1."""
    # a weighted recording is a sample of what was asked, and of that the triangle keeps no count
    if question.ranked or question.weighted:
        return {}, {}
    amount = rows.amount if len(rows.amount) else 1.0
    losses, limits = {}, {}
    for name, said in zip(question.models, rows.predictions, strict=True):
        if not question.loss.binary:
            losses[name] = losses_at(question.loss, rows.label, said) * amount
            continue
        ends = [losses_at(question.loss, np.full(len(rows), label), said) * amount for label in (0.0, 1.0)]
        losses[name] = np.where(rows.label == 1.0, ends[1], ends[0])
        limits[name] = np.minimum(*ends), np.maximum(*ends)
    return losses, limits


def _joined(a: Waits, b: Waits) -> Waits:
    return Waits(a.as_of_us, a.steps + b.steps, np.maximum(a.longest_us, b.longest_us), a.triangle + b.triangle)
