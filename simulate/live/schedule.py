"""A Schedule: when each request leaves, and which body it carries; nothing that happens on the way changes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import DataError
from windtunnel.quantity import format_duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.trace import Trace

    from .bodies import Bodies

    Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Schedule:
    """When each request leaves, and with what.

    Args:
        scheduled_s: float64 `[n]`, sorted, from 0.
        body: int32 `[n]`, an index into the bodies.
        size: int32 `[n]`, the size class.
        key: int64 `[n]`, the model, client or entity; −1 where there is none.
    """

    scheduled_s: NDArray[np.float64]
    body: Ints
    size: Ints
    key: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scheduled_s)

    @property
    def duration_s(self) -> float:
        """From the start to the last request."""
        return float(self.scheduled_s[-1])

    @property
    def rate_per_s(self) -> float:
        """Requests a second, on average."""
        return len(self) / max(self.duration_s, 1e-9)

    @property
    def peak_per_s(self) -> float:
        """Requests in the busiest second."""
        return peak_per_s(self.scheduled_s)

    @staticmethod
    def of(trace: Trace, bodies: Bodies, duration_s: float = np.inf) -> Schedule:
        """The requests of a trace, from its first one on, as far as a duration reaches.

        A request carries a body of its size class: the one its key points to, so that the same key always brings the same body, or
        the next one in turn.

        Args:
            trace: the arrivals; its columns `size` and `key` are heeded.
            bodies: of every size class.
            duration_s: requests that come later are left out.

        Raises:
            DataError: fewer than two requests in that time, or a size class that there are no bodies of.

        Example:
            >>> from windtunnel.trace import Trace
            >>> from .bodies import Bodies
            >>> trace = Trace("t", np.array([5.0, 6.0, 7.5, 60.0]), {"key": np.array([4, 4, 1, 0])})
            >>> schedule = Schedule.of(trace, Bodies((b"a", b"b", b"c"), (0, 3)), duration_s=10.0)
            >>> schedule.scheduled_s, schedule.body
            (array([0. , 1. , 2.5]), array([1, 1, 1], dtype=int32))
        """
        times_s = trace.arrivals_s - trace.arrivals_s[0]
        count = int(np.searchsorted(times_s, duration_s, side="right"))
        if count < 2:
            raise DataError(
                f"has fewer than two requests in {format_duration(duration_s)}", field=trace.name, value=count,
                fix="give a longer --duration, or a higher --speed",
            )  # fmt: skip
        size = np.asarray(trace.columns.get("size", np.zeros(len(trace), np.int32))[:count], dtype=np.int32)
        key = np.asarray(trace.columns.get("key", np.full(len(trace), -1))[:count], dtype=np.int64)
        first, counts = np.asarray(bodies.first[:-1]), np.diff(bodies.first)
        if int(size.max()) >= len(counts) or int(size.min()) < 0:
            raise DataError(
                "is no size class that there are bodies of", field=f"{trace.name}.size", value=int(size.max()),
                fix="give --size, with as many lengths as there are classes",
            )  # fmt: skip
        turn = np.where(key >= 0, key, np.arange(count))
        body = (first[size] + turn % counts[size]).astype(np.int32)
        return Schedule(times_s[:count].copy(), body, size, key)


def peak_per_s(times_s: NDArray[np.float64]) -> float:
    """Requests in the busiest second of sorted times.

    Example:
        >>> peak_per_s(np.array([0.0, 0.1, 1.05, 1.06, 1.07]))
        4.0
    """
    return float(np.max(np.searchsorted(times_s, times_s + 1.0) - np.arange(len(times_s))))
