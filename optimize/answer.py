"""What a model answers: which of its outputs is judged, whether it is numbers, and what it decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ConfigError, ModelError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Array = NDArray[Any]

SUMS_TO_ONE = 0.02
"""How far from 1 the classes of a row may sum and still be probabilities: a softmax in half precision strays by 0.001 a
class, logits by far more."""


def answers(outputs: Mapping[str, Array], name: str, output: str = "") -> Array:
    """The output that is judged, one row an answer: int64 where the model gives whole numbers, else float64.

    Args:
        outputs: of a run over all rows, rows on axis 0.
        name: of the variant, for what is refused.
        output: which output; the first where empty.

    Returns:
        `[rows]`, or `[rows, k, ...]` with more than one number a row.

    Raises:
        ConfigError: no such output.
        ModelError: text, no axis of rows, or numbers that are not finite.

    Example:
        >>> answers({"y": np.array([[0.25], [0.5]], dtype=np.float32)}, "m").tolist()
        [0.25, 0.5]
    """
    if output and output not in outputs:
        raise ConfigError(f"is not an output of {name}", field="output", value=output, fix=nearest(output, outputs))
    chosen = output or next(iter(outputs))
    given = np.asarray(outputs[chosen])
    others = ", ".join(each for each in outputs if each != chosen)
    if given.dtype.kind not in "biuf" and given.dtype.name != "bfloat16":
        raise ModelError(
            f"gives {given.dtype} in its output {chosen}, not numbers", field=name,
            fix=f"judge another output: {others}" if others else "export the model with numbers",
        )  # fmt: skip
    if given.ndim == 0:
        raise ModelError(f"gives one number for all rows in its output {chosen}", field=name, fix="keep the batch axis")
    whole = given.dtype.kind in "biu"
    array = given.astype(np.int64 if whole else np.float64)
    if array.ndim > 1 and array.size == len(array):
        array = array.reshape(len(array))
    _refuse_nan(array, name)
    return array


def _refuse_nan(array: Array, name: str) -> None:
    """Name the variant, how many, and the first row."""
    if array.dtype.kind != "f":
        return
    wrong = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if wrong.any():
        count = int((~np.isfinite(array)).sum())
        raise ModelError(
            f"gives {count} answers that are NaN or infinite, first in row {int(wrong.argmax())} of the {len(array)} asked",
            field=name,
            fix="see whether inputs hold NaN there, and whether a narrower type overflows",
        )


def is_whole(array: Array) -> bool:
    """Whether answers are class numbers, one a row."""
    return array.ndim == 1 and array.dtype.kind == "i"


def is_probability(array: Array) -> bool:
    """Whether answers are probabilities of 1, one a row.

    Example:
        >>> is_probability(np.array([0.0, 0.7])), is_probability(np.array([-2.0, 0.7]))
        (True, False)
    """
    return array.ndim == 1 and array.dtype.kind == "f" and bool(array.min() >= 0.0) and bool(array.max() <= 1.0)


def is_classes(array: Array) -> bool:
    """Whether answers are probabilities of two or more classes that sum to 1 in every row, which logits do not.

    Example:
        >>> is_classes(np.array([[0.2, 0.8], [0.5, 0.5]])), is_classes(np.array([[-1.0, 2.0], [0.5, 0.5]]))
        (True, False)
    """
    if array.ndim != 2 or array.dtype.kind != "f" or array.min() < -SUMS_TO_ONE:
        return False
    return bool((np.abs(array.sum(axis=1) - 1.0) <= SUMS_TO_ONE).all())


def is_vector(array: Array) -> bool:
    """Whether an answer is several numbers, so that it has a direction."""
    return array.ndim >= 2 and array.dtype.kind == "f"


def is_unit(array: Array) -> bool:
    """Whether answers are vectors of length one, as embeddings are and logits are not.

    Example:
        >>> is_unit(np.array([[0.6, -0.8], [0.0, 1.0]])), is_unit(np.array([[-1.0, 2.0], [0.5, 0.5]]))
        (True, False)
    """
    return is_vector(array) and bool((np.abs(np.linalg.norm(vectors(array), axis=1) - 1.0) < 0.01).all())


def decisions(array: Array) -> NDArray[np.int64]:
    """What a model decides: the class number it gives, 1 from a probability of 0.5 on, or the largest of several classes.

    Example:
        >>> decisions(np.array([0.2, 0.5])).tolist(), decisions(np.array([[1.0, 3.0, 2.0]])).tolist()
        ([0, 1], [1])
    """
    if array.dtype.kind == "i":
        return np.asarray(array, dtype=np.int64)
    return (array >= 0.5).astype(np.int64) if array.ndim == 1 else array.argmax(axis=1).astype(np.int64)


def scores(array: Array) -> Floats:
    """How sure a model is of 1, in any units: the answer itself, or the second of two columns less the first.

    Example:
        >>> scores(np.array([[1.0, 3.0]])).tolist()
        [2.0]
    """
    score: Floats = array.astype(np.float64) if array.ndim == 1 else array[:, 1] - array[:, 0]
    return score


def vectors(array: Array) -> Floats:
    """Every answer as one vector, `[rows, numbers]`."""
    return array.reshape(len(array), -1).astype(np.float64)


def describe_answers(array: Array) -> str:
    """What the answers look like, for a refusal.

    Example:
        >>> describe_answers(np.array([[-1.0, 4.0, 0.0]]))
        'gives [rows, 3] from -1 to 4'
    """
    shape = ", ".join(["rows", *map(str, array.shape[1:])])
    kind = "whole numbers " if array.dtype.kind == "i" else ""
    return f"gives {kind}[{shape}] from {array.min():.3g} to {array.max():.3g}"
