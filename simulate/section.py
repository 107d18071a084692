"""The part of the report that this stage draws: which deployments were flown, and how the chosen one fared over time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.quantity import format_duration, format_share
from windtunnel.report.section import Figure, Section, Table

from .kernel import OVER_TIME
from .timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from windtunnel.simulate.planning import Evaluation
    from windtunnel.stats import Interval

    from .flight import Flight
    from .plan import Plan

INTERVALS = 240
"""How many intervals of time a log is drawn in."""

ROWS = 8
"""How many deployments the table lists."""


def draw(plan: Plan, flights: Mapping[str, Flight]) -> Section:
    """Draw a plan.

    Args:
        plan: what `plan` returned.
        flights: by trace, those of `plan.shown`, from `rehearse`.
    """
    tables = [_deployments(plan), _traces(plan, flights), _frontier(plan)]
    tables += [_patterns(plan)] if plan.patterns else []
    return Section(
        "Simulate",
        plan.verdict.outcome,
        (*plan.verdict.reasons, *_outlook(plan)),
        tuple(tables),
        (_cost_and_latency(plan), _over_time(plan, flights), _cost_and_availability(plan)),
        _notes(plan),
    )


def _quantile(plan: Plan) -> str:
    return f"p{plan.slo.quantile * 100:g}"


def _outlook(plan: Plan) -> list[str]:
    """How long the answer stands, and what another bound would cost."""
    found = []
    if plan.growth is not None:
        then = f", and no longer at {plan.growth.breaks:.3g} times" if plan.growth.breaks else "; more was not tried"
        found.append(f"It keeps the promise up to {plan.growth.keeps:.3g} times the load{then} (one run each).")
    if plan.looser:
        other = plan.looser[0]
        found.append(
            f"A bound of {format_duration(other.worst.latency_s)} would cost ${other.deployment.usd_per_hour:.4g} an hour "
            f"(one run): {other.deployment} on {other.deployment.hardware}."
        )
    return found


def _deployments(plan: Plan) -> Table:
    """Those that were proven or refused, then the others by cost: those that keep the promise before those that do not."""
    proven = {evaluation.deployment for evaluation in plan.tried}
    rest = [evaluation for evaluation in plan.evaluations if evaluation.deployment not in proven]
    rest.sort(key=lambda e: (not e.keeps, *e.cost))
    chosen = [plan.cheapest] if plan.cheapest else []
    others = [evaluation for evaluation in plan.tried if evaluation != plan.cheapest]
    shown = [*chosen, *others, *rest][:ROWS]
    columns = (
        "deployment", "on", "$ an hour", f"worst {_quantile(plan)} [of one more day]", "trace", "utilization", "keeps the promise",
    )  # fmt: skip
    return Table("Deployments, simulated", columns, tuple(_row(plan, e) for e in shown))


def _row(plan: Plan, evaluation: Evaluation) -> tuple[str, ...]:
    worst = evaluation.worst
    latency = _figure(worst.interval) if worst.interval else f"{_time(worst.latency_s)} [one run]"
    kept = "yes" if evaluation.keeps else "no"
    if worst.interval:
        kept = "surely" if evaluation == plan.cheapest else "not surely"
    elif not all(replay.drains for replay in evaluation.replays):
        kept = "no: the queue grows"
    return (
        str(evaluation.deployment), evaluation.deployment.hardware, f"{evaluation.deployment.usd_per_hour:.4g}", latency,
        worst.trace, f"{worst.utilization:.0%}", kept,
    )  # fmt: skip


def _traces(plan: Plan, flights: Mapping[str, Flight]) -> Table:
    columns = ("trace", "requests", "mean batch", "utilization", "mean wait", "p50", "p99", "p99.9")
    rows = []
    for name, flight in flights.items():
        found = flight.summary
        rows.append((
            name, f"{found.requests:,}", f"{found.mean_batch or 0.0:.3g}", f"{found.utilization or 0.0:.1%}",
            _figure(found.wait.mean), *(_figure(found.latency[each]) for each in ("p50", "p99", "p999")),
        ))  # fmt: skip
    brief = tuple(column for column in columns if column != "mean wait")
    return Table(f"One run of {plan.shown.deployment}, simulated [95% interval]", columns, tuple(rows), brief)


def _frontier(plan: Plan) -> Table:
    """What more money buys: none of these is dearer, slower and less available than another."""
    columns = ("$ an hour", f"worst {_quantile(plan)}", "availability", "deployment", "on", "keeps the promise")
    rows = tuple(
        (
            f"{each.deployment.usd_per_hour:.4g}", _time(each.worst.latency_s), format_share(each.availability),
            str(each.deployment), each.deployment.hardware, "yes" if each.keeps else "no",
        )
        for each in plan.frontier
    )  # fmt: skip
    return Table("What more money buys, simulated in one run each", columns, rows[:ROWS])


def _patterns(plan: Plan) -> Table:
    columns = ("pattern", "of", "$ an hour", f"worst {_quantile(plan)}", "in time", "keeps the promise", "assumed")
    rows = tuple(
        (
            each.name, each.what, f"{each.usd_per_hour:.4g}", _time(each.latency_s), format_share(each.in_time),
            "yes" if each.keeps else "no", " ".join(each.assumptions),
        )
        for each in plan.patterns
    )  # fmt: skip
    return Table("Other ways of running it, simulated", columns, rows, columns[:-1])


def _time(seconds: float) -> str:
    return format_duration(seconds) if math.isfinite(seconds) else "never"


def _figure(interval: Interval) -> str:
    if not math.isfinite(interval.high):
        return f"{format_duration(interval.value)} [no interval]"
    low, high = format_duration(max(0.0, interval.low)), format_duration(interval.high)
    return f"{format_duration(interval.value)} [{low} – {high}]"


def _cost_and_latency(plan: Plan) -> Figure:
    keeping = [evaluation for evaluation in plan.evaluations if evaluation.keeps]
    missing = [evaluation for evaluation in plan.evaluations if not evaluation.keeps]
    costs = [evaluation.deployment.usd_per_hour for evaluation in plan.evaluations]
    bound_ms = plan.slo.latency_s * 1e3
    data = [
        _points("keeps the promise", keeping),
        _points("misses it", missing, symbol="x"),
        {"type": "scatter", "mode": "lines", "name": str(plan.slo), "line": {"dash": "dash"},
         "x": [min(costs), max(costs)], "y": [bound_ms, bound_ms]},
    ]  # fmt: skip
    if plan.cheapest:
        data.append(_points("cheapest that surely does", [plan.cheapest], symbol="star", size=16))
    layout = {
        "xaxis": {"title": {"text": "cost (US dollars an hour)"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": f"{_quantile(plan)} latency on the worst trace (ms)"}, "type": "log"},
    }
    caption = (
        f"What the {plan.evaluated} deployments that were flown whole cost, and how slow they are on their worst trace: lower "
        "left is better."
    )
    return Figure(caption, {"data": data, "layout": layout})


def _cost_and_availability(plan: Plan) -> Figure:
    """The frontier's third axis."""
    frontier = plan.frontier
    others = [each for each in plan.evaluations if each not in frontier]
    data = [
        _available("frontier", frontier, mode="lines+markers", line={"shape": "hv"}),
        _available("others", others, marker={"symbol": "circle-open"}),
    ]
    layout = {
        "xaxis": {"title": {"text": "cost (US dollars an hour)"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "availability (% of requests answered within the bound)"}},
    }
    caption = """The share of requests that are answered within the bound on the day on which it is least, machines being lost at the stated
        rates (none fails where nothing was said): upper left is better."""
    return Figure(" ".join(caption.split()), {"data": data, "layout": layout})


