"""`windtunnel simulate`: traffic through a deployment, in the tunnel."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_bytes, digest_value
from windtunnel.errors import ConfigError, naming
from windtunnel.progress import SILENT, Progress
from windtunnel.report.section import Section, Table
from windtunnel.seeds import Seeds

from .alone import Done, run_alone

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.deployment import Slo
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.simulate.arrivals import ServiceLaw
    from windtunnel.simulate.flight import Flight
    from windtunnel.simulate.scenarios.rehearsal import Rehearsal
    from windtunnel.simulate.system import System
    from windtunnel.simulate.theory import NoTheory, Theory
    from windtunnel.trace import Trace
    from windtunnel.verdict import Outcome, Verdict

LAW_POINTS = 16_384
"""Of how many points a law of service times is made: an exponential's variance is then right to 0.01%."""

LOGGED = 2_000_000
"""Flights of up to so many requests of a trace keep a row for each (100 MB)."""


@dataclass(frozen=True)
class Serving:
    """How requests are served and asked for, as it is spelled on the command line.

    Args:
        replicas: servers; with the ideal batcher behind one queue, else each with its own behind a router.
        max_batch: the largest batch.
        max_wait_s: how long a batch waits for company.
        batcher: a phrase: its name, and what is not usual about it.
        router: a phrase.
        scaler: a phrase; empty where the number of replicas stays.
        least: replicas, never fewer, where they scale.
        most: replicas, never more, where they scale.
        cold_start_s: from the decision for a replica until it serves.
        client: settings of `Client`.
        admission: settings of `Admission`.
        proxy: settings of `Proxy`; empty where there is none.
        faults: phrases.
    """

    replicas: int = 1
    max_batch: int = 1
    max_wait_s: float = 0.0
    batcher: str = "ideal"
    router: str = "power-of-two"
    scaler: str = ""
    least: int = 1
    most: int = 0
    cold_start_s: float = 0.0
    client: str = ""
    admission: str = ""
    proxy: str = ""
    faults: tuple[str, ...] = field(default=())

    def build(self, service: LatencyProfile | ServiceLaw, *, apart: bool = False) -> System:
        """The system that is flown.

        Args:
            service: how long batches take.
            apart: whether each replica has a queue of its own in any case, so that things can befall one of them.

        Raises:
            ConfigError: what cannot be read, or is refused; the message names the option.
            DataError: batches that were never profiled.
        """
        from windtunnel.simulate.admission import Admission
        from windtunnel.simulate.batching import BATCHERS, IdealBatching
        from windtunnel.simulate.client import Client
        from windtunnel.simulate.fault import FAULTS
        from windtunnel.simulate.phrase import build_from, read_phrase
        from windtunnel.simulate.proxy import Proxy
        from windtunnel.simulate.routing import ROUTERS
        from windtunnel.simulate.system import System

        usual = {"max_batch": self.max_batch, "max_wait_s": self.max_wait_s}
        batcher = read_phrase(self.batcher, BATCHERS, field="--batcher", usual=usual)
        largest = int(max(batcher.padded(batcher.max_batch)))
        with naming(field="--max-batch"):
            table = service_table(service, largest, self._most)
        shared = isinstance(batcher, IdealBatching) and not (self.scaler or self.faults or apart)
        return System(
            table,
            stations=1 if shared else self.replicas,
            executors=self.replicas if shared else batcher.executors or 1,
            batcher=batcher,
            router=read_phrase(self.router, ROUTERS, field="--router"),
            scaling=self._scaling(),
            client=build_from(self.client, Client, field="--client"),
            admission=build_from(self.admission, Admission, field="--admission"),
            proxy=build_from(self.proxy, Proxy, field="--proxy") if self.proxy else None,
            faults=tuple(read_phrase(each, FAULTS, field="--fault") for each in self.faults),
        )

    def _scaling(self) -> Any:
        from windtunnel.simulate.phrase import read_phrase
        from windtunnel.simulate.scaling import SCALERS
        from windtunnel.simulate.system import Scaling

        if not self.scaler:
            return None
        scaler = read_phrase(self.scaler, SCALERS, field="--scaler")
        with naming(field="--least-replicas and --most-replicas"):
            return Scaling(scaler, self.least, self._most, self.cold_start_s)

    @property
    def _most(self) -> int:
        """Replicas that there may ever be."""
        return (self.most or max(self.replicas, self.least)) if self.scaler else self.replicas


