"""The disagreement's part of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.backtest.plot import beside, number, percent, share_between, span
from windtunnel.report.section import Section, Table

from .drivers import LEAST_SHARE, Drivers
from .flips import BOTH_WRONG, NOT_KNOWN, RIGHT_TO_WRONG, WRONG_TO_RIGHT

if TYPE_CHECKING:
    from .association import Associations
    from .costliest import Costliest
    from .explain import Explanation
    from .flips import Flips

MOST_DRIVERS, MOST_LINES = 10, 10
"""So many are drawn; all are in the JSON."""

MOST_NAMED = 3
"""So many features are named in a sentence."""


def draw(
    candidate: str, flips: Flips, *, costliest: Costliest | None = None, drivers: Drivers | Associations | None = None,
    explanation: Explanation | None = None,
) -> Section:  # fmt: skip
    """Draw what is known of why two models disagree.

    Args:
        candidate: its name.
        flips: how often they decide otherwise.
        costliest: the worst requests.
        drivers: what drives the flips, where models were asked; else what they go with.
        explanation: where they part, from logged answers.
    """
    tables = [_kinds(flips)]
    notes = [
        "A flip is a request on which the two decide otherwise at the threshold; who was right is known where the label is."
    ]
    if isinstance(drivers, Drivers):
        tables.append(_drivers(drivers))
        notes.append(
            "A feature is hidden by the value of another request; features that say the same cover for each other, and seem to matter "
            f"little. It drives flips if it is shown to take {LEAST_SHARE:.0%} of the distance between the models with it; the intervals "
            "of all features hold together with 95%, over days."
        )
    elif drivers is not None:
        tables.append(_associations(drivers))
        notes.append(
            "No model was asked, for the answers of both are not to be had from models at hand: what flips go with in the log need not "
            "be what drives them. The noise floor is what the strongest of all features reaches in 5% of cases with flips moved to another time."
        )
    if explanation is not None:
        tables.append(_rules(explanation))
    if costliest is not None and costliest.rows:
        tables.append(_lines(costliest))
    return Section(
        "Disagreement",
        "",
        _sentences(candidate, flips, costliest, explanation, drivers),
        tuple(tables),
        notes=tuple(notes),
    )


def _sentences(
    candidate: str, flips: Flips, costliest: Costliest | None, explanation: Explanation | None,
    drivers: Drivers | Associations | None,
) -> tuple[str, ...]:  # fmt: skip
    told = flips.to_dict()
    asked = len(flips.kind)
    share = len(flips.rows) / asked if asked else 0.0
    ways = f"{told['right_to_wrong']:,} right to wrong, {told['wrong_to_right']:,} wrong to right"
    sentences = [f"`{candidate}` decides otherwise on {told['flips']:,} of {asked:,} requests ({share:.2%}): {ways}"]
    if drivers is not None:
        sentences.append(_driven(drivers) if isinstance(drivers, Drivers) else _associated(drivers))
    if costliest is not None and costliest.rows:
        sentences.append(
            f"it costs more on {costliest.rows:,} requests, and the costliest {len(costliest.table)} make {percent(costliest.share)} of that"
        )
    if explanation is not None:
        sentences.append(_fidelity(explanation))
    return tuple(sentences)


def _driven(drivers: Drivers) -> str:
    asked = f"both models were asked about {drivers.asked:,} of {drivers.flips:,} flips with one feature hidden, {drivers.repeats} times each"
    if not drivers.named:
        return f"{asked}: no feature is shown to drive the flips"
    told = ", ".join(f"`{each.feature}` ({each.share:.0%} of the distance)" for each in drivers.named[:MOST_NAMED])
    rest = len(drivers.named) - MOST_NAMED
    return f"{asked}: they are driven by {told}{f' and {rest} more' if rest > 0 else ''}"


def _associated(found: Associations) -> str:
    asked = f"no model was asked; in the log of {found.requests:,} requests"
    if not found.named:
        return f"{asked} flips go with no feature more than noise would have it"
    told = ", ".join(
        f"`{each.feature}` ({each.rate:.1%} flip where {each.where}, {found.rate:.1%} overall)"
        for each in found.named[:MOST_NAMED]
    )
    rest = len(found.named) - MOST_NAMED
    return f"{asked} flips go with {told}{f' and {rest} more' if rest > 0 else ''}"


def _fidelity(explanation: Explanation) -> str:
    held = share_between(explanation.fidelity, explanation.low, explanation.high)
    if explanation.trusted:
        return (
            f"a small tree over the logged features explains {held} of how much the distance between the answers varies, on later "
            "requests than it was learnt from"
        )
    return (
        "what was logged does not explain where they part: on later requests a small tree learnt from it guesses no better than "
        f"their average is shown to do, its share of the variance explained is {held}"
    )


def _kinds(flips: Flips) -> Table:
    rows = (
        ("right to wrong", flips.count(RIGHT_TO_WRONG)), ("wrong to right", flips.count(WRONG_TO_RIGHT)),
        ("wrong to wrong", flips.count(BOTH_WRONG)), ("label not known", flips.count(NOT_KNOWN)),
    )  # fmt: skip
    asked = max(1, len(flips.kind))
    return Table(
        "Requests that flip", ("flip", "requests", "share"),
        tuple((name, f"{count:,}", f"{count / asked:.2%}") for name, count in rows),
    )  # fmt: skip


def _drivers(drivers: Drivers) -> Table:
    unit = "log-odds" if drivers.scale == "log-odds" else "as answered"
    return Table(
        f"What drives the flips: how much nearer the answers come when a feature is hidden, of {number(drivers.apart)} ({unit})",
        ("feature", "nearer by", "interval", "of the distance", "flips undone", "shown"),
        tuple(
            (each.feature, beside(each.narrowed, each.low, each.high), span(each.low, each.high), f"{each.share:.0%}", f"{each.undone:.0%}",
             "yes" if each.named else "no")
            for each in drivers.features[:MOST_DRIVERS]
        ),
    )  # fmt: skip


def _associations(found: Associations) -> Table:
    return Table(
        f"What flips go with, of {found.requests:,} requests of which {found.rate:.2%} flip (Cramér's V, 0 to 1)",
        ("feature", "association", "noise floor", "most flip where", "share there", "requests there", "shown"),
        tuple(
            (each.feature, f"{each.strength:.3f}", f"{each.floor:.3f}", each.where, f"{each.rate:.2%}", f"{each.requests:,}",
             "yes" if each.named else "no")
            for each in found.features[:MOST_DRIVERS]
        ),
    )  # fmt: skip


def _rules(explanation: Explanation) -> Table:
    caption = f"Where the answers lie apart (by {number(explanation.mean)} on average), from logged features, on later requests"
    return Table(
        caption, ("where", "requests", "share", "apart by", "when learnt"),
        tuple(
            (" and ".join(each.conditions) or "everywhere", f"{each.rows:,}", f"{each.share:.1%}", number(each.apart), number(each.learnt))
            for each in explanation.rules
        ),
    )  # fmt: skip


def _lines(costliest: Costliest) -> Table:
    shown = costliest.table.head(MOST_LINES)
    return Table(
        f"The costliest {len(shown)} of them", ("id", "asked", "label", "known", "incumbent", "candidate", "cost more"),
        tuple(
            (str(line["id"]), f"{line['time']:%Y-%m-%d %H:%M}", f"{line['label']:g}", f"{line['label_time']:%Y-%m-%d %H:%M}",
             _answer(line["incumbent"]), _answer(line["candidate"]), number(line["extra_cost"]))
            for line in shown.iter_rows(named=True)
        ),
        brief=(),
    )  # fmt: skip


def _answer(value: float | list[float]) -> str:
    return ", ".join(f"{each:.3g}" for each in value) if isinstance(value, list) else f"{value:.4g}"
