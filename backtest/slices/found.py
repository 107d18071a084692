"""What a search of slices found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.backtest.comparison import finite
from windtunnel.report.section import Figure, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterable

Against = Literal["incumbent", "rest"]

DOUBTFUL = 1.6
"""From this stretch on blocks of all rows are too much alike for what small slices show of it; see `Slices.doubts`."""

MOST_SHOWN = 25
"""So many slices are drawn; all are in the JSON."""


@dataclass(frozen=True)
class Slice:
    """One slice of the rows, by one column or two.

    Args:
        columns: by which it is cut.
        values: what they are in it.
        rows: how many were judged.
        share: of all rows that were judged.
        blocks: those with rows of it.
        difference: mean difference of these blocks, candidate − incumbent: below zero the candidate is better.
        low: lower end of its interval; −∞ while there are too few days.
        high: upper end.
        e_value: the evidence against no difference.
        named: whether it is among those found.
    """

    columns: tuple[str, ...]
    values: tuple[str, ...]
    rows: int
    share: float
    blocks: int
    difference: float
    low: float
    high: float
    e_value: float
    named: bool

    @property
    def name(self) -> str:
        """As in `carrier = AA, hour ≤ 9`."""
        return ", ".join(
            f"{column} {value}" if value[:2] in {"≤ ", "> "} else f"{column} = {value}"
            for column, value in zip(self.columns, self.values, strict=True)
        )

    @property
    def direction(self) -> Literal["worse", "better"]:
        """How the candidate does in it."""
        return "worse" if self.difference > 0.0 else "better"

    @property
    def harm(self) -> float:
        """What it adds to the difference over all rows: its difference times its share; NaN without a day."""
        return self.difference * self.share

    def to_dict(self) -> dict[str, Any]:
        """The slice as JSON values; what is not known is null."""
        return {
            "name": self.name, "columns": list(self.columns), "values": list(self.values), "rows": self.rows,
            "share": self.share, "blocks": self.blocks, "difference": finite(self.difference),
            "difference_low": finite(self.low), "difference_high": finite(self.high), "e_value": self.e_value,
            "found": self.named,
        }  # fmt: skip


@dataclass(frozen=True)
class Slices:
    """All slices that were searched, those found first, the best shown before the others.

    Args:
        as_of_us: the look.
        against: what a slice is held against: the incumbent on the same rows, or besides, the rest of the rows.
        rate: the share of false finds that is borne.
        level: of the intervals.
        days: that were judged.
        block_days: how many of them make a block.
        rows: that were judged.
        carried: how much wider the interval of the difference over all rows must be because a block carries over to the next.
        slices: every one.
    """

    as_of_us: int
    against: Against
    rate: float
    level: float
    days: int
    block_days: int
    rows: int
    carried: float
    slices: tuple[Slice, ...]

    @property
    def found(self) -> tuple[Slice, ...]:
        """Those in which a difference is shown."""
        return tuple(each for each in self.slices if each.named)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why what was found may be false more often than the rate says; empty where nothing speaks for that."""
        if self.carried < DOUBTFUL or self.against == "rest" or not self.found:
            return ()
        alike = f"blocks of {self.block_days} days carry over to the next (intervals over all rows are {self.carried:.1f} times as wide for it)"
        return (f"{alike}, and in small slices noise hides that: take longer blocks, or hold slices against the rest",)

    def parents(self, pair: Slice) -> tuple[Slice, ...]:
        """Slices by one column that were found, hold the pair, and go the same way: it may be no news beside them."""
        alone = (each for each in self.found if len(each.columns) == 1 and each.direction == pair.direction)
        both = set(zip(pair.columns, pair.values, strict=True))
        return tuple(each for each in alone if (each.columns[0], each.values[0]) in both and each is not pair)

    def to_dict(self) -> dict[str, Any]:
        """The search as JSON values."""
        return {
            "as_of_us": self.as_of_us, "against": self.against, "rate": self.rate, "level": self.level, "days": self.days, "block_days": self.block_days,
            "rows": self.rows, "carried": self.carried, "doubts": list(self.doubts), "searched": len(self.slices), "found": [each.to_dict() for each in self.found],
            "others": [each.to_dict() for each in self.slices if not each.named],
        }  # fmt: skip

    def draw(self, candidate: str, unit: str) -> Section:
        """Draw it as a section of the report.

        Args:
            candidate: its name.
            unit: of the loss.
        """
        shown = self.found[:MOST_SHOWN]
        return Section(
            "Slices", "", self._sentences(candidate),
            tables=(self._table(candidate, unit, shown),) if shown else (),
            figures=(_figure(shown, unit),) if shown else (),
            notes=self._notes(),
        )  # fmt: skip

    def _sentences(self, candidate: str) -> tuple[str, ...]:
        searched = (
            f"of {len(self.slices):,} slices that were searched on {self.rows:,} labelled requests of {self.days} days"
        )
        if not self.found:
            return (f"{searched}, none is shown in which `{candidate}` does otherwise",)
        ways = {way: [each for each in self.found if each.direction == way] for way in ("worse", "better")}
        told = [
            f"{way} in {len(slices)}, plainest where {slices[0].name} ({slices[0].difference:+.3g} on {slices[0].share:.1%} of the requests)"
            for way, slices in ways.items()
            if slices
        ]
        return (f"{searched}, `{candidate}` is {' and '.join(told)}",)

    def _table(self, candidate: str, unit: str, shown: Iterable[Slice]) -> Table:
        caption = f"Where `{candidate}` does otherwise, the best shown first; below zero it is better"
        columns = ("slice", "requests", "share", "blocks", f"difference ({unit})", "interval", "e-value", "part of")
        return Table(
            caption, columns, tuple((
                each.name, f"{each.rows:,}", f"{each.share:.1%}", str(each.blocks), f"{each.difference:+.4g}",
                f"[{each.low:+.4g}, {each.high:+.4g}]", f"{each.e_value:.3g}", "; ".join(one.name for one in self.parents(each)),
            ) for each in shown),
            brief=("slice", "share", columns[4], "interval"),
        )  # fmt: skip

    def _notes(self) -> tuple[str, ...]:
        held = " less that of the other rows of the same day" if self.against == "rest" else ""
        sure = f"On average at most {self.rate:.0%} of the slices named are false (e-BH), however they overlap; "
        sure += f"the intervals of those named are at the level {self.level:.2g} each (e-BY). Both lean on many days of like kind."
        made = f"A slice's difference is the mean over blocks of days, each weighing the same, of its rows' difference{held}. "
        made += "Edges and values were fixed on the first days, which are not judged."
        return sure, made, *self.doubts


def _figure(shown: tuple[Slice, ...], unit: str) -> Figure:
    names = [each.name for each in reversed(shown)]
    middle = np.array([each.difference for each in reversed(shown)])
    arms = np.array([each.high for each in reversed(shown)]) - middle
    data = [{
        "type": "scatter", "mode": "markers", "x": middle.tolist(), "y": names,
        "error_x": {"type": "data", "array": arms.tolist()},
    }]  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": f"difference of loss ({unit}), candidate − incumbent"}, "zeroline": True},
        "yaxis": {"title": {"text": "slice"}, "automargin": True},
    }
    return Figure(
        "Slices in which the two differ; right of zero the candidate is worse.", {"data": data, "layout": layout}
    )
