"""The benchmarking stage's part of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.latency_profile import QUANTILES
from windtunnel.quantity import format_bytes, format_duration, format_figure
from windtunnel.report.section import Figure, Section, Table

from . import cost_section
from .curve_section import NOTE, curve_figure, curve_table, knee_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.server_cost import ServerCost
    from windtunnel.stats import Interval
    from windtunnel.verdict import Verdict

    from .benchmark import Benchmark
    from .compare import Comparison
    from .consumption import Consumption
    from .cost_section import CostReport


SPINLESS = "Several threads were measured without spinning, which takes no processor from a neighbour and makes small models no faster."


def draw(result: Benchmark, report: CostReport | None = None) -> Section:
    """Draw a benchmark: service times with intervals, what else they take, and what a million requests cost.

    Args:
        result: the measurement.
        report: what it costs; None where nobody asked.
    """
    comparisons = [_comparison_table(result.comparisons)] if result.comparisons else []
    taken = [_taken_table(result)] if any(profile.footprint for profile in result.profiles) else []
    transfers = [_transfer_table(result)] if result.transfers else []
    scalings = [_scaling_table(result)] if result.scalings else []
    knees = [knee_table(result.curves)] if result.curves else []
    curves = [curve_figure(result.curves, report.slo if report is not None else None)] if result.curves else []
    servers = [server_table(each) for each in dict.fromkeys(p.server for p in result.profiles) if each is not None]
    told = [each for each in result.consumptions if each.energy is not None or each.gpu is not None]
    drawn = [_consumption_table(told)] if told else []
    costs = cost_section.tables(report) if report is not None else ()
    looked_up = (*(curve_table(curve) for curve in result.curves), _latency_table(result))
    priced = cost_section.figures(report) if report is not None else ()
    return Section(
        "Benchmark",
        result.verdict.outcome,
        (*(cost_section.sentences(report) if report is not None else ()), *result.verdict.reasons),
        (
            _median_table(result), *servers, *comparisons, *costs[:1], *taken, *scalings, *knees, *transfers, *drawn, *costs[1:], *looked_up,
        ),
        (*priced, *curves, _latency_figure(result), _throughput_figure(result)),
        (*_notes(result), *(cost_section.notes(report) if report is not None else ())),
    )  # fmt: skip


def draw_comparisons(comparisons: Sequence[Comparison], verdict: Verdict) -> Section:
    """Draw two earlier runs beside each other."""
    note = (
        "The runs were measured at different times: what changed on the machine between them is in the ratio and not in its "
        "interval. Measure both side by side (benchmark A B) where that matters."
    )
    return Section("Comparison", verdict.outcome, verdict.reasons, (_comparison_table(comparisons),), notes=(note,))


def _notes(result: Benchmark) -> tuple[str, ...]:
    hardware, runtimes = result.profiles[0].hardware, dict.fromkeys(p.runtime for p in result.profiles)
    inputs = "made up from the signature (--data gives real ones)" if result.generated else "real rows"
    disturbed = ", ".join(f"{share:.1%} of {what}" for share, what in result.disturbance.told if share >= 0.0005)
    return (
        f"Basis: measured on {hardware}; {', '.join(runtimes)}; inputs: {inputs}.",
        (
            f"Timed in {result.timings.rounds} rounds. Each round loads every model anew and runs one block of every setting "
            "and batch size in a new random order, after a warm-up that ended when two windows agreed. Two sessions of one "
            "file differ by where they lie in memory: loading anew puts that doubt into the intervals."
        ),
        (
            "± is the 95% interval by order statistics, with as many samples as are worth independent ones; — means that the "
            "samples cannot carry that quantile (MLPerf's least counts: 64 for p90, 662 for p99, 6,636 for p99.9)."
        ),
        (
            f"Harness: {format_duration(result.harness_floor_s)} a call (a session that does nothing). Disturbed: "
            f"{disturbed or 'not at all'}."
        ),
        *(("Memory and start are those of a process started for it, with its files in the page cache.",) if result.starts else ()),
        *((SPINLESS,) if result.scalings else ()),
        *((NOTE,) if result.curves else ()),
        *(dict.fromkeys(each.meaning for each in result.scalings)),
    )  # fmt: skip


def with_reach(interval: Interval | None) -> str:
    """A duration and half the width of its interval, as a share; a dash where there is none."""
    if interval is None:
        return "—"
    reach = (interval.high - interval.low) / 2 / interval.value
    return f"{format_duration(interval.value)} ±{reach:.{0 if reach >= 0.02 else 1}%}"


def _rate(interval: Interval) -> str:
    return f"{interval.value:,.0f} ({interval.low:,.0f} to {interval.high:,.0f})"


def _between(interval: Interval) -> str:
    value, low, high = (format_duration(each) for each in (interval.value, interval.low, interval.high))
    return f"{value} ({low} to {high})"


def server_table(server: ServerCost) -> Table:
    """What a server costs beside the model."""
    what = "CPU a request" if server.of == "cpu" else "time a request"
    share = "—" if server.share is None else f"{server.share:.0%}"
    model = format_duration(server.model_s) if server.model_s > 0.0 else "—"
    row = (
        server.server, _between(server.cpu_s), model, share, f"{server.requests_per_s:,.0f}", str(server.connections),
        str(server.processes or "—"),
    )  # fmt: skip
    columns = (
        "server", f"{what}, its own", "the model's", "the server's share", "requests/s meanwhile", "connections", "processes",
    )  # fmt: skip
    return Table("What the server costs", columns, (row,))


def _median_table(result: Benchmark) -> Table:
    """The medians alone, or the quantile that was to be precise, a row a profile."""
    sizes = result.profiles[0].batch_sizes
    what = "Median" if result.quantile == 0.5 else f"p{result.quantile * 100:g} of the"
    rows = tuple(
        (p.name, *(with_reach(p.quantile_s(b, result.quantile)) for b in sizes), _validity(p)) for p in result.profiles
    )
    return Table(f"{what} service time (measured, ± 95%)", ("variant", *(f"batch {b}" for b in sizes), ""), rows)


def _validity(profile: LatencyProfile) -> str:
    return "valid" if profile.verdict.outcome == "go" else "INVALID"


def _latency_table(result: Benchmark) -> Table:
    rows = []
    for profile in result.profiles:
        for index, batch in enumerate(profile.batch_sizes):
            quantiles = (with_reach(each) for each in profile.quantiles_s(batch, list(QUANTILES.values())))
            cpu = format_duration(profile.cpu_s[index] / batch) if profile.cpu_s else "—"
            rows.append((
                profile.name, str(batch), *quantiles, _rate(profile.throughput_per_s(batch)), cpu,
                str(len(profile.samples_s[index])), _validity(profile),
            ))  # fmt: skip
    columns = ("variant", "batch", "p50", "p90", "p99", "p99.9", "rows/s", "CPU/row", "samples", "")
    return Table("Service time per batch (measured)", columns, tuple(rows), ())


def _taken_table(result: Benchmark) -> Table:
    """Memory and start of an instance, a row a profile that has them."""
    rows = tuple(
        (
            p.name, format_bytes(p.footprint.rss_bytes), format_bytes(p.footprint.instance_bytes),
            format_duration(p.footprint.process_start_s), format_duration(p.footprint.load_s), str(p.footprint.starts),
        )
        for p in result.profiles
        if p.footprint is not None
    )  # fmt: skip
    columns = ("variant", "process, at most", "of it the model", "start → answer", "load → answer", "starts")
    return Table("Memory and cold start of one instance (measured, medians)", columns, rows)


def _scaling_table(result: Benchmark) -> Table:
    """How the machine is filled, a row a layout."""
    rows = tuple(
        (
            scaling.variant, str(scaling.batch), str(layout), _rate(layout.rows_per_s),
            format_duration(layout.cpu_s_per_row), "best" if layout == scaling.best else "",
        )
        for scaling in result.scalings
        for layout in scaling.layouts
    )  # fmt: skip
    columns = ("variant", "batch", "instances × threads", "rows/s at saturation (95%)", "CPU/row", "")
    return Table("Filling the machine: instances against threads (measured)", columns, rows)


def _transfer_table(result: Benchmark) -> Table:
    """What of a call is copies."""
    rows = tuple(
        (
            each.name, str(each.batch), format_bytes(each.copied_bytes), format_duration(each.copy_in_s.value),
            format_duration(each.compute_s.value), format_duration(each.copy_out_s.value),
        )
        for each in result.transfers
    )  # fmt: skip
    columns = ("variant", "batch", "copied", "to the device", "computing", "back")
    return Table("Copies between host and device, apart from computing (measured, means)", columns, rows)


def _consumption_table(told: Sequence[Consumption]) -> Table:
    """What was drawn and held, a row a variant and runtime of which something is known."""
    rows = tuple(
        (each.name, str(each.batch), str(each.instances), *_drawn(each), *_held(each), each.reason) for each in told
    )
    columns = ("variant", "batch", "instances", "J per request (95%)", "busy", "idle, loaded", "of", "GPU memory", "GPU busy",
               "held back by", "")  # fmt: skip
    return Table("Energy beyond idling, and the GPU, at full load (measured)", columns, rows)


def _drawn(each: Consumption) -> tuple[str, ...]:
    joules = each.joules_per_request
    if each.energy is None or each.idle is None or joules is None:
        return ("—",) * 4
    interval = f"{joules.value:.3g} ({joules.low:.3g} to {joules.high:.3g})"
    return interval, f"{each.energy.watts:.3g} W", f"{each.idle.watts:.3g} W", each.energy.what


def _held(each: Consumption) -> tuple[str, ...]:
    if each.gpu is None:
        return ("—",) * 3
    busy = "—" if each.gpu.utilisation is None else f"{each.gpu.utilisation:.0%}"
    slowed = ", ".join(f"{what} {share:.0%}" for what, share in each.gpu.slowed.items())
    return format_bytes(each.gpu.memory_bytes), busy, slowed or "nothing"


def _comparison_table(comparisons: Sequence[Comparison]) -> Table:
    rows = tuple(
        (each.b, each.a, str(each.batch), f"{each.ratio.value:.3g} ({each.ratio.low:.3g} to {each.ratio.high:.3g})", each.told)
        for each in comparisons
    )  # fmt: skip
    caption = "Side by side, in turns" if all(each.paired for each in comparisons) else "Two runs"
    return Table(caption, ("this", "beside", "batch", "× as fast (95%)", "which is"), rows)


def _line(profile: LatencyProfile, y: Sequence[float | None], array: list[float]) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines+markers", "name": profile.name, "x": list(profile.batch_sizes), "y": list(y),
        "error_y": {"type": "data", "array": array},
    }  # fmt: skip


def _latency_figure(result: Benchmark) -> Figure:
    data = []
    for profile in result.profiles:
        medians = [profile.quantile_s(batch, 0.5) for batch in profile.batch_sizes]
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
    data = []
    for profile in result.profiles:
        rates = [profile.throughput_per_s(batch) for batch in profile.batch_sizes]
        data.append(_line(profile, [r.value for r in rates], [(r.high - r.low) / 2 for r in rates]))
    layout = {
        "xaxis": {"title": {"text": "batch size (rows)"}, "type": "log", "dtick": 0.30103},
        "yaxis": {"title": {"text": "rows a second"}},
    }
    best = max(result.scalings, key=lambda each: each.best.rows_per_s.value, default=None)
    filled = (
        f" The machine, filled with {best.variant}, carries at most {format_figure(best.best.rows_per_s.value)}."
        if best
        else ""
    )
    return Figure(f"What batching buys: rows a second of one instance. Higher is better.{filled}", {"data": data, "layout": layout})  # fmt: skip
