"""A closed loop: a fixed number of users, each of whom waits for an answer and thinks before asking again."""

from __future__ import annotations

from dataclasses import dataclass

from windtunnel.errors import ConfigError


@dataclass(frozen=True)
class ClosedLoop:
    """Settings of a closed loop; its arrivals depend on the answers, so the event loop makes them.

    Args:
        users: how many.
        think_s: from an answer to the next request, on average; exponential.

    Raises:
        ConfigError: no user, or a time below zero.

    Example:
        >>> print(ClosedLoop(50, 1.0))
        closed(users=50, think=1s)
    """

    users: int
    think_s: float

    def __post_init__(self) -> None:
        if self.users < 1:
            raise ConfigError("must be at least 1", field="users", value=self.users)
        if not 0.0 <= self.think_s < float("inf"):
            raise ConfigError("must be zero or more", field="think", value=self.think_s)

    def __str__(self) -> str:
        return f"closed(users={self.users}, think={self.think_s:g}s)"
