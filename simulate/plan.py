"""The cheapest deployment that keeps the promise on every trace, and how sure that is."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.deployment import Slo
from windtunnel.errors import ConfigError, DataError
from windtunnel.quantity import format_duration, format_share
from windtunnel.simulate.planning import (
    CONFIDENCE_OF,
    PATTERNS,
    Course,
    Monotony,
    Pattern,
    Search,
    grow,
    is_sure,
    prove,
    slowdown,
)  # fmt: skip
from windtunnel.simulate.planning.course import key_of
from windtunnel.simulate.planning.pattern import ALWAYS_ON, SERVERLESS
from windtunnel.simulate.scenarios.day import Day
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from windtunnel.deployment import Deployment
    from windtunnel.fanout import Workers
    from windtunnel.seeds import Seeds
    from windtunnel.simulate.planning import Evaluation, Growth, Journal, LeftOut, Space
    from windtunnel.trace import Trace

    from .flight import Flight
    from .scenarios import Scenario

__all__ = ["Plan", "plan", "rehearse", "slowdown"]

TAIL_REQUESTS = 2.0
"""So many requests must lie beyond the promised quantile, in expectation, for a trace to show it."""

RUNGS = 4
"""So many deployments above and below the cheapest on its line are flown, to draw what more or less money buys."""

RUNNERS_UP = 5
"""How many other deployments are named."""


@dataclass(frozen=True)
class Effort:
    """What it took to know.

    Args:
        possible: deployments in the space.
        ruled_out: that no luck could save, known by arithmetic.
        screened: that broke the promise in the busiest window already.
        evaluated: flown whole. What is left was known from its neighbours, or too dear.
        requests_simulated: in all flights, proof and outlook included.
        requests_searched: of these, until the cheapest stood.
        requests_exhaustive: to fly every deployment once.
    """

    possible: int
    ruled_out: int
    screened: int
    evaluated: int
    requests_simulated: int
    requests_searched: int
    requests_exhaustive: int

    @property
    def share(self) -> float:
        """Of the simulations that flying everything would have taken, how much the search took."""
        return self.requests_searched / self.requests_exhaustive


@dataclass(frozen=True)
class Plan:
    """What was flown, the cheapest that surely keeps the promise, and the decision.

    Args:
        slo: the promise.
        confidence: how sure the cheapest is; of what, says `planning.CONFIDENCE_OF`.
        evaluations: what was flown whole, in the order of the space.
        tried: those that were run again with fresh luck, in the order of their price, with intervals.
        cheapest: the last of these where it was accepted; else None.
        verdict: go, no-go or inconclusive.
        effort: what it took.
        monotony: whether more replicas never hurt, where that was seen.
        growth: how much more load the cheapest carries; None where there is none.
        patterns: the cheapest of each way of running it; empty where only fleets that are always on were asked for.
        left_out: machines that were asked about and could not be planned for.
        seconds: how long it took; no part of the result.
        where: who computed it (`in-process` or `ray`); no part of the result.
    """

    slo: Slo
    confidence: float
    evaluations: tuple[Evaluation, ...]
    tried: tuple[Evaluation, ...]
    cheapest: Evaluation | None
    verdict: Verdict
    effort: Effort
    monotony: Monotony
    growth: Growth | None
    patterns: tuple[Pattern, ...]
    left_out: tuple[LeftOut, ...]
    seconds: float = field(compare=False)
    where: str = field(compare=False)

    @property
    def evaluated(self) -> int:
        """How many deployments were flown whole."""
        return self.effort.evaluated

    @property
    def possible(self) -> int:
        """How many there are."""
        return self.effort.possible

    @property
    def requests_simulated(self) -> int:
        """Over all runs."""
        return self.effort.requests_simulated

    @property
    def deployments_per_s(self) -> float:
        """Deployments settled a second of the time it took."""
        return self.possible / self.seconds

    @property
    def requests_per_s(self) -> float:
        """Requests simulated a second of the time it took."""
        return self.requests_simulated / self.seconds

    @property
    def shown(self) -> Evaluation:
        """The cheapest; where there is none, the nearest miss: the first that was tried, else the fastest."""
        if self.cheapest is not None:
            return self.cheapest
        return self.tried[0] if self.tried else min(self.evaluations, key=lambda each: each.speed)

    @property
    def frontier(self) -> tuple[Evaluation, ...]:
        """The flown deployments of which none other is as cheap, as fast on its worst day, and as available; the cheapest first.

        None is dearer, slower *and* less in time than another: to leave it for something cheaper, faster or more available costs
        one of the other two.
        """
        best: list[Evaluation] = []
        for each in sorted(self.evaluations, key=lambda each: (*each.cost, -each.availability)):
            # whatever is as cheap stands before it already
            if not any(
                other.worst.latency_s <= each.worst.latency_s and other.availability >= each.availability
                for other in best
            ):
                best.append(each)
        return tuple(best)

    @property
    def looser(self) -> tuple[Evaluation, ...]:
        """What would be cheaper if the bound were looser, the dearest first: each slower than the one before, and than the bound."""
        if self.cheapest is None:
            return ()
        price = self.cheapest.deployment.usd_per_hour
        cheaper: list[Evaluation] = []
        for each in sorted(self.evaluations, key=lambda each: each.cost):
            fits = each.deployment.usd_per_hour < price and math.isfinite(each.worst.latency_s) and _drains(each)
            faster = not cheaper or each.worst.latency_s < cheaper[-1].worst.latency_s
            if fits and faster and not each.keeps:
                cheaper.append(each)
        return tuple(reversed(cheaper))

    @property
    def runners_up(self) -> tuple[Evaluation, ...]:
        """The cheapest others that keep the promise in one run, one of each machine, variant, size of batch and routing."""
        chosen = self.cheapest.deployment if self.cheapest else None
        found: dict[tuple[Any, ...], Evaluation] = {}
        for each in sorted(self.evaluations, key=lambda each: each.cost):
            if each.keeps and _setting(each.deployment) != (_setting(chosen) if chosen else None):
                found.setdefault(_setting(each.deployment), each)
        return tuple(found.values())[:RUNNERS_UP]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values, without what depends on the machine that computed it."""
        quantile, effort = self.slo.quantile, self.effort

        def told(evaluations: Iterable[Evaluation]) -> list[dict[str, Any]]:
            return [evaluation.to_dict(quantile) for evaluation in evaluations]

        return {
            "basis": "simulated", "slo": {"quantile": quantile, "latency_s": self.slo.latency_s},
            "cheapest": {
                **self.cheapest.to_dict(quantile), "confidence": self.confidence, "confidence_of": CONFIDENCE_OF,
            } if self.cheapest else None,
            "frontier": told(self.frontier), "runners_up": told(self.runners_up), "looser": told(self.looser),
            "growth": self.growth.to_dict() if self.growth else None,
            "patterns": [pattern.to_dict(key_of(quantile)) for pattern in self.patterns],
            "evaluated": effort.evaluated, "possible": effort.possible, "ruled_out": effort.ruled_out,
            "screened": effort.screened, "requests_simulated": effort.requests_simulated, "share_simulated": effort.share,
            "monotony": self.monotony.to_dict(),
            "left_out": [{"hardware": each.hardware, "reason": each.reason} for each in self.left_out],
            "verdict": self.verdict.to_dict(),
        }  # fmt: skip