def _available(name: str, evaluations: Iterable[Evaluation], **look: Any) -> dict[str, Any]:
    shown = list(evaluations)
    return {
        "type": "scatter", "mode": "markers", "name": name, **look,
        "x": [each.deployment.usd_per_hour for each in shown], "y": [each.availability * 100.0 for each in shown],
        "text": [f"{each.deployment} on {each.deployment.hardware}" for each in shown],
    }  # fmt: skip


def _points(name: str, evaluations: Iterable[Evaluation], *, symbol: str = "circle", size: int = 8) -> dict[str, Any]:
    shown = [each for each in evaluations if math.isfinite(each.worst.latency_s)]
    return {
        "type": "scatter", "mode": "markers", "name": name, "marker": {"symbol": symbol, "size": size},
        "x": [evaluation.deployment.usd_per_hour for evaluation in shown],
        "y": [evaluation.worst.latency_s * 1e3 for evaluation in shown],
        "text": [f"{evaluation.deployment} on {evaluation.deployment.hardware} (worst: {evaluation.worst.trace})" for evaluation in shown],
    }  # fmt: skip


def _over_time(plan: Plan, flights: Mapping[str, Flight]) -> Figure:
    data: list[dict[str, Any]] = []
    for name, flight in flights.items():
        middles, rates, latencies_s, what = _course_of(flight, plan)
        data += [
            {"type": "scatter", "mode": "lines", "name": f"{name}: arrivals", "x": middles, "y": rates, "line": {"width": 1}},
            {"type": "scatter", "mode": "lines", "name": f"{name}: {what}", "x": middles,
             "y": [_number(each * 1e3) for each in latencies_s], "yaxis": "y2"},
        ]  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": "time since the first request (s)"}, "anchor": "y2"},
        "yaxis": {"title": {"text": "arrivals (1/s)"}, "domain": [0.55, 1.0], "rangemode": "tozero"},
        "yaxis2": {"title": {"text": "latency (ms)"}, "domain": [0.0, 0.45], "type": "log"},
        "shapes": [_line_at(plan.slo.latency_s * 1e3)],
    }
    caption = f"Above, the load; below, what it does to {plan.shown.deployment}, with the bound dashed."
    return Figure(caption, {"data": data, "layout": layout})


