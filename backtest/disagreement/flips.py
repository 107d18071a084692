"""Which requests flip: where the candidate decides otherwise than the incumbent, and who was right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.metrics import Judged, check_alike
from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

KINDS = ("same", "both wrong otherwise", "right to wrong", "wrong to right", "not known")
"""What a flip is, by its code: none; from one wrong class to another; a negative flip; a positive one; without a label."""

SAME, BOTH_WRONG, RIGHT_TO_WRONG, WRONG_TO_RIGHT, NOT_KNOWN = range(5)


@dataclass(frozen=True)
class Flips:
    """How often two models decide otherwise, and who was right then.

    Args:
        kind: of each row, a place in `KINDS`, int8 [n].
        labelled: rows with a label.
        right: of them, rows on which both are right.
        to_yes: rows on which the candidate says yes and the incumbent no; of more than two classes, 0.
        to_no: the other way round.
    """

    kind: NDArray[np.int8]
    labelled: int
    right: int
    to_yes: int
    to_no: int

    @staticmethod
    def of(
        label: Floats,
        incumbent: Floats,
        candidate: Floats,
        threshold: float = 0.5,
        candidate_threshold: float | None = None,
    ) -> Flips:
        """Compare the decisions on the same rows.

        Args:
            label: 0 or 1, or a class, float64 [n]; NaN where it is not known.
            incumbent: its answers, float64 [n], or [n, classes] where the likeliest class is the decision.
            candidate: likewise.
            threshold: from which answer on the decision is yes.
            candidate_threshold: the candidate's own, where it has one.

        Raises:
            DataError: answers of another shape.
            ConfigError: a threshold that is no number.

        Example:
            >>> flips = Flips.of(np.array([1.0, 1.0, 0.0, np.nan]), np.array([0.9, 0.4, 0.1, 0.2]), np.array([0.3, 0.6, 0.2, 0.8]))
            >>> [KINDS[code] for code in flips.kind], flips.to_yes, flips.to_no
            (['right to wrong', 'wrong to right', 'same', 'not known'], 2, 1)
        """
        check_alike(Judged(label, incumbent), Judged(label, candidate), "candidate")
        others = threshold if candidate_threshold is None else candidate_threshold
        ours, theirs = _decisions(incumbent, threshold), _decisions(candidate, others)
        known = ~np.isnan(label)
        right, still_right = ours == label, theirs == label
        differs = ours != theirs
        kind = np.select(
            [~differs, ~known, right, still_right], [SAME, NOT_KNOWN, RIGHT_TO_WRONG, WRONG_TO_RIGHT], BOTH_WRONG
        )
        two = incumbent.ndim == 1
        return Flips(
            kind.astype(np.int8), int(known.sum()), int((right & still_right).sum()),
            int((differs & (theirs > ours)).sum()) if two else 0, int((differs & (theirs < ours)).sum()) if two else 0,
        )  # fmt: skip

    @property
    def rows(self) -> Ints:
        """The rows that flip, int64, in their order."""
        return np.flatnonzero(self.kind != SAME)

    def count(self, kind: int) -> int:
        """How many rows are of a kind."""
        return int((self.kind == kind).sum())

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON values, and the two rates over labelled rows; null where there are none."""
        negative, positive = self.count(RIGHT_TO_WRONG), self.count(WRONG_TO_RIGHT)
        return {
            "rows": len(self.kind), "flips": len(self.rows), "labelled": self.labelled, "both_right": self.right,
            "right_to_wrong": negative, "wrong_to_right": positive, "wrong_to_wrong": self.count(BOTH_WRONG),
            "flips_not_known": self.count(NOT_KNOWN), "to_yes": self.to_yes, "to_no": self.to_no,
            "negative_flip_rate": negative / self.labelled if self.labelled else None,
            "positive_flip_rate": positive / self.labelled if self.labelled else None,
        }  # fmt: skip


def _decisions(answers: Floats, threshold: float) -> Floats:
    if answers.ndim == 2:
        likeliest: Floats = np.argmax(answers, axis=1).astype(np.float64)
        return likeliest
    if not np.isfinite(threshold):
        raise ConfigError("is no number", field="threshold", value=threshold, fix="write 0.5")
    said: Floats = np.greater_equal(answers, threshold).astype(np.float64)
    return said