def _setting(deployment: Deployment) -> tuple[Any, ...]:
    return (
        deployment.pattern, deployment.hardware, deployment.variant, deployment.batch.max_batch, deployment.batcher,
        deployment.router,
    )  # fmt: skip


def _drains(evaluation: Evaluation) -> bool:
    return all(replay.drains for replay in evaluation.replays)


def rehearse(
    traces: Mapping[str, Trace],
    space: Space,
    deployment: Deployment,
    *,
    seeds: Seeds,
    troubles: tuple[Scenario, ...] = (),
    log: bool = True,
) -> dict[str, Flight]:
    """Fly one deployment through every trace and trouble, exactly as `plan` does, and keep the flights.

    Args:
        traces: by name.
        space: in which the deployment is.
        deployment: what to fly, such as `plan(…).shown.deployment`.
        seeds: the plan's.
        troubles: the plan's.
        log: whether every request is written down.
    """
    # whatever was promised, the flight is the same
    course = Course.of(traces, space, Slo(0.5, math.inf), troubles)
    return dict(course.days(deployment, seeds, log=log))


def plan(
    traces: Mapping[str, Trace],
    space: Space,
    *,
    slo: Slo,
    seeds: Seeds,
    confidence: float = 0.99,
    repeats: int = 10,
    troubles: tuple[Scenario, ...] = (),
    left_out: tuple[LeftOut, ...] = (),
    workers: Workers | None = None,
    report: Callable[[int], None] = lambda _done: None,
    journal: Journal | None = None,
) -> Plan:
    """Find the cheapest deployment of a space that keeps the promise on every trace, and be sure of it.

    A promise `p99<=50ms` is kept where 99% of all requests are answered within 50 ms and the queue is worked off. Every
    deployment meets every trace with the same luck. What needs no flight is not flown (`planning.bound`); what breaks the
    promise in the busiest window of a trace is not flown whole; on a line of deployments that differ in replicas alone the
    fewest that keep it are found by halving (`planning.search`); what is dearer than the best is left alone. So what stands
    at the end is what flying everything would have found, as long as more replicas never hurt; that is looked at, and a line
    on which they do is flown whole.

    Every way of running it that the space has is searched by itself, so that each is as large as *it* has to be; the answer is
    the cheapest of those that may be it (`Space.patterns`).

    What stands is then run again with `repeats` fresh lucks, the cheapest first (of equally cheap ones the fastest); the first
    that keeps the promise in every run, and whose prediction interval for one more day ends at or below the bound on every
    trace, is accepted (`planning.proof`). Sure is meant of a day of these arrivals, given these profiles and what is assumed.

    Args:
        traces: by name, such as `recorded` and `flash-crowd`.
        space: what may be deployed.
        slo: the promise.
        seeds: streams `service` and `routing` are used, `arrivals` for growth, `clients` for losses of machines.
        confidence: how sure the answer is to be.
        repeats: fresh runs of a deployment under proof; at least 2.
        troubles: scenarios that befall the system, on each of which the promise must be kept as well, on the first trace. On
            such a day replicas stand apart, each with its own queue behind a router, so that it can befall one of them.
        left_out: what could not be planned for, to be told.
        workers: who does it.
        report: called with the number of deployments settled.
        journal: what an interrupted plan has flown already, and where this one writes down what it flies.

    Raises:
        ConfigError: no trace, a confidence or repeats that mean nothing, or a bound below the shortest service time that
            was ever measured.
        DataError: a profile or trace too short to speak of the quantile.
    """
    started = time.perf_counter()
    _check(traces, confidence, repeats)
    _check_evidence(traces, space, slo)
    course = Course.of(traces, space, slo, troubles)
    _check_possible(course)
    _check_troubles(course, space, seeds)
    search = Search(course, space, seeds, workers=workers, report=report, journal=journal)
    search.run()
    monotony = search.check()
    search.run()
    searched = search.requests
    proof = prove(search, confidence, repeats)
    tried = proof.tried
    cheapest = tried[-1] if tried and is_sure(tried[-1], slo) else None
    _look_around(search, cheapest or (tried[0] if tried else None))
    growth = grow(course, cheapest.deployment, seeds, search.journal) if cheapest else None
    compared = _compare(search, cheapest)
    evaluations = tuple(search.evaluations)
    effort = Effort(
        len(space), search.ruled_out, search.screened, len(evaluations),
        search.requests + proof.requests + (growth.requests if growth else 0), searched, course.requests * len(space),
    )  # fmt: skip
    verdict = _judge(slo, evaluations, tried, confidence, len(space), _alone_s(course))
    if cheapest:
        verdict = _doubt(space, cheapest.deployment, verdict)
    report(len(space))
    return Plan(
        slo, confidence, evaluations, tried, cheapest, _told(verdict, left_out), effort, monotony, growth, compared, left_out,
        seconds=time.perf_counter() - started, where=search.where,
    )  # fmt: skip