def _course_of(flight: Flight, plan: Plan) -> tuple[list[float], list[float], list[float], str]:
    """Middles of intervals, rates and latencies in them, and which latency it is: the longest where no request was written down."""
    if flight.log is not None:
        over_time = timeline(flight.log, INTERVALS, quantile=plan.slo.quantile)
        middles = over_time.start_s + over_time.seconds / 2.0
        return middles.tolist(), over_time.rate_per_s.tolist(), over_time.latency_s.tolist(), _quantile(plan)
    used = flight.over_time[: int((flight.last_s - flight.first_s) / flight.bin_s) + 1]
    at_s = (np.arange(len(used)) + 0.5) * flight.bin_s
    longest = used[:, OVER_TIME.index("latency_max_s")]
    return at_s.tolist(), (used[:, OVER_TIME.index("arrived")] / flight.bin_s).tolist(), longest.tolist(), "longest"


def _line_at(y: float) -> dict[str, Any]:
    return {
        "type": "line", "xref": "paper", "x0": 0.0, "x1": 1.0, "yref": "y2", "y0": y, "y1": y, "line": {"dash": "dash"},
    }  # fmt: skip


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _notes(plan: Plan) -> tuple[str, ...]:
    effort, seen = plan.effort, plan.monotony
    notes = (
        """Simulated: the time spent waiting for and in the model, from service times measured per batch size. The server,
        proxies, (de)serialization and the network are not in it; what they take comes on top.""",
        """Behind `ideal` batching replicas share one queue: no router sends a request to a busy replica while another is idle.
        Nothing scales, fails, times out or retries, unless a table says so.""",
        """Replicas that share a machine are slowed by the parallel efficiency that was measured with all cores busy, in
        proportion to how many share it.""",
        """Every deployment met the same requests and the same luck. The interval of a deployment is that in which the quantile
        of one more day lies, with the same arrivals and fresh luck, from repeated runs; those of single runs are of the
        settled load, from blocks of consecutive requests, wider where the load drifts, and refused where the tail lies in too few of the blocks.""",
        """Sure is meant given this traffic and these measured service times: other traffic, or another processor, is another
        question.""",
        f"""Of {effort.possible:,} deployments {effort.evaluated:,} were flown whole; {effort.screened:,} broke the promise in the
        busiest window already, {effort.ruled_out:,} by arithmetic alone, and the rest could not be cheaper or is known from
        its neighbours. Until the answer stood this took {effort.share:.2%} of the simulations of flying all of them.""",
        f"""That more replicas never hurt, all else alike, is taken for granted between the deployments that were flown. Of
        {seen.pairs} neighbouring pairs that were, {seen.rises} were slower by over 1% with more replicas, and {seen.broken} broke
        the promise with more that they kept with fewer; lines with such pairs were flown whole.""",
        f"{plan.requests_simulated:,} requests were simulated.",
    )
    return tuple(" ".join(note.split()) for note in notes)
