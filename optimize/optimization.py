"""What an optimization found: every variant that was made, what became of it, and the one that is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from .goal import Goal
    from .judged import Failure, Judged, Raced, Skipped


@dataclass(frozen=True)
class Optimization:
    """Every variant judged, and the chosen one.

    Args:
        goal: what was asked for.
        judged: the parent first, then the children that were proven or failed to be.
        raced: variants that were left behind in a race.
        failures: steps that made nothing, and ways of running that a runtime refused.
        skipped: variants that were not made, and why.
        seconds: how long it took.
        interrupted: whether it was stopped before its end.
    """

    goal: Goal
    judged: tuple[Judged, ...]
    raced: tuple[Raced, ...] = ()
    failures: tuple[Failure, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def parent(self) -> Judged:
        """Where it all came from."""
        return self.judged[0]

    @property
    def chosen(self) -> Judged:
        """The best that is proven; the parent where none is."""
        return next(each for each in self.judged if each.status == "chosen")

    @property
    def tried(self) -> int:
        """How many variants were made and run, or failed to be."""
        return len(self.judged) + len(self.raced) + len(self.failures)

    @property
    def files(self) -> set[str]:
        """The names of the files of every variant that was made and run."""
        return {each.variant.path.stem for each in self.judged} | {each.variant.path.stem for each in self.raced}

    @property
    def verdict(self) -> Verdict:
        """Go: there is always a variant that is not worse, at least the parent."""
        unproven = [each for each in self.judged if each.status == "not-proven"]
        changes = tuple(f"{each.variant.name}: {each.reason}" for each in unproven)
        if self.interrupted:
            changes += ("it was stopped before its end: the same command goes on from there",)
        warnings = self.chosen.warnings
        return Verdict(
            "go", (self._found(), *warnings), changes, {"chosen": self.chosen.variant.name, "tried": self.tried}
        )

    def _found(self) -> str:
        chosen, parent = self.chosen, self.parent
        if chosen is parent:
            return f"{parent.variant.name} stays: no child is both proven within {self.goal.max_drop:g} {self.goal.judge.name} and faster"
        drop, speed = chosen.quality.drop, chosen.speedup
        return (
            f"{chosen.variant.name} is {speed.value:.2f} × as fast as {parent.variant.name} ({speed.low:.2f} to {speed.high:.2f}) "
            f"and loses {drop.value:.4f} {self.goal.judge.name} ({drop.low:.4f} to {drop.high:.4f}; allowed {self.goal.max_drop:g})"
        )

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """The result as JSON values, paths relative to a folder."""
        judged, raced = ([each.to_dict(folder) for each in self.judged], [each.to_dict(folder) for each in self.raced])
        return {
            "chosen": self.chosen.to_dict(folder),
            "frontier": [*judged, *raced, *(each.to_dict() for each in self.failures)],
            "skipped": [each.to_dict() for each in self.skipped],
            "tried": self.tried, "interrupted": self.interrupted, "search_s": self.seconds,
        }  # fmt: skip
