"""A Conversion: how near a converted model's answers come to its source's, on rows that both have answered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = 1e-4
"""The largest difference that float32 may make, relative to the largest answer of the source."""

MOST_DIFFERING = 1e-3
"""A conversion whose answers differ by more than `TOLERANCE` in more rows than this is refused.

A tree behind a scaler may send a row next to a threshold the other way in float32, which no rounding of thresholds can mend;
one row in a thousand of rows drawn at random is far more than that ever does."""


@dataclass(frozen=True)
class Conversion:
    """What became of a model, and how it compares with its source.

    Args:
        worst: the largest difference to the source, relative to its largest answer.
        differing: the share of rows in which the answers differ by more than `TOLERANCE`.
        label_flip_rate: the share of rows in which another class is likeliest, those aside in which the source has two classes
            as likely as one another; 0 where nothing is classified.
        rows: how many were compared, of which some lie on thresholds and some have missing values.
        width: the floats that the model computes with.
        answers: what the first output is: `probabilities`, `scores`, or `values`.
        features: what the columns of a matrix input are called, where the source knows.
        classes: what the columns of the probabilities stand for.
    """

    worst: float
    differing: float
    label_flip_rate: float
    rows: int
    width: str = "float32"
    answers: str = "values"
    features: tuple[str, ...] = ()
    classes: tuple[int | str, ...] = ()

    @property
    def sentence(self) -> str:
        """What came of it, in words."""
        flips = f", another class in {self.label_flip_rate:.3%}" if self.answers == "probabilities" else ""
        return (
            f"converted to {self.width}, its {self.answers} within {self.worst:.1e} of the source on {self.rows:,} rows, "
            f"others in {self.differing:.3%}{flips}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The conversion as JSON values."""
        return asdict(self)


def compare_answers(expected: NDArray[Any], actual: NDArray[Any], **known: Any) -> Conversion:
    """Compare answers row by row.

    Args:
        expected: the source's, `[rows]` or `[rows, outputs]`.
        actual: the converted model's, in as many numbers.
        known: the other fields of a `Conversion`.

    Example:
        >>> found = compare_answers(np.array([0.2, 0.8]), np.array([0.2, 0.4]), answers="probabilities")
        >>> found.worst, found.differing, found.label_flip_rate
        (0.5, 0.5, 0.5)
    """
    rows = len(expected)
    wide, other = (np.asarray(each, dtype=np.float64).reshape(rows, -1) for each in (expected, actual))
    if wide.shape != other.shape:
        raise ModelError(f"answers {list(other.shape)} once converted where its source answers {list(wide.shape)}")
    size = float(np.max(np.abs(wide), initial=0.0, where=np.isfinite(wide))) or 1.0
    # equal infinities are no difference, and neither are two NaN
    same = (wide == other) | (np.isnan(wide) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.abs(wide - other)) / size
    off = np.where(np.isnan(off), np.inf, off).max(axis=1)
    flips = _flips(wide, other) if known.get("answers") == "probabilities" else np.zeros(rows)
    return Conversion(float(off.max()), float((off > TOLERANCE).mean()), float(flips.mean()), rows, **known)


def _flips(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The rows in which the likeliest class is another, and was so by more than rounding."""
    if expected.shape[1] == 1:
        expected, actual = (np.hstack([1.0 - each, each]) for each in (expected, actual))
    ranked = np.sort(expected, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > TOLERANCE
    other: NDArray[np.bool_] = expected.argmax(axis=1) != actual.argmax(axis=1)
    return other & clear


def check_conversion(found: Conversion, source: str) -> Conversion:
    """Refuse a conversion whose answers are others.

    Raises:
        ModelError: in more rows than `MOST_DIFFERING`.
    """
    if found.differing > MOST_DIFFERING:
        raise ModelError(
            f"gives other answers once converted: in {found.differing:.2%} of {found.rows:,} rows, off by up to {found.worst:.2g}; "
            f"another class in {found.label_flip_rate:.2%}",
            field=source,
            fix="convert it with its maker's own tool and give the ONNX file, or leave out the last step that you added",
        )
    return found
