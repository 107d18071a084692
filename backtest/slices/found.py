"""What a search of slices found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.backtest.comparison import finite
from windtunnel.backtest.plot import beside, span
from windtunnel.report.section import Figure, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .basis import Basis

MOST_SHOWN = 25
"""So many slices are drawn; all are in the JSON."""

PLAIN_PX, LINE_PX = 110, 24
"""How high the figure is without a slice, and how much each adds."""


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
        alone: mean difference from the incumbent, whatever the slice is held against; NaN without a day.
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
    alone: float

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
            "difference_low": finite(self.low), "difference_high": finite(self.high),
            "from_incumbent": finite(self.alone), "e_value": self.e_value,
            "found": self.named,
        }  # fmt: skip


@dataclass(frozen=True)
class Account:
    """Where the requests went that were asked before a look: each is in one of four heaps.

    Args:
        as_of_us: the look.
        requests: all of them.
        reference: asked on the first days, from which edges and values were taken.
        young: asked too late for their day to be mature, or for a whole block.
        judged: those that slices are made of.
    """

    as_of_us: int
    requests: int
    reference: int
    young: int
    judged: int

    @property
    def unlabelled(self) -> int:
        """Asked on days that are judged, without a label that counts."""
        return self.requests - self.reference - self.young - self.judged

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `rows` are the judged."""
        return {
            "as_of_us": self.as_of_us, "requests": self.requests, "reference": self.reference, "too_young": self.young,
            "unlabelled": self.unlabelled, "rows": self.judged,
        }  # fmt: skip