def read_service(profile: Path | None, law: str) -> LatencyProfile | ServiceLaw:
    """Read how long batches take: a measured profile, or a law such as `affine(base=1ms, per_item=0.4ms)`.

    Raises:
        ConfigError: neither or both given, or no such law.
        DataError: no profile.
    """
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.simulate.arrivals import parse_service

    if (profile is None) == (not law):
        raise ConfigError(
            "need exactly one",
            field="--profile and --service",
            fix="give what benchmark wrote, or exponential(mean=1ms)",
        )
    if profile is not None:
        return LatencyProfile.load(profile)
    with naming(field="--service"):
        return parse_service(law)


def service_table(service: LatencyProfile | ServiceLaw, largest: int, replicas: int) -> Any:
    """Service times by size of batch; those of a profile slowed by how many replicas share a machine like the measured one."""
    from windtunnel.simulate.arrivals import ServiceLaw
    from windtunnel.simulate.planning.offer import cautious_table, slowdown_of

    if isinstance(service, ServiceLaw):
        return service.table(largest, points=LAW_POINTS)
    return cautious_table(service, largest) * slowdown_of(service, replicas)


@dataclass(frozen=True)
class Traffic:
    """What comes: a trace, or so many arrivals of a generator, which are never in memory together.

    Args:
        name: what it is.
        trace: the arrivals; None where they are generated.
        arrivals: a phrase of the generator.
        requests: how many are generated.
        seed: of the generator.
    """

    name: str
    trace: Trace | None = None
    arrivals: str = ""
    requests: int = 0
    seed: int = 0

    def digest(self) -> str:
        """Of everything that comes."""
        if self.trace is None:
            return digest_value([self.arrivals, self.requests, self.seed])
        columns = {name: digest_bytes(each.tobytes()) for name, each in sorted(self.trace.columns.items())}
        return digest_value([self.trace.name, digest_bytes(self.trace.arrivals_s.tobytes()), columns])

    @property
    def flown(self) -> Any:
        """What `fly` takes."""
        from windtunnel.simulate import arrivals
        from windtunnel.simulate.flight import chunks_from

        if self.trace is not None:
            return self.trace
        return chunks_from(arrivals.parse(self.arrivals), self.requests, self.seed)  # type: ignore[arg-type]  # not a closed loop: that was refused


