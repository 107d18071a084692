"""What a system takes on, and what it does with what nobody waits for any more."""

from __future__ import annotations

from dataclasses import dataclass

from windtunnel.errors import ConfigError

UNBOUNDED = 2**62
"""A cap that no queue reaches."""


@dataclass(frozen=True)
class Admission:
    """Caps and deadlines.

    Args:
        max_ongoing: attempts a station has at most, waiting and being served; more wait at the router. Ray Serve's
            `max_ongoing_requests`, Knative's container concurrency.
        max_waiting: attempts a station has at most that are not being served yet; negative where any number may.
        max_queued: attempts that may wait at the router where no station accepts one; the next is refused. Negative where
            any number may. Ray Serve's `max_queued_requests`.
        drops_abandoned: whether an attempt whose client gave up is dropped before it is served, as Ray Serve drops
            cancelled ones; else it is served for nothing, as by any server that does not watch its connections.
        drops_late: whether an attempt past its request's deadline is dropped, and answered so, before it is served.

    Raises:
        ConfigError: no place at a station.
    """

    max_ongoing: int = UNBOUNDED
    max_waiting: int = -1
    max_queued: int = -1
    drops_abandoned: bool = False
    drops_late: bool = False

    def __post_init__(self) -> None:
        if self.max_ongoing < 1:
            raise ConfigError("must be at least 1", field="max_ongoing", value=self.max_ongoing)
        if self.max_waiting == 0:
            raise ConfigError(
                "leaves no place from which a request could be served",
                field="max_waiting",
                value=0,
                fix="give at least 1",
            )
