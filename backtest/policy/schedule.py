"""A Schedule: when a model is trained anew, on what, and how long it takes until the new one serves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.backtest.drift import DISTANCES
from windtunnel.errors import ConfigError, nearest

if TYPE_CHECKING:
    from .alert import Alert


@dataclass(frozen=True)
class Drift:
    """A trigger: a feature has moved away from where it was when the model last learnt.

    Args:
        column: a feature that is a number.
        distance: one of `DISTANCES`.
        reference: the looks up to the last training whose requests are the reference; see `windtunnel.backtest.drift.watch`.
        rate: the share of looks that alarm while nothing moves.
        looks: for how many looks in a row there must be an alarm.

    Raises:
        ConfigError: an unknown distance.
    """

    column: str
    distance: str = "ks"
    reference: int = 30
    rate: float = 0.05
    looks: int = 3

    def __post_init__(self) -> None:
        if self.distance not in DISTANCES:
            raise ConfigError(
                "is not a distance", field="distance", value=self.distance, fix=nearest(self.distance, DISTANCES)
            )
        if self.looks < 1:
            raise ConfigError("is not positive", field="looks", value=self.looks, fix="write 3")


@dataclass(frozen=True)
class Schedule:
    """A policy: any of its triggers begins a training, unless one is under way or the last is too recent; without any: never.

    Args:
        name: of the policy, unique among those compared.
        every_s: from one training to the next.
        drift: see there.
        alert: on the loss of the model that serves, since it does, against what its own first window showed.
        window_s: how far back requests are learnt from; infinite: all.
        warm: `fit` is given the model before as its third argument.
        training_s: how long a training takes; None: as long as it took here, which is not the same from run to run.
        deploy_s: from its end until the new model serves.
        rest_s: from one training's begin to the next at least.

    Raises:
        ConfigError: a length that makes no sense.
    """

    name: str
    every_s: float | None = None
    drift: Drift | None = None
    alert: Alert | None = None
    window_s: float = math.inf
    warm: bool = False
    training_s: float | None = None
    deploy_s: float = 0.0
    rest_s: float = 0.0

    def __post_init__(self) -> None:
        for field, positive in (
            ("every_s", True),
            ("window_s", True),
            ("training_s", False),
            ("deploy_s", False),
            ("rest_s", False),
        ):
            value = getattr(self, field)
            if value is not None and not (value > 0.0 if positive else 0.0 <= value < math.inf):
                raise ConfigError(
                    "is no length of time", field=f"{field} of {self.name}", value=value, fix="give seconds"
                )

    @staticmethod
    def never() -> Schedule:
        """The first model for good: what every schedule must beat."""
        return Schedule("never")

    @property
    def window_us(self) -> int | None:
        """The window in microseconds; None: all."""
        return None if math.isinf(self.window_s) else round(self.window_s * 1e6)
