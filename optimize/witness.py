"""The Witness: what the parent answered, and how far a child's answers are from it or from the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import InputError, ModelError
from windtunnel.runtime import open_session
from windtunnel.session import first_line, run_in_batches
from windtunnel.variant import Variant

from .bootstrap import RESAMPLES
from .material import digest_arrays
from .quality import Holdout, Quality, check_metric, compare

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.execution import Execution
    from windtunnel.session import Session
    from windtunnel.stats import Interval

    from .goal import Goal

    Answers = Mapping[str, NDArray[Any]]

BATCH = 64
"""Rows that are asked at once where requests share batches: memory stays bounded for models of images."""

LEARNING_ROWS = 4000
"""So many learning rows say whether a child is likely to be good enough."""

ESTIMATED = 20
"""So many resamples do where only the estimate counts."""


@dataclass
class Witness:
    """What the parent answered.

    Args:
        goal: the metric.
        holdout: rows of the proof.
        learning: rows that choices may be made on: those that nobody is taught first.
        untaught: how many of them nobody is taught.
        seed: of resampling.
        held: the parent's answers to the rows held out.
        learnt: its answers to the learning rows.
    """

    goal: Goal
    holdout: Holdout
    learning: Holdout
    untaught: int
    seed: int
    held: Answers
    learnt: Answers

    @staticmethod
    def of(
        session: Session, name: str, goal: Goal, holdout: Holdout, learning: Holdout, untaught: int, seed: int
    ) -> Witness:
        """Let the parent answer.

        Raises:
            ModelError: it does not run on the rows, or its answers are not what the metric judges.
        """
        some = learning.first(LEARNING_ROWS)
        held, learnt = (ask(session, each.feeds, goal, name) for each in (holdout, some))
        check_metric(goal.judge, holdout, held, name, goal.output)
        witness = Witness(goal, holdout, some, min(untaught, LEARNING_ROWS), seed, held, learnt)
        # a metric of the user's is called before anything is made: what it raises loses nothing then
        witness._compare(holdout, held, held, name, goal.confidence, resamples=ESTIMATED)
        return witness

    @property
    def held_rows(self) -> int:
        """How many rows there are to prove on."""
        return len(next(iter(self.holdout.feeds.values())))

    def quality(self, session: Session, name: str, confidence: float) -> Quality:
        """Judge a child on the rows held out."""
        return self._compare(
            self.holdout, self.held, ask(session, self.holdout.feeds, self.goal, name), name, confidence
        )

    def own_quality(self, confidence: float, name: str) -> Quality:
        """The parent beside itself."""
        return self._compare(self.holdout, self.held, self.held, name, confidence)

    def lost_on_learning(self, variant: Variant, *, taught: bool = False) -> Interval | None:
        """How much worse a child is on the learning rows: for choosing what to prove, not for proving it.

        Args:
            variant: the child.
            taught: whether it was taught on these rows, so that only those that nobody is taught can tell.

        Returns:
            The drop with its interval; None where the rows are too few for the metric to say anything.

        Raises:
            ModelError: it does not run on them.
        """
        rows, parent = self.learning, self.learnt
        if taught:
            rows = self.learning.first(self.untaught)
            parent = {name: array[: self.untaught] for name, array in parent.items()}
        try:
            check_metric(self.goal.judge, rows, parent, variant.name, self.goal.output)
        except InputError:
            return None  # of the proof's rows it was asked before: here there are only too few
        answers = ask(open_session(variant), rows.feeds, self.goal, variant.name)
        drop = self._compare(rows, parent, answers, variant.name, 0.95).drop
        return drop if math.isfinite(drop.value) else None

    def acceptor(self, execution: Execution) -> Acceptor:
        """Says whether a file, run in a way, is good enough on the learning rows."""
        return Acceptor(self, execution)

    def _compare(
        self, rows: Holdout, parent: Answers, child: Answers, name: str, confidence: float, resamples: int = RESAMPLES
    ) -> Quality:
        return compare(
            self.goal.judge, rows, parent, child, confidence=confidence, seed=self.seed, name=name,
            output=self.goal.output, resamples=resamples if rows is self.holdout else ESTIMATED,
        )  # fmt: skip


@dataclass(frozen=True)
class Acceptor:
    """Says whether a file is good enough on the learning rows.

    Args:
        witness: what the parent answered there.
        execution: how the file is run.
    """

    witness: Witness
    execution: Execution

    def __call__(self, path: Path) -> bool:
        """Ask a file; where the rows are too few to tell, any is good enough."""
        lost = self.witness.lost_on_learning(replace(Variant.from_file(path), execution=self.execution))
        return lost is None or lost.value <= self.witness.goal.max_drop

    def to_dict(self) -> dict[str, Any]:
        """What decides the answer, as JSON values: a file that was made for another question is made again."""
        goal, learning = self.witness.goal, self.witness.learning
        rows = dict(learning.feeds) | ({} if learning.label is None else {"": learning.label})
        return {
            "metric": goal.judge.name, "max_drop": goal.max_drop, "output": goal.output, "batch": serving_batch(goal),
            "execution": self.execution.to_dict(), "asked": digest_arrays(rows),
        }  # fmt: skip


def serving_batch(goal: Goal) -> int:
    """How many rows are asked at once: as many as will be served together, and where that may be any number, many."""
    return max(BATCH, *goal.batch_sizes) if goal.batching else max(goal.batch_sizes)


def ask(session: Session, feeds: Answers, goal: Goal, name: str) -> dict[str, NDArray[Any]]:
    """Let a model answer rows, in batches as large as they will be served.

    Raises:
        ModelError: it does not run on them.
    """
    fixed = session.signature.fixed_batch
    try:
        return run_in_batches(session, feeds, serving_batch(goal)) if not fixed else _padded(session, feeds, fixed)
    except Exception as error:  # the runtime's errors share no base class; each is passed on with its words
        raise ModelError(
            f"does not run on the rows ({first_line(error)})", field=name, fix="see whether they fit its inputs"
        ) from error


def _padded(session: Session, feeds: Answers, batch: int) -> dict[str, NDArray[Any]]:
    """Run rows in batches of one size, the last filled up with its first rows."""
    rows = len(next(iter(feeds.values())))
    whole = -(-rows // batch) * batch
    filled = {name: np.asarray(array)[np.arange(whole) % rows] for name, array in feeds.items()}
    return {name: array[:rows] for name, array in run_in_batches(session, filled, batch).items()}
