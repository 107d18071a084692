"""The part of the report that draws a siege: what was tried, what came back, and what honest requests felt of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.quantity import format_duration, format_figure
from windtunnel.report.section import Figure, Section, Table
from windtunnel.request_log import COMPLETED

from .judgement import SAID
from .siege import SHOWN
from .spared import QUANTILES, STRETCHES

if TYPE_CHECKING:
    from windtunnel.request_log import RequestLog

    from .siege import Siege

POINTS = 200
"""Bins of the run's time."""


def draw_siege(siege: Siege, log: RequestLog) -> Section:
    """Draw a siege.

    Args:
        siege: what it came to.
        log: of the honest requests.
    """
    outcome, sentences, _ = siege.decide()
    return Section(
        "Adversary",
        outcome,
        (_said(siege), *sentences),
        tuple(_tables(siege)),
        (_over_time(siege, log),),
        _notes(siege),
    )


def _said(siege: Siege) -> str:
    told = siege.to_dict()
    crashed = (
        "it is not to be seen whether processes ended" if siege.crashes is None else f"{siege.crashes} processes ended"
    )
    compared = (
        f"{siege.wrong[0]:,} of {siege.compared:,} honest answers were wrong"
        if siege.compared
        else "answers were not compared"
    )
    return (
        f"The adversary tried {siege.tried:,} inputs: {told['answered']:,} were answered, {told['dropped']:,} dropped, {told['hung']:,} hung, "
        f"{told['taken']:,} malformed ones were taken; {compared}, {crashed}."
    )


def _tables(siege: Siege) -> list[Table]:
    columns = (
        "family",
        "tried",
        "answered",
        "dropped",
        "left",
        "held",
        "cut",
        "hung",
        "faults",
        "5xx",
        "no reason",
        "statuses",
    )
    rows = tuple(
        (each.family, *(f"{count:,}" for count in (each.tried, each.answered, each.dropped, each.left, each.held, each.cut, each.hung, each.faults, each.failures, each.bare)),
         " ".join(f"{code}×{count:,}" for code, count in each.codes.items()))
        for each in siege.families
    )  # fmt: skip
    tables = [
        Table(
            "What the adversary tried",
            columns,
            rows,
            ("family", "tried", "answered", "dropped", "hung", "faults", "statuses"),
        ),
        Table(
            "Honest requests",
            ("", "without", "with it", "factor", "95% interval"),
            tuple(_felt(siege, name) for name in QUANTILES),
        ),
    ]
    if siege.findings:
        found = tuple(
            (each.family, each.kind, f"{each.number}", each.why, " ".join(map(str, each.statuses)), each.begun)
            for each in siege.findings[:SHOWN]
        )
        left = f"; {len(siege.findings) - SHOWN:,} more" if len(siege.findings) > SHOWN else ""
        tables.append(
            Table(
                f"Not right{left}",
                ("family", "kind", "no.", "what", "statuses", "first bytes"),
                found,
                ("family", "kind", "what", "statuses"),
            )
        )
    return tables


def _felt(siege: Siege, name: str) -> tuple[str, ...]:
    calm, under, factor = siege.spared.calm_s, siege.spared.under_s, siege.spared.factor[name]
    sides = tuple(format_duration(side[name]) if side else "–" for side in (calm, under))
    if factor is None:
        return name, *sides, "–", "–"
    return name, *sides, format_figure(factor.value), f"{format_figure(factor.low)} to {format_figure(factor.high)}"


def _notes(siege: Siege) -> tuple[str, ...]:
    right = (
        f"An answer or a closed connection within {format_duration(siege.limit_s)} is right ({'; '.join(SAID.values())} are not). An answer "
        "of 200 is compared with what the model alone says to the same inputs, as far as company alone does not change that."
    )
    factor = (
        f"The factor is the ratio of geometric means of the quantiles of {STRETCHES} stretches a side. Adversary, clients and server share "
        "this machine's cores, so it is of the adversary's own work too."
    )
    return right, factor


def _over_time(siege: Siege, log: RequestLog) -> Figure:
    answered = log.status == COMPLETED
    due_s, latency_ms = log.scheduled_s[answered], log.latency_s[answered] * 1e3
    last_s = float(log.scheduled_s[-1]) if len(log) else 1.0
    bins = np.minimum((due_s / max(last_s, 1e-9) * POINTS).astype(int), POINTS - 1)
    data = [_line(name, bins, latency_ms, share, last_s) for name, share in (("median", 0.5), ("longest", 1.0))]
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "time since the first request (s)"}},
        "yaxis": {"title": {"text": "latency of honest requests (ms)"}, "type": "log"},
        "shapes": [{
            "type": "rect", "xref": "x", "yref": "paper", "x0": siege.begin_s, "x1": siege.until_s, "y0": 0, "y1": 1, "opacity": 0.12,
            "fillcolor": "#888888", "line": {"width": 0},
        }],
    }  # fmt: skip
    return Figure(
        "Honest requests' latency; the adversary was there in the shaded time.", {"data": data, "layout": layout}
    )


def _line(name: str, bins: Any, latency_ms: Any, share: float, last_s: float) -> dict[str, Any]:
    used = np.unique(bins)
    y = [round(float(np.quantile(latency_ms[bins == each], share)), 4) for each in used]
    x = [round((int(each) + 0.5) * last_s / POINTS, 3) for each in used]
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": {"width": 1}}
