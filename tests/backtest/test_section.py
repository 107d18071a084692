from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.backtest.plot import MOST_POINTS
from windtunnel.backtest.replay import backtest
from windtunnel.backtest.section import draw
from windtunnel.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from windtunnel.backtest.comparison import Comparison
    from windtunnel.recording import Recording

    Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def comparison(make_traffic: Callable[..., tuple[Recording, Floats]]) -> Comparison:
    recording, truth = make_traffic(60, per_day=40)
    predictions = {"old": np.full(len(truth), 0.4), "new": truth, "odd": np.clip(truth + 0.3, 0.0, 1.0)}
    return backtest(recording, predictions, incumbent="old", candidates=["new", "odd"], every_s=3600.0)


def test_a_section_is_json_that_comes_back(comparison: Comparison) -> None:
    """The section is JSON without NaN or infinity, and survives being written and read."""
    section = draw(comparison)
    text = json.dumps(section.to_dict(), allow_nan=False)

    assert section == Section.from_dict(json.loads(text))
    assert (section.title, section.outcome) == ("Backtest", comparison.verdict.outcome)


def test_figures_are_small_and_say_their_units(comparison: Comparison) -> None:
    """No line has more points than an eye can tell apart, and both axes have a title with a unit."""
    for figure in draw(comparison).figures:
        assert all(len(line["x"]) == len(line["y"]) <= MOST_POINTS for line in figure.plotly["data"])
        for axis in ("xaxis", "yaxis"):
            assert figure.plotly["layout"][axis]["title"]["text"]


def test_the_table_names_every_model_once(comparison: Comparison) -> None:
    """The incumbent leads the table, each candidate follows with its status, and every row fills every column."""
    table = draw(comparison).tables[0]

    assert [row[0] for row in table.rows] == ["old (incumbent)", "new", "odd"]
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert [row[-2] for row in table.rows] == ["", *(each.status for each in comparison.candidates)]


def test_what_is_not_known_is_said(make_recording: Callable[..., Recording]) -> None:
    """Where no label came the section can still be drawn, and says that nothing is known instead of showing zeros."""
    day = 86_400_000_000
    recording = make_recording([0, day, 3 * day], [None] * 3, [None] * 3)
    half = np.full(3, 0.5)
    section = draw(backtest(recording, {"a": half, "b": half}, incumbent="a", candidates=["b"]))

    assert section.outcome == "inconclusive"
    assert section.tables[0].rows[1][1:4] == ("not known", "not known", "not known")
    assert json.dumps(section.to_dict(), allow_nan=False)
