from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from windtunnel.benchmarks.benchmark import Benchmark
from windtunnel.benchmarks.cost import cost_table
from windtunnel.benchmarks.disturbance import Disturbance
from windtunnel.benchmarks.section import COST_COLUMNS, draw
from windtunnel.deployment import Slo
from windtunnel.price import find_price
from windtunnel.stats import Interval
from windtunnel.timings import Timings

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.report.section import Section

SLO = Slo.parse("p99<=50ms")


def _capacity(profile: LatencyProfile, slo: Slo, *, servers: int) -> Interval:
    rate = (2.0 if profile.variant == "int8" else 1.0) * servers * slo.latency_s
    return Interval(rate, rate, rate, 12, 0.95)


def _drawn(*profiles: LatencyProfile, prices: tuple[str, ...] = ()) -> Section:
    found = Benchmark(profiles, Timings({}, {}), 2e-6, Disturbance(0.0, 0.01))
    costs = cost_table(profiles, [find_price(name) for name in prices], SLO, _capacity)
    return draw(replace(found, costs=costs), SLO)


def test_drawn(make_profile: Callable[..., LatencyProfile]) -> None:
    """Medians a row a variant, quantiles a row a batch, two figures with units on their axes; no cost table without prices."""
    section = _drawn(make_profile("fp32"), make_profile("int8"))

    assert [len(table.rows) for table in section.tables] == [2, 4]
    assert [len(figure.plotly["data"]) for figure in section.figures] == [2, 2]
    assert section.figures[0].plotly["layout"]["yaxis"]["title"]["text"] == "median service time (ms)"
    assert "measured" in section.notes[0]
    assert "2 µs a call" in section.notes[2]


def test_every_row_fits_its_heads(make_profile: Callable[..., LatencyProfile]) -> None:
    """Each row of each table has one text a column, and brief columns are columns."""
    for table in _drawn(make_profile(), prices=("azure:D2s_v5", "aws:g5.xlarge")).tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert set(table.brief or ()) <= set(table.columns)


def test_what_cannot_be_told_is_a_dash(make_profile: Callable[..., LatencyProfile]) -> None:
    """A quantile that the sample cannot carry is a dash, a median too, and a gap in the figure that JSON can carry."""
    section = _drawn(make_profile(samples=20, valid=False))

    assert section.tables[0].rows == (("fp32", "—", "—"),)
    assert section.tables[1].rows[0][2:5] == ("—", "—", "—")
    assert section.tables[1].rows[0][-1] == "INVALID"
    assert json.loads(json.dumps(section.figures[0].plotly, allow_nan=False))["data"][0]["y"] == [None, None]


def test_the_cheapest_variant_on_each_machine(make_profile: Callable[..., LatencyProfile]) -> None:
    """A row a machine with its cheapest variant; where nothing was measured, a dash and no figure."""
    section = _drawn(make_profile("fp32"), make_profile("int8"), prices=("azure:D2s_v5", "aws:g5.xlarge"))
    here, gpu = (dict(zip(COST_COLUMNS, row, strict=True)) for row in section.tables[2].rows)

    assert (here["machine"], here["variant"], here["basis"]) == ("azure:D2s_v5", "int8", "measured")
    assert (gpu["machine"], gpu["variant"], gpu["basis"]) == ("aws:g5.xlarge", "—", "not measured")
    assert (gpu["requests/s at the SLO"], gpu["USD per million"]) == ("—", "—")
    assert len(section.tables[3].rows) == 4


def test_a_promise_that_cannot_be_kept(make_profile: Callable[..., LatencyProfile]) -> None:
    """A rate of zero is no price: the SLO cannot be kept."""
    found = Benchmark((make_profile(),), Timings({}, {}), 2e-6, Disturbance(0.0, 0.0))
    nothing = Interval(0.0, 0.0, 0.0, 12, 0.95)
    costs = cost_table(found.profiles, [find_price("azure:D2s_v5")], SLO, lambda *_, **__: nothing)

    assert draw(replace(found, costs=costs), SLO).tables[2].rows[0][-1] == "the SLO cannot be kept"
