"""The outlook: how much the load may grow before the answer is another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.simulate.arrivals import scale_rate

if TYPE_CHECKING:
    from windtunnel.deployment import Deployment
    from windtunnel.seeds import Seeds

    from .course import Course
    from .journal import Journal

GREATEST = 8.0
"""Growth beyond this is not looked for: a plan for it is another plan."""

FINEST = 1.0 / 32.0
"""Halving ends at steps of so much of the load."""


@dataclass(frozen=True)
class Growth:
    """How much more of the same traffic a deployment carries, as far as one run a step tells.

    Args:
        keeps: the greatest factor on the rate at which the promise was kept.
        breaks: the least above it at which it was not; None where it was kept at `GREATEST` too.
        requests: simulated for it.
    """

    keeps: float
    breaks: float | None
    requests: int

    def to_dict(self) -> dict[str, float | None]:
        """The factors as JSON values."""
        return {"keeps": self.keeps, "breaks": self.breaks}


def grow(course: Course, deployment: Deployment, seeds: Seeds, journal: Journal) -> Growth:
    """Let the rate of every trace grow until a deployment breaks the promise: by doubling, then by halving.

    The rate is scaled, not the time (`scale_rate`): a day stays a day, with more requests in it. Every factor is built on the
    same chance, so a greater one holds the requests of a smaller.

    Args:
        course: the traces.
        deployment: keeps the promise on them.
        seeds: as it was flown with; stream `arrivals` is used too.
        journal: what was flown already.
    """
    requests = 0

    def keeps(factor: float) -> bool:
        nonlocal requests
        grown = course.on({
            name: scale_rate(trace, factor, seeds.stream("arrivals", 1)) for name, trace in course.traces.items()
        })  # fmt: skip
        requests += grown.requests
        return journal.flight(grown, deployment, seeds, f"grown {factor!r}").keeps

    low, high = 1.0, 2.0
    while keeps(high):
        low, high = high, 2.0 * high
        if low >= GREATEST:
            return Growth(low, None, requests)
    while high - low > FINEST * low:
        middle = (low + high) / 2.0
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return Growth(low, high, requests)
