"""A Comparison with all that was found beside it, as one result: one document, one section, one verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.section import draw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.backtest.comparison import Comparison
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
        return (*_fooled(self.comparison), *(doubt for finding in self.beside for doubt in finding.doubts))

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
            told |= finding.to_dict()
        return told

    def draw(self) -> Section:
        """One section of all."""
        whole, parts = draw(self.comparison, delays=False), [_brief(finding.draw()) for finding in self.beside]
        doubts = (f"doubt: {doubt}" for doubt in self.doubts)
        return replace(
            whole,
            sentences=(*whole.sentences, *doubts, *(each for part in parts for each in part.sentences)),
            tables=(*whole.tables, *(each for part in parts for each in part.tables)),
            figures=(*whole.figures, *(each for part in parts for each in part.figures)),
            notes=(*whole.notes, *(each for part in parts for each in part.notes)),
        )


def _fooled(comparison: Comparison) -> tuple[str, ...]:
    """Candidates on whose noise the method finds differences that are not there more often than it says."""
    return tuple(
        f"on the noise of `{each.name}`'s days the method finds a difference that is not there in {each.placebo.value:.0%} of trials: "
        "its days stay alike for long, so what holds of these days need not hold of others"
        for each in comparison.candidates
        if each.placebo is not None and each.placebo.low > comparison.level_each
    )


def _brief(part: Section) -> Section:
    """The same with no table but its first on a terminal: the report has room for the others."""
    first, others = part.tables[:1], part.tables[1:]
    return replace(part, tables=(*first, *(replace(table, brief=()) for table in others)))
