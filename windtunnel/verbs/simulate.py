"""`windtunnel simulate`: traffic through a deployment, in the tunnel."""

from __future__ import annotations

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
    from windtunnel.simulate.scenarios.rehearsal import Rehearsal
    from windtunnel.simulate.system import System
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
    if mitigate and not scenario:
        raise ConfigError("mends a worst day, and there is none", field="--mitigate", fix="give --scenario too")
    for option, given in (("--runs", runs), ("--workers", workers)):
        if given is not None and not scenario:
            raise ConfigError(
                "is for the runs of a worst day, and there is none", field=option, fix="give --scenario too"
            )
    if scenario and traffic.population is not None:
        raise ConfigError("changes a trace, and users who wait for their answers make none", field="--scenario",
                          value=scenario, fix="give a trace, or other --arrivals")  # fmt: skip
    if scenario and traffic.trace is None:
        raise ConfigError("changes a trace, and these arrivals are never in memory together", field="--scenario",
                          value=scenario, fix="ask for fewer --requests")  # fmt: skip
    service = service.extended(serving.largest()) if extrapolate else service
    system = serving.build(service, apart=bool(scenario))
    serving.check(system, traffic, strikes=bool(scenario))
    inputs = {"traffic": traffic.digest(), "service": service.digest()}
    parameters = {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in vars(serving).items()},
        "scenario": scenario, "mitigate": mitigate, "runs": runs, "slo": slo, "theory": theory, "usd_per_hour": usd_per_hour,
        "extrapolate": extrapolate,
    }  # fmt: skip
    make = partial(
        _simulate, traffic=traffic, service=service, system=system, scenario=scenario, mitigate=mitigate, promise=promise, theory=theory,
        runs=runs, workers=workers, usd_per_hour=usd_per_hour, seeds=Seeds(seed), progress=progress,
    )  # fmt: skip
    return run_alone("simulate", out, parameters, inputs, make, seed=seed, progress=progress)


def check_scenario(scenario: str) -> None:
    """Refuse a scenario that is not known, or settings that it refuses."""
    from windtunnel.simulate.scenarios import read_scenarios

    read_scenarios(scenario)


def _simulate(
    work: Path,
    *,
    traffic: Traffic,
    service: Service,
    system: System,
    scenario: str,
    mitigate: bool,
    promise: Slo | None,
    theory: bool,
    runs: int | None,
    workers: Workers | None,
    usd_per_hour: float | None,
    seeds: Seeds,
    progress: Progress,
) -> tuple[dict[str, Any], Section, Verdict]:
    import time
    from dataclasses import replace
    from typing import cast

    from windtunnel.simulate.compiling import said
    from windtunnel.simulate.flight_course import FlightCourse
    from windtunnel.simulate.flight_section import draw_flight
    from windtunnel.simulate.in_time import in_time
    from windtunnel.simulate.overload import Overload
    from windtunnel.simulate.theory import Theory
    from windtunnel.verdict import Verdict

    for sentence in traffic.said:
        progress.say(f"  {sentence}")
    clock = time.perf_counter()
    rehearsal = None
    with said(progress.say):
        if scenario:
            rehearsal = _rehearse(
                traffic, system, scenario, promise, seeds, progress, mitigate=mitigate, runs=runs, workers=workers,
                usd_per_hour=usd_per_hour,
            )  # fmt: skip
            flight = rehearsal.flight
        else:
            flight = _fly(traffic, system, promise, seeds)
    wall_s = time.perf_counter() - clock
    course = FlightCourse.of(flight, system, usd_per_hour)
    if flight.log is not None:
        flight.log.to_frame().write_parquet(work / "requests.parquet")
    course.table.write_parquet(work / "timeline.parquet")
    result = _result(flight, course, usd_per_hour, wall_s) | {
        "extrapolated": service.extrapolated,
        "warnings": list(traffic.said),
    }
    classes = {} if scenario else _classes(traffic, service, flight)
    result |= {f"by_{what}": [each.to_dict() for each in found] for what, found in classes.items()}
    share = in_time(flight) if promise is not None else None
    if share is not None:
        result |= share.to_dict("in_time")
        result["goodput_per_s"] = flight.good / flight.summary.seconds_simulated
    known = theory_of(traffic, service, system, scenario) if theory else None
    if known is not None:
        result["theory"] = known.to_dict()
    overload = Overload.of(flight, system, _shares(traffic, service))
    section = draw_flight(
        flight,
        system,
        traffic.name,
        course=course,
        theory=known if isinstance(known, Theory) else None,
        usd=result["usd"],
        classes=classes,
        overload=overload,
        notes=traffic.said,
    )
    changes = overload.ways_out() if overload else ()
    if rehearsal is not None:
        result |= {"good_within_s": rehearsal.bound_s, "scenarios": [each.to_dict() for each in rehearsal.days]}
        section, verdict = _draw_worst(section, rehearsal)
        changes = (*verdict.would_change, *changes)
    elif promise is not None and share is not None:
        section, more = _judged(section, promise, share, system)
        changes = changes or more
    section = _doubted(section, service)
    unknown = f"No closed form stands beside it: {known.reason}." if known and not isinstance(known, Theory) else ""
    section = replace(section, sentences=(*section.sentences, *filter(None, [unknown, traffic.left_out])))
    outcome = cast("Outcome", section.outcome)
    return result, section, Verdict(outcome, section.sentences, (*changes, *service.would_change))


