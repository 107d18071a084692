"""The search for the best variant within a budget: explore, then prove.

The order of work is the order of cost. Steps make files; a short race says how each file is run best and about how fast
it is; rows that steps may learn from say which of them are likely to be good enough; and only the best of those are
timed for as long as it takes and judged on rows held out. So the proof is made few times, on rows that no choice was
made on, and its intervals hold together.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.execution import RUNTIME
from windtunnel.fanout import Workers
from windtunnel.hardware import Hardware
from windtunnel.progress import SILENT, Progress
from windtunnel.runtime import open_session
from windtunnel.session import cut

from .budget import Budget, Costs
from .checks import SHARE, Checks, looks_s
from .choose import choose, merit
from .explore import MAKING, RACES, Explorer, run_off_s
from .invariance import TOLERANCE
from .judged import OUT_OF_TIME, UNPROVEN_IN_TIME, Skipped
from .optimization import Optimization
from .own_file import ways_of_own
from .proof import Prover, next_wave
from .quality import Holdout, check_metric
from .race import Cell, Finish, race
from .school import enrol
from .space import Facts, propose, ways_to_run
from .witness import Witness
from .workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds
    from windtunnel.variant import Variant

    from .explore import Candidate
    from .goal import Goal
    from .judged import Failure, Judged, Status
    from .material import Material
    from .proof import Measure, Weigh
    from .step import Step

    Arrays = Mapping[str, NDArray[Any]]


def optimize(
    parent: Variant,
    material: Material,
    holdout: Holdout,
    goal: Goal,
    *,
    measure: Measure,
    folder: Path,
    seeds: Seeds,
    sizes: Mapping[str, Arrays] | None = None,
    weigh: Weigh | None = None,
    workers: Workers | None = None,
    own: Variant | None = None,
    progress: Progress = SILENT,
) -> Optimization:
    """Make children of a model and choose the best that is proven not to be worse.

    Ctrl-C while it explores ends exploring, and proves what was found; once more, and it ends with what is proven.

    Args:
        parent: the model as it is.
        material: rows and students that children are made of.
        holdout: rows on which quality is proven.
        goal: metric, tolerance, batch sizes, objective, budget.
        measure: interleaved timing.
        folder: where variants are kept; what an interrupted run finished there is used again.
        seeds: of calibration and distillation.
        sizes: rows of every size class by its name, where speed is compared at several; the rows held out otherwise.
        weigh: memory, where that is the objective.
        workers: who makes the files; this process alone where not said.
        own: the file that the parent was converted from, where its own library can run it; see `own_file`.
        progress: a line a step.

    Raises:
        DataError: the metric and the holdout do not fit.
        ModelError: the parent itself does not run on the data, or its answers are not what the metric judges.
    """
    check_metric(goal.judge, holdout)
    task = _Task(
        parent, material, holdout, goal, measure, folder, seeds, sizes or {"": holdout.feeds}, weigh, progress, own
    )
    return task.run(workers if workers is not None else Workers(1))


@dataclass
class _Task:
    """One search as it was asked for, and its two halves in turn."""

    parent: Variant
    material: Material
    holdout: Holdout
    goal: Goal
    measure: Measure
    folder: Path
    seeds: Seeds
    sizes: Mapping[str, Arrays]
    weigh: Weigh | None
    progress: Progress
    own: Variant | None = None

    def __post_init__(self) -> None:
        """Keep some of the rows to learn from apart, so that a student is not chosen by what it was taught."""
        self.material, self.learning, self.untaught = apart(self.material)

    def run(self, workers: Workers) -> Optimization:
        budget = Budget(self.goal.budget_s, endless=self.goal.exhaustive)
        cells = [Cell(b, size, cut(feeds, b)) for size, feeds in self.sizes.items() for b in self.goal.batch_sizes]
        facts = Facts.of(self.parent)
        ways, missing = ways_to_run(self.goal, facts)
        with budget.spending(RACES):
            usual = self._race_usual(cells)
        with budget.spending(OWN, "answers"):
            witness = self._witness()
        with budget.spending(OWN, "company"):
            prover = Prover(self.parent, witness, self.sizes, self.goal, self.measure, usual[0], budget, self.weigh)
        self._check_dependence(prover)
        budget.costs = self._costs(usual[0], witness, cells, budget)
        explorer = Explorer(
            self.parent, ways, usual, Workshop(self.material, self.folder, self.seeds), witness, cells, self.goal, budget,
            self.progress, own=self._own(missing),
        )  # fmt: skip
        students, unable = self._students(budget)
        branches, needless = propose(facts, Hardware.detect(), students)
        explorer.found.skipped += [*missing, *needless, *unable]
        interrupted = False
        try:
            explorer.explore(branches, workers)
        except KeyboardInterrupt:
            interrupted = True
            self.progress.say("  stopping: what was found is proven now (Ctrl-C again: at once)")
        judged: list[Judged] = []
        try:
            if interrupted:
                explorer.sift(hurry=True)
            self._prove(prover, explorer, budget, judged, hurry=interrupted)
        except KeyboardInterrupt:
            interrupted = True
        return self._report(explorer, prover, judged, budget, interrupted=interrupted)

    def _own(self, missing: list[Skipped]) -> list[Variant]:
        """The source's own file in every way that its library has; what is missing is added to."""
        if self.own is None:
            return []
        ways, lacking = ways_of_own(self.own, self.goal)
        missing += lacking
        return [self.own.run_by(way) for way in ways]

    def _race_usual(self, cells: list[Cell]) -> list[Finish]:
        """Find the number of threads at which the parent itself is fastest: children are compared with it at its best."""
        usual = [replace(self.parent, execution=way) for way in ways_to_run(replace(self.goal, runtimes=(RUNTIME,)))[0]]
        finishes, refused = race(self.parent, usual, cells, to_the_end=True)
        if not finishes:
            raise ModelError(f"cannot be run ({refused[0].reason})", field=self.parent.name)
        self.parent = finishes[0].variant
        return finishes

    def _witness(self) -> Witness:
        session, seed = open_session(self.parent), self.seeds.number("bootstrap")
        self.progress.say(
            f"  {self.parent.name} answers {len(next(iter(self.holdout.feeds.values()))):,} rows held out"
        )
        return Witness.of(session, self.parent.name, self.goal, self.holdout, self.learning, self.untaught, seed)

    def _costs(self, pace: Finish, witness: Witness, cells: Sequence[Cell], budget: Budget) -> Costs:
        """What the end of the search takes, by how long the parent has just taken for the same."""
        learnt, held = (len(next(iter(each.feeds.values()))) for each in (witness.learning, witness.holdout))
        row_s = budget.expected_s("answers") / (learnt + held)
        judged_s = row_s * held + budget.expected_s("company")
        return Costs(pace, row_s * learnt, judged_s, looks_s(row_s, self._look_s), run_off_s(self.goal, cells))

    @property
    def _look_s(self) -> float:
        """How long each look may take, about."""
        return SHARE * (max(self.goal.budget_s, 60.0) if self.goal.exhaustive else self.goal.budget_s)

    def _students(self, budget: Budget) -> tuple[list[Step], list[Skipped]]:
        """A step for each student, where there is time for any."""
        wanted = self.material.students or self.material.student is not None
        if wanted and not budget.may_make(0.0, None):
            return [], [Skipped("students", OUT_OF_TIME)]
        with budget.spending(MAKING):
            return enrol(self.parent, self.material, self.seeds, decides=self.goal.judge.takes == "decision")

    def _check_dependence(self, prover: Prover) -> None:
        """Refuse a parent whose answers batching would change."""
        found = prover.dependence
        if self.goal.batching and found.neighbours > TOLERANCE:
            raise ModelError(
                f"answers a row differently (by up to {found.neighbours:.2g} of its largest answer) with what shares its batch",
                field=self.parent.name,
                fix="mend it, or let no requests share batches (batch sizes of 1 only)",
            )

    def _prove(self, prover: Prover, explorer: Explorer, budget: Budget, judged: list[Judged], *, hurry: bool) -> None:
        """Prove waves of children until one is good, or none is left that fits into the time."""
        for wave in itertools.count():
            if not hurry:
                explorer.run_off(explorer.waiting())
            members = next_wave(explorer.waiting(), budget, everything=self.goal.exhaustive)
            if wave and not members:
                return
            self.progress.say(f"  proving {', '.join(each.variant.name for each in members) or self.parent.name}")
            finishes = [each.finish for each in members]
            parent, *found = prover.prove(wave, finishes, partial(self._timed_s, budget, hurry=hurry))
            # a parent that was timed is better known than one that was raced
            judged[:1] = judged[:1] if judged and not judged[0].speed.raced else [parent]
            judged += self._looked_at(found, budget)
            known = {each.variant.name for each in judged} | {each.name for each in prover.failures}
            members = [each for each in members if each.variant.name in known]
            for each in members:
                explorer.found.take(each)
            if any(each.status == "on-frontier" for each in judged[1:]):
                return
            explorer.sift()
            unproven = {each.variant.name for each in judged if each.status in {"worse", "not-proven"}}
            explorer.mend([each for each in members if each.variant.name in unproven])

    def _timed_s(self, budget: Budget, members: Sequence[Finish], *, hurry: bool) -> float:
        """How long the good ones of a wave are timed, about."""
        if self.goal.exhaustive:
            return EACH_S * len(members)
        timed_s = budget.timing_s(members) if members else 0.0
        return min(timed_s, HURRY_S) if hurry else timed_s

    def _looked_at(self, children: list[Judged], budget: Budget) -> list[Judged]:
        """Look closer at what is good, the best first; at a second that is good only where there is time."""
        checks = Checks(
            self.holdout.feeds, self.seeds.number("checks"), self._look_s, self.goal.attack, self.material.module,
            lambda: budget.is_spent,
        )  # fmt: skip
        looked: list[Judged] = []
        for each in sorted(children, key=lambda each: -merit(each, self.goal)):
            first = all(one.status != "on-frontier" for one in looked)
            if each.status == "on-frontier" and budget.may_look(first=first):
                with budget.spending("a closer look"):
                    each = checks.look(each, self.parent)  # noqa: PLW2901  # the same child, with what was found
            looked.append(each)
        return looked

    def _why_left(self, explorer: Explorer, each: Candidate, *, bar: float) -> tuple[Status, str]:
        """What became of a candidate that was not proven."""
        if explorer.slow(each.finish):
            return "slower", f"{each.finish.worst:.2f} × as fast as the parent where it is slowest"
        if each.lost is not None and not explorer.likely(each):
            drop, metric = each.lost, self.goal.judge.name
            told = f"lost {drop.value:.4f} {metric} ({drop.low:.4f} to {drop.high:.4f}) on {drop.samples:,} rows to learn from"
            return ("not-proven" if explorer.possible(each) else "worse"), told
        if explorer.score(each) <= bar:
            return "dominated", "what was chosen is better in what is asked for"
        return "not-proven", UNPROVEN_IN_TIME

    def _report(
        self, explorer: Explorer, prover: Prover, judged: list[Judged], budget: Budget, *, interrupted: bool
    ) -> Optimization:
        found = explorer.found
        if not judged or judged[0].speed.raced:
            judged = [*prover.prove(0, [], lambda _members: 0.0), *judged[1:]]
        chosen = choose(judged, self.goal)
        best = next(each.variant.name for each in chosen if each.status == "chosen")
        bar = next((explorer.score(each) for each in found.proven if each.variant.name == best), 0.0)
        for each in explorer.ranked():
            found.leave(each.finish, *self._why_left(explorer, each, bar=bar))
        failures: list[Failure] = [*found.failures, *prover.failures]
        return Optimization(
            self.goal, tuple(chosen), tuple(found.raced), tuple(failures), tuple(found.skipped), budget.spent_s,
            interrupted, budget.phases_s,
        )  # fmt: skip


