"""An Alert: a windowed metric that is worse than a reference for some looks in a row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Alert:
    """A threshold on the loss of the requests asked in the last days, by the labels that are in.

    Labels that come fast are not a fair sample, and the younger a window, the fewer others it has. So what it is held
    against must be as young: the other model's loss on the same requests, or what the model's own first window showed on
    the day it ended. A number given as reference is neither, and wants a window that is long beside the labels' delay.

    Args:
        window_s: how far back requests count.
        above: how much greater than the reference the mean loss must be.
        looks: for how many looks in a row.
        least_rows: with fewer labels nothing is said, and what had begun begins anew.
        reference: a mean loss to hold against; None: the other model's, or the model's own first window.

    Raises:
        ConfigError: a number that makes no sense.

    Example:
        >>> Alert(window_s=7 * 86400.0, above=0.1, looks=2).fires([0.0, 0.2, 0.3])
        True
        >>> Alert(window_s=7 * 86400.0, above=0.1, looks=2).fires([0.2, float("nan"), 0.3])
        False
    """

    window_s: float
    above: float
    looks: int = 1
    least_rows: int = 50
    reference: float | None = None

    def __post_init__(self) -> None:
        for field, good in (
            ("window_s", self.window_s > 0.0),
            ("above", math.isfinite(self.above)),
            ("looks", self.looks >= 1),
            ("least_rows", self.least_rows >= 1),
        ):
            if not good:
                raise ConfigError("makes no sense of an alert", field=field, value=getattr(self, field), fix="mend it")

    def fires(self, excess: Sequence[float]) -> bool:
        """Whether the latest looks all lie above the threshold.

        Args:
            excess: loss minus reference at each look so far, NaN where too few labels were in.
        """
        latest = excess[-self.looks :]
        return len(latest) == self.looks and all(each > self.above for each in latest)
