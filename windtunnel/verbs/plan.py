"""`windtunnel plan`: the cheapest deployment that keeps the promise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_value
from windtunnel.errors import ConfigError, naming
from windtunnel.progress import SILENT, Progress
from windtunnel.report.section import Section, Table
from windtunnel.seeds import Seeds

from .alone import Done, run_alone
from .service import profile_digest, widest_guess
from .simulate import LOGGED, check_scenario
from .traffic import HELD, Traffic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from windtunnel.fanout import Workers
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price
    from windtunnel.simulate import Patterns, Plan, Space
    from windtunnel.simulate.planning import Journal, LeftOut, Offer, Tuning
    from windtunnel.simulate.scenarios import Scenario
    from windtunnel.tariff import Edge, Serverless
    from windtunnel.trace import Trace
    from windtunnel.verdict import Verdict

SETTINGS = "batching"
"""The folder of a tuned run that holds what tells servers to batch so."""


@dataclass(frozen=True)
class Choices:
    """What a plan may choose from, and what it is asked about.

    Args:
        hardware: instance types; functions and devices to compare with.
        slo: the promise, such as `p99<=50ms`.
        replicas: numbers of replicas to try; what the load asks for where empty.
        max_batch: batch sizes to try; the measured ones where empty.
        max_wait_s: waits to try, in seconds.
        batcher: phrases of batchers to try.
        router: phrases of routers to try, for batchers whose replicas have a queue each.
        confidence: how sure the answer is to be.
        scenario: worse days that the promise must be kept on too, each by itself; phrases with commas between them.
        patterns: ways of running that may be the answer, names with commas between them; always-on alone where empty, since it
            alone rests on nothing but measurements. Functions and devices in `hardware` are compared with the answer all the same.
        assume: what is assumed of ways of running (`Patterns`), as settings.
        failures_per_hour: of any machine; what `assume` says, else zero, where None.
        tune_batching: whether the best batching of the fleet that is found is looked for.
    """

    hardware: tuple[str, ...]
    slo: str
    replicas: tuple[int, ...] = ()
    max_batch: tuple[int, ...] = ()
    max_wait_s: tuple[float, ...] = (0.0,)
    batcher: tuple[str, ...] = ("ideal",)
    router: tuple[str, ...] = ("power-of-two",)
    confidence: float = 0.99
    scenario: str = ""
    patterns: str = ""
    assume: str = ""
    failures_per_hour: float | None = None
    tune_batching: bool = False

    def check(self, profiles: Sequence[LatencyProfile]) -> None:
        """Refuse what cannot be planned, before any work; the message names the option."""
        from windtunnel.deployment import Slo
        from windtunnel.simulate.batching import BATCHERS
        from windtunnel.simulate.phrase import read_phrase
        from windtunnel.simulate.routing import ROUTERS

        with naming(field="--slo"):
            Slo.parse(self.slo)
        self.rented()
        self._check_assumed()
        check_scenario(self.scenario)
        for profile in profiles:
            with naming(field="--max-batch"):
                profile.service_table(max(self.max_batch, default=1), points=1)
        for text in self.batcher:
            read_phrase(text, BATCHERS, field="--batcher", usual={"max_batch": 1, "max_wait_s": 0.0})
        for text in self.router:
            read_phrase(text, ROUTERS, field="--router")
        if not 0.5 < self.confidence < 1.0:
            raise ConfigError(
                "must lie between 50% and 100%", field="--confidence", value=self.confidence, fix="write 99%"
            )

    def rented(self) -> tuple[list[Price], tuple[Serverless, ...], tuple[Edge, ...]]:
        """Machines to choose from, functions, and devices.

        Raises:
            ConfigError: nothing of that name, no machine, or a spot price, which is a way of running.
        """
        from windtunnel.tariff import Edge, Instance, Serverless, parse_tariff

        with naming(field="--hardware"):
            tariffs = [parse_tariff(text) for text in self.hardware]
            machines = [each.price for each in tariffs if isinstance(each, Instance) and not each.spot]
            functions = tuple(each for each in tariffs if isinstance(each, Serverless))
            devices = tuple(each for each in tariffs if isinstance(each, Edge))
            if len(machines) + len(functions) + len(devices) < len(tariffs) or not machines:
                raise ConfigError(
                    "needs instance types", value=",".join(self.hardware),
                    fix="write aws:m7i.large, and --patterns always-on,spot for its spot price; functions such as aws:lambda-2048MB "
                    "and devices such as edge(purchase=500usd, …) beside it",
                )  # fmt: skip
        return machines, functions, devices

    def patterned(self) -> tuple[str, ...]:
        """Ways of running that may be the answer.

        Raises:
            ConfigError: no such way, or one for which something is missing.
        """
        from windtunnel.simulate.planning import read_patterns

        named = read_patterns(self.patterns)
        machines, functions, devices = self.rented()
        missing = {
            "serverless": "" if functions else "a function, such as aws:lambda-2048MB",
            "edge": ""
            if devices
            else "a device, such as edge(purchase=500usd, lifetime=3y, power=15W, electricity=0.30usd/kWh)",
            "spot": ""
            if any(each.spot_usd_per_hour is not None for each in machines)
            else "a machine whose spot price is known",
        }
        for name in named:
            if missing.get(name) and "all" not in self.patterns:
                raise ConfigError(
                    f"{name} has nothing to run on", field="--patterns", value=self.patterns,
                    fix=f"add {missing[name]} to --hardware",
                )  # fmt: skip
        return named or ("always-on",)

    def assumed(self) -> Patterns:
        """What is assumed of ways of running.

        Raises:
            ConfigError: a setting that there is not, or a rate of failures below zero.
        """
        from windtunnel.simulate import Patterns
        from windtunnel.simulate.phrase import build_from

        said = build_from(self.assume, Patterns, field="--assume")
        if self.failures_per_hour is None:
            return said
        with naming(field="--failures-per-hour"):
            return replace(said, failures_per_hour=self.failures_per_hour)

    def _check_assumed(self) -> None:
        """Refuse what is assumed of a way of running that nobody asks about.

        Raises:
            ConfigError: the first such setting, or what `assumed` and `patterned` refuse.
        """
        from windtunnel.simulate import Patterns
        from windtunnel.simulate.phrase import read_settings
        from windtunnel.simulate.planning.pattern import ASSUMED_OF

        assumed, (_, functions, devices) = self.assumed(), self.rented()
        # functions and devices are compared with the answer in any case
        there = {*self.patterned(), *(["serverless"] if functions else []), *(["edge"] if devices else [])}
        for name in read_settings(self.assume, Patterns, field="--assume"):
            field, way = f"--assume ({name.removesuffix('_s')})", ASSUMED_OF.get(name)
            if way is not None and way not in there:
                raise ConfigError(
                    f"is assumed of {way}, and nobody asks about it", field=field, fix=f"add {way} to --patterns"
                )
            if name == "repair_s" and not assumed.failures_per_hour:
                raise ConfigError("is how long what fails is gone, and nothing fails", field=field, fix="give --failures-per-hour too")  # fmt: skip

    def space(
        self, traces: Mapping[str, Trace], profiles: Sequence[LatencyProfile]
    ) -> tuple[Space, tuple[LeftOut, ...]]:
        """Everything that may be deployed, and the machines of which no profile says anything."""
        from windtunnel.deployment import Slo
        from windtunnel.simulate import Space, match_offers
        from windtunnel.simulate.planning import DeviceOffer, FunctionOffer, first_of_each
        from windtunnel.simulate.planning.bound import usual_replicas

        machines, functions, devices = self.rented()
        with naming(field="--hardware"):
            offers, left_out = match_offers(profiles, machines)
        replicas = self.replicas or usual_replicas(traces, [offer.table(1) for offer in offers], Slo.parse(self.slo))
        assumed = self.assumed()
        return Space(
            offers, replicas, self.max_batch or _measured(offers), self.max_wait_s, self.batcher, self.router, self.patterned(),
            tuple(FunctionOffer(profile, each) for each in functions for profile in first_of_each(profiles, each.name)),
            tuple(
                DeviceOffer(profile, each, assumed.device_slowness)
                for each in devices for profile in first_of_each(profiles, each.name)
            ),
            assumed,
        ), left_out  # fmt: skip


def _measured(offers: Sequence[Offer]) -> tuple[int, ...]:
    """The batch sizes that were measured everywhere."""
    return tuple(sorted(set.intersection(*(set(offer.profile.batch_sizes) for offer in offers))))


def held(traffic: Traffic) -> Trace:
    """The trace of what comes.

    Raises:
        ConfigError: it is never in memory together, or waits for its answers.
    """
    if traffic.population is not None:
        raise ConfigError(
            "is a closed loop, of which there is no trace", field="--arrivals", value=traffic.arrivals,
            fix="write poisson(rate=900), or fly it with simulate",
        )  # fmt: skip
    if traffic.trace is None:
        raise ConfigError(
            "is more than can be held as a trace", field="--requests", value=traffic.requests, fix=f"at most {HELD:,}"
        )
    return traffic.trace


def plan(
    traffic: Sequence[Traffic],
    profiles: Sequence[LatencyProfile],
    choices: Choices,
    *,
    seed: int = 1,
    workers: Workers | None = None,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Done:
    """Find the cheapest deployment that keeps the promise.

    Args:
        traffic: what comes; the promise must be kept on each, and scenarios strike the first.
        profiles: the measured service times, of one or more variants and machines.
        choices: what there is to choose from.
        seed: of all chance.
        workers: who does it.
        out: the run folder.
        progress: shown while planning.
    """
    profiles = [profile.served for profile in profiles]
    choices.check(profiles)
    traces = [held(each) for each in traffic]
    names = [trace.name for trace in traces]
    if len(set(names)) < len(names):
        raise ConfigError(
            "names two traces alike", field="--trace", value=", ".join(names), fix="rename one of the files"
        )
    inputs = {
        "trace": digest_value([Traffic(trace.name, trace).digest() for trace in traces]),
        "profile": digest_value([profile_digest(profile) for profile in profiles]),
    }
    tariffs = [each for kind in choices.rented() for each in kind]
    # another price is another question
    parameters = {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in vars(choices).items()},
        "priced": [repr(each) for each in tariffs],
    }
    make = partial(
        _plan, traces=traces, profiles=profiles, choices=choices, seeds=Seeds(seed), workers=workers, progress=progress,
        said=tuple(sentence for each in traffic for sentence in each.said),
        left_out=tuple(each.left_out for each in traffic if each.left_out),
    )  # fmt: skip
    return run_alone("plan", out, parameters, inputs, make, seed=seed, progress=progress)


def _plan(
    work: Path,
    *,
    traces: Sequence[Trace],
    profiles: Sequence[LatencyProfile],
    choices: Choices,
    seeds: Seeds,
    workers: Workers | None,
    progress: Progress,
    said: tuple[str, ...],
    left_out: tuple[str, ...],
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.deployment import Slo
    from windtunnel.simulate import draw, rehearse
    from windtunnel.simulate import plan as search
    from windtunnel.simulate.planning import Journal

    for sentence in said:
        progress.say(f"  {sentence}")
    days, troubles = _days(traces, choices.scenario, seeds)
    space, unfit = choices.space(days, profiles)
    journal = Journal.in_workplace(work, progress.say)
    with progress.bar("deployments", len(space)) as report:
        found = search(
            days, space, slo=Slo.parse(choices.slo), confidence=choices.confidence, troubles=troubles, left_out=unfit,
            seeds=seeds, workers=workers, report=report, journal=journal,
        )  # fmt: skip
    logged = max(len(each) for each in days.values()) <= LOGGED
    section = draw(found, rehearse(days, space, found.shown.deployment, seeds=seeds, troubles=troubles, log=logged))
    result = {
        **found.to_dict(), "deployments_per_s": found.deployments_per_s, "requests_per_s": found.requests_per_s,
        "where": found.where, "warnings": list(said), "extrapolated": widest_guess(profiles),
        "servers": {profile.name: profile.server.to_dict() if profile.server else None for profile in profiles},
    }  # fmt: skip
    if choices.tune_batching:
        progress.say("  tuning the batching")
        tuned = _tune(work, days, space, found, troubles, seeds, workers, journal)
        result["batching"] = tuned.to_dict(found.slo.quantile)
        section = _with_tuning(section, tuned)
    journal.close()
    told, servers = (*section.sentences, *left_out), tuple(profile.server_told for profile in profiles)
    notes = (*section.notes, *dict.fromkeys(servers), *said)
    return result, replace(section, title="Plan", sentences=told, notes=notes), found.verdict


def _days(traces: Sequence[Trace], scenario: str, seeds: Seeds) -> tuple[dict[str, Trace], tuple[Scenario, ...]]:
    """The traces, and the first made worse; and what befalls the system itself, which has to be built before it can strike."""
    from windtunnel.simulate.scenarios import read_scenarios
    from windtunnel.simulate.scenarios.read import worsened

    days: dict[str, Trace] = {trace.name: trace for trace in traces}
    troubles = []
    for day in read_scenarios(scenario):
        try:
            days[day.name] = worsened(traces[0], (day,), seeds)
        except ConfigError:
            troubles.append(day)
    return days, tuple(troubles)


def _tune(
    work: Path,
    traces: Mapping[str, Trace],
    space: Space,
    found: Plan,
    troubles: tuple[Scenario, ...],
    seeds: Seeds,
    workers: Workers | None,
    journal: Journal,
) -> Tuning:
    """Tune the fleet that was found, or the nearest miss, and write down what tells servers to batch so."""
    from windtunnel.batch_settings import batch_settings
    from windtunnel.simulate import tune

    fleet = found.shown.deployment
    offer = space.offer_of(fleet)
    if fleet.pattern == "serverless":
        raise ConfigError(
            "has nothing to tune: a function serves one request at a time", field="--tune-batching",
            fix="leave it out, or serverless out of --patterns",
        )  # fmt: skip
    tuned = tune(
        traces, offer, fleet, slo=found.slo, seeds=seeds, troubles=troubles, assumed=space.assumed, workers=workers,
        journal=journal,
    )  # fmt: skip
    folder = work / SETTINGS
    folder.mkdir(exist_ok=True)
    for name, text in batch_settings(tuned.best.deployment.batch, fleet.replicas, offer.profile.batch_sizes).items():
        (folder / name).write_text(text, encoding="utf-8")
    return tuned


def _with_tuning(section: Section, tuned: Tuning) -> Section:
    from windtunnel.quantity import format_duration

    best = tuned.best.deployment
    rows = tuple(
        (f"{each.deployment.batch.max_batch}", format_duration(each.deployment.batch.max_wait_s),
         format_duration(each.worst.latency_s) if each.worst.latency_s < float("inf") else "never",
         "yes" if each.keeps else "no")
        for each in sorted(tuned.tried, key=lambda each: each.worst.latency_s)[:8]
    )  # fmt: skip
    sentence = f"The {best.replicas} replicas are fastest in {best}: {SETTINGS}/ says so in the words of Ray Serve, Triton and KServe."
    table = Table(
        "Batching of this fleet, simulated", ("max batch", "max wait", "worst latency", "keeps the promise"), rows
    )
    return replace(section, sentences=(*section.sentences, sentence), tables=(*section.tables, table))
