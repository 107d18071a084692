"""A Comparison with all that was found beside it, as one result: one document, one section, one verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.plot import share_between
from windtunnel.backtest.section import draw

from .disagreements import Disagreements
from .sampled import Sampled

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.backtest.comparison import Candidate, Comparison
    from windtunnel.report.section import Section
    from windtunnel.verdict import Verdict

    from .finding import Finding


@dataclass(frozen=True)
class AsOf:
    """All that was said at each look, so that it can be seen whether any of it hangs on what came later."""

    of: Findings

    @property
    def as_of_us(self) -> NDArray[np.int64]:
        """The looks of the comparison, int64 [looks]."""
        return self.of.comparison.timeline.as_of_us

    def series(self, until_us: int) -> dict[str, NDArray[Any]]:
        """Everything said up to and including a time."""
        told = dict(self.of.comparison.timeline.series(until_us))
        for finding in self.of.beside:
            looks_us, named = finding.series()
            looks = int(np.searchsorted(looks_us, until_us, side="right"))
            told |= {name: values[:looks] for name, values in named.items()}
        return told


@dataclass(frozen=True)
class Findings:
    """Who would have won, and what else the recording shows.

    Args:
        comparison: the one thing that is decided by.
        beside: what explains it, and gives reason to doubt it.
    """

    comparison: Comparison
    beside: tuple[Finding, ...]

    @property
    def timeline(self) -> AsOf:
        """What the leak test compares."""
        return AsOf(self)

    @cached_property
    def doubts(self) -> tuple[str, ...]:
        """Why the comparison should be believed less than it says."""
        return (
            *_fooled(self.comparison),
            *_coarse(self.comparison),
            *(doubt for finding in self.beside for doubt in finding.doubts),
        )

    @property
    def verdict(self) -> Verdict:
        """That of the comparison, with the doubts among its reasons: none of them turns it."""
        verdict = self.comparison.verdict
        reasons = (*verdict.reasons, *(f"doubt: {doubt}" for doubt in self.doubts))
        return replace(verdict, reasons=reasons, evidence={**verdict.evidence, "doubts": list(self.doubts)})

    def to_dict(self) -> dict[str, Any]:
        """The whole document as JSON values."""
        told = self.comparison.to_dict() | {"doubts": list(self.doubts)}
        for finding in self.beside:
            for key, value in finding.to_dict().items():
                # what adds up may be told of all requests, the rest of the same list of some
                told[key] = [*told[key], *value] if key in told and isinstance(value, list) else value
        return told

    def write(self, folder: Path) -> None:
        """Lay down what findings keep in files of their own."""
        for finding in self.beside:
            of = finding.of if isinstance(finding, Sampled) else finding
            if isinstance(of, Disagreements):
                of.write(folder)

    def draw(self) -> Section:
        """One section of all."""
        whole, parts = draw(self.comparison, delays=False), [_brief(finding.draw()) for finding in self.beside]
        doubts = (f"doubt: {doubt}" for doubt in self.doubts)
        return replace(
            whole,
            sentences=(*whole.sentences, *doubts, *(each for part in parts for each in part.sentences)),
            tables=(*whole.tables, *(each for part in parts for each in part.tables)),
            figures=(*whole.figures, *(each for part in parts for each in part.figures)),
            notes=tuple(dict.fromkeys((*whole.notes, *(each for part in parts for each in part.notes)))),
        )


def _fooled(comparison: Comparison) -> tuple[str, ...]:
    """Candidates on whose noise the method finds differences that are not there more often than it says, or could not be tried."""
    return tuple(told for each in comparison.candidates if (told := _fooled_by(each, comparison.level_each)))


def _fooled_by(candidate: Candidate, level: float) -> str:
    placebo = candidate.placebo
    if placebo is None and candidate.alike > 1 and math.isfinite(candidate.difference_high):
        return (
            f"the daily differences of `{candidate.name}` stay alike for {candidate.alike} days or more, too long for the method to be tried "
            f"on their noise (placebo) in {candidate.blocks} days: what holds of these days need not hold of others"
        )
    if placebo is None or placebo.low <= level:
        return ""
    return (
        f"on the noise of `{candidate.name}`'s days the method finds a difference that is not there in "
        f"{share_between(placebo.value, placebo.low, placebo.high)} of trials, more than its {level:.3g}: its days stay alike for long, so "
        "what holds of these days need not hold of others"
    )


def _coarse(comparison: Comparison) -> tuple[str, ...]:
    """Candidates whose interval ends so near to what decides that counting scores in bins may have decided."""
    if comparison.binned is None:
        return ()
    told = []
    for each in comparison.candidates:
        error = comparison.binned.difference_error[each.name]
        margins = [
            abs(end - bar)
            for end in (each.difference_low, each.difference_high)
            for bar in (0.0, comparison.max_loss, -comparison.max_loss)
        ]
        if min(margins) <= error:
            told.append(
                f"an end of `{each.name}`'s interval lies nearer to what decides than scores counted in {comparison.binned.bins:,} bins "
                f"can tell ({error:.2g})"
            )
    return tuple(told)


def _brief(part: Section) -> Section:
    """The same with no table but its first on a terminal: the report has room for the others."""
    first, others = part.tables[:1], part.tables[1:]
    return replace(part, tables=(*first, *(replace(table, brief=()) for table in others)))
