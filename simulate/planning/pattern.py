"""Patterns: the ways of running a fleet that a plan searches, and what is assumed of those that nobody measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError, nearest
from windtunnel.quantity import format_duration
from windtunnel.simulate.fault import Crash, Preemption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from windtunnel.deployment import Deployment
    from windtunnel.seeds import Seeds
    from windtunnel.simulate.fault import Fault

    from .course import Evaluation

ALWAYS_ON, AUTOSCALED, SPOT, SERVERLESS, EDGE = "always-on", "autoscaled", "spot", "serverless", "edge"

PATTERNS = (ALWAYS_ON, AUTOSCALED, SPOT, SERVERLESS, EDGE)
"""All of them, in the order in which they are told."""

ASSUMED_OF = {
    "cold_start_s": AUTOSCALED, "target": AUTOSCALED, "preemptions_per_hour": SPOT, "notice_s": SPOT, "replacement_s": SPOT,
    "function_start_s": SERVERLESS, "keep_s": SERVERLESS, "sites": EDGE, "hop_s": EDGE, "device_slowness": EDGE,
}  # fmt: skip
"""What each field of `Patterns` is assumed of; what is not here, of all machines."""

FALLBACK_S = 3600.0
"""A machine on demand stands in for one that was taken away for so long, and is paid for as long."""

OF_MACHINES = 1
"""The item from which on streams of chance tell when machines are lost; item 0 is the clients'."""


def read_patterns(text: str) -> tuple[str, ...]:
    """Read names of patterns with commas between them; `all` for all.

    Raises:
        ConfigError: another name.

    Example:
        >>> read_patterns("spot, always-on"), len(read_patterns("all"))
        (('always-on', 'spot'), 5)
    """
    names = [each.strip() for each in text.split(",") if each.strip()]
    for name in names:
        if name not in (*PATTERNS, "all"):
            raise ConfigError(
                "is no way of running", field="--patterns", value=name, fix=nearest(name, (*PATTERNS, "all"))
            )
    return tuple(name for name in PATTERNS if name in names or "all" in names)


@dataclass(frozen=True)
class Patterns:
    """What is assumed of ways of running that nobody measured.

    Args:
        cold_start_s: from the decision for a replica until it serves, where fleets scale.
        target: ongoing requests a replica at which a fleet is left as it is, as a multiple of the largest batch.
        preemptions_per_hour: of a spot machine.
        notice_s: given before it is taken away.
        replacement_s: from the notice until another machine stands in.
        function_start_s: the cold start of a function.
        keep_s: how long an idle function is kept.
        failures_per_hour: of any machine or device: it is gone without a notice. Zero says that nothing fails.
        repair_s: how long a machine that failed is gone.
        sites: at which a device stands, each with its share of the requests, by chance.
        hop_s: of network to a device and back.
        device_slowness: how many times as long a device takes as the machine that was measured.

    Raises:
        ConfigError: a figure below zero; a target, sites or a slowness of nothing.
    """

    cold_start_s: float = 60.0
    target: float = 1.0
    preemptions_per_hour: float = 0.05
    notice_s: float = 120.0
    replacement_s: float = 60.0
    function_start_s: float = 1.0
    keep_s: float = 300.0
    failures_per_hour: float = 0.0
    repair_s: float = 300.0
    sites: int = 1
    hop_s: float = 0.0
    device_slowness: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            above = name in {"target", "sites", "device_slowness"}
            if not 0.0 <= value < math.inf or (above and value == 0.0):
                raise ConfigError("must be above zero" if above else "must be zero or more", field=name, value=value)

    def rate_per_hour(self, pattern: str) -> float:
        """How often a machine of a fleet is lost, for whatever reason."""
        preempted = self.preemptions_per_hour if pattern == SPOT else 0.0
        return preempted + (self.failures_per_hour if pattern != SERVERLESS else 0.0)

    def losses(
        self, deployment: Deployment, stations: int, seconds: float, seeds: Seeds
    ) -> tuple[tuple[Fault, ...], int]:
        """What befalls the stations of a fleet because machines are lost, and how many times one is.

        Each machine is lost at random times (a Poisson process, paused while it is gone), preemptions and failures each with a
        stream of its own, so that more machines never change when the first ones are lost. Where chance has it at no time, the
        first one is lost in the middle: what may befall a fleet is seen.

        Args:
            deployment: the fleet, whose replicas are spread over its machines evenly.
            stations: of which each machine carries a part.
            seconds: that the traffic lasts.
            seeds: stream `clients` is used.
        """
        kinds: list[tuple[float, Callable[[int, float], Fault], int]] = []
        kinds += [(self.preemptions_per_hour, self._preempted, 0)] if deployment.pattern == SPOT else []
        kinds += [(self.failures_per_hour, self._failed, 1)] if deployment.pattern != SERVERLESS else []
        machines = max(1, min(deployment.machines, stations))
        faults: list[Fault] = []
        times = 0
        for rate, lose, kind in kinds:
            if rate <= 0.0:
                continue
            losses = [
                (machine, at_s)
                for machine in range(machines)
                for at_s in _poisson(rate / 3600.0, seconds, self._gone_s(kind), seeds, OF_MACHINES + 2 * machine + kind)
            ] or [(0, seconds / 2.0)]  # fmt: skip
            times += len(losses)
            faults += [
                lose(station, at_s) for machine, at_s in losses for station in range(machine, stations, machines)
            ]
        return tuple(faults), times

    def _gone_s(self, kind: int) -> float:
        return self.repair_s if kind else self.replacement_s

    def _preempted(self, station: int, at_s: float) -> Preemption:
        notice_s = min(self.notice_s, self.replacement_s)
        return Preemption(station, at_s, notice_s, self.replacement_s - notice_s)

    def _failed(self, station: int, at_s: float) -> Crash:
        return Crash(station, at_s, self.repair_s)

    def spot_usd_per_hour(self, spot_usd: float, on_demand_usd: float) -> float:
        """What a spot machine costs an hour on average, with one on demand that stands in for an hour each time it is taken away."""
        return spot_usd + self.preemptions_per_hour * FALLBACK_S / 3600.0 * (on_demand_usd - spot_usd)

    def told(self, deployment: Deployment) -> tuple[str, ...]:
        """What is assumed of a deployment, as sentences."""
        return (*_OF[deployment.pattern](self, deployment), *self._failures(deployment))

    def _failures(self, deployment: Deployment) -> tuple[str, ...]:
        if deployment.pattern == SERVERLESS:
            return ()
        if self.failures_per_hour == 0.0:
            return ("Nothing fails." if deployment.pattern != SPOT else "Nothing fails that is not taken away.",)
        back = f"what is on it is lost, and it is back after {format_duration(self.repair_s)}"
        return (f"A machine fails {self.failures_per_hour:g} times an hour, in every run once at least: {back}.",)

    def _of_always_on(self, _deployment: Deployment) -> tuple[str, ...]:
        return ()

    def _of_autoscaled(self, deployment: Deployment) -> tuple[str, ...]:
        return (
            f"Ray Serve's autoscaler, {self.target * deployment.batch.max_batch:g} ongoing requests a replica, its usual delays.",
            f"A replica serves {format_duration(self.cold_start_s)} after it was asked for.",
            "Replicas are paid for by the second, each its share of a machine, and slowed as on a full one.",
            "Each replica has its own queue, behind a router.",
        )

    def _of_spot(self, _deployment: Deployment) -> tuple[str, ...]:
        return (
            f"A machine is taken away {self.preemptions_per_hour:g} times an hour by itself, in every run once at least.",
            f"With the notice ({format_duration(self.notice_s)}) it takes nothing new on.",
            f"One on demand stands in {format_duration(self.replacement_s)} after it, for {format_duration(FALLBACK_S)}.",
            "The spot price is one moment's.",
        )

    def _of_serverless(self, _deployment: Deployment) -> tuple[str, ...]:
        return (
            "One request an instance, and as many instances as it takes.",
            f"A cold start takes {format_duration(self.function_start_s)} and is billed.",
            f"An idle instance is kept {format_duration(self.keep_s)}; the one that was used last serves first.",
            "It is taken to be as fast as the machine that was measured, alone.",
        )

    def _of_edge(self, deployment: Deployment) -> tuple[str, ...]:
        slow = f"{self.device_slowness:.3g} times as slow as" if self.device_slowness != 1.0 else "as fast as"
        hop = f"a hop of {format_duration(self.hop_s)} there and back" if self.hop_s else "no network on the way"
        return (
            f"One device a site ({deployment.machines}), one replica a device, {hop}; each site has its share of the requests.",
            f"A device is taken to be {slow} the machine that was measured. It is paid for whether it works or not.",
        )


