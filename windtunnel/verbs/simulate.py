"""`windtunnel simulate`: traffic through a deployment, in the tunnel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError, naming
from windtunnel.progress import SILENT, Progress
from windtunnel.seeds import Seeds

from .alone import Done, run_alone
from .theory import theory_of
from .traffic import HELD

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.deployment import Slo
    from windtunnel.fanout import Workers
    from windtunnel.report.section import Section
    from windtunnel.simulate.by_class import ClassFigures
    from windtunnel.simulate.flight import Flight
    from windtunnel.simulate.flight_course import FlightCourse
    from windtunnel.simulate.overload import Overload
    from windtunnel.simulate.scenarios.rehearsal import Rehearsal
    from windtunnel.simulate.system import System
    from windtunnel.simulate.theory import NoTheory, Theory
    from windtunnel.stats import Interval
    from windtunnel.verdict import Outcome, Verdict

    from .service import Service
    from .serving import Serving
    from .traffic import Traffic

LOGGED = 2_000_000
"""Flights of up to so many requests of a trace keep a row for each (100 MB)."""


def simulate(
    traffic: Traffic,
    service: Service,
    serving: Serving,
    *,
    scenario: str = "",
    mitigate: bool = False,
    runs: int | None = None,
    workers: Workers | None = None,
    slo: str = "",
    theory: bool = False,
    extrapolate: bool = False,
    usd_per_hour: float | None = None,
    seed: int = 1,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Done:
    """Fly traffic through a deployment.

    Args:
        traffic: what comes.
        service: how long batches take, measured or by a law.
        serving: how requests are served and asked for.
        scenario: what makes the day worse: phrases with commas between them; see `windtunnel.simulate.SCENARIOS`. The figures
            are those of the worst day, and each scenario is compared with the calm day.
        mitigate: whether it is tried what would have helped.
        runs: lucks under which each worst day is flown; as many as `rehearse_worst_days` takes where None.
        workers: who flies all but the first of them; this process where None.
        slo: a promise; answers within its bound count as good.
        theory: whether the closed form is told, where one applies.
        extrapolate: whether batches that were never measured are guessed; the verdict is inconclusive then, at best.
        usd_per_hour: what a replica costs; no cost is told where None.
        seed: of all chance.
        out: the run folder.
        progress: a line at the start and at the end.
    """
    from windtunnel.deployment import Slo

    check_scenario(scenario)
    with naming(field="--slo"):
        promise = Slo.parse(slo) if slo else None
    if scenario:
        _check_worsens(traffic, scenario)
    else:
        _check_calm(mitigate=mitigate, runs=runs, workers=workers)
    service = service.extended(serving.largest()) if extrapolate else service
    system = serving.build(service, apart=bool(scenario))
    serving.check(system, traffic, strikes=bool(scenario))
    inputs = {"traffic": traffic.digest(), "service": service.digest()}
    parameters = {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in vars(serving).items()},
        "scenario": scenario, "mitigate": mitigate, "runs": runs, "slo": slo, "theory": theory, "usd_per_hour": usd_per_hour,
        "extrapolate": extrapolate,
    }  # fmt: skip
    asked = _Asked(
        traffic, service, system, scenario, mitigate, runs, workers, promise, theory, usd_per_hour, Seeds(seed)
    )
    make = partial(_simulate, asked=asked, progress=progress)
    return run_alone("simulate", out, parameters, inputs, make, seed=seed, progress=progress)


@dataclass(frozen=True)
class _Asked:
    """What is flown, and what is asked about it; as in `simulate`."""

    traffic: Traffic
    service: Service
    system: System
    scenario: str
    mitigate: bool
    runs: int | None
    workers: Workers | None
    promise: Slo | None
    theory: bool
    usd_per_hour: float | None
    seeds: Seeds


@dataclass(frozen=True)
class _Flown:
    """What became of it.

    Args:
        flight: the one that is told of: with a scenario the first run of the last worst day.
        rehearsal: of the worst days; None where there is none.
        course: the flight over time.
        classes: by what tells them apart, the figures of each class.
        share: of the requests that got a good answer; None where nothing was promised.
        known: the closed form or why there is none; None where nobody asked.
        overload: what came that was not worked off.
        wall_s: what flying took.
    """

    flight: Flight
    rehearsal: Rehearsal | None
    course: FlightCourse
    classes: dict[str, tuple[ClassFigures, ...]]
    share: Interval | None
    known: Theory | NoTheory | None
    overload: Overload | None
    wall_s: float


def check_scenario(scenario: str) -> None:
    """Refuse a scenario that is not known, or settings that it refuses."""
    from windtunnel.simulate.scenarios import read_scenarios

    read_scenarios(scenario)


def _check_calm(**given: object) -> None:
    """Refuse what is for worst days where there is none."""
    if given.pop("mitigate"):
        raise ConfigError("mends a worst day, and there is none", field="--mitigate", fix="give --scenario too")
    for option, value in given.items():
        if value is not None:
            raise ConfigError(
                "is for the runs of a worst day, and there is none", field=f"--{option}", fix="give --scenario too"
            )


def _check_worsens(traffic: Traffic, scenario: str) -> None:
    """Refuse traffic that no scenario can make worse."""
    if traffic.population is not None:
        raise ConfigError("changes a trace, and users who wait for their answers make none", field="--scenario",
                          value=scenario, fix="give a trace, or other --arrivals")  # fmt: skip
    if traffic.trace is None:
        raise ConfigError("changes a trace, and these arrivals are never in memory together", field="--scenario",
                          value=scenario, fix="ask for fewer --requests")  # fmt: skip


def _simulate(work: Path, *, asked: _Asked, progress: Progress) -> tuple[dict[str, Any], Section, Verdict]:
    for sentence in asked.traffic.said:
        progress.say(f"  {sentence}")
    flown = _flown(asked, progress)
    if flown.flight.log is not None:
        flown.flight.log.to_frame().write_parquet(work / "requests.parquet")
    flown.course.table.write_parquet(work / "timeline.parquet")
    result = _result(asked, flown)
    return result, *_told(asked, flown, result["usd"])


def _flown(asked: _Asked, progress: Progress) -> _Flown:
    """Fly it, and work out what is told of it."""
    import time

    from windtunnel.simulate.compiling import said
    from windtunnel.simulate.flight_course import FlightCourse
    from windtunnel.simulate.in_time import in_time
    from windtunnel.simulate.overload import Overload

    traffic, service, system = asked.traffic, asked.service, asked.system
    clock = time.perf_counter()
    with said(progress.say):
        rehearsal = _rehearse(asked, progress) if asked.scenario else None
        flight = rehearsal.flight if rehearsal else _fly(traffic, system, asked.promise, asked.seeds)
    wall_s = time.perf_counter() - clock
    return _Flown(
        flight, rehearsal, FlightCourse.of(flight, system, asked.usd_per_hour),
        {} if rehearsal else _classes(traffic, service, flight), in_time(flight) if asked.promise else None,
        theory_of(traffic, service, system, asked.scenario) if asked.theory else None,
        Overload.of(flight, system, _shares(traffic, service)), wall_s,
    )  # fmt: skip


def _told(asked: _Asked, flown: _Flown, usd: float | None) -> tuple[Section, Verdict]:
    """The section, and the decision."""
    from typing import cast

    from windtunnel.simulate.flight_section import draw_flight
    from windtunnel.simulate.theory import Theory
    from windtunnel.verdict import Verdict

    traffic, known = asked.traffic, flown.known
    section = draw_flight(
        flown.flight, asked.system, traffic.name, course=flown.course, theory=known if isinstance(known, Theory) else None,
        usd=usd, classes=flown.classes, overload=flown.overload, notes=traffic.said,
    )  # fmt: skip
    changes = flown.overload.ways_out() if flown.overload else ()
    if flown.rehearsal is not None:
        section, worst = _draw_worst(section, flown.rehearsal)
        changes = (*worst.would_change, *changes)
    elif asked.promise is not None and flown.share is not None:
        section, more = judged(section, asked.promise, flown.share, float(asked.system.by_group[:, :, 1:].min()))
        changes = changes or more
    unknown = f"No closed form stands beside it: {known.reason}." if known and not isinstance(known, Theory) else ""
    section = _with_sentences(_doubted(section, asked.service), *filter(None, [unknown, traffic.left_out]))
    outcome = cast("Outcome", section.outcome)
    return section, Verdict(outcome, section.sentences, (*changes, *asked.service.would_change))


def _with_sentences(section: Section, *more: str, outcome: str = "") -> Section:
    """The section with more sentences at its end, and another outcome where one is given."""
    return replace(section, outcome=outcome or section.outcome, sentences=(*section.sentences, *more))


def _unsure(section: Section) -> str:
    """The outcome of a section of which something is not sure."""
    return "inconclusive" if section.outcome == "go" else section.outcome


def judged(section: Section, promise: Slo, share: Interval, fastest_s: float = 0.0) -> tuple[Section, tuple[str, ...]]:
    """The section with a word on the promise, and what would keep one that is not surely kept.

    Args:
        section: of a flight, or of a live run.
        promise: what was promised.
        share: of the requests that were answered within its bound.
        fastest_s: no request is ever served faster.
    """
    from windtunnel.quantity import format_duration, format_share

    bound = format_duration(promise.latency_s)
    low, high = (format_share(each) for each in (share.low, share.high))
    told = f"{format_share(share.value)} [{low} – {high}] of all requests are answered within {bound}: {promise} is"
    if promise.latency_s < fastest_s:
        way_out = f"a bound above {format_duration(fastest_s)}: no request is served faster by anything here"
        return _with_sentences(section, f"{told} broken.", outcome="no-go"), (way_out,)
    if share.low >= promise.quantile:
        return _with_sentences(section, f"{told} kept."), ()
    if share.high < promise.quantile:
        way_out = "more replicas, other batches, or a longer bound: `windtunnel plan` finds which"
        return _with_sentences(section, f"{told} broken.", outcome="no-go"), (way_out,)
    word = "kept" if share.value >= promise.quantile else "broken"
    section = _with_sentences(section, f"{told} {word} in this run, not surely.", outcome=_unsure(section))
    return section, ("more requests, which narrow the interval", "`windtunnel plan`, which finds what surely keeps it")


def _shares(traffic: Traffic, service: Service) -> list[float]:
    """Of the size classes among the requests."""
    import numpy as np

    if len(service.names) == 1:
        return [1.0]
    counts = np.bincount(traffic.columns["size"], minlength=len(service.names))
    return list(counts / counts.sum())


def _doubted(section: Section, service: Service) -> Section:
    """A flight is no surer than the measurements it rests on."""
    if not service.doubts:
        return section
    return _with_sentences(section, *service.doubts, outcome=_unsure(section))


def _fly(traffic: Traffic, system: System, promise: Slo | None, seeds: Seeds) -> Flight:
    from windtunnel.simulate.flight import fly

    most = HELD if "size" in traffic.columns or "priority" in traffic.columns else LOGGED
    logged = (traffic.trace is not None and len(traffic.trace) <= most) or (
        traffic.population is not None and traffic.requests <= LOGGED
    )
    return fly(system, traffic.flown, seeds, log=logged, slo_s=promise.latency_s if promise else float("inf"))


def _rehearse(asked: _Asked, progress: Progress) -> Rehearsal:
    """Fly the calm day and the worst ones."""
    from windtunnel.simulate.scenarios import read_scenarios
    from windtunnel.simulate.scenarios.rehearsal import RUNS, rehearse_worst_days

    trace, promise = asked.traffic.trace, asked.promise
    assert trace is not None
    return rehearse_worst_days(
        trace, asked.system, read_scenarios(asked.scenario), asked.seeds, slo_s=promise.latency_s if promise else None,
        mitigate=asked.mitigate, runs=RUNS if asked.runs is None else asked.runs, usd_per_hour=asked.usd_per_hour,
        log=len(trace) <= LOGGED, workers=asked.workers, say=progress.say,
    )  # fmt: skip


def _draw_worst(section: Section, rehearsal: Rehearsal) -> tuple[Section, Verdict]:
    """The worst days first, then the figures of the last; no-go where the system does not recover, and no word where runs disagree."""
    from windtunnel.simulate.scenarios import draw
    from windtunnel.verdict import Verdict

    lost = [each for each in rehearsal.days if not each.harm.recovered]
    helped = (f"{each}." for each in draw.helped(rehearsal.days))
    outcome = rehearsal.outcome
    # that its queue grows is said of the worst day above
    flown = f"the first run of {rehearsal.days[-1].name}"
    sentences = (*draw.sentences(rehearsal), *helped, f"In {flown}, {section.sentences[0]}")
    tables = (replace(each, caption=f"{each.caption}: {flown}") for each in section.tables)
    drawn = replace(
        section, outcome=outcome, sentences=sentences, tables=(*draw.tables(rehearsal), *tables),
        figures=draw.figures(rehearsal), notes=(*draw.notes(rehearsal), *section.notes),
    )  # fmt: skip
    return drawn, Verdict(outcome, sentences, draw.helped(lost))


def _result(asked: _Asked, flown: _Flown) -> dict[str, Any]:
    """Everything as JSON values."""
    flight, course = flown.flight, flown.course
    usd = None if asked.usd_per_hour is None else asked.usd_per_hour * course.replica_s / 3600.0
    result = {
        **replace(flight.summary, usd=usd).to_dict(), "wall_s": flown.wall_s, "stable": flight.drift_per_s == 0.0,
        "drift_per_s": flight.drift_per_s, "wasted": flight.wasted, "overflowed": flight.overflowed,
        "replicas_mean": course.replicas_mean, "replicas_peak": course.replicas_peak,
        "extrapolated": asked.service.extrapolated, "warnings": list(asked.traffic.said),
        **{f"by_{what}": [each.to_dict() for each in found] for what, found in flown.classes.items()},
    }  # fmt: skip
    if flight.parts:
        result |= {name: getattr(flight, name) for name in ("loads", "misses", "parts", "loading_s")}
    if flown.share is not None:
        result |= flown.share.to_dict("in_time")
        result["goodput_per_s"] = flight.good / flight.summary.seconds_simulated
    if flown.known is not None:
        result["theory"] = flown.known.to_dict()
    if flown.rehearsal is not None:
        days = [each.to_dict() for each in flown.rehearsal.days]
        result |= {"good_within_s": flown.rehearsal.bound_s, "scenarios": days}
    return result


def _classes(traffic: Traffic, service: Service, flight: Flight) -> dict[str, tuple[ClassFigures, ...]]:
    """The figures of each size class and of each class of priority, where there are several and a log."""
    from windtunnel.simulate.by_class import by_class

    if flight.log is None:
        return {}
    found = {}
    if len(service.names) > 1:
        found["size"] = by_class(flight.log, traffic.columns["size"], service.names)
    if "priority" in traffic.columns:
        column = traffic.columns["priority"]
        names = traffic.priorities or tuple(str(each) for each in range(int(column.max()) + 1))
        found["priority"] = by_class(flight.log, column, names)
    return {what: each for what, each in found.items() if len(each) > 1}
