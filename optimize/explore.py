"""Exploring: make what may be faster, race it, and ask the learning rows what is likely to be good enough."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, TypeVar

from windtunnel.execution import RUNTIME
from windtunnel.fanout import WORTH_RAY_S, Workers, fan_out

from .judged import OUT_OF_TIME, Failure, Raced, Skipped, reason_of
from .race import race
from .space import SPINNING
from .step import NeedlessError
from .workshop import make_beside, portable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windtunnel.execution import Execution
    from windtunnel.progress import Progress
    from windtunnel.stats import Interval
    from windtunnel.variant import Variant

    from .budget import Budget
    from .goal import Goal
    from .judged import Status
    from .race import Cell, Finish, Refused
    from .space import Branch
    from .step import Accept, Step
    from .witness import Witness
    from .workshop import Workshop

Result = TypeVar("Result")

AS_FAST = 0.98
"""In a short race, so much of the parent's speed may be as fast as the parent: what it decides is timed again."""

LIKELY = 4
"""So many likely children, the fastest first, are enough to look no further among slower ones."""

LATE = 2
"""So many are enough where the time for exploring is over: a race is short, and its winner may not be the fastest."""

SLOW_PRECISION, SLOW_THREADS = 1.2, 1.2
"""A precision, or a number of threads, that is so many times slower for the parent is not tried on its children."""

SIDE_BY_SIDE = 0.4
"""The share of the budget after which files are no longer made side by side: they are to be raced too."""

RUN_OFFS, RUN_OFF_LAPS, RUN_OFF_S, RUN_OFF_SHARE = 4, 3, 0.3, 0.1
"""So many of those that are to be proven are raced once more, against each other, in so many laps of so long, or in so much of the
budget. In a lap of 10 ms two threads that just slept, or that share the cores with what the one before left spinning, look up to half
as fast as they are."""

UNSURE = 2
"""So many that are faster than the likely, and may be good enough, are proven beside them."""

WORTH = 1.05
"""A child must be so many times as good as the best likely one for its repairs to be worth making."""

MAKING, RACES, SIFTING, BESIDE, RUN_OFF = "making files", "races", "rows to learn from", "side by side", "a run-off"
"""What time is told under."""


@dataclass
class Candidate:
    """One file and one way of running it, and what is known of it so far.

    Args:
        finish: how it did in the race.
        branch: what made it; None for the parent's own file.
        asked: whether the learning rows were asked.
        lost: how much worse it was there; None where they cannot tell.
    """

    finish: Finish
    branch: Branch | None
    asked: bool = False
    lost: Interval | None = None

    @property
    def variant(self) -> Variant:
        """The file and the way."""
        return self.finish.variant


@dataclass
class Findings:
    """What exploring found; it grows while it goes on, and what is there holds whenever it is stopped."""

    candidates: list[Candidate] = field(default_factory=list)
    raced: list[Raced] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    proven: list[Candidate] = field(default_factory=list)

    def take(self, each: Candidate) -> None:
        """A candidate was judged, for better or worse."""
        self.candidates.remove(each)
        self.proven.append(each)

    def leave(self, finish: Finish, status: Status, reason: str) -> None:
        """A variant was raced and goes no further."""
        self.raced.append(Raced(finish.variant, status, reason, finish.speedup, finish.p50_s))


