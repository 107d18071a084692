from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.errors import DataError
from windtunnel.optimize.teaching_loss import TeachingLoss, answer_kind, fit_labels

RNG = np.random.default_rng(1)
LOGITS = RNG.normal(size=(6, 4)).astype(np.float32)
SHARES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
UNIT = (LOGITS / np.linalg.norm(LOGITS, axis=1, keepdims=True)).repeat(2, 1) / np.float32(np.sqrt(2.0))


@pytest.mark.parametrize(
    ("answers", "labels", "kind"),
    [
        (SHARES, None, "probabilities"),
        (SHARES[:, :1], None, "probability"),
        (SHARES[:, :2], None, "probability"),
        (SHARES[:, 0], np.array([0.0, 7.0]), "value"),
        (LOGITS, np.array([0.0, 1.0, 2.0, 3.0, np.nan, 0.0]), "logits"),
        (LOGITS, np.array([0.0, 1.0, 2.0, 4.0, 0.0, 0.0]), "value"),
        (UNIT, None, "embedding"),
        (LOGITS, None, "value"),
    ],
)
def test_kinds(answers: np.ndarray, labels: np.ndarray | None, kind: str) -> None:
    """What answers are follows from what they hold and from what their labels number."""
    assert answer_kind(answers, labels) == kind


def _soft(kind: str, answer: np.ndarray, target: np.ndarray, *, temperature: float = 1.0) -> list[float]:
    loss = TeachingLoss.of(target, kind, temperature=temperature)  # type: ignore[arg-type]  # a literal
    found: list[float] = loss.soft(torch.from_numpy(answer).double(), torch.from_numpy(target).double()).tolist()
    return found


@pytest.mark.parametrize("kind", ["probabilities", "logits", "embedding", "value"])
def test_the_teacher_itself_loses_nothing(kind: str) -> None:
    """The same answer is no distance away, at any temperature."""
    answers = {"probabilities": SHARES, "embedding": UNIT}.get(kind, LOGITS)

    for temperature in (1.0, 3.0):
        assert _soft(kind, answers, answers, temperature=temperature) == pytest.approx([0.0] * 6, abs=1e-6)


def test_high_temperature_matches_logits() -> None:
    """In the limit of a high temperature the loss is the squared distance of centred logits, halved, by the number of classes."""
    other = RNG.normal(size=(6, 4)).astype(np.float32)
    centred = (other - other.mean(1, keepdims=True)) - (LOGITS - LOGITS.mean(1, keepdims=True))
    expected = (centred**2).sum(1) / (2 * 4)

    assert _soft("logits", other, LOGITS, temperature=300.0) == pytest.approx(expected.tolist(), rel=0.02)


def test_temperature_weighs_small_probabilities() -> None:
    """Of two answers, the one that is wrong where the teacher sees little is the worse one at a high temperature only."""
    teacher = np.array([[0.9, 0.099, 0.001]] * 2, np.float32)
    answers = np.array([[0.87, 0.129, 0.001], [0.9, 0.0997, 0.0003]], np.float32)

    cold, hot = (_soft("probabilities", answers, teacher, temperature=t) for t in (1.0, 10.0))

    assert cold[0] > cold[1]
    assert hot[0] < hot[1]


def test_one_probability_is_two_classes() -> None:
    """One probability and the two classes that it stands for have the same distance, up to what the teacher does not know."""
    one, other = SHARES[:, 0], SHARES[:, 1]
    both, others = np.stack([1 - one, one], 1), np.stack([1 - other, other], 1)
    entropy = -(one * np.log(one) + (1 - one) * np.log(1 - one))

    assert _soft("probability", other, one) == pytest.approx(
        (np.array(_soft("probabilities", others, both)) + entropy).tolist(), rel=1e-4
    )


def test_values_are_in_units_of_their_spread() -> None:
    """A column with a thousand times the scale does not count for more."""
    scale = np.array([1.0, 1000.0, 1.0, 1.0], np.float32)

    assert _soft("value", (LOGITS + 0.1) * scale, LOGITS * scale) == pytest.approx(
        _soft("value", (LOGITS + np.float32(0.1)), LOGITS), rel=1e-3
    )
    assert _soft("value", LOGITS + 100 * LOGITS.std(0), LOGITS) == pytest.approx([100.0**2] * 6, rel=1e-3)


def test_hard_loss() -> None:
    """A label is told by its class, or by shares of classes that say the same."""
    loss = TeachingLoss.of(LOGITS, "logits")
    classes = torch.tensor([0.0, 1.0, 2.0, 3.0, 0.0, 1.0])
    answer = torch.from_numpy(LOGITS)

    by_class = loss.hard(answer, classes)
    by_share = loss.hard(answer, torch.nn.functional.one_hot(classes.long(), 4).float())

    assert by_class.tolist() == pytest.approx(by_share.tolist())
    assert by_class.tolist() == pytest.approx((-np.log(SHARES)[np.arange(6), classes.long()]).tolist(), rel=1e-4)


@pytest.mark.parametrize(
    ("labels", "kind", "problem"),
    [
        (np.array([0.0, 1.0, 4.0]), "logits", r"`labels` \(=4.0\) are not classes from 0 to 3"),
        (np.array([0.0, 1.0]), "value", r"do not fit answers of \[3, 4\]"),
    ],
)
def test_labels_that_fit_nothing(labels: np.ndarray, kind: str, problem: str) -> None:
    """A class that the model does not know, and a label too few, are refused."""
    with pytest.raises(DataError, match=problem):
        fit_labels(labels, kind, (3, 4))  # type: ignore[arg-type]  # a literal


def test_embeddings_have_no_labels() -> None:
    """What is right about an embedding no label says: none is used."""
    assert fit_labels(np.array([1.0, 2.0]), "embedding", (2, 8)) is None
