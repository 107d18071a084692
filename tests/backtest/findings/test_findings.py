from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.backtest.findings import Findings, Lateness
from windtunnel.backtest.replay import backtest
from windtunnel.recording import Recording
from windtunnel.report.section import Section, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.backtest.comparison import Comparison
    from windtunnel.backtest.findings import Held
    from windtunnel.backtest.findings.finding import Series


@dataclass(frozen=True)
class Doubtful:
    """A finding that doubts everything."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """One."""
        return ("the moon was full",)

    def to_dict(self) -> dict[str, Any]:
        """One key."""
        return {"moon": "full"}

    def draw(self) -> Section:
        """Two tables and a note."""
        tables = tuple(Table(caption, ("a",), (("b",),)) for caption in ("first", "second"))
        return Section("", "", ("it shone",), tables, (), ("a note",))

    def series(self) -> Series:
        """Three looks."""
        return np.array([1, 2, 3]), {"moon": np.array([0.1, 0.2, 0.3])}


@pytest.fixture(scope="module")
def comparison(make_held: Callable[..., Held]) -> Comparison:
    held = make_held(30)
    recording = Recording("made", held.columns)
    predictions = {name: held.prediction(name) for name in held.models}
    return backtest(recording, predictions, incumbent="old", candidates=["new"])


def test_a_doubt_is_told_and_turns_nothing(comparison: Comparison) -> None:
    """A doubt stands among the reasons, in the document and in the section; the outcome stays the comparison's."""
    found = Findings(comparison, (Doubtful(),))

    assert found.verdict.outcome == comparison.verdict.outcome
    assert found.verdict.reasons[-1] == "doubt: the moon was full"
    assert found.to_dict()["doubts"] == ["the moon was full"]
    assert found.to_dict()["moon"] == "full"
    assert "doubt: the moon was full" in found.draw().sentences


def test_one_section_of_all(comparison: Comparison, make_held: Callable[..., Held]) -> None:
    """All parts become one section, which is JSON; a terminal is shown the first table of each part only."""
    section = Findings(comparison, (Lateness.of(make_held(30)), Doubtful())).draw()
    briefs = {table.caption: table.brief for table in section.tables}

    assert section.title == "Backtest"
    assert (briefs["first"], briefs["second"]) == (None, ())
    assert section.notes[-1] == "a note"
    assert section == Section.from_dict(json.loads(json.dumps(section.to_dict(), allow_nan=False)))


def test_what_was_said_by_a_look(comparison: Comparison) -> None:
    """The leak test is given everything that was said by a look, and nothing that was said later."""
    told = Findings(comparison, (Doubtful(),)).timeline.series(2)

    assert told["moon"].tolist() == [0.1, 0.2]
    assert told["as_of_us"].tolist() == []
