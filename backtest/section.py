"""The backtest's part of the report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.quantity import format_duration, format_instant
from windtunnel.report.section import Figure, Section, Table

from .evidence import Asymptotic
from .plot import band, beside, colour, figure, kept, line, number, percent, rule, share_between, span, times

if TYPE_CHECKING:
    from .comparison import Candidate, Comparison

MOST_TITLE = 30
"""So many characters stand beside an upper panel in one line."""


def draw(comparison: Comparison, *, delays: bool = True) -> Section:
    """Draw a comparison: the verdict, the candidates, and what each look would have shown.

    Args:
        comparison: what `backtest` returned.
        delays: whether to draw how long the labels took that came; something better may be at hand.
    """
    figures = (_differences(comparison), _dashboard(comparison), *((_delays(comparison),) if delays else ()))
    return Section(
        title="Backtest",
        outcome=comparison.verdict.outcome,
        sentences=(
            *comparison.verdict.reasons,
            *(f"would change it: {change}" for change in comparison.verdict.would_change),
            _coverage_sentence(comparison),
            *((comparison.binned.told(),) if comparison.binned else ()),
        ),
        tables=(_candidates(comparison), _labels(comparison)),
        figures=figures,
        notes=_notes(comparison),
    )


def _coverage_sentence(comparison: Comparison) -> str:
    return (
        f"{comparison.rows:,} requests were replayed; by {format_instant(comparison.end)} {percent(comparison.label_coverage)} of "
        "them had a label that counts"
    )


def _favour(comparison: Comparison) -> str:
    return "positive" if comparison.greater_is_better else "negative"


def _candidates(comparison: Comparison) -> Table:
    unit = f"{comparison.metric} ({comparison.unit})"
    incumbent = float(comparison.timeline.metric[comparison.incumbent][-1])
    caption = (
        f"What the last look shows; {_favour(comparison)} differences favour the candidate, each at level "
        f"{comparison.level_each:.3g}"
    )
    of = comparison.differenced
    difference = "difference" if of == comparison.metric else f"difference in {of} ({comparison.differenced_unit})"
    heads = ("model", unit, difference, "interval", "whatever the missing labels", "mature days", "e-value", "status",
             "decided at")  # fmt: skip
    rows = (
        (f"{comparison.incumbent} (incumbent)", number(incumbent), *("",) * 7),
        *(_candidate_row(candidate) for candidate in comparison.candidates),
    )
    return Table(caption, heads, rows, brief=("model", unit, difference, "interval", "status"))


def _candidate_row(candidate: Candidate) -> tuple[str, ...]:
    return (
        candidate.name,
        number(candidate.metric),
        beside(candidate.difference, candidate.difference_low, candidate.difference_high),
        span(candidate.difference_low, candidate.difference_high),
        "unbounded" if candidate.bounds is None else span(*candidate.bounds),
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
        ("older than the horizon, label never came", percent(comparison.never_arrived)),
        ("older than the horizon, label came too late", percent(comparison.late)),
        *((f"label delay p{p}, of those that came", format_duration(float(delays[p]))) for p in (50, 90, 99)),
        ("incumbent against itself (A/A)", f"{beside(floor.difference, floor.low, floor.high)} {span(floor.low, floor.high)}"),
        ("autocorrelation of its days", f"{floor.autocorrelation:+.2f}"),
        *(
            (f"false alarms on the noise of {each.name} (placebo)", _placebo(each)) for each in comparison.candidates
        ),
    )  # fmt: skip
    return Table("Labels, and the noise floor", ("figure", "value"), rows, brief=())


def _placebo(candidate: Candidate) -> str:
    if candidate.placebo is not None:
        return share_between(candidate.placebo.value, candidate.placebo.low, candidate.placebo.high)
    alike = f": days are alike for {candidate.alike} or more" if candidate.alike > 1 else ""
    return f"too short to tell{alike}"


def _differences(comparison: Comparison) -> Figure:
    """The confidence sequences, with zero and the tolerance, and below them the share of labels they could rest on."""
    points = kept(len(comparison.timeline.as_of_us))
    x = times(comparison.timeline.as_of_us[points])
    data: list[dict[str, Any]] = []
    for place, (name, path) in enumerate(comparison.timeline.paths.items()):
        rgb = colour(place)
        data += band(x, path.low[points], path.high[points], rgb, name)
        data.append(line(x, path.difference[points], name, legendgroup=name, line={"color": f"rgb({rgb})"}))
    tolerance = -comparison.max_loss if comparison.greater_is_better else comparison.max_loss
    data.append(rule(x, 0.0, "no difference", "solid"))
    if tolerance:
        data.append(rule(x, tolerance, "tolerance", "dash"))
    coverage = np.nan_to_num(comparison.timeline.coverage[points])
    data.append(line(x, coverage, "labels in", yaxis="y2", line={"color": "gray", "width": 1}, fill="tozeroy"))
    better, worse = (
        ("above zero", "below minus the tolerance")
        if comparison.greater_is_better
        else ("below zero", "above the tolerance")
    )
    caption = (
        f"Candidate minus incumbent, as of each look: a band wholly {better} is better, wholly {worse} worse. It starts after "
        f"{Asymptotic.burn_in} mature days. Below: the share of the requests asked whose label was in and counted."
    )
    return _two_panels(
        figure(caption, data, _axis(f"difference in {comparison.differenced}", comparison.differenced_unit)),
        "labels in",
    )


def _dashboard(comparison: Comparison) -> Figure:
    """What each morning showed of each model, and what it turned out to be."""
    timeline = comparison.timeline
    points = kept(len(timeline.as_of_us))
    x = times(timeline.as_of_us[points])
    data = []
    for place, (name, values) in enumerate(timeline.metric.items()):
        style = {"color": f"rgb({colour(place)})"}
        data.append(line(x, values[points], f"{name}, shown then", line=style, legendgroup=name))
        true = timeline.turned_out[name][points]
        data.append(
            line(x, true, f"{name}, turned out", line={**style, "dash": "dot"}, legendgroup=name, connectgaps=True)
        )
    then, finally_ = timeline.coverage[points], timeline.final_coverage[points]
    data.append(line(x, then, "labels in by then", yaxis="y2", line={"color": "gray", "width": 1}))
    data.append(
        line(x, finally_, "labels in the end", yaxis="y2", connectgaps=True, line={"color": "gray", "width": 1, "dash": "dot"})
    )  # fmt: skip
    caption = (
        "What the dashboard would have shown that morning, over the requests whose label was in, against what turned out "
        "true of all requests asked by then. Every request weighs the same. Below: the share with a label, then and in the end."
    )
    return _two_panels(figure(caption, data, _axis(comparison.metric, comparison.unit)), "coverage")


def _axis(what: str, unit: str) -> str:
    """The title of an upper panel, in two lines where one would not fit beside it."""
    told = f"{what} ({unit})"
    return told if len(told) <= MOST_TITLE else f"{what}<br>({unit})"


def _two_panels(whole: Figure, below: str) -> Figure:
    """The same with what belongs to `y2` in a lower panel."""
    layout = whole.plotly["layout"]
    layout["yaxis"] |= {"domain": [0.32, 1.0]}
    layout["yaxis2"] = {"domain": [0.0, 0.22], "title": {"text": below}, "range": [0.0, 1.02], "tickformat": ".0%"}
    layout["xaxis"] |= {"anchor": "y2"}
    return whole


def _delays(comparison: Comparison) -> Figure:
    hours = (comparison.delays.percentiles_s / 3600.0).tolist()
    horizon = comparison.horizon_s / 3600.0
    shares = [p / 100.0 for p in range(101)]
    data = [
        line([None if math.isnan(each) else each for each in hours], shares, "labels that came"),
        line([horizon, horizon], [0.0, 1.0], "horizon", line={"dash": "dash", "width": 1, "color": "gray"}),
    ]
    caption = (
        f"How long the {comparison.delays.labels:,} labels took that came; what is right of the horizon does not count."
    )
    return figure(caption, data, "share of labels", "label delay (hours)")


def _notes(comparison: Comparison) -> tuple[str, ...]:
    horizon, every = format_duration(comparison.horizon_s), format_duration(comparison.every_s)
    looking = (
        "Two clocks: a request counts from when it was asked, a label from when it could be known. "
        f"Looked every {every}, from the first UTC midnight; each look uses only labels known by then."
    )
    counting = (
        f"A label counts if it came within {horizon} of its request; corrected, it counts as corrected from then on. One that came "
        "later is expired, one still out at the end is censored: neither is ever filled in."
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
        f"{number(comparison.noise_floor.width)}) says what noise looks like, not how fine the comparison is."
    )
    dependence = (_dependence(candidate) for candidate in comparison.candidates if candidate.stretch > 1.0)
    return (looking, counting, weighing, sureness, floor, _missing(comparison), *dependence, *comparison.notes)


def _missing(comparison: Comparison) -> str:
    share = f"Not known: {percent(comparison.never_arrived)} of the requests older than the horizon never got a label"
    share += f" and {percent(comparison.late)} got theirs too late. "
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
