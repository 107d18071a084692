"""A Population: users who ask, wait for the end of their request, think, and ask again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from windtunnel.errors import ConfigError

CONSTANT, EXPONENTIAL = "constant", "exponential"
"""The laws that a time between two requests, or that of loading a model, may follow."""

Law = Literal["constant", "exponential"]


@dataclass(frozen=True)
class Population:
    """A closed loop: so many users, each with one request at most under way.

    A user asks, waits until the request is over for the client (answered, refused for good, given up, or left), thinks, and
    asks again: a system that is slow is asked less often. At the start every user is in the midst of thinking: the first request
    comes after what is left of a think time as one finds it, exponential again, or uniformly between zero and the constant.
    The requests carry their user in the column `key`.

    Source: the finite-source queue, Palm 1947 (machine interference); Schroeder, Wierman & Harchol-Balter, *Open versus
    closed: a cautionary tale*, NSDI 2006, on what changes where arrivals wait for answers.

    Args:
        users: how many.
        think_s: from the end of a request to the next, on average.
        law: of think times, `exponential` or `constant`.
        requests: after so many nobody asks again.
        seconds: nor from so long after the first request on.

    Raises:
        ConfigError: no user or request, a time that is negative, or another law.

    Example:
        >>> print(Population(50, 0.1))
        closed-loop(users=50, think=0.1s)
    """

    users: int
    think_s: float
    law: Law = "exponential"
    requests: int = 100_000
    seconds: float = math.inf

    def __post_init__(self) -> None:
        for name in ("users", "requests"):
            if getattr(self, name) < 1:
                raise ConfigError("must be at least 1", field=name, value=getattr(self, name))
        if not 0.0 <= self.think_s < math.inf:
            raise ConfigError("must be zero or more", field="think", value=self.think_s)
        if not self.seconds > 0.0:
            raise ConfigError("must be above zero", field="seconds", value=self.seconds)
        check_law(self.law)

    def __str__(self) -> str:
        told = "" if self.law == EXPONENTIAL else f", law={self.law}"
        return f"closed-loop(users={self.users}, think={self.think_s:g}s{told})"


def check_law(law: str) -> None:
    """Refuse what is no law of times."""
    if law not in (CONSTANT, EXPONENTIAL):
        raise ConfigError("is no law of times", field="law", value=law, fix=f"write {EXPONENTIAL} or {CONSTANT}")
