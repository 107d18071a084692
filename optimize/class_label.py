"""The class label that a model gives beside its probabilities: what it follows from, and the operators that say it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

NEAR = 1e-6
"""Where the likeliest two are no further apart than this, either may be called the likeliest."""


@dataclass(frozen=True)
class ClassLabel:
    """A whole number or text that says which column of a model's first output is the largest.

    Args:
        output: the label's name.
        source: the name of the first output, `[rows, classes]`.
        classes: what the columns are called.
        rank: of the label: 1, or 2 where it is `[rows, 1]`.
    """

    output: str
    source: str
    classes: tuple[int | str, ...]
    rank: int = 1

    @staticmethod
    def of(outputs: Mapping[str, NDArray[Any]], named: Sequence[int | str] = ()) -> ClassLabel | None:
        """What a model's outputs on some rows tell of its label; None where all of them hold floats.

        Args:
            outputs: by name, in the model's order.
            named: what the classes are called, where the model says.

        Raises:
            ModelError: an output follows from the largest number of the first in no way that is known here.

        Example:
            >>> ClassLabel.of({"p": np.array([[0.1, 0.9], [0.7, 0.3]]), "label": np.array([5, 3])}, (3, 5))
            ClassLabel(output='label', source='p', classes=(3, 5), rank=1)
        """
        others = [name for name, array in outputs.items() if array.dtype.kind != "f"]
        if not others:
            return None
        source, scores = next(iter(outputs.items()))
        label = outputs[others[0]]
        if len(others) > 1 or scores.ndim != 2 or scores.shape[1] < 2 or label.size != len(label):
            raise _unteachable(others)
        highest = np.sort(scores, axis=1)
        clear = highest[:, -1] - highest[:, -2] > NEAR
        numbers = tuple(range(scores.shape[1]))
        for classes in (tuple(named), numbers):
            if len(classes) == scores.shape[1] and _agrees(classes, scores[clear], label[clear]):
                return ClassLabel(others[0], source, classes, label.ndim)
        raise _unteachable(others)

    def add_to(self, graph: onnx.GraphProto) -> None:
        """Let a graph that gives the first output by its name give the label too."""
        from onnx import TensorProto, helper, numpy_helper

        text = isinstance(self.classes[0], str)
        names = np.array(self.classes, dtype=object if text else np.int64)
        place, table = f"{self.output}_place", f"{self.output}_classes"
        graph.initializer.append(numpy_helper.from_array(names, table))
        graph.node.append(helper.make_node("ArgMax", [self.source], [place], axis=1, keepdims=int(self.rank == 2)))
        graph.node.append(helper.make_node("Gather", [table, place], [self.output], axis=0))
        shape: list[str | int | None] = ["batch", 1]
        kind = TensorProto.STRING if text else TensorProto.INT64
        graph.output.append(helper.make_tensor_value_info(self.output, kind, shape[: self.rank]))


def _agrees(classes: Sequence[int | str], scores: NDArray[Any], label: NDArray[Any]) -> bool:
    whole = label.dtype == np.int64 and all(isinstance(each, int) for each in classes)
    text = label.dtype.kind == "O" and all(isinstance(each, str) for each in classes)
    expected = np.array(classes, dtype=object)[scores.argmax(1)]
    return (whole or text) and bool((expected == label.reshape(-1)).all())


def _unteachable(others: Sequence[str]) -> ModelError:
    return ModelError(
        f"cannot be taught: {', '.join(f'`{name}`' for name in others)} is no number with a fraction, and not the class of "
        "the largest number in the first output",
        field="outputs", fix="leave such outputs out of the model",
    )  # fmt: skip
