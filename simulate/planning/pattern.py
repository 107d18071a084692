"""Patterns: other ways of running what a plan found, and what they would cost under assumptions that are told."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ConfigError
from windtunnel.quantity import format_duration
from windtunnel.simulate.batching import BATCHERS
from windtunnel.simulate.chance import origin
from windtunnel.simulate.fault import Preemption
from windtunnel.simulate.flight import fly
from windtunnel.simulate.phrase import read_phrase
from windtunnel.simulate.routing import LeastOutstanding
from windtunnel.simulate.scaling import RayServeScaling
from windtunnel.simulate.system import Scaling, System

from .bound import allowed_late
from .course import BINS, Course, Evaluation, Replay, key_of
from .functions import serve_functions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.deployment import Deployment
    from windtunnel.seeds import Seeds
    from windtunnel.simulate.fault import Fault
    from windtunnel.tariff import Serverless

    from .offer import Offer

MOST_TIMES = 2
"""A fleet that scales may grow to so many times the one that is always on."""

SPARES = 4
"""So many spot machines more than on demand are tried."""

FALLBACK_S = 3600.0
"""A machine on demand stands in for one that was taken away for so long, and is paid for as long."""


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

    Raises:
        ConfigError: a figure below zero, or a target of nothing.
    """

    cold_start_s: float = 60.0
    target: float = 1.0
    preemptions_per_hour: float = 0.05
    notice_s: float = 120.0
    replacement_s: float = 60.0
    function_start_s: float = 1.0
    keep_s: float = 300.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value < math.inf or (name == "target" and value == 0.0):
                raise ConfigError("must be zero or more", field=name, value=value)


@dataclass(frozen=True)
class Pattern:
    """One way of running it.

    Args:
        name: such as `always-on`.
        what: of what it consists.
        usd_per_hour: on the first trace, the recorded one.
        latency_s: the promised quantile on the worst trace.
        in_time: the least share of requests answered within the bound.
        keeps: whether the promise is kept on every trace, in one run.
        assumptions: sentences.
    """

    name: str
    what: str
    usd_per_hour: float
    latency_s: float
    in_time: float
    keeps: bool
    assumptions: tuple[str, ...]

    def to_dict(self, quantile: float) -> dict[str, Any]:
        """The pattern as JSON values."""
        latency_s = self.latency_s if math.isfinite(self.latency_s) else None
        return {
            "pattern": self.name, "what": self.what, "usd_per_hour": self.usd_per_hour, f"{key_of(quantile)}_s": latency_s,
            "in_time": self.in_time, "keeps": self.keeps, "assumptions": list(self.assumptions),
        }  # fmt: skip


@dataclass(frozen=True)
class _Flown:
    """Replays of one system on every trace, and what its replicas were there for on the first."""

    replays: tuple[Replay, ...]
    replicas: float
    keeps: bool


def compare_patterns(
    course: Course,
    chosen: Evaluation,
    offer: Offer,
    seeds: Seeds,
    patterns: Patterns,
    functions: Sequence[Serverless] = (),
) -> tuple[Pattern, ...]:
    """What the chosen deployment would cost run in other ways, each sized to keep the promise where it can.

    Args:
        course: the traces and the promise.
        chosen: the deployment that is always on.
        offer: what it rents.
        seeds: as it was flown with.
        patterns: what is assumed.
        functions: what else may be paid for.
    """
    found = [_always_on(chosen), _autoscaled(course, chosen.deployment, offer, seeds, patterns)]
    if offer.price.spot_usd_per_hour is not None:
        found.append(_spot(course, chosen.deployment, offer, seeds, patterns))
    found += [_serverless(course, chosen.deployment, function, seeds, patterns) for function in functions]
    return tuple(found)


def _always_on(chosen: Evaluation) -> Pattern:
    deployment = chosen.deployment
    what = f"{deployment.machines} × {deployment.hardware}, {deployment.replicas} replicas"
    return _pattern("always-on", what, deployment.usd_per_hour, chosen.replays, chosen.keeps, ("Nothing fails.",))


def _pattern(
    name: str, what: str, usd_per_hour: float, replays: Sequence[Replay], keeps: bool, assumptions: tuple[str, ...]
) -> Pattern:
    worst_s = max(replay.latency_s for replay in replays)
    in_time = min(1.0 - replay.late / replay.requests for replay in replays)
    return Pattern(name, what, usd_per_hour, worst_s, in_time, keeps, assumptions)


def _fly(course: Course, system: System, seeds: Seeds) -> _Flown:
    replays, replicas = [], []
    for name, trace in course.traces.items():
        flight = fly(system, trace, seeds, slo_s=course.slo.latency_s, bin_s=trace.duration_s / BINS)
        replays.append(course.look_back(name, flight))
        replicas.append(flight.summary.replica_s / flight.summary.seconds_simulated)
    return _Flown(tuple(replays), replicas[0], all(course.keeps(replay) for replay in replays))


def _station(course: Course, deployment: Deployment, stations: int, executors: int) -> System:
    usual = {"max_batch": deployment.batch.max_batch, "max_wait_s": deployment.batch.max_wait_s}
    batcher = read_phrase(deployment.batcher, BATCHERS, field="batcher", usual=usual)
    return System(
        course.table(deployment), stations=stations, executors=batcher.executors or executors, batcher=batcher,
        router=LeastOutstanding(),
    )  # fmt: skip


