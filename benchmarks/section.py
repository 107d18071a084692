"""The benchmarking stage's part of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.quantity import format_duration, format_figure
from windtunnel.report.section import Figure, Section, Table
from windtunnel.stats import Interval, dependent_quantile_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.deployment import Slo
    from windtunnel.latency_profile import LatencyProfile

    from .benchmark import Benchmark
    from .cost import Cost


COST_COLUMNS = ("machine", "USD/h", "price of", "variant", "basis", "requests/s at the SLO", "USD per million")


def draw(result: Benchmark, slo: Slo | None = None) -> Section:
    """Draw a benchmark: latency per batch size with intervals, throughput, and what a million requests cost."""
    verdict, hardware = result.verdict, result.profiles[0].hardware
    tables = [_median_table(result), _latency_table(result)]
    if result.costs:
        tables += [_cheapest_table(result, slo), _cost_table(result, slo)]
    inputs = "made up from the signature" if result.generated else "rows of the recording"
    return Section(
        "Benchmark",
        verdict.outcome,
        verdict.reasons,
        tuple(tables),
        (_latency_figure(result), _throughput_figure(result)),
        (
            (
                f"Basis: measured on {hardware}; {result.profiles[0].runtime}, {result.profiles[0].threads} intra-op thread; "
                f"inputs: {inputs}."
            ),
            (
                "All variants and batch sizes were timed in randomly ordered, interleaved blocks after a warm-up that ended "
                "when two windows agreed. ± is the 95% interval of batch quantiles over time; — means that the sample cannot "
                "carry that quantile."
            ),
            (
                f"Harness: {format_duration(result.harness_floor_s)} a call (a session that does nothing). Stolen by other "
                f"machines: {result.disturbance.stolen:.1%} of processor time; throttled: {result.disturbance.throttled:.1%}."
            ),
            *_cost_notes(result),
        ),
    )


def _cost_notes(result: Benchmark) -> tuple[str, ...]:
    if not result.costs:
        return ()
    return (
        (
            "Cost = price ÷ the highest Poisson rate at which the promise is kept in simulation with one replica a core, "
            "slowed by the measured parallel efficiency. It is the model's own time: server, network and idle hours are not in it."
        ),
        (
            "measured: as many cores as here, on this machine's processor and not the instance's own. projected: linear in "
            "cores, with no error band of its own. not measured: no figure exists, so none is shown."
        ),
    )


def _with_reach(interval: Interval | None) -> str:
    if interval is None:
        return "—"
    reach = (interval.high - interval.low) / 2 / interval.value
    return f"{format_duration(interval.value)} ±{reach:.{0 if reach >= 0.02 else 1}%}"


def _latency_table(result: Benchmark) -> Table:
    rows = []
    for profile in result.profiles:
        for batch, samples in zip(profile.batch_sizes, profile.samples_s, strict=True):
            quantiles = (_with_reach(dependent_quantile_interval(samples, q)) for q in (0.5, 0.9, 0.99))
            valid = "valid" if profile.verdict.outcome == "go" else "INVALID"
            rows.append(
                (profile.variant, str(batch), *quantiles, f"{batch / samples.mean():,.0f}", str(len(samples)), valid)
            )
    columns = ("variant", "batch", "p50", "p90", "p99", "rows/s", "samples", "")
    return Table("Service time per batch (measured)", columns, tuple(rows), ())


def _median_table(result: Benchmark) -> Table:
    """The medians alone, a row a variant."""
    sizes = result.profiles[0].batch_sizes
    rows = []
    for profile in result.profiles:
        medians = (_with_reach(dependent_quantile_interval(samples, 0.5)) for samples in profile.samples_s)
        rows.append((profile.variant, *medians))
    return Table("Median service time (measured, ± 95%)", ("variant", *(f"batch {b}" for b in sizes)), tuple(rows))


def _cheapest_table(result: Benchmark, slo: Slo | None) -> Table:
    """The cheapest variant on each machine."""
    best: dict[str, Cost] = {}
    for cost in result.costs:
        usd, least = (
            cost.usd_per_million(),
            best[cost.price.name].usd_per_million() if cost.price.name in best else None,
        )
        if cost.price.name not in best or (usd is not None and (least is None or usd.value < least.value)):
            best[cost.price.name] = cost
    rows = tuple(_cost_row(cost) for cost in best.values())
    return Table(f"Cheapest variant on each machine while {slo}", COST_COLUMNS, rows)


def _cost_table(result: Benchmark, slo: Slo | None) -> Table:
    rows = tuple(_cost_row(cost) for cost in result.costs)
    return Table(f"Cost per million requests while {slo}", COST_COLUMNS, rows, ())


def _cost_row(cost: Cost) -> tuple[str, ...]:
    usd, rate = cost.usd_per_million(), cost.throughput_at_slo_per_s
    return (
        cost.price.name,
        f"{cost.price.usd_per_hour:.4g}",
        cost.price.date.partition(" (")[0],
        cost.variant if cost.basis != "not measured" else "—",
        cost.basis,
        _between(rate) if rate else "—",
        _between(usd) if usd else ("—" if rate is None else "the SLO cannot be kept"),
    )


def _between(interval: Interval) -> str:
    return f"{format_figure(interval.value)} ({format_figure(interval.low)} to {format_figure(interval.high)})"


def _line(profile: LatencyProfile, y: Sequence[float | None], array: list[float] | None = None) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "type": "scatter", "mode": "lines+markers", "name": profile.variant, "x": list(profile.batch_sizes), "y": list(y),
    }  # fmt: skip
    return trace | ({"error_y": {"type": "data", "array": array}} if array is not None else {})


def _latency_figure(result: Benchmark) -> Figure:
    data = []
    for profile in result.profiles:
        medians = [dependent_quantile_interval(samples, 0.5) for samples in profile.samples_s]
        known = [(m.value * 1e3, (m.high - m.low) / 2e-3) if m else (None, 0.0) for m in medians]
        data.append(_line(profile, [value for value, _ in known], [reach for _, reach in known]))
    layout = {
        "xaxis": {"title": {"text": "batch size (rows)"}, "type": "log", "dtick": 0.30103},
        "yaxis": {"title": {"text": "median service time (ms)"}, "type": "log"},
    }
    return Figure(
        "Median service time per batch size, with 95% intervals. Lower is better.", {"data": data, "layout": layout}
    )


def _throughput_figure(result: Benchmark) -> Figure:
    data = [
        _line(p, [b / float(s.mean()) for b, s in zip(p.batch_sizes, p.samples_s, strict=True)])
        for p in result.profiles
    ]
    layout = {
        "xaxis": {"title": {"text": "batch size (rows)"}, "type": "log", "dtick": 0.30103},
        "yaxis": {"title": {"text": "rows a second, one thread"}},
    }
    return Figure("What batching buys: rows a second on one core. Higher is better.", {"data": data, "layout": layout})
