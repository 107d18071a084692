from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from windtunnel.optimize.quality import Quality
from windtunnel.optimize.search import Failure, Goal, Judged, Optimization
from windtunnel.optimize.section import _places, draw
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from windtunnel.optimize.search import Status
    from windtunnel.variant import Variant


def _judged(variant: Variant, name: str, status: Status, speed: float) -> Judged:
    quality = Quality("agreement", 0.99, Interval(0.01, 0.005, 0.015, 400, 0.95))
    faster = Interval(speed, speed - 0.1, speed + 0.1, 12, 0.95)
    return Judged(
        replace(variant, name=name),
        status,
        "why",
        quality,
        faster,
        {1: faster, 8: faster},
        {1: 1e-3, 8: 2e-3},
        0.5,
        (2, 2),
    )


@pytest.fixture
def result(mlp: Variant) -> Optimization:
    judged = (
        _judged(mlp, "fp32", "dominated", 1.0),
        _judged(mlp, "int8", "chosen", 2.0),
        _judged(mlp, "new", "not-proven", 3.0),
    )
    return Optimization(Goal("agreement", 0.02, (1, 8)), judged, (Failure("student", "no memory left"),))


def test_drawn(result: Optimization) -> None:
    """Every variant has its row and its point with both intervals; the chosen one is a star; a step that failed has a row with its reason."""
    section = draw(result)
    (table,), (figure,) = section.tables, section.figures

    assert (section.outcome, section.sentences) == ("go", result.verdict.reasons)
    assert [row[0] for row in table.rows] == ["fp32", "int8", "new", "student"]
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert set(table.brief or ()) <= set(table.columns)
    assert [each["marker"]["symbol"] for each in figure.plotly["data"]] == ["circle", "star", "circle"]
    assert [each["error_x"]["array"][0] for each in figure.plotly["data"]] == pytest.approx([0.1] * 3)
    assert figure.plotly["layout"]["shapes"][0]["y0"] == 0.02
    assert "student failed: no memory left" in section.notes
    assert "400 held-out rows" in section.notes[0]
    assert json.loads(json.dumps(section.to_dict(), allow_nan=False))["title"] == "Optimize"


def test_what_would_change_it(result: Optimization) -> None:
    """A child that is not proven is named with what would prove it."""
    assert result.verdict.would_change == ("new: why",)
    assert result.verdict.evidence == {"chosen": "int8", "tried": 4}


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (-0.00001, "0"), (0.00006, "0.0001"), (-0.5, "-0.5000")])
def test_places(value: float, text: str) -> None:
    """A drop has four places; a rounded zero has neither them nor a sign."""
    assert _places(value) == text