@dataclass(frozen=True)
class Slices:
    """All slices that were searched, those found first, the best shown before the others.

    Args:
        account: of the requests.
        basis: what a slice is held against, and in which blocks.
        rate: the share of false finds that is borne.
        level: of the intervals.
        days: that were judged.
        slices: every one.
    """

    account: Account
    basis: Basis
    rate: float
    level: float
    days: int
    slices: tuple[Slice, ...]

    @property
    def found(self) -> tuple[Slice, ...]:
        """Those in which a difference is shown."""
        return tuple(each for each in self.slices if each.named)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why what was found may be false more often than the rate says; empty where nothing speaks for that."""
        return (self.basis.doubt,) if self.found and self.basis.doubt else ()

    def parents(self, pair: Slice) -> tuple[Slice, ...]:
        """Slices by one column that were found, hold the pair, and go the same way: it may be no news beside them."""
        alone = (each for each in self.found if len(each.columns) == 1 and each.direction == pair.direction)
        both = set(zip(pair.columns, pair.values, strict=True))
        return tuple(each for each in alone if (each.columns[0], each.values[0]) in both and each is not pair)

    def to_dict(self) -> dict[str, Any]:
        """The search as JSON values."""
        return {
            **self.account.to_dict(), "against": self.basis.against, "rate": self.rate, "level": self.level, "days": self.days,
            "block_days": self.basis.block_days, "carried": self.basis.carried, "days_carried": self.basis.days_carried,
            "why_so": self.basis.why or None, "doubts": list(self.doubts), "searched": len(self.slices), "rare": self.rare(), "found": [each.to_dict() for each in self.found],
            "others": [each.to_dict() for each in self.slices if not each.named],
        }  # fmt: skip

    def draw(self, candidate: str, loss: str, unit: str) -> Section:
        """Draw it as a section of the report.

        Args:
            candidate: its name.
            loss: what is differenced, in words.
            unit: of the loss.
        """
        shown, of = self.found[:MOST_SHOWN], f"{loss}, {unit}"
        if self.basis.against == "rest":
            of += ", less that of the rest"
        return Section(
            "Slices", "", self._sentences(candidate),
            tables=(self._table(candidate, of, shown),) if shown else (),
            figures=(_figure(shown, of),) if shown else (),
            notes=self._notes(),
        )  # fmt: skip

    def _sentences(self, candidate: str) -> tuple[str, ...]:
        searched = f"of {len(self.slices):,} slices that were searched on {self.account.judged:,} labelled requests of {self.days} days"
        if self.basis.why:
            searched = f"{self.basis.why}; {searched}"
        if not self.found:
            return (f"{searched}, none is shown in which `{candidate}` does otherwise",)
        ways = {way: [each for each in self.found if each.direction == way] for way in ("worse", "better")}
        told = [
            f"{way} in {len(slices)}, plainest where {slices[0].name} ({beside(slices[0].difference, slices[0].low, slices[0].high)} on {slices[0].share:.1%} of the requests)"
            for way, slices in ways.items()
            if slices
        ]
        does = "is" if self.basis.against == "incumbent" else "does, held against the rest of the requests,"
        return (f"{searched}, `{candidate}` {does} {' and '.join(told)}",)

    def _table(self, candidate: str, of: str, shown: Iterable[Slice]) -> Table:
        others = (
            "" if len(self.found) == len(self.slices) else ": the others show nothing, so requests do not add up to all"
        )
        caption = (
            f"Where `{candidate}` does otherwise, the best shown first; below zero it is better ({len(self.found):,} of {len(self.slices):,} "
            f"slices{others})"
        )
        columns = (
            "slice",
            "requests",
            "share",
            "blocks",
            f"difference ({of})",
            "interval",
            "from the incumbent",
            "e-value",
            "part of",
        )
        return Table(
            caption, columns, tuple((
                each.name, f"{each.rows:,}", f"{each.share:.1%}", str(each.blocks), beside(each.difference, each.low, each.high),
                span(each.low, each.high), beside(each.alone, each.low, each.high), f"{each.e_value:.3g}", "; ".join(one.name for one in self.parents(each)),
            ) for each in shown),
            brief=("slice", "share", columns[4], "interval", *(("from the incumbent",) if self.basis.against == "rest" else ())),
        )  # fmt: skip

    def _notes(self) -> tuple[str, ...]:
        held = " less that of the other rows of the same day" if self.basis.against == "rest" else ""
        sure = f"On average at most {self.rate:.0%} of the slices named are false (e-BH), however they overlap; "
        sure += f"the intervals of those named are at the level {self.level:.2g} each (e-BY). Both lean on many days of like kind."
        made = f"A slice's difference is the mean over blocks of days, each weighing the same, of its rows' difference{held}. "
        made += "Edges and values were fixed on the first days, which are not judged."
        held_by, of = self.account, self.account.requests
        heaps = (
            f"Of {of:,} requests, {held_by.reference:,} were asked on the first days, {held_by.unlabelled:,} later without a label that counts, "
            f"{held_by.young:,} too late to be mature or for a whole block, and {held_by.judged:,} are judged: shares are of these. Slices by "
            "one column overlap with none by the same, those by others or by two with all; of a column, what is missing to all lies in "
            f"slices too rare to be searched{self._rare()}."
        )
        return sure, made, heaps, *self.doubts

    def rare(self) -> dict[str, int]:
        """By column, how many of the judged requests lie in slices that were too rare to be searched."""
        columns = dict.fromkeys(column for each in self.slices for column in each.columns)
        return {
            column: self.account.judged - sum(each.rows for each in self.slices if each.columns == (column,))
            for column in columns
        }

    def _rare(self) -> str:
        told = ", ".join(f"{column} {rows:,}" for column, rows in self.rare().items() if rows)
        return f" ({told})" if told else ""


def _figure(shown: tuple[Slice, ...], of: str) -> Figure:
    names = [each.name for each in reversed(shown)]
    middle = np.array([each.difference for each in reversed(shown)])
    arms = np.array([each.high for each in reversed(shown)]) - middle
    data = [{
        "type": "scatter", "mode": "markers", "x": middle.tolist(), "y": names,
        "error_x": {"type": "data", "array": arms.tolist()},
    }]  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": f"difference ({of}), candidate − incumbent"}, "zeroline": True},
        # every name is told, each in a line of its own
        "yaxis": {"title": {"text": "slice", "standoff": 12}, "type": "category", "dtick": 1},
        "height": PLAIN_PX + LINE_PX * len(shown),
    }
    return Figure(
        "Slices in which the two differ; right of zero the candidate is worse.", {"data": data, "layout": layout}
    )