_OF = {
    ALWAYS_ON: Patterns._of_always_on, AUTOSCALED: Patterns._of_autoscaled, SPOT: Patterns._of_spot,  # noqa: SLF001  # the same module
    SERVERLESS: Patterns._of_serverless, EDGE: Patterns._of_edge,  # noqa: SLF001  # the same module
}  # fmt: skip


def _poisson(rate_per_s: float, seconds: float, gone_s: float, seeds: Seeds, item: int) -> Iterable[float]:
    rng, at_s = seeds.stream("clients", item), 0.0
    while (at_s := at_s + rng.exponential(1.0 / rate_per_s)) < seconds:
        yield at_s
        at_s += gone_s


@dataclass(frozen=True)
class Pattern:
    """The cheapest of one way of running it.

    Args:
        name: such as `always-on`.
        what: of what it consists.
        usd_per_hour: on the first trace, the recorded one.
        latency_s: the promised quantile on the worst trace.
        in_time: the least share of requests answered within the bound.
        keeps: whether the promise is kept on every trace, in one run.
        assumptions: sentences.
        availability: the share of requests answered within the bound, with losses of machines at their rates.
        wins: whether it may be the plan's answer.
    """

    name: str
    what: str
    usd_per_hour: float
    latency_s: float
    in_time: float
    keeps: bool
    assumptions: tuple[str, ...]
    availability: float
    wins: bool

    @staticmethod
    def of(evaluation: Evaluation, assumed: Patterns, *, wins: bool) -> Pattern:
        """The pattern that a deployment stands for."""
        deployment = evaluation.deployment
        in_time = min(1.0 - replay.late / replay.requests for replay in evaluation.replays)
        return Pattern(
            deployment.pattern, f"{deployment} on {_machines(deployment)}", deployment.usd_per_hour, evaluation.worst.latency_s,
            in_time, evaluation.keeps, assumed.told(deployment), evaluation.availability, wins,
        )  # fmt: skip

    def to_dict(self, key: str) -> dict[str, Any]:
        """The pattern as JSON values, under the name of its quantile."""
        latency_s = self.latency_s if math.isfinite(self.latency_s) else None
        return {
            "pattern": self.name, "what": self.what, "usd_per_hour": self.usd_per_hour, f"{key}_s": latency_s,
            "in_time": self.in_time, "availability": self.availability, "keeps": self.keeps, "may_win": self.wins,
            "assumptions": list(self.assumptions),
        }  # fmt: skip


def _machines(deployment: Deployment) -> str:
    if deployment.pattern == SPOT:
        return f"{deployment.machines} × spot({deployment.hardware})"
    return deployment.hardware if deployment.pattern == SERVERLESS else f"{deployment.machines} × {deployment.hardware}"
