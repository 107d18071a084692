"""The proof: the fastest likely children, judged on the rows held out; who is good enough is timed at length beside the parent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from windtunnel.runtime import open_session

from .choose import refusal, verdict_on
from .invariance import batch_dependence, is_exact
from .judged import Failure, Judged, reason_of
from .quantized import count_quantized
from .speed import compare_speed, speed_in_race

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.session import Session
    from windtunnel.timings import Timings
    from windtunnel.variant import Variant

    from .budget import Budget
    from .explore import Candidate
    from .goal import Goal
    from .invariance import Dependence
    from .judged import Status
    from .quality import Quality
    from .race import Finish
    from .speed import Speed
    from .witness import Witness

    Arrays = Mapping[str, NDArray[Any]]

WAVE = 5
"""So many children are proven at once, at most."""


class Measure(Protocol):
    """Interleaved timing; the measuring stage's, handed over by the composition."""

    def __call__(
        self,
        openers: Mapping[str, Callable[[], Session]],
        feeds: Arrays,
        batch_sizes: Sequence[int],
        *,
        budget_s: float,
    ) -> Timings:
        """Time every model at every batch size, side by side, opened anew as often as need be."""
        ...


class Weigh(Protocol):
    """The memory of a process that serves a variant; the measuring stage's, handed over by the composition."""

    def __call__(self, variant: Variant, feeds: Arrays, batch_sizes: Sequence[int]) -> int:
        """Bytes resident at the most, in a process started for it."""
        ...


@dataclass(frozen=True)
class _Answers:
    """What a child answered, and what keeps it out because of that."""

    finish: Finish
    quality: Quality
    dependence: Dependence
    against: tuple[Status, str] | None


