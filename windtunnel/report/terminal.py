"""Sections on a terminal: the sentences, then the tables; plots stay in the HTML report."""

from __future__ import annotations

import io
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from windtunnel.report.section import Section, Table
    from windtunnel.verdict import Verdict

COLOURS = {"go": "green", "no-go": "red", "inconclusive": "yellow"}
WIDTH = 140


def print_sections(sections: Sequence[Section], verdict: Verdict | None = None, *, rows: int = 12) -> None:
    """Print sections to stdout, tables cut to their first rows, and the verdict last."""
    width = shutil.get_terminal_size((WIDTH, 0)).columns if sys.stdout.isatty() else WIDTH
    sys.stdout.write(render(sections, verdict, rows=rows, colour=sys.stdout.isatty(), width=width))


def render(
    sections: Sequence[Section],
    verdict: Verdict | None = None,
    *,
    rows: int = 12,
    colour: bool = False,
    width: int = WIDTH,
) -> str:
    """Lay sections out as text.

    Example:
        >>> from windtunnel.report.section import Section
        >>> print(render([Section("Simulate", "go", ("2 replicas keep it.",))]).strip())
        Simulate: go
          2 replicas keep it.
    """
    from rich.console import Console
    from rich.text import Text

    out = io.StringIO()
    # what stages say is text, and neither markup nor the names of pictures
    console = Console(
        file=out, width=width, force_terminal=colour, highlight=False, markup=False, emoji=False,
        color_system="standard" if colour else None,
    )  # fmt: skip
    for section in sections:
        outcome = (": ", (section.outcome, COLOURS[section.outcome])) if section.outcome else ()
        console.print(Text.assemble((section.title, "bold"), *outcome))
        for sentence in section.sentences:
            console.print(f"  {sentence}")
        for table in section.tables:
            if table.brief != ():
                _print_table(console, table, rows)
        console.print()
    if verdict is not None:
        _print_verdict(console, verdict)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _print_table(console: Console, table: Table, rows: int) -> None:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(
        title=Text(table.caption), title_justify="left", title_style="italic", box=box.SIMPLE_HEAD, pad_edge=True
    )
    shown = [i for i, column in enumerate(table.columns) if table.brief is None or column in table.brief]
    for position in shown:
        grid.add_column(
            Text(table.columns[position]), justify="right" if position and _is_figures(table, position) else "left"
        )
    for row in table.rows[:rows]:
        grid.add_row(*(Text(row[position]) for position in shown))
    console.print(grid)
    if len(table.rows) > rows:
        console.print(f"   … and {len(table.rows) - rows} more rows in the report (windtunnel report writes it)")


def _is_figures(table: Table, position: int) -> bool:
    """Whether a column's texts begin with a digit, a sign or a dash, as figures do."""
    return all(row[position][:1] in set("0123456789+-−—$") for row in table.rows if row[position])


def _print_verdict(console: Console, verdict: Verdict) -> None:
    from rich.text import Text

    console.print(Text(verdict.outcome.upper(), f"bold {COLOURS[verdict.outcome]}"))
    for reason in verdict.reasons:
        console.print(f"  {reason}")
    for change in verdict.would_change:
        console.print(f"  would change it: {change}")