def _look_around(search: Search, answer: Evaluation | None) -> None:
    """Fly what the answer is compared with; where there is none, what carries most on each machine."""
    if answer is not None:
        search.around(answer, RUNGS, RUNGS)
        search.elsewhere(answer)
    elif not search.evaluations:
        search.fly(search.greatest())


def _compare(search: Search, cheapest: Evaluation | None) -> tuple[Pattern, ...]:
    """The cheapest of each way of running it; where none keeps the promise, the fastest that was flown, else its largest."""
    space = search.space
    known = {line.pattern for line in space.lines}
    if known <= {ALWAYS_ON}:
        return ()
    found = []
    for name in (name for name in PATTERNS if name in known):
        standing = search.standing_of(name)
        flown = [each for each in search.evaluations if each.deployment.pattern == name]
        if cheapest is not None and cheapest.deployment.pattern == name:
            best = cheapest
        elif standing:
            best = standing[0]
        else:
            best = min(flown or search.fly(search.greatest(name)), key=lambda each: each.speed)
        found.append(Pattern.of(best, space.assumed, wins=name in space.patterns))
    return tuple(found)


def _check(traces: Mapping[str, Trace], confidence: float, repeats: int) -> None:
    if not traces:
        raise ConfigError("is empty", field="traces", fix="give at least one trace by name")
    if not 0.0 < confidence < 1.0:
        raise ConfigError("must lie between 0 and 1", field="confidence", value=confidence, fix="give 0.99")
    if repeats < 2:
        raise ConfigError("must be at least 2, or nothing is known about chance", field="repeats", value=repeats)


