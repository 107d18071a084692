"""The disagreement's part of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.backtest.plot import number, percent, span
from windtunnel.report.section import Section, Table

from .flips import BOTH_WRONG, NOT_KNOWN, RIGHT_TO_WRONG, WRONG_TO_RIGHT

if TYPE_CHECKING:
    from .costliest import Costliest
    from .drivers import Driver
    from .explain import Explanation
    from .flips import Flips

MOST_DRIVERS, MOST_LINES = 10, 10
"""So many are drawn; all are in the JSON."""


def draw(
    candidate: str, flips: Flips, *, costliest: Costliest | None = None, drivers: tuple[Driver, ...] = (),
    explanation: Explanation | None = None,
) -> Section:  # fmt: skip
    """Draw what is known of why two models disagree.

    Args:
        candidate: its name.
        flips: how often they decide otherwise.
        costliest: the worst requests.
        drivers: what drives the flips, where models were asked.
        explanation: where they part, from logged answers.
    """
    tables = [_kinds(flips)]
    notes = [
        "A flip is a request on which the two decide otherwise at the threshold; who was right is known where the label is."
    ]
    if drivers:
        tables.append(_drivers(drivers))
        notes.append(
            "A feature is hidden by the value of another request; features that say the same cover for each other, and seem to matter little."
        )
    if explanation is not None:
        tables.append(_rules(explanation))
    if costliest is not None and costliest.rows:
        tables.append(_lines(costliest))
    return Section(
        "Disagreement", "", _sentences(candidate, flips, costliest, explanation), tuple(tables), notes=tuple(notes)
    )


def _sentences(
    candidate: str, flips: Flips, costliest: Costliest | None, explanation: Explanation | None
) -> tuple[str, ...]:
    told = flips.to_dict()
    asked = len(flips.kind)
    share = len(flips.rows) / asked if asked else 0.0
    ways = f"{told['right_to_wrong']:,} right to wrong, {told['wrong_to_right']:,} wrong to right"
    sentences = [f"`{candidate}` decides otherwise on {told['flips']:,} of {asked:,} requests ({share:.2%}): {ways}"]
    if costliest is not None and costliest.rows:
        sentences.append(
            f"it costs more on {costliest.rows:,} requests, and the costliest {len(costliest.table)} make {percent(costliest.share)} of that"
        )
    if explanation is not None:
        sentences.append(_fidelity(explanation))
    return tuple(sentences)


def _fidelity(explanation: Explanation) -> str:
    held = f"{explanation.fidelity:.0%} (interval {span(explanation.low, explanation.high)})"
    if explanation.trusted:
        return f"a small tree over the logged features explains {held} of how far they lie apart, on later requests than it was learnt from"
    return f"what was logged does not explain where they part: on later requests a small tree explains {held} of it"


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


def _drivers(drivers: tuple[Driver, ...]) -> Table:
    return Table(
        "What drives the flips: how much nearer the answers come when a feature is hidden",
        ("feature", "nearer by", "interval", "of the distance", "flips undone"),
        tuple(
            (each.feature, number(each.narrowed, signed=True), span(each.low, each.high), f"{each.share:.0%}", f"{each.undone:.0%}")
            for each in drivers[:MOST_DRIVERS]
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