class Explorer:
    """The state of one exploration; thrown away after it.

    Args:
        parent: what children are made of and raced beside.
        ways: in which files may be run.
        usual: how the parent did on the usual runtime, where its best number of threads was found.
        workshop: where steps are done.
        witness: what the parent answered.
        cells: where speed is compared.
        goal: what is asked for.
        budget: when to stop.
        progress: a line a file.
        own: the file that the parent was converted from, in every way in which its own library runs it.
    """

    def __init__(
        self, parent: Variant, ways: Sequence[Execution], usual: Sequence[Finish], workshop: Workshop, witness: Witness,
        cells: Sequence[Cell], goal: Goal, budget: Budget, progress: Progress, own: Sequence[Variant] = (),
    ) -> None:  # fmt: skip
        self.parent, self.workshop, self.witness, self.cells = parent, workshop, witness, cells
        self.goal, self.budget, self.progress = goal, budget, progress
        self.ways, self.usual, self.files, self.found = list(ways), usual, {"": parent}, Findings()
        self.own, self._mending = own, False

    def explore(self, branches: Sequence[Branch], workers: Workers) -> None:
        """Run the parent's file in every way, and its source's by its own library; make and race every branch while there is time, and sift."""
        self._race_parent()
        self._race_own()
        self._make_beside(branches, workers)
        for branch in branches:
            made = self.workshop.find(branch.step.name) is not None
            if self._fits(branch.step, made=made):
                self._in_time(branch.step.name, partial(self._follow, branch))
            else:
                self.found.skipped.append(Skipped(branch.step.name, OUT_OF_TIME))
        self.sift()
        self._repair()

    def _in_time(self, name: str, work: Callable[[], Result]) -> Result | None:
        """Make or race something, unless what is left is needed for proving the best so far."""
        if self.budget.making_s(self._best) > 0.0:
            return work()
        self.found.skipped.append(Skipped(name, OUT_OF_TIME))
        return None

    @property
    def _best(self) -> Finish | None:
        """How the best did of those that are as fast as the parent and can still be proven in time; None where there is none."""
        finishes = (each.finish for each in self.ranked())
        return next((each for each in finishes if not self.slow(each) and self.budget.may_ask(each, first=True)), None)

    def _fits(self, step: Step, *, made: bool) -> bool:
        """Whether a step and the race of its file are expected to end in time; one whose kind is new is tried."""
        kinds = (RACES,) if made else (step.kind, RACES)
        return self.budget.may_make(self.budget.expected_s(*kinds), self._best, late=made or self._mending)

    def _race_parent(self) -> None:
        """Run the parent's file in the other runtimes, and take from that in which ways its children are run at all."""
        others = [way for way in self.ways if way.runtime != RUNTIME]
        enter = partial(self._enter, self.parent, None, others)
        finishes = (self._in_time(f"{self.parent.name} run by other runtimes", enter) or []) if others else []
        if not self.goal.exhaustive:
            ways, needless = narrowed([*self.usual, *finishes])
            self.ways = [way for way in ways if way.runtime in self.goal.runtimes]
            self.found.skipped += needless
        else:
            self.found.candidates += [Candidate(each, None) for each in self.usual if each.variant != self.parent]

    def run_off(self, members: Sequence[Candidate]) -> None:
        """Race the best of those that are to be proven once more, for longer, each with every number of threads."""
        runners = members[:RUN_OFFS]
        # what is left for the first proof holds a run-off too
        time_s = self.budget.making_s(runners[0].finish) + self.budget.costs.run_off_s if runners else 0.0
        if time_s <= run_off_s(self.goal, self.cells) or not run_off_s(self.goal, self.cells):
            return
        ways = {each.variant.name: self._beside(each.variant) for each in runners}
        with self.budget.spending(RACES, RUN_OFF):
            lap_s = run_off_lap_s(self.goal, self.cells)
            finishes, _ = race(self.parent, [*chain(*ways.values())], self.cells, lap_s=lap_s, laps=RUN_OFF_LAPS)
        for each in runners:
            names = {way.name for way in ways[each.variant.name]}
            stayed = [finish for finish in finishes if finish.variant.name in names and not finish.left]
            if stayed:
                self._settle(each, stayed[0])

    def _beside(self, variant: Variant) -> list[Variant]:
        """A variant, first, and the same file run by other numbers of threads."""
        own = variant.execution
        options = tuple(each for each in own.options if each != SPINNING)
        ways = [replace(own, threads=threads, options=options) for threads in sorted(set(self.goal.threads))]
        spinning = [replace(way, options=(*options, SPINNING)) for way in ways if way.threads > 1]
        others = [way for way in [*ways, *(spinning if own.runtime == RUNTIME else [])] if way != own]
        return [variant, *(variant.run_by(way) for way in others)]

    def _settle(self, each: Candidate, best: Finish) -> None:
        """A candidate goes on as it was fastest in the run-off."""
        before, each.finish = each.finish, best
        if each.variant != before.variant:
            self.found.raced = [one for one in self.found.raced if one.variant != each.variant]
            self.found.leave(before, "dominated", f"in longer laps {each.variant.name} is faster")
            self.progress.say(f"  in longer laps {each.variant.name} is faster than {before.variant.name}")

    def _race_own(self) -> None:
        if self.own:
            way = partial(self._enter, self.own[0], None, [each.execution for each in self.own])
            self._in_time(f"the source run by {self.own[0].execution.runtime}", way)

    def _make_beside(self, branches: Sequence[Branch], workers: Workers) -> None:
        """Where there are workers, make files side by side, a few at a time; they are found in the folder when their turn comes."""
        if (workers.count <= 1 or self.budget.left_s < WORTH_RAY_S) and not workers.ray_address:
            return
        made = 0
        for level in ([b for b in branches if not b.of], [b for b in branches if b.of]):
            for of in dict.fromkeys(branch.of for branch in level):
                source = self.files[""] if not of else self.workshop.find(of)
                steps = [branch.step for branch in level if branch.of == of and branch.step.travels]
                few_at_once = max(2, 2 * workers.count)
                for start in range(0, len(steps) if source is not None else 0, few_at_once):
                    few = steps[start : start + few_at_once]
                    made += len(few)
                    if not self._make_few(few, source, workers, made):
                        return

    def _make_few(self, steps: list[Step], source: Variant | None, workers: Workers, made: int) -> bool:
        """Make a few files at once, if they and all that were made before can still be raced; says whether they were."""
        room_s = self.budget.making_s(self._best) - made * self.budget.expected_s(RACES)
        late = self.budget.spent_s > SIDE_BY_SIDE * self.budget.seconds and not self.budget.endless
        if late or room_s <= self.budget.expected_s(BESIDE):
            return False
        self.progress.say(f"  making {', '.join(step.name for step in steps)}, side by side")
        with self.budget.spending(MAKING, BESIDE):
            fan_out(make_beside, steps, shared=(portable(self.workshop), source), workers=workers)
        return True

    def _follow(self, branch: Branch) -> None:
        """Make one file and race it."""
        source = self.files.get(branch.of)
        if source is None:
            self.found.skipped.append(Skipped(branch.step.name, f"there is no {branch.of} to make it from"))
            return
        variant = self._make(branch.step, source)
        if variant is not None:
            self.files[branch.step.name] = variant
            self._race(variant, branch, [branch.way(each) for each in self.ways])

    def _make(self, step: Step, source: Variant, accept: Accept | None = None) -> Variant | None:
        self.progress.say(f"  making {step.name}")
        try:
            with self.budget.spending(MAKING, step.kind):
                return self.workshop.make(step, source, accept)
        except NeedlessError as error:
            self.found.skipped.append(Skipped(step.name, reason_of(error)))
            return None
        except Exception as error:  # noqa: BLE001  # whatever a step raises, it is its own failure, and told in the table
            self.found.failures.append(Failure(step.name, reason_of(error)))
            return None

    def _race(self, variant: Variant, branch: Branch | None, ways: Sequence[Execution]) -> list[Candidate]:
        """Race one file in several ways; the best way of each runtime goes on."""
        before = len(self.found.candidates)
        self._enter(variant, branch, ways)
        return self.found.candidates[before:]

    def _enter(self, variant: Variant, branch: Branch | None, ways: Sequence[Execution]) -> list[Finish]:
        with self.budget.spending(RACES):
            finishes, refused = race(
                self.parent, [variant.run_by(way) for way in ways], self.cells, to_the_end=self.goal.exhaustive
            )
        self._refuse(variant, refused)
        gone_on: set[str] = set()
        for finish in sorted(finishes, key=lambda each: (self.slow(each), -each.speedup)):
            key = finish.variant.name if self.goal.exhaustive else finish.variant.execution.runtime
            if finish.left or key in gone_on:
                why = finish.left or "another way of running the same file in that runtime is better"
                self.found.leave(finish, "slower" if self.slow(finish) else "dominated", why)
            else:
                gone_on.add(key)
                self.found.candidates.append(Candidate(finish, branch))
        if finishes:
            best = finishes[0]
            self.progress.say(
                f"  {best.variant.name}: about {best.speedup:.2f} × as fast as {self.parent.name}{self._ahead(best)}"
            )
        return finishes

    def _ahead(self, latest: Finish) -> str:
        """Who is ahead so far, where it is another."""
        first = self.ranked()[:1]
        if not first or first[0].finish.speedup <= latest.speedup:
            return ""
        return f" (ahead so far: {first[0].variant.name}, {first[0].finish.speedup:.2f} ×)"

    def _refuse(self, variant: Variant, refused: Sequence[Refused]) -> None:
        """One line a runtime, not one a number of threads."""
        told: dict[str, str] = {}
        for each in refused:
            told.setdefault(each.variant.execution.runtime, each.reason)
        for runtime, reason in told.items():
            name = variant.name if runtime == RUNTIME else f"{variant.path.stem}-on-{runtime}"
            self.found.failures.append(Failure(name, reason))

    def slow(self, finish: Finish) -> bool:
        """Whether a variant was slower than the parent where none that is chosen may be: anywhere."""
        ratio = self._throughput(finish) if self.goal.objective == "throughput" else finish.worst
        return ratio < AS_FAST

    def _throughput(self, finish: Finish) -> float:
        """Rows a second at the best batch size, over the parent's at its own."""
        own = {cell.name: cell.batch / finish.p50_s[cell.name] for cell in self.cells}
        return max(own.values()) / max(rate / finish.ratios[name] for name, rate in own.items())

    def score(self, each: Candidate) -> float:
        """How good a candidate is in what is asked for, beside the parent: speed, or small files that are not slower."""
        if self.goal.objective in {"size", "memory"} and not self.slow(each.finish):
            return self.parent.bytes / each.variant.bytes
        return self._throughput(each.finish) if self.goal.objective == "throughput" else each.finish.speedup

    def ranked(self) -> list[Candidate]:
        """The candidates, the best in the race first, and what was slow somewhere last."""
        return sorted(self.found.candidates, key=lambda each: (self.slow(each.finish), -self.score(each)))

    def likely(self, each: Candidate) -> bool:
        """Whether the learning rows were asked, and say that it is good enough and that the rows held out will show it."""
        return each.asked and (each.lost is None or self._expected(each.lost) <= self.goal.max_drop)

    def _expected(self, lost: Interval) -> float:
        """Where the far end of the proof's interval is to be expected: as here, with more rows and at its level."""
        reach = lost.high - lost.value
        if not math.isfinite(reach):
            return lost.value
        wider = normal_quantile(self.goal.confidence_each(0, LIKELY)) / normal_quantile(lost.confidence)
        return lost.value + reach * wider * math.sqrt(lost.samples / max(1, self.witness.held_rows))

    def good(self, each: Candidate) -> bool:
        """Whether the learning rows' best guess is that it is good enough."""
        return each.asked and (each.lost is None or each.lost.value <= self.goal.max_drop)

    def possible(self, each: Candidate) -> bool:
        """Whether the learning rows were asked and leave room for it to be good enough, though they guess otherwise."""
        return each.lost is not None and each.lost.low <= self.goal.max_drop

    def waiting(self) -> list[Candidate]:
        """Who is to be proven next: the best of the likely, a few that are faster and not so sure, and the other likely."""
        everyone = [each for each in self.ranked() if not self.slow(each.finish) or self.goal.exhaustive]
        if self.goal.exhaustive:
            return everyone
        likely = [each for each in everyone if self.likely(each)]
        bar = WORTH * max((self.score(each) for each in likely), default=0.0)
        unsure = [e for e in everyone if not self.likely(e) and self.possible(e) and self.score(e) > bar]
        return [*likely[:1], *unsure[:UNSURE], *likely[1:]] if likely else unsure

    def sift(self, *, hurry: bool = False) -> None:
        """Ask the rows that sift about the fastest, until enough of them are likely to be good enough.

        Args:
            hurry: whether one is enough.
        """
        likely = 0
        for each in self.ranked():
            late = (hurry and likely > 0) or (self.budget.exploring_is_over and likely >= LATE)
            enough = likely >= LIKELY or late or self.slow(each.finish)
            if enough and not self.goal.exhaustive:
                return
            if not each.asked and self.budget.may_ask(each.finish, first=not likely):
                self._ask(each)
            likely += self.likely(each)

    def _ask(self, each: Candidate) -> None:
        if self.budget.is_over:
            return  # nobody knows, and there is no time to find out
        taught = each.branch is not None and each.branch.taught
        try:
            with self.budget.spending(SIFTING):
                each.lost, each.asked = self.witness.lost_on_learning(each.variant, taught=taught), True
        except Exception as error:  # noqa: BLE001  # whatever a runtime or a metric raises, it is that candidate's failure
            self.found.failures.append(Failure(each.variant.name, reason_of(error)))
            self.found.candidates.remove(each)

    def _repair(self) -> None:
        """Where the fastest is not good enough, try what changes its numbers and little of its speed."""
        asked = [each for each in self.ranked() if each.asked]
        self._mend([each for each in asked if not self.good(each) and not self.slow(each.finish)])

    def mend(self, failed: Sequence[Candidate]) -> None:
        """Repair what was likely to be good enough, and was not proven to be, until the budget is over."""
        self._mending = True
        self._mend(sorted(failed, key=lambda each: -self.score(each)))

    def _mend(self, failed: Sequence[Candidate]) -> None:
        for each in failed:
            if each.branch is None:
                continue
            best = max((self.score(one) for one in self.ranked() if self.good(one)), default=1.0)
            if self.score(each) < WORTH * best and not self.goal.exhaustive:
                self._skip(each.branch.repairs, f"{each.variant.name} is hardly faster than what is good already")
            else:
                self._repair_one(each, each.branch)

    def _repair_one(self, each: Candidate, branch: Branch) -> None:
        for position, step in enumerate(branch.repairs):
            if not self._fits(step, made=False):
                self._skip(branch.repairs[position:], OUT_OF_TIME)
                return
            for one in self._in_time(step.name, partial(self._mended, step, each, branch)) or []:
                self._ask(one)
                if self.good(one) and not self.goal.exhaustive:
                    self._skip(branch.repairs[position + 1 :], f"{step.name} was enough")
                    return

    def _mended(self, step: Step, each: Candidate, branch: Branch) -> list[Candidate]:
        """Make one repair and race it in the way in which the first was fast."""
        way = each.variant.execution
        variant = self.files.get(step.name) or self._make(step, self.files[branch.of], self.witness.acceptor(way))
        if variant is None:
            return []
        self.files[step.name] = variant
        return self._race(variant, replace(branch, step=step, repairs=()), [way])

    def _skip(self, steps: Sequence[Any], reason: str) -> None:
        known = {each.name for each in self.found.skipped} | set(self.files)
        self.found.skipped += [Skipped(step.name, reason) for step in steps if step.name not in known]


