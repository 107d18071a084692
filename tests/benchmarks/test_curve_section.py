from __future__ import annotations

import json
from typing import TYPE_CHECKING

from windtunnel.benchmarks.curve_section import curve_figure, curve_table, knee_table
from windtunnel.deployment import Slo
from windtunnel.seeds import Seeds
from windtunnel.simulate.load_curve import load_curve

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.latency_profile import LatencyProfile


def test_drawn(make_profile: Callable[..., LatencyProfile]) -> None:
    """A row a curve with its knee, a row a load with the knee marked once, lines with units, and the promise across."""
    curve = load_curve(make_profile(), max_batch=8, max_wait_s=0.0, servers=2, seeds=Seeds(1), requests=20_000)
    knees, loads = knee_table([curve]), curve_table(curve)

    assert knees.rows[0][0] == "fp32"
    assert len(loads.rows) == len(curve.points)
    assert sum("(knee)" in row[0] for row in loads.rows) == 1
    for table in (knees, loads):
        assert {len(row) for row in table.rows} == {len(table.columns)}
    figure = curve_figure([curve], Slo.parse("p99<=50ms")).plotly
    assert [len(trace["x"]) for trace in figure["data"]] == [len(curve.points), len(curve.points), 1]
    assert figure["layout"]["shapes"][0]["y0"] == 50.0
    assert "(ms)" in figure["layout"]["yaxis"]["title"]["text"]
    json.dumps(figure, allow_nan=False)
    assert curve_figure([curve]).plotly["layout"]["shapes"] == []
