from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from windtunnel.errors import ModelError
from windtunnel.optimize.distil import Lessons, distil
from windtunnel.session import Session
from windtunnel.variant import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

FEEDS = {"x": np.random.default_rng(1).normal(size=(1000, 2)).astype(np.float32)}
QUICK = Lessons(epochs=15, batch=50, learning_rate=0.05)


class _Teacher(Session):
    """Answers with a formula."""

    def __init__(self, formula: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        self.signature, self.formula = Signature((), ()), formula

    def run(self, feeds: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        return {"output": self.formula(feeds["x"])}


class _Student(torch.nn.Module):
    def __init__(self, last: torch.nn.Module, shape: tuple[int, ...] = (-1,)) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.linear, self.last, self.shape = torch.nn.Linear(2, 1), last, shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.last(self.linear(x)).reshape(self.shape)
        return answer


PROBABILITY = _Teacher(lambda x: (1 / (1 + np.exp(-(x @ np.array([2.0, -1.0], np.float32))))).astype(np.float32))
VALUE = _Teacher(lambda x: x @ np.array([3.0, -2.0], np.float32))


def _weights(module: torch.nn.Module) -> list[float]:
    return [float(each) for value in module.state_dict().values() for each in value.flatten()]


def _answer(student: torch.nn.Module) -> NDArray[np.float32]:
    with torch.no_grad():
        answer: NDArray[np.float32] = student(torch.from_numpy(FEEDS["x"])).numpy()
    return answer


@pytest.mark.parametrize(
    ("teacher", "last", "rate", "near"),
    [(PROBABILITY, torch.nn.Sigmoid(), 0.05, 0.03), (VALUE, torch.nn.Identity(), 0.05, 0.2)],
    ids=["probability", "value"],
)
def test_the_student_gets_near(teacher: _Teacher, last: torch.nn.Module, rate: float, near: float) -> None:
    """A student that can say what the teacher says learns to, for probabilities and for other values."""
    student = distil(
        teacher, _Student(last), FEEDS, None, seed=1, lessons=Lessons(epochs=25, batch=50, learning_rate=rate)
    )

    assert float(np.abs(_answer(student) - teacher.formula(FEEDS["x"])).max()) < near
    assert not student.training


def test_same_seed_same_weights() -> None:
    """The seed decides the order of the rows, and with it every weight."""
    first, again, other = (
        _weights(distil(PROBABILITY, _Student(torch.nn.Sigmoid()), FEEDS, None, seed=seed, lessons=QUICK))
        for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_labels_are_mixed_in() -> None:
    """Labels pull the student from the teacher's answers by their share."""
    always = np.ones(1000)
    means = [
        float(_answer(distil(PROBABILITY, _Student(torch.nn.Sigmoid()), FEEDS, labels, seed=1, lessons=QUICK)).mean())
        for labels in (None, always)
    ]

    assert means[0] == pytest.approx(0.5, abs=0.02)
    assert means[1] == pytest.approx(0.8 * 0.5 + 0.2, abs=0.03)


def test_labels_that_are_no_probabilities() -> None:
    """Where a label is no probability the mixture is taught as a value, though the teacher stays between 0 and 1."""
    student = distil(PROBABILITY, _Student(torch.nn.Identity()), FEEDS, np.full(1000, 10.0), seed=1, lessons=QUICK)

    assert float(_answer(student).mean()) == pytest.approx(0.8 * 0.5 + 0.2 * 10.0, abs=0.1)


def test_the_best_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning ends after the epochs of patience, and the student is as it was after its best one."""
    losses, seen = iter([3.0, 1.0, 2.0, 2.0, 2.0, 0.0]), []

    def examine(pupil: object, rows: torch.Tensor) -> float:
        del rows
        seen.append(_weights(pupil.student))  # type: ignore[attr-defined]  # the pupil's own
        return next(losses)

    monkeypatch.setattr("windtunnel.optimize.distil._Pupil._examine", examine)
    student = distil(PROBABILITY, _Student(torch.nn.Sigmoid()), FEEDS, None, seed=1, lessons=QUICK)

    assert len(seen) == 5
    assert _weights(student) == seen[1]
    assert _weights(student) != seen[-1]


def test_few_rows_still_teach() -> None:
    """With so few rows that a tenth of them is none, one is kept apart, and the student learns."""
    few = {"x": FEEDS["x"][:6]}
    student = _Student(torch.nn.Sigmoid())
    before = _weights(student)

    assert _weights(distil(PROBABILITY, student, few, None, seed=1, lessons=QUICK)) != before


def test_another_shape_is_refused() -> None:
    """A student that answers in another shape is refused, where torch would stretch one over the other."""
    with pytest.raises(ModelError, match=r"`student` answers \[50, 1\] where the teacher answers \[50\]; give it"):
        distil(VALUE, _Student(torch.nn.Identity(), (-1, 1)), FEEDS, None, seed=1, lessons=QUICK)
