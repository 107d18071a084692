"""What became of the requests of each class: the figures of a run, one class at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.request_log import COMPLETED, FAILED, LEFT, SHED, TIMED_OUT

from .histogram import Histogram
from .spread import Spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from windtunnel.request_log import RequestLog

LOST = {"shed": SHED, "timed_out": TIMED_OUT, "failed": FAILED, "left": LEFT}


@dataclass(frozen=True)
class ClassFigures:
    """The requests of one class.

    Args:
        name: of the class.
        requests: how many came.
        completed: how many were answered in time; `latency` and `wait` are about these.
        lost: how many were not, by what became of them.
        latency: from when a request should have been sent to its answer.
        wait: from when a request should have been sent to the start of its batch.
    """

    name: str
    requests: int
    completed: int
    lost: dict[str, int]
    latency: Spread
    wait: Spread

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values, units in the key names."""
        return {
            "name": self.name, "requests": self.requests, "completed": self.completed, **self.lost,
            "latency": self.latency.to_dict(), "wait": self.wait.to_dict(),
        }  # fmt: skip


def by_class(log: RequestLog, classes: NDArray[np.integer[Any]], names: Sequence[str]) -> tuple[ClassFigures, ...]:
    """The figures of each class that any request is of.

    Args:
        log: one row a request, in order of arrival.
        classes: of each, an index into `names`.
        names: of the classes.

    Example:
        >>> from windtunnel.deployment import BatchPolicy
        >>> from windtunnel.simulate.tunnel import simulate
        >>> from windtunnel.trace import Trace
        >>> log = simulate(Trace("t", np.array([0.0, 1.0, 1.5])), np.array([[0.0], [1.0]]), BatchPolicy(), 1, seed=1)
        >>> [(each.name, each.latency.mean.value) for each in by_class(log, np.array([0, 1, 1]), ["short", "long"])]
        [('short', 1.0), ('long', 1.25)]
    """
    return tuple(_figures(log, classes == at, name) for at, name in enumerate(names) if np.any(classes == at))


def _figures(log: RequestLog, of_it: NDArray[np.bool_], name: str) -> ClassFigures:
    status = log.status[of_it]
    answered = status == COMPLETED
    spreads = (
        Spread.of(Histogram.of_series(np.where(answered, times[of_it], np.nan)))
        for times in (log.latency_s, log.wait_s)
    )
    lost = {what: int(np.count_nonzero(status == code)) for what, code in LOST.items()}
    return ClassFigures(name, len(status), int(np.count_nonzero(answered)), lost, *spreads)
