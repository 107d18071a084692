"""What an optimization found: every variant that was made, what became of it, and the one that is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windtunnel.quantity import format_bytes, format_duration
from windtunnel.verdict import Verdict

from .budget import PROMISE
from .judged import OUT_OF_TIME, UNPROVEN_IN_TIME

if TYPE_CHECKING:
    from pathlib import Path

    from .goal import Goal
    from .judged import Failure, Judged, Raced, Skipped


BETTER = {"size": "smaller and as fast", "memory": "smaller in memory and as fast"}
"""What a child must be beside proven, where it is not only faster."""


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
        phases_s: how long each kind of work took, in seconds, by what it is told under.
    """

    goal: Goal
    judged: tuple[Judged, ...]
    raced: tuple[Raced, ...] = ()
    failures: tuple[Failure, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    seconds: float = 0.0
    interrupted: bool = False
    phases_s: dict[str, float] = field(default_factory=dict)

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
        return Verdict(
            "go", (self._found(), *self.chosen.warnings), self._would_change(),
            {"chosen": self.chosen.variant.name, "tried": self.tried},
        )  # fmt: skip

    def _would_change(self) -> tuple[str, ...]:
        """What to do for another answer: more rows, more time, or the rest of a search that was stopped."""
        changes = [f"{each.variant.name}: {each.reason}" for each in self.judged if each.status == "not-proven"]
        room = self.parent.quality.drop.high
        if room > self.goal.max_drop:
            told = f"{room:.4f} {self.goal.judge.name}" if math.isfinite(room) else "anything"
            rows = self.parent.quality.rows_needed(self.goal.max_drop)
            more = f"hold out about {rows:,}, or allow more" if rows else "hold out more, or allow more"
            changes.append(
                f"{self.parent.quality.drop.samples:,} rows held out cannot rule out a loss below {told}: {more}"
            )
        late = {"made": sum(each.reason == OUT_OF_TIME for each in self.skipped)}
        late["proven"] = sum(each.reason == UNPROVEN_IN_TIME for each in self.raced)
        if any(late.values()) and not self.interrupted:
            told = " and ".join(f"{count} candidates were not {what}" for what, count in late.items() if count)
            changes.append(f"{told} for want of time: give a --budget above {self.goal.budget_s:g}s")
        if self.overrun:
            changes.append(self.overrun)
        if self.interrupted:
            changes.append("it was stopped before its end: the same command goes on from there")
        return tuple(changes)

    @property
    def overrun(self) -> str:
        """Why it took longer than it was given; empty where it did not, or had no budget."""
        if self.goal.exhaustive or self.seconds <= PROMISE * self.goal.budget_s:
            return ""
        longest = sorted(self.phases_s.items(), key=lambda each: -each[1])[:2]
        told = " and ".join(f"{name} ({format_duration(took_s)})" for name, took_s in longest)
        spent, budget = format_duration(self.seconds), format_duration(self.goal.budget_s)
        return f"it took {spent} of a budget of {budget}, most of it for {told}"

    def _found(self) -> str:
        chosen, parent, goal = self.chosen, self.parent, self.goal
        if chosen is parent:
            better = BETTER.get(goal.objective, "faster")
            return (
                f"{parent.variant.name} stays (run by {parent.variant.execution.label}): no child is both proven within "
                f"{goal.max_drop:g} {goal.judge.name} and {better}"
            )
        drop = chosen.quality.drop
        return (
            f"{chosen.variant.name} is {self._gain()} "
            f"and loses {drop.value:.4f} {goal.judge.name} ({drop.low:.4f} to {drop.high:.4f}; allowed {goal.max_drop:g})"
        )

    def _gain(self) -> str:
        """What was asked for, and what came of it."""
        chosen, parent, speed = self.chosen, self.parent, self.chosen.speedup
        fast = f"{speed.value:.2f} × as fast as {parent.variant.name} ({speed.low:.2f} to {speed.high:.2f})"
        if self.goal.objective == "size":
            return f"{chosen.variant.bytes / parent.variant.bytes:.2f} × as large and {fast}"
        if self.goal.objective == "memory" and chosen.memory_bytes and parent.memory_bytes:
            return (
                f"served in {format_bytes(chosen.memory_bytes)} instead of {format_bytes(parent.memory_bytes)}, {fast}"
            )
        return fast + {"p99": " at p99", "throughput": " in rows a second"}.get(self.goal.objective, "")

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """The result as JSON values, paths relative to a folder."""
        judged, raced = ([each.to_dict(folder) for each in self.judged], [each.to_dict(folder) for each in self.raced])
        return {
            "chosen": self.chosen.to_dict(folder),
            "frontier": [*judged, *raced, *(each.to_dict() for each in self.failures)],
            "skipped": [each.to_dict() for each in self.skipped],
            "tried": self.tried, "interrupted": self.interrupted, "search_s": self.seconds,
            "phases_s": self.phases_s,
        }  # fmt: skip
