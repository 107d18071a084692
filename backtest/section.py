"""The backtest's part of the report."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.quantity import format_duration, format_instant
from windtunnel.report.section import Figure, Section, Table
from windtunnel.stats import ConfidenceSequence

from .comparison import finite, moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from .comparison import Candidate, Comparison

    Indices = NDArray[np.int64]

MOST_POINTS = 1000
"""More points a line than that no eye can tell apart."""


COLOURS = ((37, 99, 168), (217, 115, 13), (26, 127, 75), (142, 68, 173), (179, 38, 30), (14, 138, 138))
"""Red, green and blue of the candidates, so that a band and its line go together."""


def draw(comparison: Comparison) -> Section:
    """Draw a comparison: the verdict, the candidates, and what each look would have shown.

    Args:
        comparison: what `backtest` returned.
    """
    return Section(
        title="Backtest",
        outcome=comparison.verdict.outcome,
        sentences=(
            *comparison.verdict.reasons,
            *(f"would change it: {change}" for change in comparison.verdict.would_change),
            _coverage_sentence(comparison),
        ),
        tables=(_candidates(comparison), _labels(comparison)),
        figures=(_differences(comparison), _states(comparison), _metrics(comparison), _delays(comparison)),
        notes=_notes(comparison),
    )


def _coverage_sentence(comparison: Comparison) -> str:
    return (
        f"{comparison.rows:,} requests were replayed; by {format_instant(comparison.end)} {_percent(comparison.label_coverage)} of "
        "them had a label that counts"
    )


def _candidates(comparison: Comparison) -> Table:
    unit = f"{comparison.metric} ({comparison.unit})"
    incumbent = float(comparison.timeline.metric[comparison.incumbent][-1])
    blank = ("",) * 6
    return Table(
        f"What the last look shows; negative differences favour the candidate, each at level {comparison.level_each:.3g}",
        ("model", unit, "difference", "interval", "whatever the missing labels", "mature days", "e-value", "status",
         "decided at"),
        (
            (f"{comparison.incumbent} (incumbent)", _number(incumbent), *blank, ""),
            *(_candidate_row(candidate) for candidate in comparison.candidates),
        ),
        brief=("model", unit, "difference", "interval", "status"),
    )  # fmt: skip


def _candidate_row(candidate: Candidate) -> tuple[str, ...]:
    return (
        candidate.name,
        _number(candidate.metric),
        _number(candidate.difference, signed=True),
        _range(candidate.difference_low, candidate.difference_high),
        "unbounded" if candidate.bounds is None else _range(*candidate.bounds),
        str(candidate.blocks),
        f"{candidate.e_value:.3g}",
        candidate.status,
        format_instant(candidate.decided_at),
    )


def _labels(comparison: Comparison) -> Table:
    counts, floor, delays = comparison.timeline.counts, comparison.noise_floor, comparison.delays.percentiles_s
    rows = (
        ("requests", f"{comparison.rows:,}"),
        *(
            (f"{state} at the last look", f"{getattr(counts, state)[-1]:,}")
            for state in ("matured", "expired", "pending")
        ),
        ("older than the horizon, label never came", _percent(comparison.never_arrived)),
        ("older than the horizon, label came too late", _percent(comparison.late)),
        *((f"label delay p{p}, of those that came", format_duration(float(delays[p]))) for p in (50, 90, 99)),
        ("incumbent against itself (A/A)", f"{_number(floor.difference, signed=True)} {_range(floor.low, floor.high)}"),
        ("autocorrelation of its days", f"{floor.autocorrelation:+.2f}"),
    )
    return Table("Labels, and the noise floor", ("figure", "value"), rows, brief=())


def _differences(comparison: Comparison) -> Figure:
    """The confidence sequences, with zero and the tolerance."""
    times, kept = _looks(comparison)
    data: list[dict[str, Any]] = []
    for (name, path), colour in zip(comparison.timeline.paths.items(), itertools.cycle(COLOURS), strict=False):
        rgb = ",".join(map(str, colour))
        ends = _line(times, path.high[kept], "high"), _line(times, path.low[kept], "low")
        for end, fill in zip(ends, ("none", "tonexty"), strict=True):
            band = {"fill": fill, "fillcolor": f"rgba({rgb},0.10)", "line": {"width": 1, "color": f"rgba({rgb},0.45)"}}
            data.append(end | band | {"showlegend": False, "legendgroup": name})
        data.append(_line(times, path.difference[kept], name) | {"legendgroup": name, "line": {"color": f"rgb({rgb})"}})
    levels = [("no difference", 0.0, "solid"), ("tolerance", comparison.max_loss, "dash")]
    data += [
        {"type": "scatter", "mode": "lines", "x": [times[0], times[-1]], "y": [y, y], "name": name,
         "line": {"dash": dash, "width": 1, "color": "gray"}}
        for name, y, dash in levels
    ]  # fmt: skip
    return _figure(
        "Candidate minus incumbent, as of each look: a band wholly below zero is better, wholly above the tolerance worse. "
        f"It starts after {ConfidenceSequence.burn_in} mature days.",
        data,
        f"difference in {comparison.metric} ({comparison.unit})",
    )


def _states(comparison: Comparison) -> Figure:
    """What the dashboard would have shown of the labels."""
    times, kept = _looks(comparison)
    counts = comparison.timeline.counts
    data = [
        _line(times, getattr(counts, state)[kept] / np.maximum(counts.asked[kept], 1), state)
        | {"stackgroup": "asked", "line": {"width": 0.5}}
        for state in ("matured", "expired", "pending")
    ]
    caption = (
        "What the dashboard would have shown: of the requests asked so far, whose label was in, expired, or pending."
    )
    return _figure(caption, data, "share of the requests asked")


def _metrics(comparison: Comparison) -> Figure:
    times, kept = _looks(comparison)
    data = [_line(times, values[kept], name) for name, values in comparison.timeline.metric.items()]
    caption = "The metric as of each look, over all requests matured by then; it weighs every request alike."
    return _figure(caption, data, f"{comparison.metric} ({comparison.unit})")


def _delays(comparison: Comparison) -> Figure:
    hours = [finite(float(value) / 3600.0) for value in comparison.delays.percentiles_s]
    horizon = comparison.horizon_s / 3600.0
    data = [
        {"type": "scatter", "mode": "lines", "x": hours, "y": [p / 100.0 for p in range(101)], "name": "labels that came"},
        {"type": "scatter", "mode": "lines", "x": [horizon, horizon], "y": [0.0, 1.0], "name": "horizon",
         "line": {"dash": "dash", "width": 1, "color": "gray"}},
    ]  # fmt: skip
    layout = {"xaxis": {"title": {"text": "label delay (hours)"}}, "yaxis": {"title": {"text": "share of labels"}}}
    caption = (
        f"How long the {comparison.delays.labels:,} labels took that came; what is right of the horizon does not count."
    )
    return Figure(caption, {"data": data, "layout": layout})


def _notes(comparison: Comparison) -> tuple[str, ...]:
    horizon, every = format_duration(comparison.horizon_s), format_duration(comparison.every_s)
    looking = (
        "Two clocks: a request counts from when it was asked, a label from when it could be known. "
        f"Looked every {every}, from the first UTC midnight; each look uses only labels known by then."
    )
    counting = (
        f"A label counts if it came within {horizon} of its request. One that came later is expired, one still out at the "
        "end is censored: neither is ever filled in."
    )
    weighing = (
        f"Differences are averaged over UTC days of requests; a day counts once it is {horizon} old. Every day weighs the "
        "same, so the difference need not equal that of the metrics, which weigh every request the same."
    )
    sureness = (
        f"Intervals are asymptotic confidence sequences over days: together, over all looks and {len(comparison.candidates)} "
        f"candidates, they are wrong with probability {comparison.level:g} or less, for many days of like kind."
    )
    floor = (
        "The A/A line compares two random halves of the incumbent's requests. They are not paired, so its interval (width "
        f"{_number(comparison.noise_floor.width)}) says what noise looks like, not how fine the comparison is."
    )
    dependence = (_dependence(candidate) for candidate in comparison.candidates if candidate.stretch > 1.0)
    return (looking, counting, weighing, sureness, floor, _missing(comparison), *dependence, *comparison.notes)


def _missing(comparison: Comparison) -> str:
    share = f"Not known: {_percent(comparison.never_arrived)} of the requests older than the horizon never got a label"
    share += f" and {_percent(comparison.late)} got theirs too late. "
    if all(candidate.bounds is None for candidate in comparison.candidates):
        return share + "What they would have done to the difference is not bounded here."
    return share + (
        "The column “whatever the missing labels” bounds the mean difference of the mature days whichever way they had "
        "gone; it bounds that average, not its sampling error."
    )


def _dependence(candidate: Candidate) -> str:
    return (
        f"The day differences of `{candidate.name}` carry over to the next day (autocorrelation "
        f"{candidate.autocorrelation:+.2f}): its interval was made {candidate.stretch:.2f} times as wide as independent "
        "days would have it."
    )


def _looks(comparison: Comparison) -> tuple[list[str], Indices]:
    """The times to draw and their places, the last always among them."""
    looks = len(comparison.timeline.as_of_us)
    kept = np.unique(np.linspace(0, looks - 1, min(looks, MOST_POINTS)).round().astype(np.int64))
    return [moment(int(us)).isoformat() for us in comparison.timeline.as_of_us[kept]], kept


def _line(x: list[str], y: Iterable[float], name: str) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines", "x": x, "y": [finite(float(value)) for value in y], "name": name}


def _figure(caption: str, data: list[dict[str, Any]], y_title: str) -> Figure:
    layout = {"xaxis": {"title": {"text": "as of (UTC)"}}, "yaxis": {"title": {"text": y_title}}}
    return Figure(caption, {"data": data, "layout": layout})


def _number(value: float, *, signed: bool = False) -> str:
    if not math.isfinite(value):
        return "not known" if math.isnan(value) else "unbounded"
    return f"{value:+.4g}" if signed else f"{value:.4g}"


def _range(low: float, high: float) -> str:
    return f"[{low:+.4g}, {high:+.4g}]" if math.isfinite(low) and math.isfinite(high) else "not known"


def _percent(share: float) -> str:
    return "an unknown share" if math.isnan(share) else f"{share:.2%}"
