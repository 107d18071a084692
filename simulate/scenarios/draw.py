"""Worst days in a report: a table, what would have helped and what that costs, and a plot of each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from windtunnel.quantity import format_duration, format_figure
from windtunnel.report.section import Figure, Table

from .harm import GRACE, MARGIN
from .toll import CONFIDENCE
from .tried import SPARED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from windtunnel.stats import Interval

    from .rehearsal import Rehearsal, WorstDay
    from .toll import Toll
    from .tried import Cost, Tried

    Floats = NDArray[np.float64]


def sentences(rehearsal: Rehearsal) -> tuple[str, ...]:
    """What each day did, most important first."""
    return (*(_sentence(each) for each in rehearsal.days), _hurt(rehearsal))


def _hurt(rehearsal: Rehearsal) -> str:
    """Who counts as hurt."""
    return f"Hurt is who got an answer within {format_duration(rehearsal.bound_s)} on the calm day and does not on this one."


def _sentence(worst: WorstDay) -> str:
    found = worst.harm
    hurt = f"{_count(found.requests_hurt)} of {worst.requests:,} recorded requests hurt"
    many = len(found.runs) > 1
    if found.recovered:
        return f"{worst.name}: back to normal {_after(found)} the trigger{_runs(found) if many else ''}, {hurt}."
    if found.recovered is None:
        return (
            f"{worst.name}: recovers in {found.recoveries} of {len(found.runs)} runs ({_share(found.recovered_share)}), "
            f"{_after(found)} the trigger where it does, {hurt}."
        )
    if found.metastable:
        stays = "collapsed and stays so though the trigger is gone (metastable)"
        return f"{worst.name}: {stays}{_runs(found) if many else ''}, {hurt}."
    return f"{worst.name}: not back to normal when the trace ends ({_why(found)}), {hurt}."


def _runs(found: Toll) -> str:
    return f" in each of {len(found.runs)} runs"


def _why(found: Toll) -> str:
    stays = sum(each.metastable is True for each in found.runs)
    if stays:
        return f"metastable in {stays} of {len(found.runs)} runs"
    if found.metastable is None:
        return "the trace ends too soon to say whether it ever would"
    return "it works off what is left"


def _after(found: Toll) -> str:
    recovery_s = found.recovery_s
    if recovery_s is None or not recovery_s.value:
        return "at the end of"
    return f"{_range(recovery_s, format_duration)} after"


def helped(days: Iterable[WorstDay]) -> tuple[str, ...]:
    """What would have prevented each day, the cheapest first, where something was tried and somebody was hurt."""
    return tuple(_helped(day) for day in days if day.mitigations and day.harm.requests_hurt.value)


def _helped(day: WorstDay) -> str:
    best = day.cheapest
    if best is None:
        return _not_helped(day)
    assert best.harm is not None
    told = (
        f"{day.name} would have been prevented by {best.name} ({best.says}): {_count(day.harm.requests_hurt)} → "
        f"{_count(best.harm.requests_hurt)} hurt; it costs {_price(best.cost)} while nothing happens"
    )
    others = [each.name for each in sorted(day.mitigations, key=_rank) if each.prevented and each is not best]
    return f"{told}; also by {', '.join(others)}" if others else told


def _not_helped(day: WorstDay) -> str:
    told = f"{day.name} would have been prevented by none of {', '.join(each.name for each in day.mitigations)}"
    unsure = [each.name for each in day.mitigations if each.prevented is None]
    if unsure:
        told += f", as far as the runs tell: they disagree about {', '.join(unsure)}"
    best = max(day.mitigations, key=_spares)
    share = _spares(best) / day.harm.requests_hurt.value
    return f"{told}; {best.name} spares the most, {share:.0%} of the hurt" if share > 0.0 else told


def _spares(tried: Tried) -> float:
    return tried.spared.value if tried.spared else 0.0


def _rank(tried: Tried) -> tuple[float, float, float]:
    return tried.rank


def tables(rehearsal: Rehearsal) -> list[Table]:
    """What happened, and what was tried."""
    rows = tuple((day.name, *_cells(day.harm), f"{day.trigger.added:,}") for day in rehearsal.days)
    columns = "scenario", "recovered", "requests hurt", "stays collapsed", "requests added"
    found = [Table(f"The worst day, {_of(rehearsal)}", columns, rows, columns[:4])]
    tried = tuple(
        (day.name, *_tried(day, each))
        for day in rehearsal.days
        if day.harm.requests_hurt.value
        for each in sorted(day.mitigations, key=_order)
    )
    if tried:
        headings = (
            "scenario", "mitigation", "prevented", "requests hurt", "of them refused", "recovered", "costs when calm", "what is done",
        )  # fmt: skip
        found.append(Table("What would have helped, the cheapest first", headings, tried, (*headings[:4], headings[6])))
    return found


def _order(tried: Tried) -> tuple[int, tuple[float, float, float]]:
    """What prevents, what might, what does not, what does nothing; each by its cost."""
    standing = 3 if tried.harm is None else {True: 0, None: 1, False: 2}[tried.prevented]
    return standing, tried.rank


def _of(rehearsal: Rehearsal) -> str:
    runs = len(rehearsal.days[0].harm.runs)
    return "one run, no intervals" if runs == 1 else f"mean of {runs} runs with {CONFIDENCE:.0%} intervals"


def _cells(found: Toll) -> tuple[str, str, str]:
    return _recovered(found), _count(found.requests_hurt), _stays(found)


def _recovered(found: Toll) -> str:
    if found.recovered is False:
        return "no"
    recovery_s = found.recovery_s
    assert recovery_s is not None
    after = f"after {_range(recovery_s, format_duration)}" if recovery_s.value else "at once"
    if found.recovered:
        return after
    return f"{found.recoveries} of {len(found.runs)}: {after}"


def _stays(found: Toll) -> str:
    if found.metastable is not None:
        return "yes" if found.metastable else "no"
    known = [each.metastable for each in found.runs if each.metastable is not None]
    return f"{sum(known)} of {len(known)}" if known else "unknown"


def _tried(day: WorstDay, tried: Tried) -> tuple[str, ...]:
    if tried.harm is None:
        return tried.name, "no", *["–"] * 4, "changes nothing here"
    says = "unclear" if tried.prevented is None else "yes" if tried.prevented else "no"
    recovered, hurt, stays = _cells(tried.harm)
    recovered = "stays collapsed" if stays == "yes" else recovered
    before = f"{day.harm.requests_hurt.value:,.0f}"
    refused = _count(tried.harm.requests_refused)
    return tried.name, says, f"{before} → {hurt}", refused, recovered, _price(tried.cost), tried.says


def _price(cost: Cost) -> str:
    """What it costs when nothing happens."""
    parts = []
    if cost.replicas:
        parts.append(f"{cost.replicas:+g} {'replica' if abs(cost.replicas) == 1.0 else 'replicas'}")
    if cost.replicas and cost.usd_per_hour is not None:
        parts.append(f"${format_figure(cost.usd_per_hour)} an hour")
    if cost.calm_lost.value > 0.0:
        parts.append(f"{cost.calm_lost.value:,.0f} good answers")
    return ", ".join(parts) if parts else "nothing"


def _count(found: Interval) -> str:
    return _range(found, lambda value: f"{value:,.0f}")


def _share(found: Interval) -> str:
    return f"{found.low:.0%} to {found.high:.0%} of all"


def _range(found: Interval, written: Callable[[float], str]) -> str:
    """A figure and its interval, where it has one that is wider than a point."""
    ends = written(found.low) if found.low else "0", written(found.high)
    if not math.isfinite(found.high) or ends[0] == ends[1]:
        return written(found.value)
    return f"{written(found.value)} [{ends[0]} – {ends[1]}]"


def notes(rehearsal: Rehearsal) -> tuple[str, ...]:
    """How it was judged."""
    bound = format_duration(rehearsal.bound_s)
    judged = (
        f"A good answer takes at most {bound}. Recovered: of a window's requests no more than {MARGIN:.0%} are lost that got a "
        f"good answer on the calm day. Metastable: still collapsed {GRACE:g} triggers after the trigger, and kept so by retries. "
        f"Prevented: it recovers in every run, and did not without, or {SPARED:.0%} of the hurt are spared."
    )
    lucks = (
        "Runs differ in service times, routing, clients and what a scenario draws, not in what was recorded; means are of "
        "runs, and recovery is timed where there is one."
    )
    if rehearsal.calm.drift_per_s:
        return judged, lucks, "The system is overloaded on the calm day already: what a worst day adds says little."
    return judged, lucks


def figures(rehearsal: Rehearsal) -> tuple[Figure, ...]:
    """Goodput over time, one plot a day."""
    return tuple(_figure(rehearsal, day) for day in rehearsal.days)


def _figure(rehearsal: Rehearsal, worst: WorstDay) -> Figure:
    times_s = [(at + 0.5) * rehearsal.seconds for at in range(len(rehearsal.goodput_per_s))]
    best = worst.cheapest
    curves: list[tuple[str, Floats, dict[str, Any]]] = [
        ("calm day", rehearsal.goodput_per_s, {}), (worst.name, worst.goodput_per_s, _HURT),
    ]  # fmt: skip
    if best is not None:
        curves.append((f"with {best.name}", best.goodput_per_s, {"line": {"dash": "dot"}}))
    data = [
        {"type": "scatter", "mode": "lines", "name": name, "x": times_s, "y": [float(each) for each in curve], **look}
        for name, curve, look in curves
    ]
    shapes, labels = _marks(worst)
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "seconds since the first request"}},
        "yaxis": {"title": {"text": "good answers per second"}, "rangemode": "tozero"},
        "shapes": shapes, "annotations": labels,
    }  # fmt: skip
    caption = (
        f"{worst.name}: answers in good time to the requests that would have come anyway. Grey: the trigger. Between the "
        "curves: the hurt."
    )
    return Figure(caption, {"data": data, "layout": layout})


_HURT = {"fill": "tonexty", "fillcolor": "rgba(200, 60, 40, 0.18)"}
"""The area up to the curve before it."""


def _marks(worst: WorstDay) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The trigger as a band, recovery as a line with its interval as a band; and what they are called."""
    trigger, recovery_s = worst.trigger, worst.harm.recovery_s
    shapes = [_band(trigger.from_s, trigger.until_s, "grey", 0.2)]
    labels = [_label(trigger.from_s, "trigger", "right")]
    if recovery_s is None:
        return shapes, [*labels, _label(trigger.until_s, "no recovery", "left")]
    back_s = trigger.until_s + recovery_s.value
    if math.isfinite(recovery_s.high) and recovery_s.high > recovery_s.low:
        shapes.append(_band(trigger.until_s + recovery_s.low, trigger.until_s + recovery_s.high, "green", 0.15))
    line = {"color": "green", "dash": "dash", "width": 1}
    shapes.append({**_band(back_s, back_s, "green", 1.0), "type": "line", "line": line})
    some = "" if worst.harm.recovered else f" in {worst.harm.recoveries} of {len(worst.harm.runs)} runs"
    return shapes, [*labels, _label(back_s, f"recovered{some}", "left")]


def _band(from_s: float, until_s: float, color: str, opacity: float) -> dict[str, Any]:
    return {
        "type": "rect", "xref": "x", "yref": "paper", "x0": from_s, "x1": until_s, "y0": 0, "y1": 1, "opacity": opacity,
        "line": {"width": 0}, "fillcolor": color, "layer": "below",
    }  # fmt: skip


def _label(at_s: float, text: str, anchor: str) -> dict[str, Any]:
    return {
        "x": at_s, "xref": "x", "y": 1.0, "yref": "paper", "yanchor": "bottom", "xanchor": anchor, "text": text, "showarrow": False,
    }  # fmt: skip
