from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from windtunnel.errors import ModelError
from windtunnel.optimize.distil import Features, Lessons, distil
from windtunnel.session import Session
from windtunnel.variant import Signature, Tensor

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
    losses, seen = iter([9.0, 3.0, 1.0, 2.0, 2.0, 2.0, 0.0]), []

    def examine(pupil: object) -> float:
        seen.append(_weights(pupil.student))  # type: ignore[attr-defined]  # the pupil's own
        return next(losses)

    monkeypatch.setattr("windtunnel.optimize.distil._Pupil._examine", examine)
    student = distil(PROBABILITY, _Student(torch.nn.Sigmoid()), FEEDS, None, seed=1, lessons=QUICK)

    assert len(seen) == 6
    assert _weights(student) == seen[2]
    assert _weights(student) != seen[-1]


def test_what_was_better_before_stays() -> None:
    """A student that knows all already, as one cut out of its teacher may, is not made worse by learning."""
    student = _Student(torch.nn.Identity())
    with torch.no_grad():
        student.linear.weight.copy_(torch.tensor([[3.0, -2.0]]))
        student.linear.bias.zero_()
    before = _weights(student)

    assert _weights(distil(VALUE, student, FEEDS, None, seed=1, lessons=QUICK)) == before


@pytest.mark.parametrize(("batch", "moves"), [(16, False), (64, True)])
def test_statistics_of_small_batches(batch: int, *, moves: bool) -> None:
    """A batch normalisation that knows its statistics learns new ones from batches of some size only."""
    norm = torch.nn.BatchNorm1d(1)
    norm(torch.randn(100, 1))
    before = float(norm.running_mean) if norm.running_mean is not None else 0.0
    student = distil(VALUE, _Student(norm), FEEDS, None, seed=1, lessons=Lessons(epochs=2, batch=batch))

    assert (float(student.state_dict()["last.running_mean"]) != before) is moves


def test_few_rows_still_teach() -> None:
    """With so few rows that a tenth of them is none, one is kept apart, and the student learns."""
    few = {"x": FEEDS["x"][:6]}
    student = _Student(torch.nn.Sigmoid())
    before = _weights(student)

    assert _weights(distil(PROBABILITY, student, few, None, seed=1, lessons=QUICK)) != before


def test_another_shape_is_refused() -> None:
    """A student that answers in another shape is refused, where torch would stretch one over the other."""
    with pytest.raises(ModelError, match=r"`student` answers \[2, 1\] where the teacher answers \[2\]; give it"):
        distil(VALUE, _Student(torch.nn.Identity(), (-1, 1)), FEEDS, None, seed=1, lessons=QUICK)


def _learnt(teacher: Session, labels: NDArray[np.float64] | None, share: float) -> list[float]:
    lessons = Lessons(epochs=3, batch=50, learning_rate=0.05, hard_share=share)
    return _weights(distil(teacher, _Student(torch.nn.Sigmoid()), FEEDS, labels, seed=1, lessons=lessons))


def test_labels_alone() -> None:
    """With the whole weight on the labels the teacher's opinion leaves no trace, and with none of it the labels do not."""
    labels = (FEEDS["x"][:, 0] > 0).astype(np.float64)
    contrary = _Teacher(lambda x: 1 - PROBABILITY.formula(x))

    assert _learnt(PROBABILITY, labels, 1.0) == _learnt(contrary, labels, 1.0)
    assert _learnt(PROBABILITY, labels, 0.0) == _learnt(PROBABILITY, None, 0.0)
    assert _learnt(PROBABILITY, labels, 0.5) != _learnt(contrary, labels, 0.5)


def test_labels_that_have_not_come_yet() -> None:
    """Where a label is missing the teacher's answer has the whole weight."""
    labels = (FEEDS["x"][:, 0] > 0).astype(np.float64)
    unknown = np.full(1000, np.nan)
    half = np.where(np.arange(1000) % 2, labels, np.nan)

    assert _learnt(PROBABILITY, unknown, 0.5) == _learnt(PROBABILITY, None, 0.5)
    assert _learnt(PROBABILITY, half, 0.5) not in (
        _learnt(PROBABILITY, None, 0.5),
        _learnt(PROBABILITY, labels, 0.5),
    )


def test_torch_is_left_as_it_was() -> None:
    """Threads, generator and the choice of algorithms are the caller's again afterwards."""
    student, seen = _Student(torch.nn.Sigmoid()), []
    for _ in range(2):
        seen.append(
            (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist())
        )
        distil(PROBABILITY, student, FEEDS, None, seed=1, lessons=Lessons(epochs=1))

    assert seen[0] == seen[1]