def _judged(section: Section, promise: Slo, share: Interval, system: System) -> tuple[Section, tuple[str, ...]]:
    """The section with a word on the promise, and what would keep one that is not surely kept."""
    from dataclasses import replace

    from windtunnel.quantity import format_duration, format_share

    bound = format_duration(promise.latency_s)
    low, high = (format_share(each) for each in (share.low, share.high))
    told = f"{format_share(share.value)} [{low} – {high}] of all requests are answered within {bound}: {promise} is"
    fastest_s = float(system.by_group[:, :, 1].min())
    if promise.latency_s < fastest_s:
        section = replace(section, outcome="no-go", sentences=(*section.sentences, f"{told} broken."))
        return section, (f"a bound above {format_duration(fastest_s)}: no request is served faster by anything here",)
    if share.low >= promise.quantile:
        return replace(section, sentences=(*section.sentences, f"{told} kept.")), ()
    if share.high < promise.quantile:
        section = replace(section, outcome="no-go", sentences=(*section.sentences, f"{told} broken."))
        return section, ("more replicas, other batches, or a longer bound: `windtunnel plan` finds which",)
    word = "kept" if share.value >= promise.quantile else "broken"
    outcome = "inconclusive" if section.outcome == "go" else section.outcome
    section = replace(
        section, outcome=outcome, sentences=(*section.sentences, f"{told} {word} in this run, not surely.")
    )
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
    from dataclasses import replace

    if not service.doubts:
        return section
    outcome = "inconclusive" if section.outcome == "go" else section.outcome
    return replace(section, outcome=outcome, sentences=(*section.sentences, *service.doubts))


def _fly(traffic: Traffic, system: System, promise: Slo | None, seeds: Seeds) -> Flight:
    from windtunnel.simulate.flight import fly

    most = HELD if "size" in traffic.columns or "priority" in traffic.columns else LOGGED
    logged = (traffic.trace is not None and len(traffic.trace) <= most) or (
        traffic.population is not None and traffic.requests <= LOGGED
    )
    return fly(system, traffic.flown, seeds, log=logged, slo_s=promise.latency_s if promise else float("inf"))


def _rehearse(
    traffic: Traffic,
    system: System,
    scenario: str,
    promise: Slo | None,
    seeds: Seeds,
    progress: Progress,
    *,
    mitigate: bool,
    runs: int | None,
    workers: Workers | None,
    usd_per_hour: float | None,
) -> Rehearsal:
    """Fly the calm day and the worst ones."""
    from windtunnel.simulate.scenarios import read_scenarios
    from windtunnel.simulate.scenarios.rehearsal import RUNS, rehearse_worst_days

    assert traffic.trace is not None
    return rehearse_worst_days(
        traffic.trace, system, read_scenarios(scenario), seeds, slo_s=promise.latency_s if promise else None,
        mitigate=mitigate, runs=RUNS if runs is None else runs, usd_per_hour=usd_per_hour, log=len(traffic.trace) <= LOGGED,
        workers=workers, say=progress.say,
    )  # fmt: skip


def _draw_worst(section: Section, rehearsal: Rehearsal) -> tuple[Section, Verdict]:
    """The worst days first, then the figures of the last; no-go where the system does not recover, and no word where runs disagree."""
    from dataclasses import replace

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


def _result(flight: Flight, course: FlightCourse, usd_per_hour: float | None, wall_s: float) -> dict[str, Any]:
    from dataclasses import replace

    usd = None if usd_per_hour is None else usd_per_hour * course.replica_s / 3600.0
    return {
        **replace(flight.summary, usd=usd).to_dict(), "wall_s": wall_s, "stable": flight.drift_per_s == 0.0,
        "drift_per_s": flight.drift_per_s, "wasted": flight.wasted, "overflowed": flight.overflowed,
        "replicas_mean": course.replicas_mean, "replicas_peak": course.replicas_peak,
        **({"loads": flight.loads, "misses": flight.misses, "parts": flight.parts, "loading_s": flight.loading_s} if flight.parts else {}),
    }  # fmt: skip


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
