"""A student learns what a teacher says, and a little of what turned out true."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.session import run_in_batches

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

    from windtunnel.session import Session


@dataclass(frozen=True)
class Lessons:
    """How a student is taught.

    Args:
        epochs: at most so many.
        patience: epochs without a better validation loss before it stops; the best epoch is kept.
        batch: rows a step.
        learning_rate: of AdamW.
        hard_share: the weight of the labels where there are some; the teacher's answers have the rest.
        validation_share: rows kept apart to know when to stop.
    """

    epochs: int = 12
    patience: int = 2
    batch: int = 1024
    learning_rate: float = 3e-3
    hard_share: float = 0.2
    validation_share: float = 0.1

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return asdict(self)


def distil(
    teacher: Session,
    student: torch.nn.Module,
    feeds: Mapping[str, NDArray[Any]],
    labels: NDArray[np.float64] | None,
    *,
    seed: int,
    lessons: Lessons | None = None,
) -> torch.nn.Module:
    """Teach a student the teacher's answers on real rows.

    Answers between 0 and 1 are taught by cross-entropy, others by squared error. Labels, where given, are mixed in.

    Args:
        teacher: any session; its first output is taught.
        student: a module that takes the same inputs by name; it is trained in place.
        feeds: rows by input name.
        labels: what turned out true for these rows, or None.
        seed: the order of the rows.
        lessons: how.

    Returns:
        The student, in evaluation mode, as it was after its best epoch.
    """
    import torch

    plan = lessons if lessons is not None else Lessons()
    torch.manual_seed(seed)
    soft = next(iter(run_in_batches(teacher, feeds).values())).astype(np.float32)
    target = torch.from_numpy(
        soft
        if labels is None
        else (1 - plan.hard_share) * soft + plan.hard_share * labels.reshape(soft.shape).astype(np.float32)
    )
    probability = bool(target.min() >= 0.0 and target.max() <= 1.0)
    loss = torch.nn.functional.binary_cross_entropy if probability else torch.nn.functional.mse_loss
    inputs = {name: torch.from_numpy(np.array(array)) for name, array in feeds.items()}
    order = torch.randperm(len(target))
    held = max(1, int(len(target) * plan.validation_share))
    pupil = _Pupil(student, inputs, target, loss, plan)
    pupil.study(order[held:], order[:held])
    return student.eval()


class _Pupil:
    """The state of one training run; thrown away after it."""

    def __init__(
        self,
        student: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        target: torch.Tensor,
        loss: Any,
        lessons: Lessons,
    ) -> None:
        import torch

        self.student, self.inputs, self.target, self.loss, self.lessons = student, inputs, target, loss, lessons
        self.optimizer = torch.optim.AdamW(student.parameters(), lr=lessons.learning_rate)

    def study(self, training: torch.Tensor, validation: torch.Tensor) -> None:
        """Learn until it gets no better; go back to the best epoch."""
        best, best_state, waited = float("inf"), copy.deepcopy(self.student.state_dict()), 0
        for _ in range(self.lessons.epochs):
            self._epoch(training)
            reached = self._examine(validation)
            waited = 0 if reached < best else waited + 1
            if reached < best:
                best, best_state = reached, copy.deepcopy(self.student.state_dict())
            if waited > self.lessons.patience:
                break
        self.student.load_state_dict(best_state)

    def _epoch(self, rows: torch.Tensor) -> None:
        import torch

        self.student.train()
        for batch in rows[torch.randperm(len(rows))].split(self.lessons.batch):  # type: ignore[no-untyped-call]  # torch
            self.optimizer.zero_grad()
            self._loss(batch).backward()
            self.optimizer.step()

    def _examine(self, rows: torch.Tensor) -> float:
        import torch

        self.student.eval()
        with torch.no_grad():
            return float(self._loss(rows))

    def _loss(self, rows: torch.Tensor) -> Any:
        answer, target = self.student(**{name: array[rows] for name, array in self.inputs.items()}), self.target[rows]
        if answer.shape != target.shape:
            # torch would stretch one over the other and teach nonsense
            raise ModelError(
                f"answers {list(answer.shape)} where the teacher answers {list(target.shape)}",
                field="student",
                fix="give it the teacher's signature",
            )
        return self.loss(answer, target)