def _check_evidence(traces: Mapping[str, Trace], space: Space, slo: Slo) -> None:
    """Refuse a quantile that a profile or a trace cannot show."""
    for offer in space.everything:
        offer.profile.check_quantile(slo.quantile)
    least = math.ceil(TAIL_REQUESTS / (1.0 - slo.quantile) - 1e-9)
    for name, trace in traces.items():
        if len(trace) < least:
            raise DataError(
                f"has {len(trace)} requests, too few to see p{slo.quantile * 100:g}",
                field=name,
                fix=f"fly at least {least}, or promise a lower quantile",
            )


def _check_possible(course: Course) -> None:
    fastest_s = min(
        float(table[1:].min()) * min(slower for (*of, _), slower in course.slowdowns.items() if tuple(of) == key)
        for key, table in course.tables.items()
    )
    if course.slo.latency_s < fastest_s:
        raise ConfigError(
            f"cannot be kept by any deployment: the shortest service time in the profile is {format_duration(fastest_s)}",
            field="slo",
            value=str(course.slo),
            fix=f"allow more than {format_duration(fastest_s)}, or make the model faster first",
        )


def _check_troubles(course: Course, space: Space, seeds: Seeds) -> None:
    """Refuse a scenario that cannot befall even the largest deployment."""
    largest = max(space.deployments(), key=lambda each: (each.pattern != SERVERLESS, each.replicas))
    for trouble in course.troubles:
        trouble.strike(Day.calm(next(iter(course.traces.values())), course.system(largest, apart=True)), seeds)


