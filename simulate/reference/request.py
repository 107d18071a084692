"""A request, and the attempts at it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

Row = tuple[float, float, float, int, int, int, int]
"""sent_s, started_s, finished_s, replica, batch_size, attempt, status"""


@dataclass(eq=False)
class Request:
    """What a client wants.

    Args:
        index: its place in the trace.
        scheduled_s: when it comes.
        size: its size class.
        priority: 0 is served first.
        deadline_s: after which an answer is worthless; a time, not a span.
        key: of its model, client or entity; negative where it has none.
        sent: attempts so far.
        awaited: the attempts that the client still waits for: none, one, or two where it hedged.
        latest: the attempt that the client stopped waiting for last, as it was then.
        row: how it ended; None as long as it has not.
    """

    index: int
    scheduled_s: float
    size: int
    priority: int
    deadline_s: float
    key: int = -1
    sent: int = 0
    awaited: list[Attempt] = field(default_factory=list)
    latest: Attempt | None = None
    row: Row | None = None

    def end(self, attempt: Attempt, now_s: float, status: int) -> None:
        """It has ended, in this attempt."""
        assert self.row is None, "a request ends once"
        self.awaited.clear()
        self.row = (
            attempt.sent_s, attempt.started_s, now_s, attempt.replica, attempt.batch_size, attempt.number, status
        )  # fmt: skip


@dataclass(eq=False)
class Attempt:
    """A request on its way.

    Args:
        request: what is asked for.
        number: 0 for the first.
        sent_s: when it left the client.
        queued_s: when it came to its station.
        started_s: when its batch began.
        replica: the executor that served it, counted through all stations.
        batch_size: how many were served with it, itself included.
    """

    request: Request
    number: int
    sent_s: float
    queued_s: float = math.nan
    started_s: float = math.nan
    replica: int = -1
    batch_size: int = 0

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self not in self.request.awaited
