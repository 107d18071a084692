from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.digest import canonical_json
from windtunnel.optimize.flips import Flips
from windtunnel.optimize.goal import Goal
from windtunnel.optimize.judged import Failure, Judged, Raced, Skipped
from windtunnel.optimize.non_inferiority import nothing_known
from windtunnel.optimize.optimization import Optimization
from windtunnel.optimize.section import _places, draw
from windtunnel.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.variant import Variant

GOAL = Goal("agreement", 0.02, (1, 8), budget_s=60.0)


@pytest.fixture
def result(judged_as: Callable[..., Judged], mlp: Variant) -> Optimization:
    judged = (
        judged_as("fp32", "dominated"),
        judged_as("int8", "chosen", 2.0, 0.01, notes=("It looks at what its parent looks at.",)),
        judged_as("new", "not-proven", 3.0, 0.02),
    )
    raced = tuple(
        Raced(replace(mlp, name=name), "slower", "why", speed, {}) for name, speed in (("slow", 0.5), ("less", 0.9))
    )
    failed, skipped = (Failure("student", "no memory left"),), (Skipped("float16", "the time for making was over"),)
    return Optimization(GOAL, judged, raced, failed, skipped, 12.5)


def test_every_variant_has_its_row(result: Optimization) -> None:
    """The judged stand in one table, the raced in another with the fastest first, what was not made in a third."""
    judged, raced, unmade = draw(result).tables

    assert [row[1] for row in judged.rows] == ["fp32", "int8", "new"]
    assert [(row[0], row[2]) for row in raced.rows] == [("less", "about 0.90"), ("slow", "about 0.50")]
    assert unmade.rows == (
        ("student", "failed", "no memory left"), ("float16", "not made", "the time for making was over"),
    )  # fmt: skip
    for table in (judged, raced, unmade):
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert set(table.brief or ()) <= set(table.columns)


def test_the_row_of_one(result: Optimization) -> None:
    """A row tells size, quality, loss with its interval, the median of each cell, speed, and what became of it."""
    (table, *_) = draw(result).tables
    row = dict(zip(table.columns, table.rows[1], strict=True))

    assert row["agreement"] == "0.9900"
    assert row["loses"] == "0.0100 (0.0050 to 0.0150)"
    assert (row["p50, batch 1"], row["p50, batch 8"]) == ("500 µs", "1 ms")
    assert row["× as fast"] == "2.00 (1.90 to 2.10)"
    assert (row["moves with its neighbours"], row["negative flips"]) == ("0", "—")
    assert (row["status"], row["why"]) == ("chosen", "why")


def test_empty_tables_are_not_drawn(result: Optimization) -> None:
    """Where nothing was left behind, failed or was skipped, there is no table of it."""
    assert len(draw(replace(result, raced=())).tables) == 2
    assert len(draw(replace(result, raced=(), failures=(), skipped=())).tables) == 1


def test_the_figure(result: Optimization) -> None:
    """Every judged variant is a point with both intervals, the chosen one a star, and the tolerance a line."""
    (figure,) = draw(result).figures
    points = figure.plotly["data"]

    assert [each["marker"]["symbol"] for each in points] == ["circle", "star", "circle"]
    assert [(each["x"], each["y"]) for each in points] == [([1.0], [0.0]), ([2.0], [0.01]), ([3.0], [0.02])]
    assert [each["error_x"]["array"][0] for each in points] == pytest.approx([0.1] * 3)
    assert [each["error_y"]["arrayminus"][0] for each in points] == pytest.approx([0.005] * 3)
    assert figure.plotly["layout"]["shapes"][0]["y0"] == 0.02


def test_what_the_figures_rest_on(result: Optimization) -> None:
    """Notes say on how many rows, at which levels, in which time, and what was tried and not; and those on the chosen."""
    notes = " ".join(draw(result).notes)

    assert "400 held-out rows" in notes
    assert "the geometric mean of the medians over batch sizes 1, 8" in notes
    assert "Intervals are at 0.95, so that all hold together at 0.95" in notes
    assert "at most 0.02 agreement" in notes
    assert "6 variants were tried in 12.5 s of a budget of 60 s" in notes
    assert "2 proven or shown to be no good, 2 left behind in short races, 1 failed; 1 were not made" in notes
    assert "int8: It looks at what its parent looks at." in notes


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ("p50", "the geometric mean of the medians over"),
        ("p99", "the geometric mean of the p99s over"),
        ("throughput", "rows a second at the best of"),
    ],
)
def test_what_is_compared_is_said(result: Optimization, objective: Any, words: str) -> None:
    """The note says how the cells were brought together for what was asked."""
    assert words in draw(replace(result, goal=replace(GOAL, objective=objective))).notes[0]


def test_nothing_known_is_drawn_too(result: Optimization, judged_as: Callable[..., Judged]) -> None:
    """A child of which the rows tell nothing has endless intervals: as it is kept, it is a point without one."""
    new = judged_as("new", "not-proven", 3.0)
    quality = replace(new.quality, drop=nothing_known(new.quality.drop), flips=Flips(0.25, 0.125, 0.125, 3))
    section = draw(replace(result, judged=(*result.judged[:2], replace(new, quality=quality))))
    row = dict(zip(section.tables[0].columns, section.tables[0].rows[2], strict=True))

    assert math.isinf(quality.drop.high)
    assert row["negative flips"] == "12.50%"
    kept = Section.from_dict(json.loads(canonical_json(section.to_dict())))
    assert kept.figures[0].plotly["data"][2]["error_y"]["array"] == [None]


def test_the_verdict_is_the_sections(result: Optimization) -> None:
    """The section opens with the outcome and the verdict's sentences."""
    section = draw(result)

    assert (section.title, section.outcome, section.sentences) == ("Optimize", "go", result.verdict.reasons)


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (-0.00001, "0"), (0.00006, "0.0001"), (-0.5, "-0.5000")])
def test_places(value: float, text: str) -> None:
    """A drop has four places; a rounded zero has neither them nor a sign."""
    assert _places(value) == text
