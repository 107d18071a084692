"""The part of the report that draws a live run: what the server did, and whether the generators let it be seen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.quantity import format_duration, format_figure, format_share
from windtunnel.report.section import Figure, Section, Table
from windtunnel.request_log import COMPLETED
from windtunnel.simulate.flight_section import NAMES, range_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from windtunnel.simulate.flight import Flight

    from .live_run import LiveRun
    from .schedule import Schedule

LOST = ("shed", "timed_out", "failed", "left")

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}

POINTS = 200
"""Of a distribution that is drawn."""

NOTES = (
    (
        "Latency counts from when a request should have been sent. When a batch began is worked out from the spans that the server tells: "
        "what is neither queue nor model is laid half before and half after them."
    ),
    "The generators' requests a second were measured before the run, against a server that does nothing and ran beside them.",
)


def draw_live(
    run: LiveRun, flight: Flight, schedule: Schedule, *, name: str, server: str, notes: Sequence[str] = ()
) -> Section:
    """Draw a live run.

    Args:
        run: on the road.
        flight: the same in the tunnel's terms.
        schedule: what was asked.
        name: of the traffic.
        server: whom it went to.
        notes: what else is to be known.
    """
    outcome = (
        "no-go" if not math.isnan(run.gone_s) else "go" if run.valid and math.isnan(run.stopped_s) else "inconclusive"
    )
    sentences = [_said(run, flight, name, server), *_broken_off(run, schedule)]
    sentences += list(run.reasons) if run.reasons else [_kept_up(run, schedule)]
    tables = [_spreads(flight), *_parts(run), *_lost(run, flight)]
    return Section(
        "Live", outcome, tuple(sentences), tuple(tables), (_over_time(flight), _distributions(run)), (*NOTES, *notes)
    )


def _said(run: LiveRun, flight: Flight, name: str, server: str) -> str:
    found = flight.summary
    told = f"{len(run):,} requests of {name} in {format_duration(run.wall_s)} to {server}: {found.completed:,} answered"
    batch = f", mean batch {found.mean_batch:.3g}" if found.mean_batch is not None else ""
    busy = f", utilization {found.utilization:.1%}" if found.utilization is not None else ""
    return f"{told}{batch}{busy}."


def _broken_off(run: LiveRun, schedule: Schedule) -> list[str]:
    found, left = [], len(schedule) - len(run)
    if not math.isnan(run.gone_s):
        found.append(
            f"The server was gone from {format_duration(run.gone_s)} on: it refused every connection, and {left:,} requests were not sent."
        )
    if not math.isnan(run.stopped_s):
        found.append(
            f"It was stopped by hand after {format_duration(run.stopped_s)}, before {left:,} of its requests were due."
        )
    return found


def _kept_up(run: LiveRun, schedule: Schedule) -> str:
    many = ("generator" if run.processes == 1 else "generators") + (
        ", served before others by the system," if run.realtime else ""
    )
    return (
        f"{run.processes} {many} kept up: one request in a hundred left more than {format_duration(run.send_lag_p99_s)} late, and of the "
        f"{format_figure(run.generator_capacity_per_s)} requests a second that they can make {format_figure(schedule.rate_per_s)} were asked."
    )


def _spreads(flight: Flight) -> Table:
    told = flight.summary.to_dict()
    rows = tuple(
        (shown, *(range_of(told[kind], name) for kind in ("latency", "wait"))) for name, shown in NAMES.items()
    )
    return Table("Measured, with 95% intervals", ("", "latency", "wait"), rows)


def _parts(run: LiveRun) -> list[Table]:
    """Where the time went, as far as the server tells."""
    answered = run.log.status == COMPLETED
    around_s = run.log.finished_s - run.log.sent_s - run.handler_s
    rows = []
    for part, spans_s in (
        ("sent late", run.send_lag_s), ("queue", run.queue_s), ("model", run.model_s),
        ("else in the replica", np.maximum(run.handler_s - run.queue_s - run.model_s, 0.0)), ("way, ingress and client", around_s),
    ):  # fmt: skip
        known = spans_s[answered & np.isfinite(spans_s)]
        if len(known):
            quantiles = np.quantile(known, list(SHARES.values()))
            rows.append(
                (part, format_duration(float(known.mean())), *(format_duration(float(each)) for each in quantiles))
            )
    return [Table("Where the time went", ("", "mean", *SHARES), tuple(rows))] if len(rows) > 1 else []


def _lost(run: LiveRun, flight: Flight) -> list[Table]:
    told = flight.summary.to_dict()
    rows = [
        (name.replace("_", " "), f"{told[name]:,}", format_share(told[name] / told["requests"]))
        for name in LOST
        if told[name]
    ]
    codes, counts = np.unique(run.http_status[run.log.status != COMPLETED], return_counts=True)
    rows += [
        (
            f"of these, answered with {code}" if code else "of these, without an answer",
            f"{count:,}",
            format_share(count / len(run)),
        )
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True)
    ]
    return [Table("Not answered", ("", "requests", "share"), tuple(rows))] if rows else []


def _over_time(flight: Flight) -> Figure:
    told = flight.timeline()
    x = (told["start_s"] - flight.first_s).round(4).to_list()
    data = [
        _line("arrivals", x, (told["arrived"] / flight.bin_s).to_list()),
        _line("answered in time, by when they came", x, (told["good"] / flight.bin_s).to_list()),
        {**_line("longest latency", x, (told["latency_max_s"] * 1e3).to_list()), "yaxis": "y2"},
    ]
    layout = {
        "xaxis": {"title": {"text": "time since the first request (s)"}, "anchor": "y2"},
        "yaxis": {"title": {"text": "requests (1/s)"}, "domain": [0.4, 1.0], "rangemode": "tozero"},
        "yaxis2": {"title": {"text": "longest latency (ms)"}, "domain": [0.0, 0.3], "rangemode": "tozero"},
    }
    return Figure("What came, what was answered in time, and the longest latency.", {"data": data, "layout": layout})


def _distributions(run: LiveRun) -> Figure:
    answered = run.log.status == COMPLETED
    data = [
        _distribution("latency", run.log.latency_s[answered]), _distribution("of it, sent late", run.send_lag_s[answered]),
    ]  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": "time (ms)"}, "type": "log"},
        "yaxis": {"title": {"text": "share of the requests"}, "range": [0, 1]},
    }
    return Figure("How latency is spread, and what of it is the generators' own.", {"data": data, "layout": layout})


def _distribution(name: str, times_s: NDArray[np.float64]) -> dict[str, Any]:
    shares = np.linspace(0.0, 1.0, POINTS)
    times_ms = np.quantile(times_s, shares) * 1e3 if len(times_s) else np.zeros(0)
    return _line(name, np.maximum(times_ms, 1e-3).round(5).tolist(), shares[: len(times_ms)].round(4).tolist())


def _line(name: str, x: list[float], y: list[float]) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": {"width": 1}}