def _alone_s(course: Course) -> float:
    """The promised quantile of the service alone where it is shortest: no number of replicas is faster."""
    return min(
        float(np.quantile(table[1:], course.slo.quantile, axis=1).min())
        * min(slower for (*of, _), slower in course.slowdowns.items() if tuple(of) == key)
        for key, table in course.tables.items()
    )


def _judge(
    slo: Slo,
    flown: tuple[Evaluation, ...],
    tried: tuple[Evaluation, ...],
    confidence: float,
    possible: int,
    alone_s: float,
) -> Verdict:
    if not tried:
        return _no_go(slo, min(flown, key=lambda each: each.speed), possible, alone_s)
    last = tried[-1]
    where = _listed(replay.trace for replay in last.replays)
    evidence = {**last.to_dict(slo.quantile), "confidence": confidence}
    if is_sure(last, slo):
        deployment = last.deployment
        what = f"{deployment} on {deployment.hardware} at ${deployment.usd_per_hour:.4g} an hour"
        return Verdict(
            "go", (f"{what}: {format_share(confidence)} sure that {slo} on a day like {where}.",), (), evidence
        )
    reason = (
        f"{len(tried)} of {possible} deployments keep {slo} on {where} in one run, "
        f"but over repeated runs none is {format_share(confidence)} sure to."
    )
    return Verdict(
        "inconclusive", (reason,), ("more replicas than were tried", "a longer bound", "a lower confidence"), evidence
    )


def _doubt(space: Space, chosen: Deployment, verdict: Verdict) -> Verdict:
    """A plan is no surer than the measurement it rests on, and says where that was made."""
    offer = space.offer_of(chosen)
    profile = offer.profile
    if profile.verdict.outcome != "go":
        return Verdict(
            "inconclusive", (*verdict.reasons, *profile.doubts), profile.verdict.would_change, verdict.evidence
        )
    where = {
        "taken": f"The service times are those of {profile.hardware.cpu}, taken as they are for {chosen.hardware}: measure "
        "there before buying.",
        "projected": f"The service times are projected to {chosen.hardware}, and taken {profile.band:.3g} times as long: measure "
        "there before buying.",
    }.get(offer.basis)
    told = (*verdict.reasons, *([where] if where else []), *space.assumed.told(chosen))
    return Verdict("go", told, verdict.would_change, verdict.evidence)


def _told(verdict: Verdict, left_out: tuple[LeftOut, ...]) -> Verdict:
    missing = tuple(f"{each.hardware} is not in the plan: {each.reason}." for each in left_out)
    return Verdict(verdict.outcome, (*verdict.reasons, *missing), verdict.would_change, verdict.evidence)


def _no_go(slo: Slo, nearest: Evaluation, possible: int, alone_s: float) -> Verdict:
    worst, deployment = nearest.worst, nearest.deployment
    grows = "" if worst.drains else ", where the queue only grows"
    reached = (
        f"reaches a {_named(slo)} of {format_duration(worst.latency_s)}"
        if math.isfinite(worst.latency_s)
        else "leaves too many unanswered"
    )
    reason = (
        f"None of {possible} deployments keeps {slo}: the fastest that was flown, {deployment} on {deployment.hardware}, "
        f"{reached} on {worst.trace}{grows}."
    )
    reasons, changes = [reason], ["a faster variant"]
    if slo.latency_s < alone_s:
        reasons.append(
            f"Its service alone has a {_named(slo)} of {format_duration(alone_s)}, without any wait: no number of replicas helps."
        )
    else:
        changes.insert(0, "more replicas than were tried")
    if math.isfinite(worst.latency_s):
        changes.append(f"a bound above {format_duration(worst.latency_s)}")
    return Verdict("no-go", tuple(reasons), tuple(changes), nearest.to_dict(slo.quantile))


def _named(slo: Slo) -> str:
    return f"p{slo.quantile * 100:g}"


def _listed(names: Iterable[str]) -> str:
    """Write names as people list them."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
