"""The part of the report that draws one flight: what became of the requests, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.quantity import format_duration, format_figure
from windtunnel.report.section import Figure, Section, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .by_class import ClassFigures
    from .flight import Flight
    from .flight_course import FlightCourse
    from .overload import Overload
    from .system import System
    from .theory import NoTheory, Theory

NOTE = "Times are simulated: what (de)serialization and the network take comes on top."

LOST = ("shed", "timed_out", "failed", "left")

POINTS = 480
"""Intervals that are drawn at most."""


def draw_flight(
    flight: Flight,
    system: System,
    name: str,
    *,
    course: FlightCourse,
    theory: Theory | NoTheory | None = None,
    classes: Mapping[str, Sequence[ClassFigures]] | None = None,
    overload: Overload | None = None,
    notes: Sequence[str] = (),
) -> Section:
    """Draw a flight.

    Args:
        flight: what became of the requests.
        system: what served.
        name: of the traffic.
        course: the flight over time.
        theory: the closed form, or why there is none; None where nobody asked.
        classes: by what tells them apart, the figures of each class.
        overload: what came that was not worked off.
        notes: what else is to be known.
    """
    tables = [_spreads(flight), *(_lost(flight)), *(_by_class(what, each) for what, each in (classes or {}).items())]
    tables += [_theory(theory)] if theory is not None else []
    sentences = [_said(flight, system, name, course), *([str(overload)] if overload else [])]
    return Section(
        "Simulate",
        "no-go" if overload else "go",
        tuple(sentences),
        tuple(tables),
        (_over_time(course),),
        (NOTE, *notes),
    )


def _said(flight: Flight, system: System, name: str, course: FlightCourse) -> str:
    found = flight.summary
    told = f"{found.requests:,} requests of {name} in {format_duration(found.seconds_simulated)} through {_servers(system, course)}: {found.completed:,} answered"
    if found.mean_batch is None:
        return f"{told}."
    return f"{told}, mean batch {found.mean_batch:.3g}, utilization {found.utilization or 0.0:.1%}."


def _servers(system: System, course: FlightCourse) -> str:
    if system.scaling is not None:
        return f"replicas that scale ({course.replicas_mean:.3g} on average, {course.replicas_peak} at most)"
    count = course.replicas_peak
    several = "replica" if count == 1 else "replicas"
    return f"{count} {several} behind one queue" if system.stations == 1 and count > 1 else f"{count} {several}"


def _spreads(flight: Flight) -> Table:
    told = flight.summary.to_dict()
    rows = tuple(
        (name, *(range_of(told[kind], name) for kind in ("latency", "wait")))
        for name in ("mean", "p50", "p90", "p99", "p999")
    )
    return Table("Simulated, with 95% intervals", ("", "latency", "wait"), rows)


def _lost(flight: Flight) -> list[Table]:
    told = flight.summary.to_dict()
    rows = tuple(
        (name.replace("_", " "), f"{told[name]:,}", f"{told[name] / told['requests']:.3%}")
        for name in LOST
        if told[name]
    )
    return [Table("Not answered", ("", "requests", "share"), rows)] if rows else []


def _by_class(what: str, classes: Sequence[ClassFigures]) -> Table:
    rows = tuple(
        (
            each.name, f"{each.requests:,}", f"{each.completed / each.requests:.2%}",
            *(range_of(each.latency.to_dict(), name) for name in ("mean", "p50", "p99")),
        )
        for each in classes
    )  # fmt: skip
    columns = (what, "requests", "answered", "mean latency", "p50", "p99")
    return Table(f"By {what}, simulated, with 95% intervals", columns, rows)


def _theory(theory: Theory | NoTheory) -> Table:
    figures = theory.to_dict()
    row = (
        (figures["name"], format_duration(figures["wait_mean_s"]), format_duration(figures["latency_mean_s"]), figures["source"])
        if figures["name"] else ("none", "–", "–", figures["reason"])
    )  # fmt: skip
    return Table("Theory", ("queue", "mean wait", "mean latency", "source"), (row,))


def range_of(spread: Mapping[str, Any], name: str) -> str:
    """A figure of a spread with its interval, for people."""
    value, low, high = (spread[f"{name}_s{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    shown = f" [{format_duration(low)} – {format_duration(high)}]" if low is not None else " [no interval]"
    return format_duration(value) + shown


def _over_time(course: FlightCourse) -> Figure:
    """Above, what came and what was answered in time; below, the replicas."""
    told = course.table.head(POINTS)
    x = (told["start_s"] - float(told["start_s"][0])).to_list()
    good = (told["in_time"].fill_null(0.0) * told["rate_per_s"]).to_list()
    data = [
        _line("arrivals", x, told["rate_per_s"].to_list()),
        _line("answered in time, by when they came", x, good),
        {**_line("replicas", x, told["replicas"].to_list()), "yaxis": "y2"},
    ]
    layout = {
        "xaxis": {"title": {"text": "time since the first request (s)"}, "anchor": "y2"},
        "yaxis": {"title": {"text": "requests (1/s)"}, "domain": [0.4, 1.0], "rangemode": "tozero"},
        "yaxis2": {"title": {"text": "replicas"}, "domain": [0.0, 0.3], "rangemode": "tozero"},
    }
    caption = f"What came, what was answered in time, and the replicas that were there ({format_figure(course.replicas_mean)} on average)."
    return Figure(caption, {"data": data, "layout": layout})


def _line(name: str, x: list[float], y: list[float]) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": {"width": 1}}
