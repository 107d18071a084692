"""What is asked of the rows: which models, by which loss, at which looks, how long after a request a label still counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, DataError
from windtunnel.quantity import format_duration
from windtunnel.recording import TIME

from .kernel import ABSOLUTE, ACCURACY, COST, DAY_US, GIVEN, LOG_LOSS, PINBALL, SQUARED, ZERO_ONE, losses_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.loss import Loss

    Floats = NDArray[np.float64]

MOST_LOOKS = 1_000_000
"""More looks than that are a slip of the unit, not a wish."""

CODES = {
    "log_loss": LOG_LOSS, "squared_error": SQUARED, "absolute_error": ABSOLUTE, "zero_one": ZERO_ONE,
    "accuracy": ACCURACY, "pinball": PINBALL, "cost": COST,
}  # fmt: skip
"""The losses that are compiled; any other is worked out beforehand."""


RANKED = ("roc_auc", "average_precision")
"""Metrics of how rows are ranked: for them no loss of a row is summed."""


@dataclass(frozen=True)
class Question:
    """What every piece of a recording is asked, on whichever worker.

    Args:
        models: the incumbent, then the candidates.
        loss: what they are judged by.
        first_us: the first look, a UTC midnight, in µs since 1970.
        every_us: from one look to the next.
        horizon_us: how long a label may take.
        weighted: whether rows have weights.
    """

    models: tuple[str, ...]
    loss: Loss
    first_us: int
    every_us: int
    horizon_us: int
    weighted: bool = False

    @property
    def code(self) -> int:
        """How the kernel works the loss out."""
        return CODES.get(self.loss.family, GIVEN)

    @property
    def ranked(self) -> bool:
        """Whether the metric is no mean over rows, but one of how they are ranked."""
        return self.loss.family in RANKED

    @property
    def bounded(self) -> bool:
        """Whether a label that did not come can only have been 0 or 1, and what it would have cost can be worked out."""
        return self.loss.binary and self.code != GIVEN and not self.weighted

    def looks(self, last_us: int) -> NDArray[np.int64]:
        """The looks up to the last moment that the recording tells anything about, int64 [looks] in µs since 1970.

        Raises:
            DataError: there is no midnight in it.
            ConfigError: there are too many.
        """
        if self.first_us > last_us:
            raise DataError(
                "ends before the first UTC midnight after its first request",
                field=TIME,
                fix="replay a longer recording",
            )
        self.check_span(self.first_us, last_us)
        return np.arange(self.first_us, last_us + 1, self.every_us, dtype=np.int64)

    def look_of(self, seen_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first look at or after each moment, int64 [n], from 0."""
        # the moment of a label that never came lies so far ahead that adding to it would run over
        late = -((self.first_us - seen_us) // self.every_us)
        return np.where(seen_us <= self.first_us, 0, late)

    def check_span(self, start_us: int, end_us: int) -> None:
        """Refuse a stretch of time with too many looks or days in it, before room is made for them."""
        if (end_us - start_us) // min(self.every_us, DAY_US) >= MOST_LOOKS:
            raise ConfigError(
                f"makes more than {MOST_LOOKS:,} looks at this recording", field="every", value=format_duration(self.every_us / 1e6),
                fix="write 1d, and see that no time stamp is off by centuries",
            )  # fmt: skip


def losses_at(loss: Loss, label: Floats, prediction: Floats) -> Floats:
    """The loss of each row, float64 [n], as the kernel works it out where it can; whatever where no label came.

    One row at a time, so that its place among others decides no bit.
    """
    code = CODES.get(loss.family, GIVEN)
    if code == GIVEN:
        return loss.of(label, prediction)
    # what never came is not summed, but must be a label to be looked up
    told = np.where(np.isnan(label), 0.0, label)
    losses: Floats = losses_of(told, prediction, code, np.array([*loss.parameters, 0.0]))
    return losses


def first_look_us(first_asked_us: int) -> int:
    """The first UTC midnight after the first request.

    Example:
        >>> first_look_us(0), first_look_us(DAY_US - 1), first_look_us(DAY_US)
        (86400000000, 86400000000, 172800000000)
    """
    return (first_asked_us // DAY_US + 1) * DAY_US
