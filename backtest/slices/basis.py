"""What slices are held against, and in blocks of how many days, so that a mood that lasts is not taken for a slice's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from windtunnel.backtest.evidence import Asymptotic, carry_over, merge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Against = Literal["incumbent", "rest"]

LENGTHS = (1, 7, 14, 28)
"""Blocks that may be taken, in days: whole weeks, so that every block has each weekday equally often."""

SCALES = (1, 2, 3, 5, 7, 14, 28)
"""Blocks, in days, by which it is measured how much days carry over."""

MOST_CARRIED = 2.2
"""From this stretch on blocks of all rows are too much alike for what small slices show of it.

A slice has the mood of all rows and noise of its own, which hides how long the mood lasts: where its noise is about the mood's
size, its interval is 1.2 times too narrow if moods carry over by 0.66 (a stretch of 2.2), and 2 times if by 0.9.
"""


@dataclass(frozen=True)
class Basis:
    """By what slices are weighed.

    Args:
        against: the incumbent on the same rows, or besides, the rest of the rows of the same block.
        block_days: how many days make a block.
        carried: how much wider the interval over all rows must be because one such block carries over to the next, ≥ 1.
        days_carried: the same of blocks of a day.
        measured: whether it was chosen by what was measured, or as the user asked.
        blocks: of that length that there are.
    """

    against: Against
    block_days: int
    carried: float
    days_carried: float
    measured: bool
    blocks: int

    @staticmethod
    def of(weights: Floats, sums: Floats, against: Against | None, block_days: int | None) -> Basis:
        """Choose what was left open.

        The block is the shortest of `LENGTHS` at which the differences over all rows, in which noise hides least, carry over by no
        more than `MOST_CARRIED`, and in which they could say something themselves (`Asymptotic`). Where there is none, slices are held
        against the rest, from which a mood that all rows share falls out, day by day.

        Args:
            weights: of the rows of each day that is judged, float64 [days].
            sums: of their differences times these, float64 [days].
            against: as asked; None: as measured.
            block_days: as asked; None: as measured.

        Example: good and bad months.

            >>> moods = np.repeat(np.random.default_rng(0).normal(size=12), 30)
            >>> found = Basis.of(np.ones(360), moods, None, None)
            >>> found.against, found.block_days
            ('rest', 1)
            >>> Basis.of(np.ones(360), np.random.default_rng(0).normal(size=360), None, None).against
            'incumbent'
        """
        scales = [_Scale.of(weights, sums, days) for days in sorted({*SCALES, block_days or 1})]
        carried = {each.days: _carried(each, scales) for each in scales}
        blocks = {each.days: each.blocks for each in scales}

        def basis(against: Against, days: int, *, measured: bool = True) -> Basis:
            return Basis(against, days, carried[days], carried[1], measured, blocks[days])

        if block_days is not None or against == "rest":
            # the rest shares the mood of the day, which leaves nothing to be made longer for
            return basis(against or "incumbent", block_days or 1, measured=False)
        if not blocks[1] or carried[1] == 1.0:
            return basis("incumbent", 1)
        burn_in = Asymptotic.burn_in
        spoken = [
            days for days in LENGTHS if carried[days] <= MOST_CARRIED and blocks[days] >= burn_in * carried[days] ** 2
        ]
        if spoken:
            return basis("incumbent", spoken[0])
        # asked for the incumbent, and in no block to be believed: the shortest that is, however few there are
        there = [days for days in LENGTHS if blocks[days]]
        alike = [days for days in there if carried[days] <= MOST_CARRIED]
        return basis("rest", 1) if against is None else basis("incumbent", (alike or there[-1:])[0])

    @property
    def why(self) -> str:
        """Why it is not a day against the incumbent; empty where it is, or where the user asked for what it is."""
        if not self.measured or (self.against == "incumbent" and self.block_days == 1):
            return ""
        alike = f"good and bad days last (by longer blocks an interval over all requests would be {self.days_carried:.1f} times as wide for it)"
        if self.against == "rest":
            return (
                f"{alike}, and the recording is too short for blocks long enough to tell that from a slice's own: so each slice is held "
                "against the rest of the requests of the same day, and what strikes all of them alike is not told of any"
            )
        return f"{alike}, which small slices hide by their own noise: so {self.block_days} days make a block"

    @property
    def doubt(self) -> str:
        """Why more of what was found may be false than the rate says; empty where nothing speaks for that."""
        if self.against == "rest" or self.carried <= MOST_CARRIED:
            return ""
        return (
            f"blocks of {self.block_days} days carry over to the next (intervals over all rows are {self.carried:.1f} times as wide "
            "for it), and in small slices noise hides that: take longer blocks, or hold slices against the rest"
        )


@dataclass(frozen=True)
class _Scale:
    """The differences over all rows in blocks of so many days: how many there are, and the variance of their mean day.

    Args:
        days: that make a block.
        blocks: with rows in them.
        alone: the variance of a day's share in the mean if blocks were independent: days × the variance of a block.
        carried: by how much more an interval must be stretched.
    """

    days: int
    blocks: int
    alone: float
    carried: float

    @staticmethod
    def of(weights: Floats, sums: Floats, days: int) -> _Scale:
        means, _ = merge(sums, weights, days)
        values = means[~np.isnan(means)]
        if len(values) < 2:
            return _Scale(days, len(values), 0.0, 1.0)
        return _Scale(days, len(values), days * float(values.var(ddof=1)), float(carry_over(values)[-1]))


def _carried(scale: _Scale, scales: list[_Scale]) -> float:
    """How much wider an interval from these blocks must be, by whichever scale shows most; those with few blocks show nothing.

    What lasts for weeks may hide in the noise of single days, and shows where weeks differ more than days would have them differ.
    """
    if scale.alone == 0.0:
        return 1.0
    seen = [each for each in scales if each.days >= scale.days and (each is scale or each.blocks >= Asymptotic.burn_in)]
    return float(max(1.0, *(each.carried * np.sqrt(each.alone / scale.alone) for each in seen)))
