"""The part of the report that this stage draws: which deployments were flown, and how the chosen one fared over time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from windtunnel.quantity import format_duration
from windtunnel.report.section import Figure, Section, Table

from .timeline import timeline
from .tunnel import BLOCKS, summarise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from windtunnel.request_log import RequestLog
    from windtunnel.stats import Interval

    from .plan import Evaluation, Plan

INTERVALS = 240
"""How many intervals of time a log is drawn in."""

ROWS = 8
"""How many deployments the table lists."""


def draw(plan: Plan, logs: Mapping[str, RequestLog]) -> Section:
    """Draw a plan.

    Args:
        plan: what `plan` returned.
        logs: by trace, those of `plan.shown`, from `rehearse`.
    """
    return Section(
        "Simulate",
        plan.verdict.outcome,
        plan.verdict.reasons,
        (_deployments(plan), _traces(plan, logs)),
        (_cost_and_latency(plan), _over_time(plan, logs)),
        _notes(plan),
    )


def _quantile(plan: Plan) -> str:
    return f"p{plan.slo.quantile * 100:g}"


def _deployments(plan: Plan) -> Table:
    """Those that were proven or refused, then the others by cost: those that keep the promise before those that do not."""
    proven = {evaluation.deployment for evaluation in plan.tried}
    rest = [evaluation for evaluation in plan.evaluations if evaluation.deployment not in proven]
    rest.sort(key=lambda e: (not e.keeps, e.deployment.usd_per_hour, e.worst.latency_s))
    chosen = [plan.cheapest] if plan.cheapest else []
    others = [evaluation for evaluation in plan.tried if evaluation != plan.cheapest]
    shown = [*chosen, *others, *rest][:ROWS]
    columns = (
        "deployment",
        "$ an hour",
        f"worst {_quantile(plan)} [interval]",
        "on",
        "utilization",
        "keeps the promise",
    )
    return Table(f"Deployments on {plan.hardware}, simulated", columns, tuple(_row(plan, e) for e in shown))


def _row(plan: Plan, evaluation: Evaluation) -> tuple[str, ...]:
    worst = evaluation.worst
    latency = _figure(worst.interval) if worst.interval else f"{format_duration(worst.latency_s)} [one run]"
    kept = "yes" if evaluation.keeps else "no"
    if worst.interval:
        kept = "surely" if evaluation == plan.cheapest else "not surely"
    elif not all(replay.drains for replay in evaluation.replays):
        kept = "no: the queue grows"
    return (
        str(evaluation.deployment), f"{evaluation.deployment.usd_per_hour:.4g}", latency, worst.trace,
        f"{worst.utilization:.0%}", kept,
    )  # fmt: skip


def _traces(plan: Plan, logs: Mapping[str, RequestLog]) -> Table:
    columns = ("trace", "requests", "mean batch", "utilization", "mean wait", "p50", "p99", "p99.9")
    rows = []
    for name, log in logs.items():
        summary = summarise(log, plan.shown.deployment.replicas)
        latency = summary.latency
        rows.append((
            name, f"{summary.requests:,}", f"{summary.mean_batch:.3g}", f"{summary.utilization:.1%}",
            _figure(summary.wait.mean), _figure(latency["p50"]), _figure(latency["p99"]), _figure(latency["p999"]),
        ))  # fmt: skip
    brief = tuple(column for column in columns if column != "mean wait")
    return Table(f"One run of {plan.shown.deployment}, simulated [95% interval]", columns, tuple(rows), brief)


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
        "xaxis": {"title": {"text": f"cost on {plan.hardware} (US dollars an hour)"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": f"{_quantile(plan)} latency on the worst trace (ms)"}, "type": "log"},
    }
    caption = (
        f"What {plan.evaluated} deployments cost, and how slow they are on their worst trace: lower left is better."
    )
    return Figure(caption, {"data": data, "layout": layout})


def _points(name: str, evaluations: Iterable[Evaluation], *, symbol: str = "circle", size: int = 8) -> dict[str, Any]:
    shown = list(evaluations)
    return {
        "type": "scatter", "mode": "markers", "name": name, "marker": {"symbol": symbol, "size": size},
        "x": [evaluation.deployment.usd_per_hour for evaluation in shown],
        "y": [evaluation.worst.latency_s * 1e3 for evaluation in shown],
        "text": [f"{evaluation.deployment} (worst: {evaluation.worst.trace})" for evaluation in shown],
    }  # fmt: skip


def _over_time(plan: Plan, logs: Mapping[str, RequestLog]) -> Figure:
    data: list[dict[str, Any]] = []
    for name, log in logs.items():
        over_time = timeline(log, INTERVALS, quantile=plan.slo.quantile)
        middles = (over_time.start_s + over_time.seconds / 2.0).tolist()
        latencies_ms = [_number(each * 1e3) for each in over_time.latency_s.tolist()]
        data += [
            {"type": "scatter", "mode": "lines", "name": f"{name}: arrivals", "x": middles,
             "y": over_time.rate_per_s.tolist(), "line": {"width": 1}},
            {"type": "scatter", "mode": "lines", "name": f"{name}: {_quantile(plan)}", "x": middles,
             "y": latencies_ms, "yaxis": "y2"},
        ]  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": "time since the first request (s)"}, "anchor": "y2"},
        "yaxis": {"title": {"text": "arrivals (1/s)"}, "domain": [0.55, 1.0], "rangemode": "tozero"},
        "yaxis2": {"title": {"text": f"{_quantile(plan)} latency (ms)"}, "domain": [0.0, 0.45], "type": "log"},
        "shapes": [_line_at(plan.slo.latency_s * 1e3)],
    }
    caption = f"Above, the load; below, what it does to {plan.shown.deployment}, with the bound dashed."
    return Figure(caption, {"data": data, "layout": layout})


def _line_at(y: float) -> dict[str, Any]:
    return {
        "type": "line", "xref": "paper", "x0": 0.0, "x1": 1.0, "yref": "y2", "y0": y, "y1": y, "line": {"dash": "dash"},
    }  # fmt: skip


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _notes(plan: Plan) -> tuple[str, ...]:
    notes = (
        """Simulated: the time spent waiting for and in the model, from service times measured per batch size. The server,
        proxies, (de)serialization and the network are not in it; what they take comes on top.""",
        """Replicas share one queue: no router sends a request to a busy replica while another is idle. Nothing scales,
        fails, times out or retries.""",
        """Replicas that share a machine are slowed by the parallel efficiency that was measured with all cores busy, in
        proportion to how many share it.""",
        f"""Every deployment met the same requests and the same luck. Intervals of deployments come from repeated runs
        with fresh luck on the same traces; those of single runs from {BLOCKS} blocks of consecutive requests, which are
        wider where the load drifts, and refused where the tail lies in too few of the blocks.""",
        """Sure is meant given this traffic and these measured service times: other traffic, or another processor, is another
        question.""",
        f"{plan.requests_simulated:,} requests were simulated.",
    )
    return tuple(" ".join(note.split()) for note in notes)
