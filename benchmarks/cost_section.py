"""The cost report: what a capacity planner reads in a minute, and below it what to look up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.quantity import format_duration, format_figure
from windtunnel.report.section import Figure, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.deployment import Slo
    from windtunnel.stats import Interval

    from .break_even import Pattern
    from .cost import Cost
    from .frontier import Choice, Frontier
    from .projection_error import ProjectionError
    from .ways_to_pay import AskedWay, Weighing

LOADS_DRAWN = 200
"""Loads at which the cost of a pattern is drawn."""

FEW = 4
"""Ways to pay that came to nothing, whose reasons are said; the table holds all."""

SEGMENTS = 10
"""Changes of the cheapest pattern that are listed."""


@dataclass(frozen=True)
class CostReport:
    """What the cost report shows; whatever was not asked for is empty.

    Args:
        costs: one a machine and variant.
        slo: the promise.
        frontier: cost against latency.
        weighing: ways to pay over the load.
        error: how far projections were off where they could be checked; None where nothing was projected.
        asked: every way to pay that was asked about.
    """

    costs: tuple[Cost, ...]
    slo: Slo
    frontier: Frontier | None = None
    weighing: Weighing | None = None
    error: ProjectionError | None = None
    asked: tuple[AskedWay, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        machines = {cost.price.name for cost in self.costs}
        others = [each.to_dict() for each in self.asked if each.name not in machines]
        return {
            "costs": [*(cost.to_dict() for cost in self.costs), *others],
            "frontier": self.frontier.to_dict() if self.frontier else None,
            "break_even": self.weighing.to_dict() if self.weighing else None,
            "projection_error": self.error.to_dict() if self.error else None,
        }


def tables(report: CostReport) -> tuple[Table, ...]:
    """The cheapest way to keep the promise on each machine first, then what latency costs, then the rest for the page alone."""
    drawn = [_cheapest_table(report)] if report.costs else []
    if report.frontier is not None and report.frontier.best:
        drawn.append(_doublings_table(report.frontier))
    if report.weighing is not None:
        drawn += [_segments_table(report.weighing), _doubled_table(report.weighing)]
    drawn.append(_costs_table(report))
    if any(cost.energy for cost in report.costs):
        drawn.append(_energy_table(report.costs))
    return tuple(drawn)


def figures(report: CostReport) -> tuple[Figure, ...]:
    """Cost against latency, cost over load, and latency over load with its knee."""
    drawn = []
    if report.frontier is not None and report.frontier.best:
        drawn.append(_frontier_figure(report.frontier, report.slo))
    if report.weighing is not None:
        drawn.append(_break_even_figure(report.weighing))
    return tuple(drawn)


def sentences(report: CostReport) -> tuple[str, ...]:
    """What the report says, most important first."""
    said = []
    best = _cheapest(report.costs)
    usd = best.usd_per_million() if best else None
    if best and usd:
        said.append(
            f"Cheapest way to keep {report.slo}: {best.variant} on {best.price.name}, {_between(usd)} US dollars per million "
            f"requests ({best.basis}; price {'of ' if best.price.dated else ''}{_dated(best)})."
        )
    elif report.costs:
        said.append(f"No machine that was asked about is known to keep {report.slo} at any rate.")
    if report.weighing is not None:
        said.append(_weighing_sentence(report.weighing))
    refused = [(each.name, each.way) for each in report.asked if isinstance(each.way, str)]
    said += [f"{name} is not weighed: {why}." for name, why in refused[:FEW]]
    return tuple(said)


def notes(report: CostReport) -> tuple[str, ...]:
    """How it was found, and what is not known."""
    said = [
        """Cost = price ÷ the highest Poisson rate at which the promise is kept in simulation by as many servers as the
        machine carries. It is the model's own time: server, network and idle hours are not in it. All money is US dollars, at
        the date beside it."""
        if not any(cost.server for cost in report.costs)
        else """Cost = price ÷ the highest Poisson rate at which the promise is kept in simulation by as many servers as the
        machine carries. It is the model's time, and the server's CPU where the note says so, on the same cores; network and idle
        hours are not in it. All money is US dollars, at the date beside it.""",
        """measured: on that very instance type. projected: from the machine measured here by operations and bytes of each
        operator; the interval holds the band by which every time may be longer or shorter. not measured: no figure
        exists, so none is shown, and the note says why.""",
    ]
    if report.error is not None:
        said.append(
            f"""The band of a projection: {report.error}. Never checked on a second machine, nor on any GPU, for which it is
            wider by the spread of how well kinds of operators are carried out here."""
        )
    said.append(
        """How much instances on one machine slow each other was measured on the cores here, at the largest batch, and is taken to
        be the same on machines of more cores."""
    )
    if any(cost.price.flags for cost in report.costs):
        said.append(
            """Prices marked undated or stale may have changed since; placeholder marks a figure that is no price at all."""
        )
    if any(cost.energy for cost in report.costs):
        said.append(
            """Energy is watts × the seconds that a request keeps the machine busy; what it draws while it waits is not in it.
            rated is the maker's limit, which load seldom reaches."""
        )
    if report.weighing is not None:
        said.append("""A month is 730 hours of a steady load; free tiers and discounts are not counted.""")
    return tuple(" ".join(note.split()) for note in said)


