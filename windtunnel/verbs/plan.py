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
from .simulate import LOGGED, Traffic, check_scenario, profile_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from windtunnel.fanout import Workers
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price
    from windtunnel.simulate import Offer, Patterns, Plan, Space
    from windtunnel.simulate.planning import LeftOut, Tuning
    from windtunnel.simulate.scenarios import Scenario
    from windtunnel.tariff import Serverless
    from windtunnel.trace import Trace
    from windtunnel.verdict import Verdict

SETTINGS = "batching"
"""The folder of a tuned run that holds what tells servers to batch so."""


@dataclass(frozen=True)
class Choices:
    """What a plan may choose from, and what it is asked about.

    Args:
        hardware: instance types, and functions to compare with.
        slo: the promise, such as `p99<=50ms`.
        replicas: numbers of replicas to try; what the load asks for where empty.
        max_batch: batch sizes to try; the measured ones where empty.
        max_wait_s: waits to try, in seconds.
        batcher: phrases of batchers to try.
        router: phrases of routers to try, for batchers whose replicas have a queue each.
        confidence: how sure the answer is to be.
        scenario: worse days that the promise must be kept on too, each by itself; phrases with commas between them.
        patterns: settings of the ways of running that are compared (`Patterns`); None where none are.
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
    patterns: str | None = None
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
        self.compared()
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

    def rented(self) -> tuple[list[Price], tuple[Serverless, ...]]:
        """Machines to choose from, and functions to compare with.

        Raises:
            ConfigError: nothing of that name, no machine, or what is neither.
        """
        from windtunnel.tariff import Instance, Serverless, parse_tariff

        with naming(field="--hardware"):
            tariffs = [parse_tariff(text) for text in self.hardware]
            machines = [each.price for each in tariffs if isinstance(each, Instance) and not each.spot]
            functions = tuple(each for each in tariffs if isinstance(each, Serverless))
            if len(machines) + len(functions) < len(tariffs) or not machines:
                raise ConfigError(
                    "needs instance types", value=",".join(self.hardware),
                    fix="write aws:m7i.large; --patterns compares their spot prices, and functions such as aws:lambda-2048MB",
                )  # fmt: skip
        return machines, functions

    def compared(self) -> Patterns | None:
        """What is assumed of other ways of running; None where none are compared."""
        from windtunnel.simulate import Patterns
        from windtunnel.simulate.phrase import build_from

        if self.patterns is None and not self.rented()[1]:
            return None
        return build_from(self.patterns or "", Patterns, field="--assume")

    def space(
        self, traces: Mapping[str, Trace], profiles: Sequence[LatencyProfile]
    ) -> tuple[Space, tuple[LeftOut, ...]]:
        """Everything that may be deployed, and the machines of which no profile says anything."""
        from windtunnel.deployment import Slo
        from windtunnel.simulate import Space, match_offers
        from windtunnel.simulate.planning.bound import usual_replicas

        with naming(field="--hardware"):
            offers, left_out = match_offers(profiles, self.rented()[0])
        replicas = self.replicas or usual_replicas(traces, [offer.table(1) for offer in offers], Slo.parse(self.slo))
        return Space(
            offers, replicas, self.max_batch or _measured(offers), self.max_wait_s, self.batcher, self.router
        ), left_out


def _measured(offers: Sequence[Offer]) -> tuple[int, ...]:
    """The batch sizes that were measured everywhere."""
    return tuple(sorted(set.intersection(*(set(offer.profile.batch_sizes) for offer in offers))))


def plan(
    traces: Sequence[Trace],
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
        traces: the arrivals; the promise must be kept on each, and scenarios strike the first.
        profiles: the measured service times, of one or more variants and machines.
        choices: what there is to choose from.
        seed: of all chance.
        workers: who does it.
        out: the run folder.
        progress: shown while planning.
    """
    choices.check(profiles)
    names = [trace.name for trace in traces]
    if len(set(names)) < len(names):
        raise ConfigError(
            "names two traces alike", field="--trace", value=", ".join(names), fix="rename one of the files"
        )
    inputs = {
        "trace": digest_value([Traffic(trace.name, trace).digest() for trace in traces]),
        "profile": digest_value([profile_digest(profile) for profile in profiles]),
    }
    machines, functions = choices.rented()
    # another price is another question
    parameters = {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in vars(choices).items()},
        "priced": [repr(each) for each in (*machines, *functions)],
    }
    make = partial(
        _plan, traces=traces, profiles=profiles, choices=choices, seeds=Seeds(seed), workers=workers, progress=progress
    )
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
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.deployment import Slo
    from windtunnel.simulate import draw, rehearse
    from windtunnel.simulate import plan as search

    days, troubles = _days(traces, choices.scenario, seeds)
    space, left_out = choices.space(days, profiles)
    with progress.bar("deployments", len(space)) as report:
        found = search(
            days, space, slo=Slo.parse(choices.slo), confidence=choices.confidence, patterns=choices.compared(),
            functions=choices.rented()[1], troubles=troubles, left_out=left_out, seeds=seeds, workers=workers, report=report,
        )  # fmt: skip
    logged = max(len(each) for each in days.values()) <= LOGGED
    section = draw(found, rehearse(days, space, found.shown.deployment, seeds=seeds, troubles=troubles, log=logged))
    result = {
        **found.to_dict(), "deployments_per_s": found.deployments_per_s, "requests_per_s": found.requests_per_s,
        "where": found.where,
    }  # fmt: skip
    if choices.tune_batching:
        progress.say("  tuning the batching")
        tuned = _tune(work, days, space, found, seeds, workers)
        result["batching"] = tuned.to_dict(found.slo.quantile)
        section = _with_tuning(section, tuned)
    return result, replace(section, title="Plan"), found.verdict


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
    work: Path, traces: Mapping[str, Trace], space: Space, found: Plan, seeds: Seeds, workers: Workers | None
) -> Tuning:
    """Tune the fleet that was found, or the nearest miss, and write down what tells servers to batch so."""
    from windtunnel.batch_settings import batch_settings
    from windtunnel.simulate import tune

    fleet = found.shown.deployment
    offer = space.offer_of(fleet)
    tuned = tune(traces, offer, fleet, slo=found.slo, seeds=seeds, workers=workers)
    folder = work / SETTINGS
    folder.mkdir()
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
