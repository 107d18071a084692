"""The cheapest deployment that keeps the promise on every trace, and how sure that is."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.deployment import BatchPolicy, Deployment
from windtunnel.errors import ConfigError, DataError
from windtunnel.fanout import fan_out
from windtunnel.price import unmeasured
from windtunnel.quantity import format_duration
from windtunnel.stats import mean_interval
from windtunnel.verdict import Verdict

from .tunnel import batches, busy_s, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.deployment import Slo
    from windtunnel.fanout import Workers
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price
    from windtunnel.request_log import RequestLog
    from windtunnel.seeds import Seeds
    from windtunnel.stats import Interval
    from windtunnel.trace import Trace

    Floats = NDArray[np.float64]

BACKLOG_SHARE = 0.01
"""A queue that holds more than this share of the whole trace when the last request arrives counts as one that grows."""


TAIL_REQUESTS = 2.0
"""So many requests must lie beyond the promised quantile, in expectation, for a trace to show it."""


@dataclass(frozen=True)
class Replay:
    """What became of one trace under one deployment.

    Args:
        trace: its name.
        latency_s: the quantile that the promise is about.
        mean_batch: requests a batch.
        utilization: the share of time, until the last answer, in which a replica served.
        drains: whether the queue is worked off. It is not where more requests wait when the last one arrives than one
            round of full batches takes away and than `BACKLOG_SHARE` of the trace.
        interval: of `latency_s`, from repeated runs; None where it was run once.
    """

    trace: str
    latency_s: float
    mean_batch: float
    utilization: float
    drains: bool
    interval: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """The replay as JSON values; `latency_s_low` and `latency_s_high` are null where it was run once."""
        low, high = (self.interval.low, self.interval.high) if self.interval else (None, None)
        return {
            "latency_s": self.latency_s, "latency_s_low": low, "latency_s_high": high,
            "mean_batch": self.mean_batch, "utilization": self.utilization, "drains": self.drains,
        }  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """One deployment, flown through every trace.

    Args:
        deployment: what was flown.
        replays: one a trace.
        keeps: whether it keeps the promise on every trace, and drains.
    """

    deployment: Deployment
    replays: tuple[Replay, ...]
    keeps: bool

    @property
    def worst(self) -> Replay:
        """The trace on which it is slowest."""
        return max(self.replays, key=lambda replay: replay.latency_s)

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON values; `latency_s` and its ends are those of the worst trace."""
        deployment, worst = self.deployment, self.worst.to_dict()
        return {
            "variant": deployment.variant, "replicas": deployment.replicas, "machines": deployment.machines,
            "max_batch": deployment.batch.max_batch, "max_wait_s": deployment.batch.max_wait_s,
            "usd_per_hour": deployment.usd_per_hour, "keeps": self.keeps,
            **{key: worst[key] for key in ("latency_s", "latency_s_low", "latency_s_high")},
            "traces": {replay.trace: replay.to_dict() for replay in self.replays},
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Every deployment on the grid, the cheapest that surely keeps the promise, and the decision.

    Args:
        slo: the promise.
        hardware: the instance type that was priced.
        evaluations: one a deployment, in the order of the grid.
        tried: those that were run again with fresh luck, in the order of their price, with intervals.
        cheapest: the last of these where it was accepted; else None.
        verdict: go, no-go or inconclusive.
        requests_simulated: over all runs.
        seconds: how long it took; no part of the result.
        where: who computed it (`in-process` or `ray`); no part of the result.
    """

    slo: Slo
    hardware: str
    evaluations: tuple[Evaluation, ...]
    tried: tuple[Evaluation, ...]
    cheapest: Evaluation | None
    verdict: Verdict
    requests_simulated: int
    seconds: float = field(compare=False)
    where: str = field(compare=False)

    @property
    def evaluated(self) -> int:
        """How many deployments were flown."""
        return len(self.evaluations)

    @property
    def possible(self) -> int:
        """How many of them keep the promise, as far as one run tells."""
        return sum(evaluation.keeps for evaluation in self.evaluations)

    @property
    def deployments_per_s(self) -> float:
        """Deployments flown a second of the time it took."""
        return self.evaluated / self.seconds

    @property
    def requests_per_s(self) -> float:
        """Requests simulated a second of the time it took."""
        return self.requests_simulated / self.seconds

    @property
    def shown(self) -> Evaluation:
        """The cheapest; where there is none, the nearest miss: the first that was tried, else the fastest."""
        if self.cheapest is not None:
            return self.cheapest
        return self.tried[0] if self.tried else min(self.evaluations, key=_speed)

    @property
    def frontier(self) -> tuple[Evaluation, ...]:
        """The deployments of which none other is both as cheap and as fast on its worst trace, from the cheapest on."""
        best: list[Evaluation] = []
        for evaluation in sorted(self.evaluations, key=_cost):
            if not best or evaluation.worst.latency_s < best[-1].worst.latency_s:
                best.append(evaluation)
        return tuple(best)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values, without what depends on the machine that computed it."""
        named = {"hardware": self.hardware, "quantile": self.slo.quantile}
        return {
            "basis": "simulated", "slo": {"quantile": self.slo.quantile, "latency_s": self.slo.latency_s},
            "cheapest": {**named, **self.cheapest.to_dict()} if self.cheapest else None,
            "frontier": [{**named, **evaluation.to_dict()} for evaluation in self.frontier],
            "evaluated": self.evaluated, "possible": self.possible, "requests_simulated": self.requests_simulated,
            "verdict": self.verdict.to_dict(),
        }  # fmt: skip


def _cost(evaluation: Evaluation) -> tuple[float, float]:
    return evaluation.deployment.usd_per_hour, evaluation.worst.latency_s


def _speed(evaluation: Evaluation) -> tuple[float, float]:
    return evaluation.worst.latency_s, evaluation.deployment.usd_per_hour


def slowdown(parallel_efficiency: float, sharing: int, cores: int) -> float:
    """How many times as long a service takes where replicas share a machine.

    Measured were one replica alone and one on every core *of the measured machine*; what lies between is taken as linear
    in the replicas. More replicas on one machine than were ever measured together are taken as slow as those.

    Args:
        parallel_efficiency: throughput of all cores running a replica each ÷ (cores × that of one alone).
        sharing: replicas on the machine.
        cores: of the machine that was measured.

    Example:
        >>> slowdown(0.8, 1, 4), slowdown(0.8, 4, 4)
        (1.0, 1.25)
    """
    together = min(sharing, cores)
    return 1.0 + (1.0 / parallel_efficiency - 1.0) * (together - 1) / (cores - 1) if cores > 1 else 1.0


@dataclass(frozen=True)
class _Course:
    """What every flight of one plan shares."""

    traces: Mapping[str, Trace]
    table: Floats
    parallel_efficiency: float
    measured_cores: int

    def fly(self, deployment: Deployment, seed: int) -> Iterator[tuple[str, RequestLog]]:
        """One log a trace, one at a time, so that only one is in memory."""
        # replicas are spread evenly; all are as slow as those on the fullest machine
        sharing = math.ceil(deployment.replicas / deployment.machines)
        table = self.table[: deployment.batch.max_batch + 1]
        table = table * slowdown(self.parallel_efficiency, sharing, self.measured_cores)
        for name, trace in self.traces.items():
            yield name, simulate(trace, table, deployment.batch, deployment.replicas, seed=seed)


def rehearse(
    traces: Mapping[str, Trace], profile: LatencyProfile, deployment: Deployment, *, seed: int
) -> dict[str, RequestLog]:
    """Fly one deployment through every trace, exactly as `plan` does, and keep the logs.

    Args:
        traces: by name.
        profile: the service times.
        deployment: what to fly, such as `plan(…).shown.deployment`.
        seed: of the service times; `plan` sweeps with `seeds.number("service")`.

    Raises:
        DataError: its `max_batch` was not profiled.
    """
    table = profile.service_table(deployment.batch.max_batch)
    return dict(_Course(traces, table, profile.parallel_efficiency, int(profile.hardware.cores)).fly(deployment, seed))


@dataclass(frozen=True)
class _Sweep:
    """A course, the promise to keep on it, and the luck that all deployments share."""

    course: _Course
    slo: Slo
    seed: int


def _evaluate(sweep: _Sweep, deployment: Deployment) -> Evaluation:
    flights = sweep.course.fly(deployment, sweep.seed)
    replays = tuple(_look_back(name, log, deployment, sweep.slo.quantile) for name, log in flights)
    keeps = all(replay.drains and replay.latency_s <= sweep.slo.latency_s for replay in replays)
    return Evaluation(deployment, replays, keeps)


def _look_back(name: str, log: RequestLog, deployment: Deployment, quantile: float) -> Replay:
    last_s = log.scheduled_s[-1]
    span_s = float(np.max(log.finished_s) - log.scheduled_s[0])
    # requests start in the order of their arrival
    backlog = len(log) - int(np.searchsorted(log.started_s, last_s, side="right"))
    round_of_batches = deployment.replicas * deployment.batch.max_batch
    return Replay(
        trace=name,
        latency_s=float(np.quantile(log.latency_s, quantile)),
        mean_batch=len(log) / batches(log),
        utilization=busy_s(log) / (deployment.replicas * span_s),
        drains=backlog <= max(round_of_batches, BACKLOG_SHARE * len(log)),
    )


def plan(
    traces: Mapping[str, Trace],
    profile: LatencyProfile,
    *,
    slo: Slo,
    price: Price,
    cores_per_machine: int,
    replicas: Sequence[int],
    max_batch: Sequence[int],
    max_wait_s: Sequence[float],
    seeds: Seeds,
    confidence: float = 0.99,
    repeats: int = 10,
    workers: Workers | None = None,
    report: Callable[[int], None] = lambda _done: None,
) -> Plan:
    """Find the cheapest deployment on a grid that keeps the promise on every trace, and be sure of it.

    Every deployment flies through every trace with the same luck. Those that keep the promise are then run again, the
    cheapest first (of equally cheap ones the fastest), with `repeats` fresh lucks; the first whose Student interval of
    the promised quantile ends at or below the bound on every trace is accepted. That trying several gives chance several
    chances is paid for: the tail probabilities at which the first, second, third, … is accepted, `(1 − confidence)` over
    2, 6, 12, … (`k · (k + 1)`), add up to no more than `1 − confidence`; so the first one's interval is the plain
    two-sided one. Sure is meant given these traces and this profile: only the service times are drawn anew.

    Replicas take a core each; machines are filled up to `cores_per_machine`, and replicas that share one are slowed
    (`slowdown`).

    Args:
        traces: by name, such as `recorded` and `flash-crowd`.
        profile: the service times, in the tunnel scaled by `slowdown` alone.
        slo: the promise.
        price: of one machine.
        cores_per_machine: as many replicas share a machine at most.
        replicas: how many replicas to try.
        max_batch: the largest batches to try.
        max_wait_s: the waits to try, in seconds.
        seeds: stream `service` is used.
        confidence: how sure the answer is to be.
        repeats: fresh runs of a deployment under proof; at least 2.
        workers: who does it.
        report: called with the number of deployments done.

    Raises:
        ConfigError: an empty or impossible grid, or a bound below the shortest service time that was ever measured.
        DataError: a `max_batch` that was not profiled.
    """
    started = time.perf_counter()
    _check(traces, replicas, cores_per_machine, confidence, repeats)
    _check_evidence(traces, profile, slo, price)
    grid = _grid(profile.variant, price, cores_per_machine, replicas, max_batch, max_wait_s)
    table = profile.service_table(max(deployment.batch.max_batch for deployment in grid))
    _check_possible(slo, table)
    course = _Course(traces, table, profile.parallel_efficiency, int(profile.hardware.cores))
    sweep = _Sweep(course, slo, seeds.number("service"))
    swept = fan_out(_evaluate, grid, shared=sweep, workers=workers, report=report)
    lucks = [seeds.number("service", item) for item in range(1, repeats + 1)]
    tried = _prove(sweep, swept.results, lucks, confidence)
    cheapest = tried[-1] if tried and _is_sure(tried[-1], slo) else None
    return Plan(
        slo=slo,
        hardware=price.name,
        evaluations=tuple(swept.results),
        tried=tuple(tried),
        cheapest=cheapest,
        verdict=_doubt(profile, _judge(slo, price, swept.results, tried, confidence)),
        requests_simulated=sum(map(len, traces.values())) * (len(grid) + len(tried) * repeats),
        seconds=time.perf_counter() - started,
        where=swept.where,
    )


def _check(
    traces: Mapping[str, Trace], replicas: Sequence[int], cores_per_machine: int, confidence: float, repeats: int
) -> None:
    if not traces:
        raise ConfigError("is empty", field="traces", fix="give at least one trace by name")
    if replicas and min(replicas) < 1:
        raise ConfigError("must be at least 1", field="replicas", value=min(replicas))
    if cores_per_machine < 1:
        raise ConfigError("must be at least 1", field="cores_per_machine", value=cores_per_machine)
    if not 0.0 < confidence < 1.0:
        raise ConfigError("must lie between 0 and 1", field="confidence", value=confidence, fix="give 0.99")
    if repeats < 2:
        raise ConfigError("must be at least 2, or nothing is known about chance", field="repeats", value=repeats)


def _check_evidence(traces: Mapping[str, Trace], profile: LatencyProfile, slo: Slo, price: Price) -> None:
    """Refuse a machine that nothing measured speaks of, and a quantile that profile or traces cannot show."""
    reason = unmeasured(price, profile.hardware.architecture)
    if reason:
        raise ConfigError(f"cannot be planned for with this profile: {reason}", field="hardware", value=price.name)
    profile.check_quantile(slo.quantile)
    least = math.ceil(TAIL_REQUESTS / (1.0 - slo.quantile) - 1e-9)
    for name, trace in traces.items():
        if len(trace) < least:
            raise DataError(
                f"has {len(trace)} requests, too few to see p{slo.quantile * 100:g}",
                field=name,
                fix=f"fly at least {least}, or promise a lower quantile",
            )


def _grid(
    variant: str,
    price: Price,
    cores_per_machine: int,
    replicas: Sequence[int],
    max_batch: Sequence[int],
    max_wait_s: Sequence[float],
) -> list[Deployment]:
    for name, values in (("replicas", replicas), ("max_batch", max_batch), ("max_wait", max_wait_s)):
        if not values:
            raise ConfigError("is empty, so there is nothing to try", field=name, fix="give at least one value")
    grid = []
    for count, size, wait_s in itertools.product(replicas, max_batch, max_wait_s):
        machines = math.ceil(count / cores_per_machine)
        usd_per_hour = machines * price.usd_per_hour
        grid.append(Deployment(variant, count, BatchPolicy(size, wait_s), machines, usd_per_hour))
    return grid


def _check_possible(slo: Slo, table: Floats) -> None:
    fastest_s = float(np.min(table[1:]))
    if slo.latency_s < fastest_s:
        raise ConfigError(
            f"cannot be kept by any deployment: the shortest service time in the profile is {format_duration(fastest_s)}",
            field="slo",
            value=str(slo),
            fix=f"allow more than {format_duration(fastest_s)}, or make the model faster first",
        )


def _prove(sweep: _Sweep, swept: Sequence[Evaluation], lucks: Sequence[int], confidence: float) -> list[Evaluation]:
    """Run those that keep the promise again, the cheapest first, until one is sure to; that one is the last."""
    tried: list[Evaluation] = []
    keeping = sorted((evaluation for evaluation in swept if evaluation.keeps), key=_cost)
    for count, evaluation in enumerate(keeping, start=1):
        tail = (1.0 - confidence) / (count * (count + 1))
        tried.append(_run_again(sweep, evaluation, lucks, 1.0 - 2.0 * tail))
        if _is_sure(tried[-1], sweep.slo):
            break
    return tried


def _run_again(sweep: _Sweep, evaluation: Evaluation, lucks: Sequence[int], confidence: float) -> Evaluation:
    runs = [_evaluate(replace(sweep, seed=luck), evaluation.deployment).replays for luck in lucks]
    replays = []
    for first, *fresh in zip(evaluation.replays, *runs, strict=True):
        interval = mean_interval(np.array([replay.latency_s for replay in fresh]), confidence)
        drains = all(replay.drains for replay in fresh)
        replays.append(replace(first, latency_s=interval.value, drains=drains, interval=interval))
    return replace(evaluation, replays=tuple(replays))


def _is_sure(tried: Evaluation, slo: Slo) -> bool:
    return all(
        replay.drains and replay.interval is not None and replay.interval.high <= slo.latency_s
        for replay in tried.replays
    )


def _judge(
    slo: Slo, price: Price, swept: Sequence[Evaluation], tried: Sequence[Evaluation], confidence: float
) -> Verdict:
    if not tried:
        return _no_go(slo, price, min(swept, key=_speed), len(swept))
    last = tried[-1]
    where = _listed(replay.trace for replay in last.replays)
    evidence = {**last.to_dict(), "hardware": price.name, "quantile": slo.quantile, "confidence": confidence}
    if _is_sure(last, slo):
        what = f"{last.deployment} on {price.name} at ${last.deployment.usd_per_hour:.4g} an hour"
        return Verdict("go", (f"{what}: {_percent(confidence)} sure that {slo} on {where}.",), (), evidence)
    reason = (
        f"{len(tried)} of {len(swept)} deployments keep {slo} on {where} in one run, "
        f"but over repeated runs none is {_percent(confidence)} sure to."
    )
    return Verdict(
        "inconclusive", (reason,), ("more repeats", "more replicas on the grid", "a lower confidence"), evidence
    )


def _doubt(profile: LatencyProfile, verdict: Verdict) -> Verdict:
    """A plan is no surer than the measurement it rests on, and says where that was made."""
    if verdict.outcome != "go":
        return verdict
    if profile.verdict.outcome == "go":
        machine = verdict.evidence["hardware"]
        if profile.hardware.instance == machine:
            return verdict
        where = f"The service times are those of {profile.hardware.cpu}, taken as they are for {machine}: measure there before buying."
        return Verdict("go", (*verdict.reasons, where), verdict.would_change, verdict.evidence)
    reason = f"the profile of {profile.variant} it rests on is not valid: {profile.verdict.reasons[0]}"
    return Verdict("inconclusive", (*verdict.reasons, reason), profile.verdict.would_change, verdict.evidence)


def _no_go(slo: Slo, price: Price, nearest: Evaluation, evaluated: int) -> Verdict:
    worst = nearest.worst
    grows = "" if worst.drains else ", where the queue only grows"
    reason = (
        f"None of {evaluated} deployments keeps {slo}: the fastest, {nearest.deployment} on {price.name}, "
        f"reaches {format_duration(worst.latency_s)} on {worst.trace}{grows}."
    )
    changes = ("more replicas on the grid", "a faster variant", f"a bound above {format_duration(worst.latency_s)}")
    return Verdict("no-go", (reason,), changes, {**nearest.to_dict(), "hardware": price.name, "quantile": slo.quantile})


def _percent(share: float) -> str:
    return f"{share * 100:g}%"


def _listed(names: Iterable[str]) -> str:
    """Write names as people list them."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
