"""The part of the report that sets tunnel and road side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from windtunnel.quantity import format_duration, format_figure, format_share
from windtunnel.report.section import Figure, Section, Table
from windtunnel.road import IDLE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .compare import Agreement, Gap, Part
    from .rehearse import Rehearsal

OUTCOMES = {"go": "agree", "no-go": "disagree", "inconclusive": "inconclusive"}
"""What a verdict is called where it is about agreement."""

PACE = (
    "At the road's pace: told once more afterwards, with batches as long as those of the same requests were on the road. It is no "
    "prediction and nothing is judged by it; what gap is left is not how long batches took but ways, loops and queues."
)

NOT_KNOWN = (
    "What the stations do not know: other work on the machine, load beyond what the road was measured at, clients that time out or "
    "ask again, a model whose time depends on what is in a request, and anything that lasts longer than a calibrating run. The way "
    "in and the way back are told apart by halves; what a replica's loop takes is worked out, not seen."
)


def draw_agreement(done: Rehearsal, *, name: str, server: str) -> Section:
    """Draw tunnel and road side by side.

    Args:
        done: what was told and what was seen.
        name: of the trace.
        server: what served it.
    """
    agreement, road = done.agreement, done.road
    quantile, gap = agreement.largest
    sentences = (
        *agreement.verdict.reasons,
        (
            f"{len(done.told.scheduled_s):,} requests of {name} at {done.load:.0%} of the {format_figure(road.capacity_per_s)} requests/s "
            f"that {server} can answer."
        ),
        f"The largest gap of any quantile up to p99 is {gap:+.1%}, at p{quantile * 100:g}.",
    )  # fmt: skip
    notes = (
        (
            "Tunnel and road had the same arrivals and are compared in pairs, stretch by stretch; a gap is tunnel ÷ road − 1. Each "
            f"interval holds with {agreement.confidence:.0%} confidence."
        ),
        PACE, _measured(done), NOT_KNOWN,
    )  # fmt: skip
    tables = (_gaps(agreement.gaps), _parts(agreement), _stations(done))
    return Section(
        "Agreement", agreement.verdict.outcome, sentences, tables, (_latency(agreement), _sizes(agreement)), notes
    )


def _measured(done: Rehearsal) -> str:
    road = done.road
    rates = ", ".join(format_figure(each.rate_per_s) for each in road.loads)
    when = "in this run" if done.calibrated else "before"
    return (
        f"The road was measured {when}, at {rates} requests/s, on {road.hardware}, behind {road.ingress}, with Ray {road.ray}; "
        f"no calibrating run saw the trace. A batch after {format_duration(float(IDLE_S[-1]))} of idling took "
        f"{road.warmth[-1] / road.warmth[0] - 1.0:+.0%} against one right after another."
    )


def _gaps(gaps: Sequence[Gap]) -> Table:
    rows = []
    for each in gaps:
        show = format_duration if each.quantity.startswith("p") else format_figure
        bound = format_share(each.bound) if math.isfinite(each.bound) else "—"
        at_pace = "—" if math.isnan(each.at_pace) else f"{each.at_pace:+.1%}"
        rows.append((each.quantity, show(each.tunnel), show(each.road), f"{each.gap:+.1%}", each.ends, bound, at_pace))
    columns = "quantity", "tunnel", "road", "gap", "interval", "allowed", "gap at the road's pace"
    return Table("Tunnel and road", columns, tuple(rows))


MEANING = {
    "proxy": "client, ingress and way back", "loop": "an event loop that stood still, or a replica with no place free", "queue": "waiting for company in the replica",
    "batch": "batches of other sizes", "service": "other times for the same sizes",
}  # fmt: skip


def _parts(agreement: Agreement) -> Table:
    def row(part: Part, slowest: Part) -> tuple[str, ...]:
        both = (
            (format_duration(part.tunnel_s), format_duration(part.road_s))
            if part.road_s or part.tunnel_s > 0
            else ("", "")
        )
        both = both if part.part not in ("batch", "service") else ("", "")
        return part.part, MEANING[part.part], *both, f"{part.gap_s * 1e3:+.2f} ms", f"{slowest.gap_s * 1e3:+.2f} ms"

    columns = "part", "what it is", "tunnel", "road", "more in the tunnel", "of the slowest hundredth"
    rows = tuple(row(*each) for each in zip(agreement.parts, agreement.tail, strict=True))
    return Table(
        "Where the mean latency differs", columns, rows, brief=("part", "tunnel", "road", "more in the tunnel")
    )


def _stations(done: Rehearsal) -> Table:
    import numpy as np

    road = done.road
    rows = tuple(
        (
            f"{format_figure(each.rate_per_s)} requests/s", f"{each.stretch:.3f}", f"{np.quantile(each.residuals, 0.99):.2f}",
            format_duration(float(np.median(each.outside_s))), format_duration(float(np.quantile(each.outside_s, 0.99))),
            format_duration(float(np.median(each.timer_s))),
        )
        for each in road.loads
    )  # fmt: skip
    columns = (
        "at",
        "service stretched",
        "slowest in a hundred [× the middle]",
        "way outside",
        "its p99",
        "timer late by",
    )
    return Table("The stations as they were measured", columns, rows, brief=())


def _latency(agreement: Agreement) -> Figure:
    """The two distributions."""
    data = [
        _line(side, (seconds * 1e3).tolist(), (agreement.shares * 100.0).tolist(), dash)
        for side, seconds, dash in zip(("tunnel", "road"), agreement.latency_s, ("dash", "solid"), strict=True)
    ]
    axes = {
        "xaxis": {"title": {"text": "latency [ms]"}, "type": "log"},
        "yaxis": {"title": {"text": "requests at or below [%]"}},
    }
    return Figure("Where the lines lie on each other the tunnel told the truth.", {"data": data, "layout": axes})


def _line(name: str, x: list[float], y: list[float], dash: str) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": {"dash": dash}}


def _sizes(agreement: Agreement) -> Figure:
    sizes = list(range(1, agreement.sizes.shape[1]))
    data = [
        {"type": "bar", "name": side, "x": sizes, "y": (share[1:] * 100.0).tolist()}
        for side, share in zip(("tunnel", "road"), agreement.sizes, strict=True)
    ]
    axes = {
        "xaxis": {"title": {"text": "requests in the batch"}},
        "yaxis": {"title": {"text": "share of requests [%]"}},
    }
    return Figure("In what company requests were served.", {"data": data, "layout": axes})