class _Two(Session):
    """Answers a probability and, beside it, two inner values; only in batches of ten."""

    signature = Signature((Tensor("x", "float32", (10, 2)),), ())

    def run(self, feeds: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        assert len(feeds["x"]) == 10
        return {"output": PROBABILITY.formula(feeds["x"]), "inner": feeds["x"] @ np.eye(2, dtype=np.float32)}


class _TwoStudent(torch.nn.Module):
    """Answers a probability and its own inner values, so many wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.inner, self.outer = torch.nn.Linear(2, width), torch.nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inner = self.inner(x)
        return torch.sigmoid(self.outer(inner)).squeeze(1), inner


def test_further_outputs_are_matched() -> None:
    """Inner values that a teacher gives beside its answer are learnt; a fixed batch axis is kept to."""
    student = distil(
        _Two(), _TwoStudent(2), FEEDS, None, seed=1, lessons=Lessons(epochs=20, batch=50, learning_rate=0.05)
    )

    with torch.no_grad():
        inner = student(torch.from_numpy(FEEDS["x"]))[1].numpy()
    assert float(np.abs(inner - FEEDS["x"]).mean()) < 0.1


def test_narrower_inner_values_are_bridged() -> None:
    """An inner value of another width is matched through a map that is thrown away: the student keeps its own shape."""
    student = distil(_Two(), _TwoStudent(3), FEEDS, None, seed=1, lessons=QUICK)

    assert [tuple(each.shape) for each in student.parameters()] == [(3, 2), (3,), (1, 3), (1,)]


def test_inner_values_of_modules() -> None:
    """Where both are modules their submodules are matched by name, and nobody looks into them afterwards."""
    guide = _TwoStudent(2)
    plain, drawn = (
        distil(
            PROBABILITY, _Inner(), FEEDS, None, seed=1, lessons=Lessons(epochs=10, batch=50, learning_rate=0.05), features=features
        )
        for features in (None, Features(guide, (("inner", "inner"),)))
    )  # fmt: skip

    assert _apart(drawn, guide) < 0.2 * _apart(plain, guide)
    assert not guide.inner._forward_hooks


class _Inner(_TwoStudent):
    """Answers only the probability."""

    def __init__(self) -> None:
        super().__init__(2)
        torch.nn.init.normal_(self.inner.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # one output is the point
        return super().forward(x)[0]


def _apart(student: torch.nn.Module, guide: _TwoStudent) -> float:
    x = torch.from_numpy(FEEDS["x"])
    with torch.no_grad():
        return float((student.get_submodule("inner")(x) - guide.inner(x)).square().mean())


class _Counting(_TwoStudent):
    """Counts the rows that it is asked about."""

    asked = 0

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked += len(x)
        return super().forward(x)


def test_a_teacher_is_looked_into_once() -> None:
    """However many epochs there are, the teacher's inner values are had once for each row."""
    guide = _Counting(2)
    distil(PROBABILITY, _Inner(), FEEDS, None, seed=1, lessons=QUICK, features=Features(guide, (("inner", "inner"),)))

    assert guide.asked == 1000


def test_inner_values_beyond_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all inner values would take more than is given, the last are matched, and the others are as if unnamed."""
    monkeypatch.setattr("windtunnel.optimize.distil.INNER_BYTES", 2 * 1000 * 4)  # one number a row, held twice
    first, last = ("inner", "inner"), ("outer", "outer")
    both, one, none = (
        _weights(distil(PROBABILITY, _Inner(), FEEDS, None, seed=1, lessons=QUICK, features=Features(_TwoStudent(2), pairs)))
        for pairs in ((first, last), (last,), ())
    )  # fmt: skip

    assert both == one
    assert both != none


class _Sideways(_TwoStudent):
    """Its inner values have their rows on the second axis."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward(x)[0], self.inner(x.T @ x)


def test_inner_values_without_rows() -> None:
    """A submodule whose values do not lie row by row is refused: others' would be taught."""
    with pytest.raises(ModelError, match=r"`teacher\.inner` gives \[2, 2\] for 1000 rows; match what has"):
        distil(
            PROBABILITY, _Inner(), FEEDS, None, seed=1, features=Features(_Sideways(2), (("inner", "inner"),))
        )  # fmt: skip


def test_temperature_is_heard() -> None:
    """Another temperature teaches other weights, and the answers still come near."""
    warm, hot = (
        distil(
            PROBABILITY, _Student(torch.nn.Sigmoid()), FEEDS, None, seed=1, lessons=QUICK.told({"temperature": each})
        )
        for each in (1.0, 3.0)
    )

    assert _weights(warm) != _weights(hot)
    assert float(np.abs(_answer(hot) - PROBABILITY.formula(FEEDS["x"])).max()) < 0.05


class _Scores(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.linear = torch.nn.Linear(2, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.linear(x)
        return answer


def test_scores_of_which_the_largest_decides() -> None:
    """Where the largest score decides, what all scores of a row share is not taught; else every score is."""
    scores = _Teacher(lambda x: x + 3 * x[:, :1])
    values, logits = (
        np.array(_weights(distil(scores, _Scores(), FEEDS, None, seed=1, lessons=QUICK.told({"kind": kind})))).reshape(2, 2)
        for kind in ("auto", "decision")
    )  # fmt: skip

    assert values.ravel() == pytest.approx([4.0, 0.0, 3.0, 1.0], abs=0.3)
    assert logits[0] - logits[1] == pytest.approx([1.0, -1.0], abs=0.1)
    assert logits.sum() == pytest.approx(np.array(_weights(_Scores())).sum(), abs=1.0)


@pytest.mark.parametrize(
    ("wishes", "problem"),
    [
        ({"temprature": 2.0}, "`temprature` is no setting of a lesson; did you mean `temperature`"),
        ({"temperature": 0.0}, r"`temperature` \(=0.0\) cannot be that; give a number above 0"),
        ({"hard_share": 1.5}, r"`hard_share` \(=1.5\) cannot be that; give a share from 0 to 1"),
        ({"epochs": True}, r"`epochs` \(=True\) cannot be that; give a whole number of 1 or more"),
        ({"patience": -1}, r"`patience` \(=-1\) cannot be that; give a whole number of 0 or more"),
        ({"kind": "scores"}, r"`kind` \(=.?scores.?\) cannot be that; give one of auto, decision, probability"),
    ],
)
def test_lessons_that_there_are_not(wishes: dict[str, object], problem: str) -> None:
    """A setting that is not known, or cannot be what is wished, is refused with what can be."""
    with pytest.raises(ModelError, match=problem):
        Lessons().told(wishes)


def test_a_missing_submodule_is_named() -> None:
    """A submodule to match that is not there is named."""
    with pytest.raises(ModelError, match=r"`student\.hidden` is not a submodule"):
        distil(PROBABILITY, _Inner(), FEEDS, None, seed=1, features=Features(_TwoStudent(2), (("inner", "hidden"),)))


@pytest.mark.parametrize(
    ("formula", "problem"),
    [
        (lambda x: x[:, 0].astype(np.int64), "`output` is the teacher's first output and holds int64"),
        (lambda x: np.full(len(x), np.nan, np.float32), "`teacher` answers with NaN or infinity"),
    ],
    ids=["classes", "nan"],
)
def test_answers_that_cannot_be_taught(
    formula: Callable[[NDArray[np.float32]], NDArray[np.float32]], problem: str
) -> None:
    """A teacher that says classes or nothing is refused with words."""
    with pytest.raises(ModelError, match=problem):
        distil(_Teacher(formula), _Student(torch.nn.Sigmoid()), FEEDS, None, seed=1)


def test_a_loss_that_is_never_finite() -> None:
    """A student that answers NaN whatever it learns is refused rather than handed over."""
    holes = {"x": np.full((100, 2), np.nan, np.float32)}
    teacher = _Teacher(lambda x: np.ones(len(x), np.float32))

    with pytest.raises(ModelError, match="not finite after every epoch; let it answer"):
        distil(teacher, _Student(torch.nn.Identity()), holes, None, seed=1, lessons=QUICK)


def test_too_many_outputs() -> None:
    """A student that says more than its teacher is refused."""
    with pytest.raises(ModelError, match="gives 2 outputs where the teacher has 1"):
        distil(PROBABILITY, _TwoStudent(2), FEEDS, None, seed=1)


def test_lessons_end_in_time() -> None:
    """Lessons for more rows or a larger student take no more work than is given, down to four epochs of 256 rows."""
    spent = {
        (rows, parameters): 6.0 * parameters * lessons.rows * lessons.epochs
        for rows in (1000, 65_536, 1_000_000)
        for parameters in (1000, 100_000, 10_000_000)
        for lessons in [Lessons.sized(rows, parameters)]
    }

    assert max(spent.values()) <= 3.0e11
    assert Lessons.sized(10, 10).batch == 8
    assert Lessons.sized(65_536, 10_000, uses=512).batch == 16