def run_off_lap_s(goal: Goal, cells: Sequence[Cell]) -> float:
    """How long a lap of a run-off lasts, at every cell."""
    return min(RUN_OFF_S, RUN_OFF_SHARE * goal.budget_s / max(1, _run_off_laps(goal, cells)))


def run_off_s(goal: Goal, cells: Sequence[Cell]) -> float:
    """How long a run-off takes, about; nothing where there is one number of threads, or all is proven."""
    needless = goal.exhaustive or len(set(goal.threads)) == 1
    return 0.0 if needless else _run_off_laps(goal, cells) * run_off_lap_s(goal, cells)


def _run_off_laps(goal: Goal, cells: Sequence[Cell]) -> int:
    """Of all that run and of the parent; each counted lap follows one that is not. One number of threads may be run in two ways."""
    return (RUN_OFFS * (len(set(goal.threads)) + 1) + 1) * 2 * RUN_OFF_LAPS * len(cells)


def normal_quantile(confidence: float) -> float:
    """How many standard deviations an interval of a level reaches.

    Example:
        >>> round(normal_quantile(0.95), 2)
        1.96
    """
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def narrowed(finishes: Sequence[Finish]) -> tuple[list[Execution], list[Skipped]]:
    """The ways in which children are run: those that did the parent good.

    A child does less work than its parent, so threads that only cost the parent time cost it more; and a precision that is
    slow for all of the parent's floats is slow for what floats a child has left.

    Args:
        finishes: of the parent's file in every way.
    """
    best: dict[str, float] = {}
    for each in finishes:
        runtime = each.variant.execution.runtime
        best[runtime] = max(best.get(runtime, 0.0), each.speedup)
    ways, skipped = [], []
    for each in finishes:
        way = each.variant.execution
        exact = best.get(way.runtime.removesuffix("-bf16"), 0.0)
        if best[way.runtime] * SLOW_PRECISION < exact:
            skipped.append(
                Skipped(f"children on {way.label}", f"{exact / each.speedup:.2g} × slower than float32 for the parent")
            )
        elif each.speedup * SLOW_THREADS < best[way.runtime]:
            why = f"{best[way.runtime] / each.speedup:.2g} × slower than other threads for the parent"
            skipped.append(Skipped(f"children on {way.label}", why))
        else:
            ways.append(way)
    return ways, skipped
