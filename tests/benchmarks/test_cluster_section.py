from __future__ import annotations

import json
from typing import TYPE_CHECKING

from windtunnel.benchmarks.benchmark import Benchmark
from windtunnel.benchmarks.cluster import ClusterBenchmark
from windtunnel.benchmarks.cluster_section import draw_cluster
from windtunnel.benchmarks.disturbance import Disturbance
from windtunnel.benchmarks.kind import Kind
from windtunnel.benchmarks.node import Node
from windtunnel.quantity import format_duration
from windtunnel.report.section import Section
from windtunnel.timings import Timings

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.report.section import Table


def measured(label: str, profile: LatencyProfile, machine: str, version: str, count: int = 1) -> Kind:
    benchmark = Benchmark((profile,), Timings({}, {}), 1e-7, Disturbance(0.0, 0.0))
    nodes = tuple(Node(f"{label}{number}", "host", "10.0.0.7", 2.0) for number in range(count))
    return Kind(
        label, nodes, profile.hardware, machine, {"onnxruntime": version}, benchmark, "", {"openvino": "not there"}
    )


def told(profile: LatencyProfile, batch: int) -> str:
    interval = profile.quantile_s(batch, 0.5)
    assert interval is not None
    return f"{format_duration(interval.value)} ±{(interval.high - interval.low) / 2 / interval.value:.1%}"


def by_caption(section: Section, start: str) -> Table:
    return next(table for table in section.tables if table.caption.startswith(start))


def test_kinds_side_by_side(make_profile: Callable[..., LatencyProfile]) -> None:
    """Every kind is a row of one table and, where it measured, a column of the other; what it could not do is told."""
    twice = make_profile().scaled(2.0)
    lost = Kind("C", (Node("C0", "host", "10.0.0.9", 2.0),), problem="node C0 was lost")
    result = ClusterBenchmark((measured("A", make_profile(), "1", "1.32", 3), measured("B", twice, "1", "1.30"), lost))
    section = draw_cluster(result)
    kinds, medians = by_caption(section, "Kinds of nodes"), by_caption(section, "Median service time")

    assert [(row[0], row[2], row[4]) for row in kinds.rows] == [
        ("A", "3", "measured"), ("B", "1", "measured"), ("C", "1", "node C0 was lost"),
    ]  # fmt: skip
    assert kinds.rows[0][5] == "openvino: not there"
    assert medians.columns == ("setting", "batch", "A", "B")
    assert [row[:2] for row in medians.rows] == [("fp32", "1"), ("fp32", "8")]
    assert [row[2:] for row in medians.rows] == [
        tuple(told(profile, batch) for profile in (make_profile(), twice)) for batch in (1, 8)
    ]
    assert [trace["name"] for trace in section.figures[0].plotly["data"]] == ["fp32 on A", "fp32 on B"]


def test_notes_say_what_differs(make_profile: Callable[..., LatencyProfile]) -> None:
    """Shared machines, nodes that were passed over and versions that differ are told; what is the same everywhere is not."""
    head = Node("head", "host", "10.0.0.1", 0.0)
    shared = ClusterBenchmark(
        (measured("A", make_profile(), "1", "1.32"), measured("B", make_profile(), "1", "1.30")), (head,)
    )
    apart = ClusterBenchmark((measured("A", make_profile(), "1", "1.32"), measured("B", make_profile(), "2", "1.32")))

    notes = draw_cluster(shared).notes
    assert notes[1].startswith("A, B: nodes that share one machine, measured one after the other")
    assert notes[2:] == (f"Not measured, for they lend no CPU: {head}.", "onnxruntime: 1.32 on A, 1.30 on B.")
    assert len(draw_cluster(apart).notes) == 1


def test_section_survives_the_run_folder(make_profile: Callable[..., LatencyProfile]) -> None:
    """The section is read back from a run folder as it was, and an invalid profile is marked."""
    section = draw_cluster(ClusterBenchmark((measured("A", make_profile(valid=False), "1", "1.32"),)))

    assert Section.from_dict(json.loads(json.dumps(section.to_dict()))) == section
    assert by_caption(section, "Median").rows[0][2].endswith(" INVALID")
