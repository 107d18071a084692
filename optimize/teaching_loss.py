"""How far a student's answer is from its teacher's, and from what turned out true, by the kind of answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.errors import DataError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

Kind = Literal["probability", "probabilities", "logits", "embedding", "value"]

TINY = 1e-6
"""The smallest probability that is told from none: a logit of it is still a float of some use."""

EMBEDDING_WIDTH = 8
"""Rows of unit length and at least so wide are taken for embeddings."""


def answer_kind(answers: NDArray[Any], labels: NDArray[np.float64] | None = None, *, decides: bool = False) -> Kind:
    """Tell what a model's answers are, from some of them and from what turned out true.

    Args:
        answers: `[rows, …]`.
        labels: `[rows]` or of the answers' shape; NaN where nothing turned out yet.
        decides: whether the largest of a row's answers is its decision, though no label says so.

    Returns:
        `probabilities` where the last axis sums to one; `probability` where all lies between 0 and 1; `logits` where labels
        number the last axis, or it decides; `embedding` where rows have length one; else `value`.

    Example:
        >>> answer_kind(np.array([0.1, 0.9])), answer_kind(np.array([[0.1, 0.9]])), answer_kind(np.array([3.0]))
        ('probability', 'probabilities', 'value')
        >>> answer_kind(np.array([[2.0, -1.0], [0.5, 3.0]]), np.array([0.0, 1.0]))
        'logits'
        >>> answer_kind(np.array([[2.0, -1.0]])), answer_kind(np.array([[2.0, -1.0]]), decides=True)
        ('value', 'logits')
    """
    wide = answers.astype(np.float64)
    width = answers.shape[-1] if answers.ndim > 1 else 1
    known = np.empty(0) if labels is None else labels[~np.isnan(labels)]
    if wide.size and wide.min() >= 0.0 and wide.max() <= 1.0 + TINY:
        if width > 1 and np.allclose(wide.sum(-1), 1.0, atol=1e-3):
            return "probabilities"
        if not known.size or (known.min() >= 0.0 and known.max() <= 1.0):
            return "probability"
    if answers.ndim == 2 and width > 1 and (decides or _are_classes(labels, len(answers), width)):
        return "logits"
    if width >= EMBEDDING_WIDTH and np.allclose(np.linalg.norm(wide, axis=-1), 1.0, atol=1e-3):
        return "embedding"
    return "value"


def _are_classes(labels: NDArray[np.float64] | None, rows: int, classes: int) -> bool:
    if labels is None or labels.size != rows:
        return False
    known = labels[~np.isnan(labels)]
    return bool(known.size and np.all(known == np.round(known)) and known.min() >= 0 and known.max() < classes)


def fit_labels(labels: NDArray[np.float64], kind: Kind, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Bring labels into the shape that the loss of a kind takes; None where that kind of answer has no labels.

    Args:
        labels: `[rows]`, `[rows, 1]` or of the answers' shape.
        kind: of the answers.
        shape: of the answers.

    Returns:
        `[rows]` of classes for `probabilities` and `logits` (or `[rows, classes]` of shares), else of the answers' shape.

    Raises:
        DataError: they fit no answer, or name a class that the model does not know.
    """
    if kind == "embedding":
        return None
    classes = kind in {"probabilities", "logits"}
    if classes and labels.size == shape[0]:
        if not _are_classes(labels.reshape(-1), shape[0], shape[-1]):
            raise DataError(
                f"are not classes from 0 to {shape[-1] - 1}", field="labels", value=float(np.nanmax(labels)),
                fix="number the classes in the order of the model's answers",
            )  # fmt: skip
        return labels.reshape(-1)
    if labels.size != int(np.prod(shape)):
        raise DataError(
            f"do not fit answers of {list(shape)}", field="labels", value=labels.shape, fix="give one label an answer"
        )
    return labels.reshape(shape)


@dataclass(frozen=True)
class TeachingLoss:
    """The loss of a kind of answer, row by row.

    `probability` and `probabilities` are taught by cross-entropy, softened by the temperature (Hinton, Vinyals and Dean, Distilling the
    Knowledge in a Neural Network, 2015: logits ÷ T, loss × T²); `logits` the same after a softmax; `embedding` by one minus
    the cosine; `value` by squared error in units of the teacher's spread.

    Args:
        kind: of the answers.
        temperature: above 1 the teacher's small probabilities count for more.
        spread: of the teacher's answers, a number a column of the last axis; the unit of a value.
    """

    kind: Kind
    temperature: float
    spread: torch.Tensor

    @staticmethod
    def of(answers: NDArray[Any], kind: Kind, *, temperature: float = 1.0) -> TeachingLoss:
        """The loss for a teacher's answers."""
        import torch

        columns = answers.reshape(-1, answers.shape[-1] if answers.ndim > 1 else 1).astype(np.float64)
        # a column that never moves would divide by zero: it is then held to the spread of all
        spread = columns.std(0)
        spread = np.where(
            spread > TINY * max(1.0, float(np.abs(columns).max())), spread, max(float(columns.std()), TINY)
        )
        return TeachingLoss(kind, temperature, torch.from_numpy(spread.astype(np.float32)))

    def soft(self, answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The distance to the teacher, `[rows]`."""
        if self.kind == "probability":
            return self._softened(answer, target)
        if self.kind in {"probabilities", "logits"}:
            return self._divergence(answer, target)
        if self.kind == "embedding":
            import torch

            return _by_row(1.0 - torch.nn.functional.cosine_similarity(answer, target, dim=-1))
        return self._far(answer, target)

    def hard(self, answer: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The distance to what turned out true, `[rows]`."""
        import torch

        if self.kind == "probability":
            return _by_row(_cross_entropy(answer, label))
        if self.kind in {"probabilities", "logits"}:
            said = torch.log_softmax(self._logits(answer), dim=-1)
            if label.dim() == 1:
                return -said.gather(-1, label.long().unsqueeze(-1)).squeeze(-1)
            return _by_row(-(label * said).sum(-1))
        return self._far(answer, label)

    def _softened(self, answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        import torch

        if self.temperature != 1.0:
            answer, target = (
                torch.sigmoid(torch.logit(each, eps=TINY) / self.temperature) for each in (answer, target)
            )
        return _by_row(_cross_entropy(answer, target)) * self.temperature**2

    def _divergence(self, answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        import torch

        said = torch.log_softmax(self._logits(answer) / self.temperature, dim=-1)
        wanted = torch.log_softmax(self._logits(target) / self.temperature, dim=-1)
        return _by_row((wanted.exp() * (wanted - said)).sum(-1)) * self.temperature**2

    def _logits(self, answer: torch.Tensor) -> torch.Tensor:
        return answer if self.kind == "logits" else answer.clamp_min(TINY).log()

    def _far(self, answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return _by_row(((answer - target) / self.spread).square())


def _cross_entropy(answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """That of probabilities; NaN where an answer is none, which torch would raise on in words that nobody here understands."""
    import torch

    if not bool(((answer >= 0.0) & (answer <= 1.0)).all()):
        return answer * torch.nan
    return torch.nn.functional.binary_cross_entropy(answer, target, reduction="none")


def _by_row(loss: torch.Tensor) -> torch.Tensor:
    return loss if loss.dim() == 1 else loss.flatten(1).mean(1)