EACH_S = 5.0
"""How long each is timed where there is no budget."""

OWN = "the model's own answers"
"""What time is told under that no search can save."""

HURRY_S = 10.0
"""How long the best so far is timed when someone waits for the end."""

SIFTING = 4
"""Every so many-th of the rows to learn from is not taught, but asked who is likely to be good enough."""


def apart(material: Material) -> tuple[Material, Holdout, int]:
    """Split rows to learn from into those that are taught and those that nobody is taught; all rows of a group lie together.

    Returns:
        What is taught; all rows, the untaught first; and how many those are.
    """
    count = len(next(iter(material.feeds.values())))
    units = np.arange(count) if material.groups is None else np.unique(material.groups, return_inverse=True)[1]
    sifts = units % SIFTING == SIFTING - 1
    order = np.concatenate([np.flatnonzero(sifts), np.flatnonzero(~sifts)])

    def rows(which: NDArray[Any]) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64] | None, NDArray[Any] | None]:
        feeds = {name: np.asarray(array)[which] for name, array in material.feeds.items()}
        label, groups = (None if each is None else each[which] for each in (material.label, material.groups))
        return feeds, label, groups

    feeds, label, groups = rows(~sifts)
    taught = replace(material, feeds=feeds, label=label, groups=groups)
    return taught, Holdout(*rows(order)), int(sifts.sum())
