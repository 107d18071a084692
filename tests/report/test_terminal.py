from __future__ import annotations

import pytest

from windtunnel.report.section import Section, Table
from windtunnel.report.terminal import print_sections, render
from windtunnel.verdict import Verdict

TABLE = Table(
    "Every variant", ("variant", "p50", "why"), (("fp32", "1.5 ms", "the parent"), ("int8", "0.9 ms", "proven"))
)

EXPECTED = """\
Optimize: go
  int8 is 1.67 × as fast.
Every variant

  variant      p50   why
 ───────────────────────────────
  fp32      1.5 ms   the parent
  int8      0.9 ms   proven


GO
  optimize: fine
  would change it: more rows
"""


def _with(table: Table) -> str:
    return render([Section("S", "go", (), (table,))])


def test_exact_text() -> None:
    """A small report, character by character: the title, the sentences, the table, the verdict."""
    section = Section("Optimize", "go", ("int8 is 1.67 × as fast.",), (TABLE,), (), ("never shown here",))
    text = render([section], Verdict("go", ("optimize: fine",), ("more rows",)))

    assert text == EXPECTED


def test_figures_stand_to_the_right() -> None:
    """A column of figures is aligned to the right, any other to the left."""
    lines = _with(Table("t", ("name", "n"), (("a", "5"), ("b", "1,000"), ("c", "—")))).splitlines()

    assert [line.rstrip() for line in lines if line.strip().startswith(("a", "b", "c"))] == [
        "  a          5", "  b      1,000", "  c          —",
    ]  # fmt: skip


def test_brief_columns() -> None:
    """A terminal shows the brief columns only, and no table whose brief is empty."""
    rows = (("fp32", "1.5 ms", "the parent"),)
    brief = _with(Table("caption", TABLE.columns, rows, ("variant", "why")))

    assert "the parent" in brief
    assert "1.5 ms" not in brief
    assert "caption" not in _with(Table("caption", TABLE.columns, rows, ()))


def test_long_tables_are_cut() -> None:
    """A long table is cut, and a sentence says by how much."""
    table = Table("t", ("n",), tuple((f"row {n}",) for n in range(20)))
    text = render([Section("S", "go", (), (table,))], rows=12)

    assert "row 11" in text
    assert "row 12" not in text
    assert "… and 8 more rows in the report (windtunnel report writes it)" in text
    assert "more rows" not in render([Section("S", "go", (), (table,))], rows=20)


@pytest.mark.parametrize("text", ["[red]x[/red]", "[/]", "[batch, 4]", ":bug:", "a\\[b", "windtunnel[gpu]"])
def test_text_is_text(text: str) -> None:
    """What looks like markup, or like the name of a picture, is printed as it stands, wherever it stands."""
    table = Table(f"caption {text}", (f"column {text}",), ((f"cell {text}",),))
    shown = render(
        [Section(f"title {text}", "go", (f"sentence {text}",), (table,))],
        Verdict("go", (f"reason {text}",), (f"change {text}",)),
    )

    for part in ("title", "sentence", "caption", "column", "cell", "reason", "change"):
        assert f"{part} {text}" in shown


def test_an_empty_table() -> None:
    """A table without rows shows its heads."""
    assert "variant" in _with(Table("t", ("variant",), ()))


@pytest.mark.parametrize("outcome", ["go", "no-go", "inconclusive"])
def test_colours_only_where_asked_for(outcome: str) -> None:
    """Escape codes are written for a terminal and for nothing else; the words are the same."""
    verdict = Verdict(outcome, ("because",))  # type: ignore[arg-type]  # one of the three
    plain, colourful = render([], verdict), render([], verdict, colour=True)

    assert "\x1b" not in plain
    assert "\x1b[1;" in colourful
    assert outcome.upper() in plain
    assert outcome.upper() in colourful


def test_printed_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed is what is rendered, on stdout, without colours where it is no terminal."""
    section = Section("S", "inconclusive", ("not enough rows",), (TABLE,))
    print_sections([section])

    assert capsys.readouterr() == (render([section]), "")