def _cheapest(costs: Sequence[Cost]) -> Cost | None:
    priced = [(usd.value, index) for index, cost in enumerate(costs) if (usd := cost.usd_per_million()) is not None]
    return costs[min(priced)[1]] if priced else None


def _between(interval: Interval) -> str:
    return f"{format_figure(interval.value)} ({format_figure(interval.low)} to {format_figure(interval.high)})"


def _dated(cost: Cost) -> str:
    date, flags = cost.price.date.partition(" (")[0], [flag for flag in cost.price.flags if flag != "undated"]
    return f"{date}, {', '.join(flags)}" if flags else date or "undated"


def _money(cost: Cost) -> str:
    usd, rate = cost.usd_per_million(), cost.throughput_at_slo_per_s
    if usd is not None or rate is None:
        return _between(usd) if usd is not None else "—"
    return "it is not known to keep the SLO" if rate.high > 0.0 else "it cannot keep the SLO"


def _cheapest_table(report: CostReport) -> Table:
    """A row a machine, the cheapest machine first; those without a figure last, with the reason."""
    by_machine: dict[str, list[Cost]] = {}
    for cost in report.costs:
        by_machine.setdefault(cost.price.name, []).append(cost)
    best = [_cheapest(costs) or costs[0] for costs in by_machine.values()]
    best.sort(key=lambda cost: usd.value if (usd := cost.usd_per_million()) else math.inf)
    columns = ("machine", "USD/h", "price of", "variant", "basis", "requests/s at the SLO", "USD per million", "note")
    rows = tuple(
        (
            cost.price.name, f"{cost.price.usd_per_hour:.4g}", _dated(cost),
            cost.variant if cost.usd_per_million() else "—", cost.basis,
            _between(cost.throughput_at_slo_per_s) if cost.throughput_at_slo_per_s else "—", _money(cost), cost.note,
        )
        for cost in best
    )  # fmt: skip
    return Table(f"Cheapest way to keep {report.slo}, machine by machine", columns, rows, columns[:-1])


def _costs_table(report: CostReport) -> Table:
    columns = ("machine", "region", "USD/h", "spot USD/h", "price of", "variant", "basis", "servers", "requests/s at the SLO",
               "USD per million", "on spot", "note")  # fmt: skip
    rows = tuple(
        (
            cost.price.name, cost.price.region, f"{cost.price.usd_per_hour:.4g}", _spot_price(cost), _dated(cost),
            cost.variant, cost.basis, f"{cost.servers.count} ({cost.servers.of})" if cost.servers else "—",
            _between(cost.throughput_at_slo_per_s) if cost.throughput_at_slo_per_s else "—", _money(cost),
            _between(spot) if (spot := cost.spot_usd_per_million()) else "—", cost.note,
        )
        for cost in report.costs
    )  # fmt: skip
    return Table(f"Cost per million requests while {report.slo}, all of it", columns, rows, ())


def _spot_price(cost: Cost) -> str:
    usd, low, high = cost.price.spot_usd_per_hour, cost.price.spot_min_usd, cost.price.spot_max_usd
    if usd is None:
        return "—"
    return f"{usd:.4g} ({low:.4g} to {high:.4g})" if low is not None and high is not None else f"{usd:.4g}"


def _energy_table(costs: Sequence[Cost]) -> Table:
    rows = []
    for cost in costs:
        use = cost.energy
        if use is not None:
            grams = use.co2_g_per_million
            rows.append((
                cost.price.name, cost.variant, f"{use.power.watts:.4g} W {use.power.basis}", use.power.what,
                f"{format_figure(use.joules_per_request)}", f"{format_figure(use.kwh_per_million)}",
                "no grid intensity was given" if grams is None else format_figure(grams),
            ))  # fmt: skip
    columns = ("machine", "variant", "power", "of", "J per request", "kWh per million", "g CO₂ per million")
    return Table("Energy at the SLO", columns, tuple(rows), ())


def _doublings_table(found: Frontier) -> Table:
    cheapest = found.best[0].usd_per_million.value
    rows = tuple(
        (
            f"× {choice.usd_per_million.value / cheapest:.3g}", _between(choice.usd_per_million), _seconds(choice.p99),
            choice.hardware, choice.variant, str(choice.max_batch), f"{choice.load:.0%}", choice.basis,
        )
        for choice in found.doublings
    )  # fmt: skip
    columns = ("cost", "USD per million", "p99", "machine", "variant", "largest batch", "load", "basis")
    return Table(
        "What latency costs: the fastest choice for each doubling of the least cost whose p99 the simulation can bound",
        columns,
        rows,
    )


