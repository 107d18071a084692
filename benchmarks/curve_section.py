"""Latency over load, drawn: where the knee is, and how steeply it rises beyond."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from windtunnel.quantity import format_duration, format_figure
from windtunnel.report.section import Figure, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.deployment import Slo
    from windtunnel.load_curve import LoadCurve
    from windtunnel.stats import Interval

NOTE = (
    "Load: Poisson traffic, simulated on the measured service times, one queue before as many instances as fill this machine. The "
    "knee is the load at which throughput ÷ mean latency is greatest (Kleinrock 1979); beyond it latency rises faster than "
    "throughput. Intervals are of the simulated traffic, given the service times."
)


def knee_table(curves: Sequence[LoadCurve]) -> Table:
    """A row a curve: how much at most, and how much and how fast at the knee."""
    rows = tuple(
        (
            curve.variant, f"{curve.servers} × batches of up to {curve.max_batch}", format_figure(curve.saturation_per_s),
            format_figure(curve.knee_per_s), f"{curve.knee.load:.0%}", _or_none(curve.knee.p50), _or_none(curve.knee.p99),
        )
        for curve in curves
    )  # fmt: skip
    columns = ("variant", "servers", "requests/s at most", "at the knee", "load", "p50 there", "p99 there")
    return Table("Latency over load: the knee (simulated)", columns, rows)


def curve_table(curve: LoadCurve) -> Table:
    """A row a load."""
    rows = tuple(
        (
            f"{point.load:.0%}{' (knee)' if point is curve.knee else ''}", format_figure(point.offered_per_s),
            format_figure(point.achieved_per_s), f"{point.mean_batch:.3g}", _or_none(point.p50), _or_none(point.p99),
        )
        for point in curve.points
    )  # fmt: skip
    columns = ("load", "offered/s", "answered/s", "mean batch", "p50", "p99")
    servers = f"{curve.servers} servers" if curve.servers > 1 else "1 server"
    caption = f"Latency over load: {curve.variant}, {servers}, batches of up to {curve.max_batch} (simulated on {curve.basis} times)"
    return Table(caption, columns, rows, ())


def _or_none(interval: Interval) -> str:
    if not math.isfinite(interval.high):
        return f"{format_duration(interval.value)} (no interval)"
    return f"{format_duration(interval.value)} ({format_duration(interval.low)} to {format_duration(interval.high)})"


def curve_figure(curves: Sequence[LoadCurve], slo: Slo | None = None) -> Figure:
    """Median and p99 over the load, the knee as a star, the promise as a line across."""
    data: list[dict[str, Any]] = []
    for curve in curves:
        name = f"{curve.variant}, batches of up to {curve.max_batch}"
        data.append(_curve_line(curve, f"{name}: p99", "p99"))
        data.append(_curve_line(curve, f"{name}: p50", "p50") | {"line": {"dash": "dot"}})
        knee = curve.knee
        data.append({
            "type": "scatter", "mode": "markers", "name": f"{name}: knee", "marker": {"symbol": "star", "size": 13},
            "x": [knee.offered_per_s], "y": [knee.p99.value * 1e3],
        })  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": "offered load (requests a second)"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "latency (ms)"}, "type": "log"},
        "shapes": [_across(slo.latency_s * 1e3)] if slo is not None else [],
    }
    caption = (
        "Latency over load up to saturation, simulated, with 95% intervals where the run carries one. Star: the knee."
    )
    return Figure(caption, {"data": data, "layout": layout})


def _curve_line(curve: LoadCurve, name: str, quantile: str) -> dict[str, Any]:
    intervals = [getattr(point, quantile) for point in curve.points]
    above = [1e3 * (i.high - i.value) if math.isfinite(i.high) else 0.0 for i in intervals]
    below = [1e3 * (i.value - i.low) if math.isfinite(i.low) else 0.0 for i in intervals]
    return {
        "type": "scatter", "mode": "lines+markers", "name": name, "x": [point.offered_per_s for point in curve.points],
        "y": [1e3 * i.value for i in intervals],
        "error_y": {"type": "data", "symmetric": False, "array": above, "arrayminus": below},
    }  # fmt: skip


def _across(y: float) -> dict[str, Any]:
    return {"type": "line", "xref": "paper", "x0": 0.0, "x1": 1.0, "yref": "y", "y0": y, "y1": y, "line": {"dash": "dash"}}  # fmt: skip
