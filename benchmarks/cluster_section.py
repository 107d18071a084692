"""The part of the report that shows what the nodes of a cluster measured, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.report.section import Figure, Section, Table

from .section import with_reach

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.latency_profile import LatencyProfile

    from .benchmark import Benchmark
    from .cluster import ClusterBenchmark
    from .kind import Kind

UNKNOWN = "—"


def draw_cluster(result: ClusterBenchmark) -> Section:
    """Draw the kinds of nodes, and the median service time of everything measured, a column a kind."""
    verdict = result.verdict
    measured = [(kind.label, kind.benchmark) for kind in result.kinds if kind.benchmark is not None]
    return Section(
        "Benchmark on a cluster",
        verdict.outcome,
        verdict.reasons,
        (_kinds_table(result.kinds), _medians_table(measured)),
        (_medians_figure(measured),),
        _notes(result),
    )


def _kinds_table(kinds: Sequence[Kind]) -> Table:
    rows = tuple(
        (
            kind.label,
            f"{kind.nodes[0].host} ({kind.nodes[0].id[:12]})",
            str(len(kind.nodes)),
            str(kind.hardware) if kind.hardware is not None else UNKNOWN,
            "measured" if kind.benchmark is not None else kind.problem,
            "; ".join(f"{runtime}: {why}" for runtime, why in kind.left_out.items()) or UNKNOWN,
        )
        for kind in kinds
    )
    columns = ("kind", "measured on", "nodes of the kind", "hardware", "", "left out")
    return Table("Kinds of nodes", columns, rows, ("kind", "nodes of the kind", ""))


def _medians_table(measured: Sequence[tuple[str, Benchmark]]) -> Table:
    """A row a setting and batch size; runtimes of another version on another kind stand in rows of their own."""
    found: dict[tuple[str, int], dict[str, str]] = {}
    for label, benchmark in measured:
        for profile in benchmark.profiles:
            for batch in profile.batch_sizes:
                found.setdefault((profile.name, batch), {})[label] = _median(profile, batch)
    labels = [label for label, _ in measured]
    rows = tuple(
        (name, str(batch), *(each.get(label, UNKNOWN) for label in labels)) for (name, batch), each in found.items()
    )
    return Table("Median service time (measured, ± 95%)", ("setting", "batch", *labels), rows)


def _median(profile: LatencyProfile, batch: int) -> str:
    valid = "" if profile.verdict.outcome == "go" else " INVALID"
    return with_reach(profile.quantile_s(batch, 0.5)) + valid


def _medians_figure(measured: Sequence[tuple[str, Benchmark]]) -> Figure:
    data = [_line(label, profile) for label, benchmark in measured for profile in benchmark.profiles]
    layout = {
        "xaxis": {"title": {"text": "batch size (rows)"}, "type": "log", "dtick": 0.30103},
        "yaxis": {"title": {"text": "median service time (ms)"}, "type": "log"},
    }
    return Figure(
        "Median service time per batch size on each kind of node. Lower is better.", {"data": data, "layout": layout}
    )


def _line(label: str, profile: LatencyProfile) -> dict[str, Any]:
    medians = [profile.quantile_s(batch, 0.5) for batch in profile.batch_sizes]
    return {
        "type": "scatter", "mode": "lines+markers", "name": f"{profile.name} on {label}", "x": list(profile.batch_sizes),
        "y": [m.value * 1e3 if m else None for m in medians],
        "error_y": {"type": "data", "array": [(m.high - m.low) / 2e-3 if m else 0.0 for m in medians]},
    }  # fmt: skip


def _notes(result: ClusterBenchmark) -> tuple[str, ...]:
    notes = [
        (
            "The first node of each kind measured, in the order of Ray's ids. While it did, it was held with every CPU and GPU "
            "that it lends; what asks Ray for no CPU, and what is not Ray's, was not kept away and shows as disturbance."
        )
    ]
    notes += [
        f"{', '.join(labels)}: nodes that share one machine, measured one after the other; each held its own node, and not "
        "the others on that machine."
        for labels in result.in_turns
    ]
    if result.passed_over:
        names = ", ".join(str(node) for node in result.passed_over)
        notes.append(f"Not measured, for they lend no CPU: {names}.")
    return (*notes, *_versions(result.kinds))


def _versions(kinds: Sequence[Kind]) -> tuple[str, ...]:
    """What is installed in different versions on different kinds: it changes service times too."""
    seen = {kind.label: kind.versions for kind in kinds if kind.versions}
    packages = sorted({package for versions in seen.values() for package in versions})
    told = []
    for package in packages:
        found = {label: versions.get(package, "missing") for label, versions in seen.items()}
        if len(set(found.values())) > 1:
            told.append(f"{package}: " + ", ".join(f"{version} on {label}" for label, version in found.items()) + ".")
    return tuple(told)