class Prover:
    """The state of one proof; thrown away after it.

    Args:
        parent: beside which children are judged.
        witness: what it answered.
        sizes: rows of every size class.
        goal: what is asked for.
        measure: interleaved timing.
        pace: how the parent did in the race.
        budget: a child whose judging outlasts it is not judged.
        weigh: memory, where that is what is asked for.
    """

    def __init__(
        self,
        parent: Variant,
        witness: Witness,
        sizes: Mapping[str, Arrays],
        goal: Goal,
        measure: Measure,
        pace: Finish,
        budget: Budget,
        weigh: Weigh | None = None,
    ) -> None:
        self.parent, self.witness, self.sizes, self.goal, self.measure = parent, witness, sizes, goal, measure
        self.budget = budget
        self.weigh = weigh if goal.objective == "memory" else None
        self.subjects = subjects(pace, budget)
        self.dependence = batch_dependence(open_session(parent), witness.holdout.feeds, self.subjects)
        self.failures: list[Failure] = []
        self.pace = pace

    def prove(
        self, wave: int, finishes: Sequence[Finish], timed_s: Callable[[Sequence[Finish]], float]
    ) -> list[Judged]:
        """Judge some children, and time those that are good enough beside the parent; who came too late is nowhere.

        Quality comes first: it takes less time, and is what most fail by. Of those who fail, and of the parent where they all
        do, the speed is that of the race.

        Args:
            wave: its number, from 0: a later wave is judged at a higher confidence, for chance has had its chances.
            finishes: the children, as they did in the race; where there are none, the parent is timed alone.
            timed_s: how long to time those that are good enough, about.

        Returns:
            The parent, and behind it the children in their order.
        """
        confidence = self.goal.confidence_each(wave, len(finishes))
        answers: list[_Answers] = []
        for finish in finishes:
            if self.budget.is_spent:
                break  # nor is there time for the others
            try:
                with self.budget.spending("rows held out"):
                    answers.append(self._ask(finish, confidence))
            except Exception as error:  # noqa: BLE001  # whatever a child or a metric raises, it is that child's failure
                self.failures.append(Failure(finish.variant.name, reason_of(error)))
        timings: Mapping[str, Timings] = {}
        good = [each.finish for each in answers if each.against is None]
        if good or not answers:
            with self.budget.spending("timing"):
                timings = self._time([self.parent, *(each.variant for each in good)], timed_s(good))
        return [self._parent(timings, confidence), *(self._child(each, timings, confidence) for each in answers)]

    def _ask(self, finish: Finish, confidence: float) -> _Answers:
        """Whether a child is good enough, and may share batches."""
        session = open_session(finish.variant)
        quality = self.witness.quality(session, finish.variant.name, confidence)
        dependence = batch_dependence(session, self.witness.holdout.feeds, self.subjects)
        objection = dependence.objection(self.dependence, exact=is_exact(finish.variant))
        return _Answers(finish, quality, dependence, refusal(quality, objection, self.goal))

    def _speed(self, finish: Finish, timings: Mapping[str, Timings], confidence: float) -> Speed:
        if not timings:
            return speed_in_race(self.pace, finish, confidence)
        return compare_speed(timings, self.parent.name, finish.variant.name, self.goal, confidence)

    def _time(self, members: Sequence[Variant], budget_s: float) -> dict[str, Timings]:
        openers = {each.name: partial(open_session, each) for each in members}
        share_s = budget_s / len(self.sizes)
        return {
            size: self.measure(openers, feeds, self.goal.batch_sizes, budget_s=share_s)
            for size, feeds in self.sizes.items()
        }

    def _parent(self, timings: Mapping[str, Timings], confidence: float) -> Judged:
        name = self.parent.name
        speed = self._speed(replace(self.pace, variant=self.parent), timings, confidence)
        quality = self.witness.own_quality(confidence, name)
        counted = count_quantized(self.parent.path)
        return Judged(
            self.parent, "on-frontier", "the parent", quality, speed, self.dependence, counted,
            memory_bytes=self._memory_bytes(self.parent),
        )  # fmt: skip

    def _memory_bytes(self, variant: Variant) -> int | None:
        """What a process that serves it takes at most, at the size class that is largest."""
        if self.weigh is None:
            return None
        return max(self.weigh(variant, feeds, self.goal.batch_sizes) for feeds in self.sizes.values())

    def _child(self, answers: _Answers, timings: Mapping[str, Timings], confidence: float) -> Judged:
        variant, quality = answers.finish.variant, answers.quality
        speed = self._speed(answers.finish, timings if answers.against is None else {}, confidence)
        status, reason = answers.against or verdict_on(quality, speed, "", self.goal)
        return Judged(
            variant, status, reason, quality, speed, answers.dependence, _counted(variant),
            memory_bytes=self._memory_bytes(variant) if answers.against is None else None,
        )  # fmt: skip


def _counted(variant: Variant) -> tuple[int, int]:
    """Integer operators and heavy ones; trees in their library's own file multiply nothing."""
    return (0, 0) if variant.execution.own_file else count_quantized(variant.path)


def next_wave(ranked: Sequence[Candidate], budget: Budget, *, everything: bool) -> list[Candidate]:
    """The best of the likely candidates, as many as the time left allows: one that does not fit gives way to the next that does.

    Args:
        ranked: the candidates that are likely to be good enough, the best first.
        budget: what is left, and what a proof takes.
        everything: whether all are taken, whatever they cost.
    """
    if everything:
        return list(ranked)
    members: list[Candidate] = []
    for each in ranked[:WAVE]:
        if budget.may_prove([one.finish for one in (*members, each)]):
            members.append(each)
    return members


SUBJECTS, ASKED = 48, 9
"""So many rows, each asked so many times, say whether a row's answer depends on its company."""

COMPANY_S, COMPANY = 3.0, 0.05
"""How long that may take of the parent, about, and what share of the budget: of slow models fewer rows are asked."""


def subjects(pace: Finish, budget: Budget) -> int:
    """How many rows are asked alone and in company."""
    company_s = COMPANY_S if budget.endless else min(COMPANY_S, COMPANY * budget.seconds)
    return max(8, min(SUBJECTS, int(company_s / (ASKED * min(pace.p50_s.values())))))
