"""Prices: what a worse prediction, a rollback, a training and a second scoring cost."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from windtunnel.errors import ConfigError


@dataclass(frozen=True)
class Prices:
    """US dollars for everything that a policy brings about.

    Args:
        usd_per_loss: one unit of loss on one request; of `zero_one` that is one wrong prediction.
        usd_per_wrong: one wrong prediction, whatever the loss.
        usd_per_training: one run of the user's `fit`, besides its hours.
        usd_per_training_hour: an hour of it.
        usd_per_rollback: taking a model back: the people, the release.
        usd_per_scored: one prediction that is made beside the one that is served.

    Raises:
        ConfigError: a price that is negative or no number, or none on any prediction: all policies would be worth the same.

    Example:
        >>> Prices(usd_per_wrong=0.5).usd_per_loss
        0.0
        >>> Prices()
        Traceback (most recent call last):
        windtunnel.errors.ConfigError: `usd_per_loss` is zero, and so is usd_per_wrong: ...
    """

    usd_per_loss: float = 0.0
    usd_per_wrong: float = 0.0
    usd_per_training: float = 0.0
    usd_per_training_hour: float = 0.0
    usd_per_rollback: float = 0.0
    usd_per_scored: float = 0.0

    def __post_init__(self) -> None:
        for name, price in asdict(self).items():
            if not (math.isfinite(price) and price >= 0.0):
                raise ConfigError("is no price", field=name, value=price, fix="give US dollars, zero or more")
        if self.usd_per_loss == self.usd_per_wrong == 0.0:
            raise ConfigError(
                "is zero, and so is usd_per_wrong: no prediction is worth anything",
                field="usd_per_loss",
                fix="say what one unit of loss, or one wrong prediction, costs",
            )
