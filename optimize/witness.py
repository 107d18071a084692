"""The Witness: what the parent answered, and how far a child's answers are from it or from the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.runtime import open_session
from windtunnel.session import first_line, run_in_batches
from windtunnel.variant import Variant

from .quality import Holdout, Quality, check_metric, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.execution import Execution
    from windtunnel.session import Session

    from .goal import Goal

    Answers = Mapping[str, NDArray[Any]]

BATCH = 64
"""Rows that are asked at once, where no larger batch is to be served: memory stays bounded for models of images."""

LEARNING_ROWS = 1000
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
        return Witness(goal, holdout, some, min(untaught, LEARNING_ROWS), seed, held, learnt)

    def quality(self, session: Session, name: str, confidence: float) -> Quality:
        """Judge a child on the rows held out."""
        return self._compare(
            self.holdout, self.held, ask(session, self.holdout.feeds, self.goal, name), name, confidence
        )

    def own_quality(self, confidence: float, name: str) -> Quality:
        """The parent beside itself."""
        return self._compare(self.holdout, self.held, self.held, name, confidence)

    def lost_on_learning(self, variant: Variant, *, taught: bool = False) -> float:
        """How much worse a child is on the learning rows: an estimate, for choosing what to prove.

        Args:
            variant: the child.
            taught: whether it was taught on these rows, so that only those that nobody is taught can tell.

        Raises:
            ModelError: it does not run on them.
        """
        rows, parent = self.learning, self.learnt
        if taught:
            rows = self.learning.first(self.untaught)
            parent = {name: array[: self.untaught] for name, array in parent.items()}
        answers = ask(open_session(variant), rows.feeds, self.goal, variant.name)
        return float(self._compare(rows, parent, answers, variant.name, 0.95).drop.value)

    def acceptor(self, execution: Execution) -> Callable[[Path], bool]:
        """Says whether a file, run in a way, is good enough on the learning rows."""

        def accept(path: Path) -> bool:
            return self.lost_on_learning(replace(Variant.from_file(path), execution=execution)) <= self.goal.max_drop

        return accept

    def _compare(self, rows: Holdout, parent: Answers, child: Answers, name: str, confidence: float) -> Quality:
        return compare(
            self.goal.judge, rows, parent, child, confidence=confidence, seed=self.seed, name=name, output=self.goal.output,
            **({} if rows is self.holdout else {"resamples": ESTIMATED}),
        )  # fmt: skip


def ask(session: Session, feeds: Answers, goal: Goal, name: str) -> dict[str, NDArray[Any]]:
    """Let a model answer rows, in batches as large as they will be served.

    Raises:
        ModelError: it does not run on them.
    """
    fixed = fixed_batch(session)
    try:
        return (
            run_in_batches(session, feeds, max(BATCH, *goal.batch_sizes))
            if not fixed
            else _padded(session, feeds, fixed)
        )
    except Exception as error:  # the runtime's errors share no base class; each is passed on with its words
        raise ModelError(
            f"does not run on the rows ({first_line(error)})", field=name, fix="see whether they fit its inputs"
        ) from error


def fixed_batch(session: Session) -> int:
    """The only batch size that a model takes; 0 where its first axis is free."""
    sizes = [tensor.shape[0] for tensor in session.signature.inputs if tensor.shape]
    return next((size for size in sizes if isinstance(size, int)), 0)


def _padded(session: Session, feeds: Answers, batch: int) -> dict[str, NDArray[Any]]:
    """Run rows in batches of one size, the last filled up with its first rows."""
    rows = len(next(iter(feeds.values())))
    whole = -(-rows // batch) * batch
    filled = {name: np.asarray(array)[np.arange(whole) % rows] for name, array in feeds.items()}
    return {name: array[:rows] for name, array in run_in_batches(session, filled, batch).items()}
