"""The optimizing stage's part of the report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from windtunnel.quantity import format_bytes, format_duration
from windtunnel.report.section import Figure, Section, Table

if TYPE_CHECKING:
    from .goal import Goal
    from .judged import Judged
    from .optimization import Optimization


def draw(result: Optimization) -> Section:
    """Draw an optimization: quality against speed, with both intervals, and what became of every variant."""
    verdict = result.verdict
    tables = [_table(result)]
    if result.raced:
        tables.append(_raced(result))
    if result.failures or result.skipped:
        tables.append(_unmade(result))
    return Section(
        "Optimize", verdict.outcome, verdict.reasons, tuple(tables), (_figure(result),), tuple(_notes(result))
    )


def _notes(result: Optimization) -> list[str]:
    """What the figures rest on."""
    goal, rows = result.goal, result.parent.quality.drop.samples
    name, levels = goal.judge.name, sorted({each.quality.drop.confidence for each in result.judged[1:]})
    told = " and ".join(f"{level:.4g}" for level in levels) or f"{goal.confidence:.4g}"
    return [
        (
            f"Basis: measured. Quality on {rows:,} held-out rows that no step has learnt from and no choice was made on, paired "
            f"with the parent; speed in interleaved A/B blocks, sessions loaded anew each round, "
            f"{_compared(goal)} batch sizes {', '.join(map(str, goal.batch_sizes))}."
        ),
        (
            f"Intervals are at {told}, so that all hold together at {goal.confidence:.4g}: choosing the best of many does not "
            "give chance many chances."
        ),
        (
            f"Never ship worse: a child is chosen only if it loses at most {goal.max_drop:g} {name} at the far end of its "
            "interval, is shown to be faster, and answers the same whoever shares its batch."
        ),
        (
            f"{result.tried} variants were tried in {format_duration(result.seconds)} of a budget of {format_duration(goal.budget_s)}: "
            f"{len(result.judged) - 1} proven or shown to be no good, {len(result.raced)} left behind in short races, "
            f"{len(result.failures)} failed; {len(result.skipped)} were not made."
        ),
        *_of_chosen(result),
    ]


def _of_chosen(result: Optimization) -> list[str]:
    """What else is known of the chosen one."""
    chosen, name = result.chosen, result.chosen.variant.name
    told = [f"{name}: {note}" for note in chosen.notes]
    worst = chosen.quality.worst_slice
    if worst is not None and chosen is not result.parent:
        told.append(
            f"{name}: of all slices it loses most where {worst.name} ({worst.rows:,} rows): {_places(worst.drop.value)} "
            f"({_places(worst.drop.low)} to {_places(worst.drop.high)})"
        )
    if result.goal.attack and chosen is result.parent:
        told.append("Nothing was attacked: the model itself was chosen, and there is no child to compare with it.")
    return told


def _compared(goal: Goal) -> str:
    """How the cells are brought together."""
    return {
        "p99": "the geometric mean of the p99s over",
        "throughput": "rows a second at the best of",
    }.get(goal.objective, "the geometric mean of the medians over")


def _table(result: Optimization) -> Table:
    cells, quantile = list(result.parent.speed.p50_s), "p99" if result.goal.objective == "p99" else "p50"
    medians = tuple(f"{quantile}, batch {cell}" for cell in cells)
    brief = ("variant", "KiB", result.goal.judge.name, "loses", *medians, "× as fast", "status")
    columns = ("run by", *brief[:-1], "memory", "moves with its neighbours", "negative flips", "status", "why")
    return Table(
        "Every variant that was judged, beside its parent", columns, tuple(_row(each) for each in result.judged), brief
    )


def _row(each: Judged) -> tuple[str, ...]:
    drop, speed, flips = each.quality.drop, each.speedup, each.quality.flips
    return (
        each.variant.execution.label,
        each.variant.name,
        f"{each.variant.bytes / 1024:,.0f}",
        f"{each.quality.value:.4f}",
        f"{_places(drop.value)} ({_places(drop.low)} to {_places(drop.high)})",
        *(format_duration(seconds) for seconds in each.speed.quantile_s.values()),
        f"about {speed.value:.2f}" if each.speed.raced else f"{speed.value:.2f} ({speed.low:.2f} to {speed.high:.2f})",
        "—" if each.memory_bytes is None else format_bytes(each.memory_bytes),
        f"{each.dependence.neighbours:.1g}",
        "—" if flips is None or flips.negative is None else f"{flips.negative:.2%}",
        each.status,
        each.reason,
    )


def _raced(result: Optimization) -> Table:
    """Who was left behind: about how fast, and why nobody looked further."""
    rows = tuple(
        (each.variant.name, f"{each.variant.bytes / 1024:,.0f}", f"about {each.speedup:.2f}", each.status, each.reason)
        for each in sorted(result.raced, key=lambda each: -each.speedup)
    )
    return Table(
        "Left behind in a short race, its quality not proven", ("variant", "KiB", "× as fast", "status", "why"), rows
    )


def _unmade(result: Optimization) -> Table:
    rows = [(each.name, "failed", each.reason) for each in result.failures]
    rows += [(each.name, "not made", each.reason) for each in result.skipped]
    return Table("Not made, or not able to run", ("variant", "status", "why"), tuple(rows))


def _places(value: float) -> str:
    """Four places; a rounded zero has no sign, and where nothing is known there is no number."""
    if not math.isfinite(value):
        return "?"
    text = f"{value:.4f}"
    return "0" if float(text) == 0.0 else text


def _figure(result: Optimization) -> Figure:
    data = []
    for each in result.judged:
        drop, speed = each.quality.drop, each.speedup
        above, below = (0.0, 0.0) if each.speed.raced else (speed.high - speed.value, speed.value - speed.low)
        data.append({
            "type": "scatter", "mode": "markers", "name": f"{each.variant.name} ({each.status})",
            "x": [speed.value], "y": [drop.value],
            "marker": {"size": 14 if each.status == "chosen" else 9, "symbol": "star" if each.status == "chosen" else "circle"},
            "error_x": {"type": "data", "array": [above], "arrayminus": [below]},
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
        "yaxis": {"title": {"text": f"{result.goal.judge.name} lost against the parent"}},
        "shapes": [limit],
    }
    caption = "Speed against quality lost, with intervals that hold together. A child must lie right of 1 and wholly below the dashed line."
    return Figure(caption, {"data": data, "layout": layout})