def _seconds(interval: Interval) -> str:
    low, high = format_duration(interval.low), format_duration(interval.high)
    return f"{format_duration(interval.value)} ({low} to {high})"


def _weighing_sentence(weighing: Weighing) -> str:
    expected = weighing.expected
    now, then = expected.cheapest(expected.load_per_s), expected.cheapest(2.0 * expected.load_per_s)
    usd, between = format_figure(now.usd_per_month(expected.load_per_s)), _monthly_range(weighing, now)
    after = "still the cheapest" if now == then else f"then {then.name} is cheaper"
    return (
        f"At {format_figure(expected.load_per_s)} requests/s {now.name} is the cheapest way to pay: {usd} US dollars a "
        f"month (between {between}); twice the load costs × {expected.doubled(now):.3g}, {after}."
    )


def _segments_table(weighing: Weighing) -> Table:
    rows = [
        (f"{format_figure(s.low_per_s)} to {format_figure(s.high_per_s)}", s.pattern)
        for s in weighing.expected.segments[:SEGMENTS]
    ]
    more = len(weighing.expected.segments) - SEGMENTS
    if more > 0:
        rows.append((f"beyond, {more} more changes", "…"))
    return Table("Cheapest way to pay by load", ("requests/s", "cheapest"), tuple(rows))


def _doubled_table(weighing: Weighing) -> Table:
    expected = weighing.expected
    once, twice = expected.load_per_s, 2.0 * expected.load_per_s
    rows = [
        (
            p.name, format_figure(p.usd_per_month(once)), _monthly_range(weighing, p), str(p.machines(once) or "—"),
            format_figure(p.usd_per_month(twice)), f"× {expected.doubled(p):.3g}", p.note,
        )
        for p in expected.patterns
    ]  # fmt: skip
    rows += [(name, "—", "—", "—", "—", "—", reason) for name, reason in weighing.refused]
    columns = ("pattern", "USD a month", "between", "machines", "at twice the load", "change", "note")
    caption = f"What twice the load costs, from {format_figure(once)} requests/s"
    return Table(caption, columns, tuple(rows), columns[:-1])


def _monthly_range(weighing: Weighing, pattern: Pattern) -> str:
    load = weighing.expected.load_per_s
    ends = (
        next(p for p in each.patterns if p.name == pattern.name).usd_per_month(load)
        for each in (weighing.cheap, weighing.dear)
    )
    return " and ".join(format_figure(end) for end in ends)


def _frontier_figure(found: Frontier, slo: Slo) -> Figure:
    best = set(found.best)
    rest = [choice for choice in found.choices if choice not in best and choice.at_knee]
    data = [
        _points("at the knee", rest, mode="markers", marker={"symbol": "circle-open", "size": 7}),
        _points("best", found.best, mode="lines+markers", marker={"size": 8}),
    ]
    layout = {
        "xaxis": {"title": {"text": "US dollars per million requests"}, "type": "log"},
        "yaxis": {"title": {"text": "p99 latency (ms)"}, "type": "log"},
        "shapes": [_across(slo.latency_s * 1e3)],
    }
    caption = (
        "Cost against latency over machines, variants, batches and loads: lower left is better. Dashed: the promise."
    )
    return Figure(caption, {"data": data, "layout": layout})


def _points(name: str, choices: Sequence[Choice], **style: Any) -> dict[str, Any]:
    return {
        "type": "scatter", "name": name, "x": [c.usd_per_million.value for c in choices],
        "y": [c.p99.value * 1e3 for c in choices], "text": [f"{c} ({c.basis})" for c in choices], **style,
    }  # fmt: skip


def _across(y: float) -> dict[str, Any]:
    return {"type": "line", "xref": "paper", "x0": 0.0, "x1": 1.0, "yref": "y", "y0": y, "y1": y, "line": {"dash": "dash"}}  # fmt: skip


def _break_even_figure(weighing: Weighing) -> Figure:
    expected = weighing.expected
    limit = expected.segments[-1].high_per_s
    loads = [limit * (step + 1) / LOADS_DRAWN for step in range(LOADS_DRAWN)]
    data = [
        {"type": "scatter", "mode": "lines", "name": pattern.name, "x": loads, "line": {"shape": "hv" if pattern.usd_per_hour else "linear"},
         "y": [pattern.usd_per_month(load) for load in loads]}
        for pattern in expected.patterns
    ]  # fmt: skip
    shapes = [
        {"type": "line", "xref": "x", "yref": "paper", "y0": 0.0, "y1": 1.0, "x0": x, "x1": x, "line": {"dash": "dot"}}
        for x in (expected.load_per_s, 2.0 * expected.load_per_s)
        if x <= limit
    ]
    layout = {
        "xaxis": {"title": {"text": "load (requests a second)"}},
        "yaxis": {"title": {"text": "US dollars a month"}, "rangemode": "tozero"},
        "shapes": shapes,
    }
    caption = "What a month costs by load and way to pay. Dotted: the expected load, and twice that."
    return Figure(caption, {"data": data, "layout": layout})
