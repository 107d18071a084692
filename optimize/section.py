"""The optimizing stage's part of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.quantity import format_duration
from windtunnel.report.section import Figure, Section, Table

if TYPE_CHECKING:
    from .search import Judged, Optimization


def draw(result: Optimization) -> Section:
    """Draw an optimization: quality against speed, with both intervals, and what became of every variant."""
    goal, verdict = result.goal, result.verdict
    rows = result.parent.quality.drop.samples
    return Section(
        "Optimize",
        verdict.outcome,
        verdict.reasons,
        (_table(result),),
        (_figure(result),),
        (
            (
                f"Basis: measured. Quality on {rows:,} held-out rows that no step has learnt from, paired with the parent, "
                f"rows taken as independent; speed in interleaved A/B blocks, the geometric mean over "
                f"batch sizes {', '.join(map(str, goal.batch_sizes))}."
            ),
            (
                f"Every interval is at {result.parent.quality.drop.confidence:.4g}, the level split over the children, question by question: "
                f"choosing the best of many at {goal.confidence:.4g} does not give chance many chances."
            ),
            (
                f"Never ship worse: a child is chosen only if it loses at most {goal.max_drop:g} {goal.metric} at the far end of its "
                "interval, is shown to be faster, and answers the same whoever shares its batch."
            ),
            *(f"{failure.name} failed: {failure.reason}" for failure in result.failures),
        ),
    )


def _table(result: Optimization) -> Table:
    medians = tuple(f"p50, batch {batch}" for batch in result.goal.batch_sizes)
    brief = ("variant", "KiB", result.goal.metric, "loses", *medians, "× as fast", "status")
    columns = (*brief[:-1], "moves with its batch", "status", "why")
    return Table(
        "Every variant that was made, beside its parent",
        columns,
        (*(_row(each) for each in result.judged), *_failed(result)),
        brief,
    )


def _row(each: Judged) -> tuple[str, ...]:
    drop, speed = each.quality.drop, each.speedup
    return (
        each.variant.name,
        f"{each.variant.bytes / 1024:,.0f}",
        f"{each.quality.value:.4f}",
        f"{_places(drop.value)} ({_places(drop.low)} to {_places(drop.high)})",
        *(format_duration(seconds) for seconds in each.p50_s.values()),
        f"{speed.value:.2f} ({speed.low:.2f} to {speed.high:.2f})",
        f"{each.dependence:.1g}",
        each.status,
        each.reason,
    )


def _failed(result: Optimization) -> list[tuple[str, ...]]:
    """A row for each step that made nothing, with its reason."""
    blank = ("—",) * (5 + len(result.goal.batch_sizes))
    return [(failure.name, *blank, "failed", failure.reason) for failure in result.failures]


def _places(value: float) -> str:
    """Four places; a rounded zero has no sign."""
    text = f"{value:.4f}"
    return "0" if float(text) == 0.0 else text


def _figure(result: Optimization) -> Figure:
    data = []
    for each in result.judged:
        drop, speed = each.quality.drop, each.speedup
        data.append({
            "type": "scatter", "mode": "markers", "name": f"{each.variant.name} ({each.status})",
            "x": [speed.value], "y": [drop.value],
            "marker": {"size": 14 if each.status == "chosen" else 9, "symbol": "star" if each.status == "chosen" else "circle"},
            "error_x": {"type": "data", "array": [speed.high - speed.value], "arrayminus": [speed.value - speed.low]},
            "error_y": {"type": "data", "array": [drop.high - drop.value], "arrayminus": [drop.value - drop.low]},
        })  # fmt: skip
    limit = {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": result.goal.max_drop,
        "y1": result.goal.max_drop,
        "line": {"dash": "dash"},
    }
    layout = {
        "xaxis": {"title": {"text": "times as fast as the parent"}},
        "yaxis": {"title": {"text": f"{result.goal.metric} lost against the parent"}},
        "shapes": [limit],
    }
    caption = "Speed against quality lost, with intervals that hold together. A child must lie right of 1 and wholly below the dashed line."
    return Figure(caption, {"data": data, "layout": layout})
