"""The part of the report that draws one flight: what became of the requests, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.quantity import format_duration, format_figure, format_share
from windtunnel.report.section import Figure, Section, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .by_class import ClassFigures
    from .flight import Flight
    from .flight_course import FlightCourse
    from .overload import Overload
    from .system import System
    from .theory import Theory

NAMES = {"mean": "mean", "p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9"}
"""What the figures of a spread are called by people."""

NOTE = "Times are simulated: what (de)serialization and the network take comes on top."

LOST = ("shed", "timed_out", "failed", "left")


def draw_flight(
    flight: Flight,
    system: System,
    name: str,
    *,
    course: FlightCourse,
    theory: Theory | None = None,
    usd: float | None = None,
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
        theory: the closed form; None where there is none, or nobody asked.
        usd: what the replicas cost; None where that is not known.
        classes: by what tells them apart, the figures of each class.
        overload: what came that was not worked off.
        notes: what else is to be known.
    """
    tables = [_spreads(flight), *(_lost(flight)), *(_by_class(what, each) for what, each in (classes or {}).items())]
    tables += [_theory(theory, flight, (classes or {}).get("priority", ()))] if theory is not None else []
    sentences = [_said(flight, system, name, course), *([str(overload)] if overload else [])]
    sentences += [_cost(usd, flight, course)] if usd is not None else []
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


def _cost(usd: float, flight: Flight, course: FlightCourse) -> str:
    """What was paid, and for what."""
    hours, answered = course.replica_s / 3600.0, flight.summary.completed
    each = f", ${format_figure(usd / answered * 1e6)} a million answers" if answered else ""
    return f"It costs ${format_figure(usd)} ({format_figure(hours)} replica-hours){each}."


def _spreads(flight: Flight) -> Table:
    told = flight.summary.to_dict()
    rows = tuple(
        (shown, *(range_of(told[kind], name) for kind in ("latency", "wait"))) for name, shown in NAMES.items()
    )
    return Table("Simulated, with 95% intervals", ("", "latency", "wait"), rows)


def _lost(flight: Flight) -> list[Table]:
    told = flight.summary.to_dict()
    rows = tuple(
        (name.replace("_", " "), f"{told[name]:,}", format_share(told[name] / told["requests"]))
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


def _theory(theory: Theory, flight: Flight, priorities: Sequence[ClassFigures]) -> Table:
    """The closed form beside what was simulated."""
    known, summary = theory.to_dict(), flight.summary
    wait, latency = summary.wait.to_dict(), summary.latency.to_dict()
    rows = [
        ("mean wait", format_duration(theory.wait_mean_s), range_of(wait, "mean")),
        ("mean latency", format_duration(theory.latency_mean_s), range_of(latency, "mean")),
    ]
    rows += [
        (f"{shown} wait", format_duration(known[f"wait_{name}_s"]), range_of(wait, name))
        for name, shown in NAMES.items() if name != "mean" and f"wait_{name}_s" in known
    ]  # fmt: skip
    flown = {each.name: each for each in priorities}
    rows += [
        (f"mean wait, {each.name}", format_duration(each.wait_mean_s), range_of(flown[each.name].wait.to_dict(), "mean"))
        for each in theory.by_priority if each.name in flown
    ]  # fmt: skip
    if theory.utilization is not None and summary.utilization is not None:
        rows.append(("utilization", f"{theory.utilization:.1%}", f"{summary.utilization:.1%}"))
    caption = f"{theory.name} in closed form ({theory.source}), beside it the simulation with 95% intervals"
    return Table(caption, ("", "closed form", "simulated"), tuple(rows))


def range_of(spread: Mapping[str, Any], name: str) -> str:
    """A figure of a spread with its interval, for people."""
    value, low, high = (spread[f"{name}_s{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    shown = f" [{format_duration(low)} – {format_duration(high)}]" if low is not None else " [no interval]"
    return format_duration(value) + shown


def _over_time(course: FlightCourse) -> Figure:
    """Above, what came and what was answered in time; below, the replicas."""
    told = course.table
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
