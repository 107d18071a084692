"""A Budget: how long a search may take, and how much of it exploring may use."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

EXPLORING = 0.6
"""The share of the budget after which nothing new is made: the rest is for the proof."""


@dataclass(frozen=True)
class Budget:
    """How long a search may take.

    Args:
        seconds: all in all, about: what is under way is finished.
        endless: whether it may take as long as it takes.

    Example:
        >>> Budget(0.0).exploring_is_over, Budget(0.0, endless=True).exploring_is_over
        (True, False)
    """

    seconds: float
    endless: bool = False
    started_s: float = field(default_factory=time.monotonic)

    @property
    def spent_s(self) -> float:
        """How long it has been."""
        return time.monotonic() - self.started_s

    @property
    def left_s(self) -> float:
        """What is left; below zero where it is overdrawn."""
        return self.seconds - self.spent_s

    @property
    def exploring_is_over(self) -> bool:
        """Whether nothing new should be made."""
        return not self.endless and self.spent_s > EXPLORING * self.seconds

    @property
    def is_over(self) -> bool:
        """Whether nothing new should be begun at all."""
        return not self.endless and self.left_s <= 0.0
