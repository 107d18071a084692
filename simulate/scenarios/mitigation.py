"""Mitigations: what could have been done before the worst day came. Each is one change, with usual figures."""

from __future__ import annotations

import math
from abc import ABC
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from windtunnel.simulate.overload import executors_each
from windtunnel.simulate.routing import Pinned

from .scenario import full_batch_s

if TYPE_CHECKING:
    from windtunnel.simulate.system import System

    from .day import Day


class Mitigation(ABC):
    """One change. What concerns the machines is made before a scenario strikes, so that it strikes them all; the rest after."""

    name: ClassVar[str]

    def prepare(self, system: System) -> System:
        """The system that the scenario will strike."""
        return system

    def protect(self, day: Day, bound_s: float) -> Day:  # noqa: ARG002  # for those that need a bound
        """The struck day, protected; `bound_s` is what a good answer takes at most."""
        return day

    def says(self, day: Day, bound_s: float) -> str:  # noqa: ARG002  # for those that need a bound
        """What is done, with its figures."""
        return self.name


@dataclass(frozen=True)
class RetryBudget(Mitigation):
    """Clients may retry for a share of their requests only.

    Source: Finagle's `RetryBudget` (20% and 10 a second), Envoy's `retry_budget` (20% of what is active), gRPC's
    `retryThrottling` (`tokenRatio` 0.1).

    Args:
        ratio: retries earned by a request.
        burst: retries that may be saved up.
    """

    ratio: float = 0.1
    burst: float = 10.0

    name: ClassVar[str] = "retry-budget"

    def protect(self, day: Day, bound_s: float) -> Day:  # noqa: ARG002  # it needs no bound
        """Put a budget on clients that retry, unless a tighter one is there."""
        client = day.system.client
        if client.retries == 0 or (client.budget_burst <= self.burst and client.budget_ratio <= self.ratio):
            return day
        return replace(
            day, system=replace(day.system, client=replace(client, budget_ratio=self.ratio, budget_burst=self.burst))
        )

    def says(self, day: Day, bound_s: float) -> str:  # noqa: ARG002  # it needs no bound
        """The budget."""
        return f"retries for {self.ratio:.0%} of the requests, {self.burst:g} saved up at most"


@dataclass(frozen=True)
class Shedding(Mitigation):
    """Stations queue no more than they can serve in good time; what comes beyond is refused at once.

    A hot key goes to the next replica where its own is full, as in Mirrokni et al., *Consistent hashing with bounded loads*,
    SODA 2018: so it helps only where others can serve the key.

    Args:
        share: of the time that a good answer takes at most, for which requests may queue at a station.
    """

    share: float = 0.5

    name: ClassVar[str] = "shedding"

    def cap(self, day: Day, bound_s: float) -> int:
        """Attempts that may wait at a station."""
        system = day.system
        per_s = system.executors * system.max_batch / full_batch_s(system)
        return max(system.max_batch, math.floor(self.share * bound_s * per_s))

    def protect(self, day: Day, bound_s: float) -> Day:
        """Cap the queue of each station, and the router's at the same for each, unless they are capped lower."""
        cap, now = self.cap(day, bound_s), day.system.admission
        queued = cap * day.system.most
        capped = replace(
            now, max_waiting=min(cap, now.max_waiting) if now.max_waiting >= 0 else cap,
            max_queued=min(queued, now.max_queued) if now.max_queued >= 0 else queued,
        )  # fmt: skip
        return replace(day, system=replace(day.system, admission=capped))

    def says(self, day: Day, bound_s: float) -> str:
        """The caps."""
        capped = f"at most {self.cap(day, bound_s)} waiting at each replica, the next refused"
        if isinstance(day.system.router, Pinned):
            return f"{capped}, or served by another replica, which must have the hot key too"
        return capped


@dataclass(frozen=True)
class DeadlineDrop(Mitigation):
    """Nothing is served that comes too late, or that nobody waits for any more."""

    name: ClassVar[str] = "deadline-drop"

    def protect(self, day: Day, bound_s: float) -> Day:
        """Give each request the time of a good answer, unless it has less, and drop it after."""
        given = day.trace.columns.get("deadline_s", np.full(len(day.trace), np.inf))
        trace = replace(day.trace, columns={**day.trace.columns, "deadline_s": np.minimum(given, bound_s)})
        admission = replace(day.system.admission, drops_abandoned=True, drops_late=True)
        return replace(day, trace=trace, system=replace(day.system, admission=admission))

    def says(self, day: Day, bound_s: float) -> str:  # noqa: ARG002  # it looks at no day
        """The deadline."""
        from windtunnel.quantity import format_duration

        return f"dropped unserved after {format_duration(bound_s)}, or when the client gave up"


@dataclass(frozen=True)
class Headroom(Mitigation):
    """More replicas, each as fast as those that there are: on machines of their own.

    Args:
        share: more of them; rounded up.
    """

    share: float = 0.5

    name: ClassVar[str] = "headroom"

    def prepare(self, system: System) -> System:
        """More executors where there is one queue, else more stations; bounds of scaling rise alike."""
        if system.stations == 1 and system.scaling is None and system.executors > executors_each(system):
            return replace(system, executors=self._more(system.executors))
        scaling = system.scaling
        larger = scaling and replace(scaling, least=self._more(scaling.least), most=self._more(scaling.most))
        stations = self._more(system.stations)
        most = max(stations, larger.most) if larger else stations
        groups, slowness = (
            tuple(each[at % len(each)] for at in range(most)) if each else ()
            for each in (system.groups, system.slowness)
        )
        return replace(system, stations=stations, scaling=larger, groups=groups, slowness=slowness)  # type: ignore[arg-type]  # as they were

    def _more(self, count: int) -> int:
        return count + math.ceil(self.share * count)

    def says(self, day: Day, bound_s: float) -> str:  # noqa: ARG002  # it needs no bound
        """How many more."""
        return f"{self.share:.0%} more replicas: {max(day.system.most, 1) * day.system.executors // executors_each(day.system)}"


@dataclass(frozen=True)
class BackOff(Mitigation):
    """Clients wait before they ask again, longer each time, and not all equally long.

    Source: Brooker, *Exponential backoff and jitter*, AWS Architecture Blog 2015: full jitter.

    Args:
        times: how many of its timeouts a client waits before the first retry.
        longest: how many at most.
    """

    times: float = 1.0
    longest: float = 16.0

    name: ClassVar[str] = "back-off"

    def protect(self, day: Day, bound_s: float) -> Day:
        """Let clients that retry wait."""
        client = day.system.client
        if client.retries == 0:
            return day
        calmer = replace(
            client, backoff_s=self._unit_s(day, bound_s) * self.times, backoff_max_s=self._unit_s(day, bound_s) * self.longest,
            jitter=1.0,
        )  # fmt: skip
        return replace(day, system=replace(day.system, client=calmer))

    def _unit_s(self, day: Day, bound_s: float) -> float:
        return day.system.client.timeout_s or bound_s

    def says(self, day: Day, bound_s: float) -> str:
        """The back-off."""
        from windtunnel.quantity import format_duration

        unit_s = self._unit_s(day, bound_s)
        first, longest = (format_duration(unit_s * each) for each in (self.times, self.longest))
        return f"up to {first} before a retry, doubling up to {longest}, all of it left to chance"


MITIGATIONS: tuple[Mitigation, ...] = (RetryBudget(), Shedding(), DeadlineDrop(), Headroom(), BackOff())
"""What is tried, in this order."""
