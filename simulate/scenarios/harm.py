"""Harm: what one flight of a worst day did to the requests that would have come anyway, beside the calm day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.request_log import COMPLETED, SHED
from windtunnel.simulate.kernel import OVER_TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.request_log import RequestLog
    from windtunnel.simulate.flight import Flight

    from .day import Day

MARGIN = 0.05
"""A system has recovered when of the requests of a window no more than this share are lost that were not on the calm day."""

LEAST_WINDOW = 200
"""Requests in a window at least; more where more came in the last stretch as long as the trigger. A quarter of what is left at most."""

GRACE = 10.0
"""A collapse that outlives its trigger by so many times the trigger's own length is looked at as one that stays."""

COLLAPSED = 0.5
"""Goodput below this share of the calm day's is a collapse."""

AMPLIFIED = 1.05
"""Attempts a request from which on the clients are counted as what keeps it going."""


@dataclass(frozen=True)
class Harm:
    """What became of the recorded requests because of a worst day.

    Args:
        recovered: whether goodput came back to within `MARGIN` of the calm day's before the trace ended.
        recovery_s: from the end of the trouble until then; None where it did not.
        requests_hurt: recorded requests that got a good answer on the calm day and none on this one: refused, failed,
            given up or late. Those that came after the recovery are not counted.
        metastable: whether the collapse keeps itself alive, though load and capacity are as before: from `GRACE` triggers
            after the trigger until the trace ends, goodput is below `COLLAPSED` of the calm day's, and clients send more
            attempts than come as requests and than the stations get done. None where the trace ends too soon to say.
        requests_refused: recorded requests that were turned away in the end, from the beginning of the trouble on.
    """

    recovered: bool
    recovery_s: float | None
    requests_hurt: int
    metastable: bool | None
    requests_refused: int


def good(log: RequestLog, bound_s: float) -> NDArray[np.bool_]:
    """Which requests got an answer in time; one that was never settled, for want of anybody who could, did not."""
    return np.asarray((log.status == COMPLETED) & (log.batch_size > 0) & (log.latency_s <= bound_s))


def harm(calm: NDArray[np.bool_], day: Day, flight: Flight, bound_s: float) -> Harm:
    """Compare a worst day with the calm one, request by request.

    Args:
        calm: bool, which recorded requests got a good answer on the calm day.
        day: the worst one.
        flight: of it, with its log.
        bound_s: what a good answer takes at most.
    """
    assert flight.log is not None
    well = good(flight.log, bound_s)[day.recorded]
    due_s = day.trace.arrivals_s[day.recorded]
    after = int(np.searchsorted(due_s, day.until_s))
    width, first = _recovery(
        calm[after:].astype(float) - well[after:], int(after - np.searchsorted(due_s, day.until_s - day.longest_s))
    )
    end = after + first + width if first is not None else len(due_s)
    touched = flight.log.finished_s[day.recorded] >= day.from_s
    touched |= due_s >= day.from_s
    hurt = int(np.sum((calm & ~well & touched)[:end]))
    refused = int(np.sum((flight.log.status[day.recorded] == SHED) & touched))
    if first is None:
        return Harm(False, None, hurt, _stays(calm, well, due_s, day, flight), refused)
    return Harm(True, max(0.0, float(due_s[after + first]) - day.until_s) if first else 0.0, hurt, False, refused)


def _recovery(lost: NDArray[np.float64], in_trouble: int) -> tuple[int, int | None]:
    """How many requests a window has, and with which after the trouble the first begins that is as good as on the calm day."""
    width = max(1, min(max(LEAST_WINDOW, in_trouble), len(lost) // 4))
    sums = np.concatenate([[0.0], np.cumsum(lost)])
    back = np.flatnonzero((sums[width:] - sums[:-width]) / width <= MARGIN)
    return width, int(back[0]) if len(back) else None


def _stays(
    calm: NDArray[np.bool_], well: NDArray[np.bool_], due_s: NDArray[np.float64], day: Day, flight: Flight
) -> bool | None:
    """Whether a collapse from which there was no recovery keeps itself alive."""
    settled_s = day.until_s + GRACE * day.longest_s
    tail = int(np.searchsorted(due_s, settled_s))
    first, last = (int((each - flight.first_s) / flight.bin_s) for each in (settled_s, day.last_s))
    if tail >= len(due_s) - 1 or last <= first + 1:
        return None
    counts = {name: float(np.sum(flight.over_time[first + 1 : last, OVER_TIME.index(name)])) for name in _LOOKED_AT}
    collapsed = np.sum(well[tail:]) <= COLLAPSED * np.sum(calm[tail:])
    kept_alive = counts["attempts"] >= max(counts["served"], AMPLIFIED * counts["arrived"])
    return bool(collapsed and kept_alive)


_LOOKED_AT = "arrived", "attempts", "served"