def _autoscaled(course: Course, deployment: Deployment, offer: Offer, seeds: Seeds, patterns: Patterns) -> Pattern:
    """The fewest replicas that must always be there, found by halving: more of them never hurt."""
    most = MOST_TIMES * deployment.replicas
    target = patterns.target * deployment.batch.max_batch

    def flown(least: int) -> _Flown:
        system = _station(course, deployment, least, 1)
        return _fly(
            course, replace(system, scaling=Scaling(RayServeScaling(target), least, most, patterns.cold_start_s)), seeds
        )

    low, high, found = 1, most, flown(most)
    while found.keeps and low < high:
        middle = (low + high) // 2
        tried = flown(middle)
        low, high, found = (low, middle, tried) if tried.keeps else (middle + 1, high, found)
    usd_per_hour = found.replicas * offer.price.usd_per_hour / offer.per_machine
    return _pattern(
        "autoscaled", f"{high} to {most} replicas on {offer.price.name}, {found.replicas:.3g} on average", usd_per_hour, found.replays,
        found.keeps,
        (
            f"Ray Serve's autoscaler with a target of {target:g} ongoing requests a replica and its usual delays.",
            f"A replica serves {format_duration(patterns.cold_start_s)} after it was asked for.",
            f"Replicas are paid for by the second, each 1/{offer.per_machine} of a machine, and slowed as on a full one.",
            "Each replica has its own queue, and a router that sees them all.",
        ),
    )  # fmt: skip


def _spot(course: Course, deployment: Deployment, offer: Offer, seeds: Seeds, patterns: Patterns) -> Pattern:
    """The fewest spot machines that keep the promise, at least as many as on demand."""
    sharing = math.ceil(deployment.replicas / deployment.machines)
    spot_usd, on_demand_usd = offer.price.spot_usd_per_hour or math.nan, offer.price.usd_per_hour
    seconds = max(trace.duration_s for trace in course.traces.values())
    for machines in range(deployment.machines, deployment.machines + SPARES + 1):
        system = _station(course, deployment, machines, sharing)
        faults = _preemptions(machines, seconds, seeds, patterns)
        flown = _fly(course, replace(system, faults=faults), seeds)
        if flown.keeps:
            break
    stand_ins = patterns.preemptions_per_hour * FALLBACK_S / 3600.0
    usd_per_hour = machines * (spot_usd + stand_ins * (on_demand_usd - spot_usd))
    return _pattern(
        "spot with on-demand fallback", f"{machines} × spot({offer.price.name}), {sharing} replicas each", usd_per_hour, flown.replays,
        flown.keeps,
        (
            (
                f"A machine is taken away {patterns.preemptions_per_hour:g} times an hour, independently of the others: "
                f"{len(faults)} times in this flight, once in the middle where chance had it at no time."
            ),
            (
                f"With the notice ({format_duration(patterns.notice_s)}) it takes nothing new on; one on demand stands in "
                f"{format_duration(patterns.replacement_s)} after the notice, for {format_duration(FALLBACK_S)}."
            ),
            f"The spot price is one moment's: ${spot_usd:.4g} an hour ({offer.price.date}).",
        ),
    )  # fmt: skip


def _preemptions(machines: int, seconds: float, seeds: Seeds, patterns: Patterns) -> tuple[Fault, ...]:
    """When each machine is taken away: a Poisson process, paused while it is gone; the first in the middle where none is."""
    if patterns.preemptions_per_hour == 0.0:
        return ()
    gone_s = patterns.replacement_s
    notice_s = min(patterns.notice_s, gone_s)
    faults: list[Fault] = []
    for station in range(machines):
        rng, at_s = seeds.stream("clients", 1 + station), 0.0
        while (at_s := at_s + rng.exponential(3600.0 / patterns.preemptions_per_hour)) < seconds:
            faults.append(Preemption(station, at_s, notice_s, gone_s - notice_s))
            at_s += gone_s
    return tuple(faults) or (Preemption(0, seconds / 2.0, notice_s, gone_s - notice_s),)


def _serverless(
    course: Course, deployment: Deployment, function: Serverless, seeds: Seeds, patterns: Patterns
) -> Pattern:
    """One request an instance."""
    service_s = course.tables[deployment.variant, deployment.hardware][1]
    luck, replays, usd, most = np.uint64(origin(np.uint64(seeds.number("service")))), [], [], 0
    for name, trace in course.traces.items():
        latency_s, cold_s = np.empty(len(trace)), np.empty(len(trace))
        at_once = serve_functions(
            trace.arrivals_s, service_s, luck, patterns.function_start_s, patterns.keep_s, latency_s, cold_s
        )
        most = max(most, at_once)
        late = int(np.count_nonzero(latency_s > course.slo.latency_s))
        quantile_s = float(np.quantile(latency_s, course.slo.quantile, method="inverted_cdf"))
        replays.append(Replay(name, quantile_s, 1.0, math.nan, True, late, len(trace)))
        usd.append(function.usd_per_million(latency_s) * len(trace) / 1e6 / (trace.duration_s / 3600.0))
    keeps = all(replay.late <= allowed_late(course.slo, replay.requests) for replay in replays)
    return _pattern(
        "serverless", f"{function.name}, up to {most} at once", usd[0], replays, keeps,
        (
            "One request an instance, and as many instances as it takes.",
            (
                f"A cold start takes {format_duration(patterns.function_start_s)} and is billed; an idle instance is kept "
                f"{format_duration(patterns.keep_s)}, and the one that was used last serves first."
            ),
            "It is taken to be as fast as the machine that was measured, alone.",
        ),
    )  # fmt: skip
