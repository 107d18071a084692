"""Worst days in a report: a table, what would have helped, and a plot of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.quantity import format_duration
from windtunnel.report.section import Figure, Table

from .harm import GRACE, MARGIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .harm import Harm
    from .rehearsal import Rehearsal, Tried, WorstDay


def sentences(rehearsal: Rehearsal) -> tuple[str, ...]:
    """What each day did, most important first."""
    return tuple(_sentence(each) for each in rehearsal.days)


def _sentence(worst: WorstDay) -> str:
    harm, total = worst.harm, len(worst.day.recorded)
    hurt = f"{harm.requests_hurt:,} of {total:,} recorded requests hurt"
    if harm.recovery_s is not None:
        return f"{worst.name}: back to normal {_after(harm.recovery_s)} the trigger, {hurt}."
    if harm.metastable:
        return f"{worst.name}: collapsed and stays so though the trigger is gone (metastable), {hurt}."
    why = (
        "the trace ends too soon to say whether it ever would"
        if harm.metastable is None
        else "it works off what is left"
    )
    return f"{worst.name}: not back to normal when the trace ends ({why}), {hurt}."


def _after(recovery_s: float) -> str:
    return f"{format_duration(recovery_s)} after" if recovery_s else "at the end of"


def helped(days: Iterable[WorstDay]) -> tuple[str, ...]:
    """What would have prevented each day, where something was tried."""
    found = []
    for day in days:
        named = [each.name for each in day.mitigations if each.prevented]
        if named:
            found.append(f"{day.name} would have been prevented by {', '.join(named)}")
        elif day.mitigations and day.harm.requests_hurt:
            best = max(day.mitigations, key=lambda each: each.spared)
            share = best.spared / day.harm.requests_hurt
            most = f"; {best.name} spares the most, {share:.0%} of the hurt" if share > 0.0 else ""
            found.append(f"{day.name} would have been prevented by nothing that was tried{most}")
    return tuple(found)


def tables(rehearsal: Rehearsal) -> list[Table]:
    """What happened, and what was tried."""
    rows = tuple((day.name, *_cells(day.harm), f"{day.day.added:,}") for day in rehearsal.days)
    columns = "scenario", "recovered", "requests hurt", "metastable", "requests added"
    found = [Table("The worst day", columns, rows, columns[:4])]
    tried = tuple((day.name, *_tried(each)) for day in rehearsal.days for each in day.mitigations)
    if tried:
        headings = "scenario", "mitigation", "prevented", "recovered", "requests hurt", "metastable", "what is done"
        found.append(Table("What would have helped", headings, tried, headings[:5]))
    return found


def _cells(harm: Harm) -> tuple[str, str, str]:
    after = (
        "no"
        if harm.recovery_s is None
        else f"after {format_duration(harm.recovery_s)}"
        if harm.recovery_s
        else "at once"
    )
    stays = "unknown" if harm.metastable is None else "yes" if harm.metastable else "no"
    return after, f"{harm.requests_hurt:,}", stays


def _tried(tried: Tried) -> tuple[str, ...]:
    if tried.harm is None:
        return tried.name, "no", "–", "–", "–", "changes nothing here"
    return tried.name, "yes" if tried.prevented else "no", *_cells(tried.harm), tried.says


def notes(rehearsal: Rehearsal) -> tuple[str, ...]:
    """How it was judged."""
    bound = format_duration(rehearsal.bound_s)
    judged = (
        f"A good answer takes at most {bound}. Recovered: of a window's requests no more than {MARGIN:.0%} are lost that got a "
        f"good answer on the calm day. Metastable: still collapsed {GRACE:g} triggers after the trigger, and kept so by retries."
    )
    if rehearsal.calm.drift_per_s:
        return judged, "The system is overloaded on the calm day already: what a worst day adds says little."
    return (judged,)


def figures(rehearsal: Rehearsal) -> tuple[Figure, ...]:
    """Goodput over time, one plot a day."""
    return tuple(_figure(rehearsal, day) for day in rehearsal.days)


def _figure(rehearsal: Rehearsal, worst: WorstDay) -> Figure:
    times_s = [(at + 0.5) * rehearsal.seconds for at in range(len(rehearsal.goodput_per_s))]
    curves = {"calm day": rehearsal.goodput_per_s, worst.name: worst.goodput_per_s}
    best = min((each for each in worst.mitigations if each.prevented and each.harm), key=_hurt, default=None)
    if best is not None:
        curves[f"with {best.name}"] = best.goodput_per_s
    data = [
        {"type": "scatter", "mode": "lines", "name": name, "x": times_s, "y": [float(each) for each in curve]}
        for name, curve in curves.items()
    ]
    day = worst.day
    shade = {
        "type": "rect", "xref": "x", "yref": "paper", "x0": day.from_s - day.first_s, "x1": day.until_s - day.first_s,
        "y0": 0, "y1": 1, "opacity": 0.15, "line": {"width": 0}, "fillcolor": "grey", "layer": "below",
    }  # fmt: skip
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "seconds since the first request"}},
        "yaxis": {"title": {"text": "good answers to recorded requests, per second"}, "rangemode": "tozero"},
        "shapes": [shade],
    }
    caption = f"{worst.name}: answers in good time to the requests that would have come anyway; the trigger is shaded."
    return Figure(caption, {"data": data, "layout": layout})


def _hurt(tried: Tried) -> int:
    return tried.harm.requests_hurt if tried.harm else 0
