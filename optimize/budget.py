"""A Budget: how long a search may take, what it has been spent on, what must be kept for its end, and what still fits.

Work is begun only where it is expected to fit, and finished where it was begun: an alarm that broke into a runtime's call ended the
process now and then. A file that is not made is no loss, a proof that comes too late is one. What is kept for the end is what the
proof of one child takes, as it is known from what the parent took for the same questions.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .race import Finish

EXPLORING = 0.6
"""The share of the budget after which nothing new is made: the rest is for the proof."""

TIMING = 0.7
"""The share of what is left that a wave of the proof is timed, at most: something is left for judging it."""

GRACE = 0.05
"""The share of the budget by which the first proof may be expected to overrun it: half of what is promised."""

HOPED = 0.25
"""Before there is a child that is faster than the parent, one is hoped for that takes this share of the parent's time."""

PROMISE = 1.1
"""A search that took so many times its budget says why."""

ROUNDS, BLOCK_CALLS, BLOCK_S = 10, 10, 0.04
"""So many rounds a measurement makes at least, warm-up included; so many calls, and so long, a block of each has."""


@dataclass(frozen=True)
class Costs:
    """What the end of a search takes of the parent; a child takes less by as much as it is faster.

    Args:
        pace: how the parent did in the race; None before it has run.
        asked_s: answering the rows to learn from.
        judged_s: answering the rows held out, alone and in company.
        looked_s: a closer look at one child and the parent, from which no child takes anything away.
        run_off_s: racing one child again by every number of threads; longer laps hold more of its calls.
    """

    pace: Finish | None = None
    asked_s: float = 0.0
    judged_s: float = 0.0
    looked_s: float = 0.0
    run_off_s: float = 0.0

    def ask_s(self, finish: Finish) -> float:
        """How long a child takes for the rows to learn from."""
        return finish.open_s + self.asked_s * self._share(finish)

    def judge_s(self, finish: Finish) -> float:
        """How long it takes to judge a child on the rows held out."""
        return finish.open_s + self.judged_s * self._share(finish)

    def prove_s(self, finish: Finish) -> float:
        """How long it takes to time a child, and to judge it."""
        return timing_s(finish) + self.judge_s(finish)

    def first_s(self, finish: Finish | None) -> float:
        """How long it takes to ask one child, prove it and look closer; of one as it is hoped for, where there is none yet."""
        each, share = (finish, 1.0) if finish is not None else (self.pace, HOPED)
        return (
            0.0
            if each is None
            else self.parent_s + self.looked_s + self.run_off_s + share * (self.ask_s(each) + self.prove_s(each))
        )

    @property
    def parent_s(self) -> float:
        """How long it takes to time the parent beside its children."""
        return timing_s(self.pace) if self.pace is not None else 0.0

    def _share(self, finish: Finish) -> float:
        return sum(finish.p50_s.values()) / sum(self.pace.p50_s.values()) if self.pace is not None else 0.0


def timing_s(finish: Finish) -> float:
    """How long it takes to time one model, at least: it is loaded anew each round."""
    return ROUNDS * (finish.open_s + sum(max(BLOCK_S, BLOCK_CALLS * p50_s) for p50_s in finish.p50_s.values()))


@dataclass
class Budget:
    """How long a search may take; it notes what it was spent on.

    Args:
        seconds: all in all.
        endless: whether it may take as long as it takes.
        clock: what time it is, in seconds.
        started_s: when it began.
        costs: of the end of the search, once they are known.

    Example:
        >>> Budget(0.0).exploring_is_over, Budget(0.0, endless=True).exploring_is_over
        (True, False)
    """

    seconds: float
    endless: bool = False
    clock: Callable[[], float] = time.monotonic
    started_s: float = math.nan
    costs: Costs = field(default_factory=Costs)
    phases_s: dict[str, float] = field(default_factory=dict)
    latest_s: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """It begins now, where nothing else is said."""
        if math.isnan(self.started_s):
            self.started_s = self.clock()

    @property
    def spent_s(self) -> float:
        """How long it has been."""
        return self.clock() - self.started_s

    @property
    def left_s(self) -> float:
        """What is left; below zero where it is overdrawn."""
        return math.inf if self.endless else self.seconds - self.spent_s

    @property
    def grace_s(self) -> float:
        """By how much it may be overdrawn, where otherwise nothing would be proven."""
        return GRACE * self.seconds

    @property
    def exploring_is_over(self) -> bool:
        """Whether nothing new should be made."""
        return not self.endless and self.spent_s > EXPLORING * self.seconds

    @property
    def is_over(self) -> bool:
        """Whether nothing new should be begun at all."""
        return self.left_s <= 0.0

    @property
    def is_spent(self) -> bool:
        """Whether what a first proof may overrun it by is gone too."""
        return self.left_s + self.grace_s <= 0.0

    def making_s(self, best: Finish | None) -> float:
        """How long may still be made at the most, so that the best so far can be asked, proven and looked at."""
        return self.left_s - self.costs.first_s(best)

    def may_make(self, expected_s: float, best: Finish | None, *, late: bool = False) -> bool:
        """Whether something may be begun that is expected to take so long.

        Args:
            expected_s: 0 where nothing is known of it.
            best: the best so far.
            late: whether it may be begun after the time for exploring.
        """
        return (late or not self.exploring_is_over) and self.making_s(best) > expected_s

    def may_ask(self, finish: Finish, *, first: bool) -> bool:
        """Whether a child can be asked, and still be proven; the first may be expected to overrun a little."""
        return self.making_s(finish) + (self.grace_s if first else 0.0) > 0.0

    def may_prove(self, members: Sequence[Finish]) -> bool:
        """Whether some children can be proven together, and the best of them looked at; one alone may overrun a little."""
        needed_s = self.costs.parent_s + sum(map(self.costs.prove_s, members)) + self.costs.looked_s
        return needed_s <= self.left_s + (self.grace_s if len(members) == 1 else 0.0)

    def timing_s(self, members: Sequence[Finish]) -> float:
        """How long a wave is timed, about: judging its members, and a closer look at the best of them, come after."""
        after_s = sum(map(self.costs.judge_s, members)) + self.costs.looked_s
        return max(0.0, min(TIMING * self.left_s, self.left_s - after_s))

    def may_look(self, *, first: bool) -> bool:
        """Whether another child can be looked at; the first is."""
        return first or self.left_s >= self.costs.looked_s

    @contextmanager
    def spending(self, phase: str, kind: str = "") -> Iterator[None]:
        """Note how long something takes.

        Args:
            phase: of the search: what the time is told under.
            kind: of the work: the next of the kind is expected to take as long.
        """
        began_s = self.clock()
        try:
            yield
        finally:
            took_s = self.clock() - began_s
            self.phases_s[phase] = self.phases_s.get(phase, 0.0) + took_s
            self.latest_s[kind or phase] = took_s

    def expected_s(self, *kinds: str) -> float:
        """How long work of some kinds will take, by the latest of each; nothing where there was none."""
        return sum(self.latest_s.get(kind, 0.0) for kind in kinds)
