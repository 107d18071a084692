from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from windtunnel.benchmarks.benchmark import Benchmark
from windtunnel.benchmarks.compare import Comparison
from windtunnel.benchmarks.cost import cost_table
from windtunnel.benchmarks.cost_section import CostReport
from windtunnel.benchmarks.disturbance import Disturbance
from windtunnel.benchmarks.scaling import Layout, Scaling
from windtunnel.benchmarks.section import draw, draw_comparisons
from windtunnel.benchmarks.transfer import Transfer
from windtunnel.deployment import Slo
from windtunnel.footprint import Footprint
from windtunnel.price import find_price
from windtunnel.stats import Interval
from windtunnel.timings import Timings
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.report.section import Section

SLO = Slo.parse("p99<=50ms")
RATE = Interval(100.0, 90.0, 110.0, 12, 0.95)
SCALING = Scaling("fp32", 8, 2, (Layout(1, 1, (99.0, 101.0), 0.01), Layout(1, 2, (198.0, 202.0), 0.01), Layout(2, 1, (150.0, 151.0), 0.02)))  # fmt: skip
COMPARISON = Comparison("fp32", "int8", 8, Interval(1.5, 1.4, 1.6, 12, 0.95), paired=True)


def _full(*profiles: LatencyProfile) -> Benchmark:
    """A benchmark that holds one of everything."""
    profiles = tuple(
        replace(each, footprint=Footprint(2**26, 2**23, 0.5, 0.1, 3), cpu_s=(1e-3, 2e-3)) for each in profiles
    )
    return Benchmark(
        profiles, Timings({}, {}), 2e-6, Disturbance(0.0, 0.01), (SCALING,), (),
        (Transfer("fp32", 8, RATE, RATE, RATE, 4096),), comparisons=(COMPARISON,), generated=True,
    )  # fmt: skip


def _drawn(*profiles: LatencyProfile, prices: tuple[str, ...] = ()) -> Section:
    found = _full(*profiles)
    if not prices:
        return draw(found)
    costs = cost_table(found.profiles, [find_price(name) for name in prices], SLO, lambda *_, **__: RATE)
    return draw(found, CostReport(costs, SLO))


def test_drawn(make_profile: Callable[..., LatencyProfile]) -> None:
    """A table each for medians, pairs, memory, scaling, copies and quantiles; two figures with units on their axes."""
    section = _drawn(make_profile("fp32"), make_profile("int8"))

    assert [len(table.rows) for table in section.tables] == [2, 1, 2, 3, 1, 4]
    assert [len(figure.plotly["data"]) for figure in section.figures] == [2, 2]
    assert section.figures[0].plotly["layout"]["yaxis"]["title"]["text"] == "median service time (ms)"
    assert "measured on a processor" in section.notes[0]
    assert "made up from the signature" in section.notes[0]
    assert any("2 µs a call" in note and "1.0% of the time was stolen" in note for note in section.notes)


def test_what_was_not_measured_has_no_table(make_profile: Callable[..., LatencyProfile]) -> None:
    """Without memory, scaling, copies and pairs there are the two tables of service times alone."""
    section = draw(Benchmark((make_profile(),), Timings({}, {}), 2e-6, Disturbance(0.0, 0.0)))

    assert [table.caption.split(" (")[0] for table in section.tables] == [
        "Median service time",
        "Service time per batch",
    ]
    assert any("not at all" in note for note in section.notes)


def test_every_row_fits_its_heads(make_profile: Callable[..., LatencyProfile]) -> None:
    """Each row of each table has one text a column, and brief columns are columns."""
    for table in _drawn(make_profile(), prices=("azure:D2s_v5", "aws:g5.xlarge")).tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert set(table.brief or ()) <= set(table.columns)


def test_what_cannot_be_told_is_a_dash(make_profile: Callable[..., LatencyProfile]) -> None:
    """A quantile that the sample cannot carry is a dash, a median too, and a gap in the figure that JSON can carry."""
    section = draw(Benchmark((make_profile(samples=10, valid=False),), Timings({}, {}), 2e-6, Disturbance(0.0, 0.0)))

    assert section.tables[0].rows == (("fp32", "—", "—", "INVALID"),)
    assert section.tables[1].rows[0][2:6] == ("—", "—", "—", "—")
    assert section.tables[1].rows[0][-1] == "INVALID"
    assert json.loads(json.dumps(section.figures[0].plotly, allow_nan=False))["data"][0]["y"] == [None, None]


def test_costs_come_first(make_profile: Callable[..., LatencyProfile]) -> None:
    """Where money is asked about its sentence is the first, and its table among the first."""
    section = _drawn(make_profile("fp32"), make_profile("int8"), prices=("azure:D2s_v5",))

    assert "known to keep p99" in section.sentences[0]
    assert "machine by machine" in section.tables[2].caption


def test_two_runs() -> None:
    """A comparison of runs says that they were not measured side by side."""
    section = draw_comparisons([replace(COMPARISON, paired=False)], Verdict("go", (COMPARISON.sentence,)))

    assert section.tables[0].caption == "Two runs"
    assert section.tables[0].rows == (("int8", "fp32", "8", "1.5 (1.4 to 1.6)", "faster"),)
    assert "at different times" in section.notes[0]