def simulate(
    traffic: Traffic,
    service: LatencyProfile | ServiceLaw,
    serving: Serving,
    *,
    scenario: str = "",
    mitigate: bool = False,
    slo: str = "",
    theory: bool = False,
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
        slo: a promise; answers within its bound count as good.
        theory: whether the closed form is told, where one applies.
        usd_per_hour: what a replica costs; no cost is told where None.
        seed: of all chance.
        out: the run folder.
        progress: a line at the start and at the end.
    """
    check_scenario(scenario)
    if mitigate and not scenario:
        raise ConfigError("mends a worst day, and there is none", field="--mitigate", fix="give --scenario too")
    if scenario and traffic.trace is None:
        raise ConfigError("changes a trace, and these arrivals are never in memory together", field="--scenario",
                          value=scenario, fix="ask for fewer --requests")  # fmt: skip
    system = serving.build(service, apart=bool(scenario))
    inputs = {"traffic": traffic.digest(), "service": _service_digest(service)}
    parameters = {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in vars(serving).items()},
        "scenario": scenario, "mitigate": mitigate, "slo": slo, "theory": theory, "usd_per_hour": usd_per_hour,
    }  # fmt: skip
    make = partial(
        _simulate, traffic=traffic, service=service, system=system, scenario=scenario, mitigate=mitigate, slo=slo, theory=theory,
        usd_per_hour=usd_per_hour, seeds=Seeds(seed), progress=progress,
    )  # fmt: skip
    return run_alone("simulate", out, parameters, inputs, make, seed=seed, progress=progress)


def check_scenario(scenario: str) -> None:
    """Refuse a scenario that is not known, or settings that it refuses."""
    from windtunnel.simulate.scenarios import read_scenarios

    read_scenarios(scenario)


def _service_digest(service: LatencyProfile | ServiceLaw) -> str:
    from windtunnel.simulate.arrivals import ServiceLaw

    return digest_value(repr(service)) if isinstance(service, ServiceLaw) else profile_digest(service)


def profile_digest(profile: LatencyProfile) -> str:
    """The digest of every measured service time, and of where it was measured."""
    head = [
        profile.sha256, profile.hardware.fingerprint, profile.batch_sizes, profile.parallel_efficiency, profile.name,
        profile.basis, profile.band, profile.threads, profile.rounds, profile.verdict.to_dict(),
    ]  # fmt: skip
    return digest_value([head, [digest_bytes(each.tobytes()) for each in profile.samples_s]])


def _simulate(
    work: Path,
    *,
    traffic: Traffic,
    service: LatencyProfile | ServiceLaw,
    system: System,
    scenario: str,
    mitigate: bool,
    slo: str,
    theory: bool,
    usd_per_hour: float | None,
    seeds: Seeds,
    progress: Progress,
) -> tuple[dict[str, Any], Section, Verdict]:
    import time
    from dataclasses import replace
    from typing import cast

    from windtunnel.deployment import Slo
    from windtunnel.quantity import format_duration
    from windtunnel.simulate.compiling import said
    from windtunnel.verdict import Verdict

    promise = Slo.parse(slo) if slo else None
    clock = time.perf_counter()
    rehearsal = None
    with said(progress.say):
        if scenario:
            rehearsal = _rehearse(traffic, system, scenario, promise, seeds, progress, mitigate=mitigate)
            flight = rehearsal.flight
        else:
            flight = _fly(traffic, system, promise, seeds)
    wall_s = time.perf_counter() - clock
    if flight.log is not None:
        flight.log.to_frame().write_parquet(work / "requests.parquet")
    flight.timeline().write_parquet(work / "timeline.parquet")
    result = _result(flight, usd_per_hour, wall_s)
    if promise is not None:
        result["in_time"] = flight.good / flight.summary.requests
        result["goodput_per_s"] = flight.good / flight.summary.seconds_simulated
    known = _theory(traffic, service, system, scenario) if theory else None
    if known is not None:
        result["theory"] = known.to_dict()
    section = _draw(flight, system, traffic.name, known)
    if rehearsal is not None:
        result |= {"good_within_s": rehearsal.bound_s, "scenarios": [each.to_dict() for each in rehearsal.days]}
        section, verdict = _draw_worst(section, rehearsal)
        section = _doubted(section, service)
        return result, section, replace(verdict, outcome=cast("Outcome", section.outcome), reasons=section.sentences)
    section = _doubted(section, service)
    if promise is not None:
        kept = result["in_time"] >= promise.quantile
        told = (
            f"{result['in_time']:.3%} of all requests are answered within {format_duration(promise.latency_s)}: "
            f"{promise} is {'kept' if kept else 'broken'} in this run."
        )
        outcome = section.outcome if kept else "no-go"
        section = replace(section, outcome=outcome, sentences=(*section.sentences, told))
    return result, section, Verdict(cast("Outcome", section.outcome), section.sentences)


def _doubted(section: Section, service: LatencyProfile | ServiceLaw) -> Section:
    """A flight is no surer than the measurement it rests on."""
    from dataclasses import replace

    from windtunnel.simulate.arrivals import ServiceLaw

    if isinstance(service, ServiceLaw) or service.verdict.outcome == "go":
        return section
    told = f"The profile of {service.variant} it rests on is not valid: {service.verdict.reasons[0]}"
    outcome = "inconclusive" if section.outcome == "go" else section.outcome
    return replace(section, outcome=outcome, sentences=(*section.sentences, told))


def _fly(traffic: Traffic, system: System, promise: Slo | None, seeds: Seeds) -> Flight:
    from windtunnel.simulate.flight import fly

    logged = traffic.trace is not None and len(traffic.trace) <= LOGGED
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
) -> Rehearsal:
    """Fly the calm day and the worst ones."""
    from windtunnel.simulate.scenarios import read_scenarios
    from windtunnel.simulate.scenarios.rehearsal import rehearse_worst_days

    assert traffic.trace is not None
    return rehearse_worst_days(
        traffic.trace, system, read_scenarios(scenario), seeds, slo_s=promise.latency_s if promise else None,
        mitigate=mitigate, say=progress.say,
    )  # fmt: skip


def _draw_worst(section: Section, rehearsal: Rehearsal) -> tuple[Section, Verdict]:
    """The worst days first, then the figures of the last; no-go where the system does not recover."""
    from dataclasses import replace

    from windtunnel.simulate.scenarios import draw
    from windtunnel.verdict import Verdict

    lost = [each for each in rehearsal.days if not each.harm.recovered]
    helped = (f"{each}." for each in draw.helped(rehearsal.days))
    outcome: Outcome = "no-go" if lost or rehearsal.flight.drift_per_s else "go"
    # that its queue grows is said of the worst day above
    sentences = (*draw.sentences(rehearsal), *helped, section.sentences[0])
    drawn = replace(
        section, outcome=outcome, sentences=sentences, tables=(*draw.tables(rehearsal), *section.tables),
        figures=draw.figures(rehearsal), notes=(*draw.notes(rehearsal), *section.notes),
    )  # fmt: skip
    return drawn, Verdict(outcome, sentences, draw.helped(lost))


def _result(flight: Flight, usd_per_hour: float | None, wall_s: float) -> dict[str, Any]:
    from dataclasses import replace

    usd = None if usd_per_hour is None else usd_per_hour * flight.summary.replica_s / 3600.0
    return {
        **replace(flight.summary, usd=usd).to_dict(), "wall_s": wall_s, "stable": flight.drift_per_s == 0.0,
        "drift_per_s": flight.drift_per_s, "wasted": flight.wasted, "overflowed": flight.overflowed,
    }  # fmt: skip


def _theory(traffic: Traffic, service: LatencyProfile | ServiceLaw, system: System, scenario: str) -> Theory | NoTheory:
    """The closed form of what was flown, or why there is none."""
    from windtunnel.simulate import arrivals
    from windtunnel.simulate.admission import Admission
    from windtunnel.simulate.arrivals import Poisson, ServiceLaw
    from windtunnel.simulate.batching import IdealBatching
    from windtunnel.simulate.client import Client
    from windtunnel.simulate.theory import NoTheory, closed_form

    if scenario:
        return NoTheory("a worst day is in no steady state")
    if not isinstance(service, ServiceLaw):
        return NoTheory("measured service times follow no law")
    if not isinstance(system.batcher, IdealBatching):
        return NoTheory("the closed forms are for batches that close when a server is idle")
    generator = arrivals.parse(traffic.arrivals) if traffic.arrivals else None
    rate = generator.rate_per_s if isinstance(generator, Poisson) else None
    there = {
        "retries or timeouts": system.client != Client(), "a proxy": system.proxy, "faults": system.faults,
        "scaling": system.scaling, "several queues": system.stations > 1, "caps": system.admission != Admission(),
    }  # fmt: skip
    means = [service.mean_s(batch) for batch in range(1, system.max_batch + 1)]
    return closed_form(
        rate, service.kind, means, {"deterministic": 0.0, "exponential": 1.0}.get(service.kind, service.cv),
        servers=system.executors, max_wait_s=system.batcher.max_wait_s,
        besides=[name for name, is_there in there.items() if is_there],
    )  # fmt: skip


def _draw(flight: Flight, system: System, name: str, theory: Theory | NoTheory | None) -> Section:
    from windtunnel.quantity import format_duration

    found = flight.summary
    servers = f"{system.executors} × one queue" if system.stations == 1 else f"{system.stations} replicas"
    batch, busy = found.mean_batch, found.utilization
    text = (
        f"{found.requests:,} requests of {name} in {format_duration(found.seconds_simulated)} through {servers}: "
        f"{found.completed:,} answered, mean batch {batch or 0.0:.3g}, utilization {busy or 0.0:.1%}"
    )
    sentences = [text]
    if flight.drift_per_s:
        sentences.append(
            f"The queue only grows: by {flight.drift_per_s:.3g} requests a second. What requests wait depends on how long "
            "this goes on; add replicas or larger batches."
        )
    return Section(
        "Simulate", "no-go" if flight.drift_per_s else "go", tuple(sentences), tuple(_tables(flight, theory)),
        (), ("Times are simulated: what (de)serialization and the network take comes on top.",),
    )  # fmt: skip


def _tables(flight: Flight, theory: Theory | NoTheory | None) -> list[Table]:
    from windtunnel.quantity import format_duration

    told = flight.summary.to_dict()
    rows = tuple(
        (name, *(_range_of(told[kind], name) for kind in ("latency", "wait")))
        for name in ("mean", "p50", "p90", "p99", "p999")
    )
    tables = [Table("Simulated, with 95% intervals", ("", "latency", "wait"), rows)]
    lost = {name: told[name] for name in ("shed", "timed_out", "failed", "left") if told[name]}
    if lost:
        share = tuple(
            (name.replace("_", " "), f"{count:,}", f"{count / told['requests']:.3%}") for name, count in lost.items()
        )
        tables.append(Table("Not answered", ("", "requests", "share"), share))
    if theory is not None:
        figures = theory.to_dict()
        row = (
            (figures["name"], format_duration(figures["wait_mean_s"]), format_duration(figures["latency_mean_s"]), figures["source"])
            if figures["name"] else ("none", "–", "–", figures["reason"])
        )  # fmt: skip
        tables.append(Table("Theory", ("queue", "mean wait", "mean latency", "source"), (row,)))
    return tables


def _range_of(spread: dict[str, Any], name: str) -> str:
    from windtunnel.quantity import format_duration

    value, low, high = (spread[f"{name}_s{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    shown = f" [{format_duration(low)} – {format_duration(high)}]" if low is not None else " [no interval]"
    return format_duration(value) + shown
