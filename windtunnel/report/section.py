"""A Section: the part of a report that one stage draws of its own result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Table:
    """Rows of text under a caption; units stand in the headings.

    Args:
        caption: what the rows are.
        columns: the headings.
        rows: one text a column.
        brief: the columns that a terminal has room for; all of them where None, no table there where empty.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    brief: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Figure:
    """A plot, as Plotly's JSON (`data`, `layout`), with a sentence that says what to see in it."""

    caption: str
    plotly: dict[str, Any]


@dataclass(frozen=True)
class Section:
    """One stage's part of the report.

    Args:
        title: such as `Optimize`.
        outcome: `go`, `no-go`, `inconclusive`; empty where nothing is decided.
        sentences: what was found, most important first.
        tables: figures to look up.
        figures: plots to look at.
        notes: how it was measured, and what is not known.
    """

    title: str
    outcome: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The section as JSON values."""
        return {
            "title": self.title, "outcome": self.outcome, "sentences": self.sentences, "notes": self.notes,
            "tables": [{"caption": t.caption, "columns": t.columns, "rows": t.rows, "brief": t.brief} for t in self.tables],
            "figures": [{"caption": f.caption, "plotly": f.plotly} for f in self.figures],
        }  # fmt: skip

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Section:
        """Read what `to_dict` wrote."""
        return Section(
            value["title"],
            value["outcome"],
            tuple(value["sentences"]),
            tuple(_table(table) for table in value["tables"]),
            tuple(Figure(f["caption"], f["plotly"]) for f in value["figures"]),
            tuple(value["notes"]),
        )


def _table(value: Mapping[str, Any]) -> Table:
    brief = tuple(value["brief"]) if value["brief"] is not None else None
    return Table(value["caption"], tuple(value["columns"]), tuple(tuple(row) for row in value["rows"]), brief)
