"""Overload: a queue that is not worked off as it grows, and what would have to change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.quantity import format_figure

from .flight import MOST_LIVE
from .kernel import OVER_TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .flight import Flight
    from .system import System

PARTS = 10
"""Into how many stretches of time the arrivals are cut to find the busiest."""

FULL = 0.9
"""Batches that hold this share of what serves most a second count as full."""

AGAIN = 1.1
"""Attempts a request from which on it is said how often clients ask."""


@dataclass(frozen=True)
class Overload:
    """More came than was served.

    Args:
        drift_per_s: by how much the queue grew a second, on average, while requests came.
        behind: how many were served only after the last request came, or not at all.
        offered_per_s: requests a second in the busiest tenth of the time.
        served_per_s: requests a second that one replica serves at best.
        best_batch: in batches of so many.
        replicas: how many there were at most.
        mean_batch: requests a batch, as it was.
        attempts: a request, as it was.
        proxy_per_s: what the proxy takes on a second; infinite where there is none.
        ended: whether so many were under way at once that the rest was not flown.
    """

    drift_per_s: float
    behind: int
    offered_per_s: float
    served_per_s: float
    best_batch: int
    replicas: int
    mean_batch: float
    attempts: float
    proxy_per_s: float
    ended: bool

    @staticmethod
    def of(flight: Flight, system: System, shares: Sequence[float] = (1.0,)) -> Overload | None:
        """What a flight says of it; None where the queue was worked off.

        Args:
            flight: what became of the requests.
            system: what served.
            shares: of the size classes among the requests.
        """
        if not flight.drift_per_s:
            return None
        found, proxy = flight.summary, system.proxy
        batch, per_item_s = best_batch(system, shares)
        each = executors_each(system)
        return Overload(
            flight.drift_per_s, round(flight.drift_per_s * (flight.last_s - flight.first_s)), busiest_per_s(flight),
            each / per_item_s, batch, system.most * system.executors // each, found.mean_batch or 0.0,
            found.attempts / found.requests,
            proxy.workers / proxy.service_s if proxy is not None and proxy.service_s else math.inf, flight.overflowed,
        )  # fmt: skip

    @property
    def needed(self) -> int:
        """Replicas that the busiest tenth needs at least, were all batches the best."""
        return math.ceil(self.offered_per_s / self.served_per_s)

    def __str__(self) -> str:
        when = (
            f"when {MOST_LIVE:,} were under way, at which the flight was ended,"
            if self.ended
            else "when the last request came"
        )
        return (
            f"Overload: {when} some {format_figure(self.behind)} attempts had still to be served; the queue grew by "
            f"{format_figure(self.drift_per_s)} a second on average. What requests wait depends on how long this goes on."
        )

    def ways_out(self) -> tuple[str, ...]:
        """What would have to change, the first that binds first."""
        found = []
        asked_per_s = self.offered_per_s * self.attempts
        if self.proxy_per_s < asked_per_s:
            found.append(
                f"a faster proxy: it takes on {format_figure(self.proxy_per_s)} a second, and {format_figure(asked_per_s)} come"
            )
        if self.needed > self.replicas:
            found.append(
                f"at least {self.needed} replicas: in the busiest tenth of the time {format_figure(self.offered_per_s)} requests a second "
                f"come, and a replica serves {format_figure(self.served_per_s)} a second at best, in batches of {self.best_batch}"
            )
        elif self.mean_batch < FULL * self.best_batch:
            found.append(
                f"fuller batches: they held {self.mean_batch:.3g} requests on average; in batches of {self.best_batch} a replica serves "
                f"{format_figure(self.served_per_s)} a second, and {self.needed} of them could do"
            )
        if self.attempts > AGAIN:
            found.append(f"clients that ask less often: each request was sent {self.attempts:.3g} times")
        return tuple(found) or (
            f"more than {self.replicas} replicas: {self.needed} could just do, with nothing to spare",
        )


def executors_each(system: System) -> int:
    """Batches that one replica serves at once: behind one shared queue the executors are the replicas."""
    return system.batcher.executors or 1


def best_batch(system: System, shares: Sequence[float] = (1.0,)) -> tuple[int, float]:
    """The size of batch that serves most a second, and seconds a request in it, were each batch of one size class.

    Example:
        >>> from windtunnel.simulate.batching import IdealBatching
        >>> from windtunnel.simulate.system import System
        >>> best_batch(System(np.array([[0.0], [1.0], [1.5]]), batcher=IdealBatching(2)))
        (2, 0.75)
    """
    largest = system.max_batch
    padded = system.batcher.padded(largest)[1:]
    means_s = system.by_group[0, : len(shares)].mean(axis=-1)[:, padded]
    per_item_s = means_s / np.arange(1, largest + 1)
    each_s = np.min(per_item_s, axis=1)
    weighted = np.asarray(shares) @ per_item_s
    return int(np.argmin(weighted)) + 1, float(np.asarray(shares) @ each_s)


def busiest_per_s(flight: Flight) -> float:
    """Requests a second in the busiest tenth of the time in which any came."""
    lasts_s = max(flight.last_s - flight.first_s, 1e-9)
    arrived = flight.over_time[:, OVER_TIME.index("arrived")]
    ends = np.minimum((np.arange(len(arrived)) + 1) * flight.bin_s, lasts_s)
    edges = np.linspace(0.0, lasts_s, PARTS + 1)
    counts = np.diff(np.interp(edges, np.append(0.0, ends), np.append(0.0, np.cumsum(arrived))))
    return float(np.max(counts)) * PARTS / lasts_s
