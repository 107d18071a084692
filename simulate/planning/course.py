"""A Course: the traces that every deployment of a plan flies through, with the same luck, and what became of each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ConfigError
from windtunnel.simulate.batching import BATCHERS, IdealBatching
from windtunnel.simulate.flight import fly
from windtunnel.simulate.kernel import OVER_TIME
from windtunnel.simulate.phrase import read_phrase
from windtunnel.simulate.routing import ROUTERS, LeastOutstanding, RandomChoice
from windtunnel.simulate.scaling import RayServeScaling
from windtunnel.simulate.scenarios.day import Day
from windtunnel.simulate.system import Scaling, System
from windtunnel.trace import Trace

from .bound import DEVIATIONS, allowed_late
from .functions import fly_functions
from .offer import FunctionOffer
from .pattern import ALWAYS_ON, AUTOSCALED, EDGE, SERVERLESS, Patterns
from .space import sessions_of, sharing_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from windtunnel.deployment import Deployment, Slo
    from windtunnel.seeds import Seeds
    from windtunnel.simulate.batching import Batcher
    from windtunnel.simulate.flight import Flight
    from windtunnel.simulate.routing import Router
    from windtunnel.simulate.scenarios import Scenario
    from windtunnel.stats import Interval
    from windtunnel.tariff import Serverless

    from .space import Space

    Floats = NDArray[np.float64]

BINS = 400
"""Into how many intervals a flight is cut to tell whether its queue is worked off."""

WINDOW_TIMES = 3
"""The busiest window holds so many times the requests that may be late: all of them late in it decide the whole trace."""

LEAST_WINDOW = 20_000
"""Traces are not screened by windows of fewer requests: flying them whole takes milliseconds."""

_GOOD = OVER_TIME.index("good")


def key_of(quantile: float) -> str:
    """What a quantile of a time is called in JSON.

    Example:
        >>> key_of(0.99), key_of(0.999)
        ('p99', 'p999')
    """
    return f"p{quantile * 100:g}".replace(".", "")


@dataclass(frozen=True)
class Replay:
    """What became of one trace under one deployment.

    Args:
        trace: its name.
        latency_s: the quantile that the promise is about, of all requests: infinite where too few were answered at all. To
            within 1/512 of itself, and on the right side of the bound.
        mean_batch: requests a batch.
        utilization: the share of time, until the last answer, in which a replica served.
        drains: whether the queue is worked off as requests come; see `Flight.drift_per_s`.
        late: requests that took longer than the bound, or were never answered.
        requests: of the trace.
        interval: in which `latency_s` of another such day lies, from repeated runs; None where it was run once.
        expected_late: as many as were late if machines were lost as often as their rates say, where any is; else None.
    """

    trace: str
    latency_s: float
    mean_batch: float
    utilization: float
    drains: bool
    late: int
    requests: int
    interval: Interval | None = None
    expected_late: float | None = None

    @property
    def availability(self) -> float:
        """The share of requests answered within the bound, machines being lost at their rates."""
        return 1.0 - (self.late if self.expected_late is None else self.expected_late) / self.requests

    def to_dict(self, key: str) -> dict[str, Any]:
        """The replay as JSON values, under the name of its quantile; the ends are null where it was run once."""
        low, high = (self.interval.low, self.interval.high) if self.interval else (None, None)
        return {
            f"{key}_s": _known(self.latency_s), f"{key}_s_low": _known(low), f"{key}_s_high": _known(high),
            "mean_batch": self.mean_batch, "utilization": self.utilization, "drains": self.drains,
            "in_time": 1.0 - self.late / self.requests, "availability": self.availability,
        }  # fmt: skip


def _known(figure: float | None) -> float | None:
    return figure if figure is not None and math.isfinite(figure) else None


@dataclass(frozen=True)
class Evaluation:
    """One deployment, flown through every trace.

    Args:
        deployment: what was flown, with what it costs.
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

    @property
    def availability(self) -> float:
        """The share of requests answered within the bound, on the day on which it is least."""
        return min(replay.availability for replay in self.replays)

    @property
    def cost(self) -> tuple[float, float]:
        """What it is ranked by: the price, and among equals the latency."""
        return self.deployment.usd_per_hour, self.worst.latency_s

    @property
    def speed(self) -> tuple[float, float]:
        """The other way round."""
        return self.worst.latency_s, self.deployment.usd_per_hour

    def to_dict(self, quantile: float) -> dict[str, Any]:
        """The evaluation as JSON values; the quantile and its ends are those of the worst trace."""
        deployment, key = self.deployment, key_of(quantile)
        worst = self.worst.to_dict(key)
        return {
            "pattern": deployment.pattern, "hardware": deployment.hardware, "variant": deployment.variant,
            "replicas": deployment.replicas, "most_replicas": deployment.most or deployment.replicas,
            "machines": deployment.machines, "max_batch": deployment.batch.max_batch,
            "max_wait_s": deployment.batch.max_wait_s, "batcher": deployment.batcher, "router": deployment.router or None,
            "usd_per_hour": deployment.usd_per_hour, "quantile": quantile, "keeps": self.keeps,
            "availability": self.availability,
            **{name: worst[name] for name in (f"{key}_s", f"{key}_s_low", f"{key}_s_high")},
            "traces": {replay.trace: replay.to_dict(key) for replay in self.replays},
        }  # fmt: skip


@dataclass(frozen=True)
class Course:
    """What every flight of one plan shares.

    Args:
        traces: by name.
        tables: service times of a replica that is alone, by variant and machine.
        slowdowns: by variant, machine and sharing.
        slo: the promise.
        troubles: scenarios that befall the system on the first trace, a day each.
        assumed: of ways of running that nobody measured.
        together: sessions that fill a machine, and what an hour of it costs, by its name.
        functions: by name.
    """

    traces: Mapping[str, Trace]
    tables: Mapping[tuple[str, str], Floats]
    slowdowns: Mapping[tuple[str, str, int], float]
    slo: Slo
    troubles: tuple[Scenario, ...] = ()
    assumed: Patterns = field(default_factory=Patterns)
    together: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    functions: Mapping[str, Serverless] = field(default_factory=dict)

    @staticmethod
    def of(traces: Mapping[str, Trace], space: Space, slo: Slo, troubles: tuple[Scenario, ...] = ()) -> Course:
        """The course of a space."""
        largest = max(space.max_batch)
        padded = max((_padded_to(text, largest) for text in space.batchers), default=largest)
        offers = {line.offer.key: line.offer for line in space.lines}
        tables = {
            key: offer.table(1 if isinstance(offer, FunctionOffer) else max(largest, padded))
            for key, offer in offers.items()
        }
        slowdowns = {(*line.offer.key, line.sharing): line.offer.slowdown(line.sharing) for line in space.lines}
        together = {each.price.name: (each.per_machine, each.price.usd_per_hour) for each in space.offers}
        functions = {each.function.name: each.function for each in space.functions}
        return Course(dict(traces), tables, slowdowns, slo, troubles, space.assumed, together, functions)

    @property
    def requests(self) -> int:
        """On all traces together: what flying one deployment takes."""
        days = [len(trace) for trace in self.traces.values()]
        return sum(days) + len(self.troubles) * (days[0] if days else 0)

    def effort(self, deployment: Deployment) -> int:
        """Requests that it takes to fly a deployment: where machines are lost, once more without."""
        lost = self.assumed.rate_per_hour(deployment.pattern) > 0.0
        return self.requests + (sum(len(trace) for trace in self.traces.values()) if lost else 0)

    def on(self, traces: Mapping[str, Trace]) -> Course:
        """The same with other traces."""
        return replace(self, traces=dict(traces))

    def sharing(self, deployment: Deployment) -> int:
        """Sessions on its fullest machine."""
        sessions = sessions_of(deployment.batcher)
        if deployment.pattern == AUTOSCALED:
            together = max(1, self.together[deployment.hardware][0] // sessions)
            return min(deployment.most, together) * sessions
        return 1 if deployment.pattern == SERVERLESS else sharing_of(deployment)

    def table(self, deployment: Deployment) -> Floats:
        """Service times of its replicas, which are all as slow as those on the fullest machine."""
        key = deployment.variant, deployment.hardware
        largest = max(deployment.batch.max_batch, _padded_to(deployment.batcher, deployment.batch.max_batch))
        return self.tables[key][: largest + 1] * self.slowdowns[*key, self.sharing(deployment)]

    def system(self, deployment: Deployment, *, apart: bool = False) -> System:
        """The deployment as the tunnel takes it.

        Args:
            deployment: any of the space but a function.
            apart: whether each replica has a queue of its own in any case, so that something can befall one of them.
        """
        usual = {"max_batch": deployment.batch.max_batch, "max_wait_s": deployment.batch.max_wait_s}
        batcher = read_phrase(deployment.batcher, BATCHERS, field="batcher", usual=usual)
        ideal = isinstance(batcher, IdealBatching)
        alone = deployment.pattern == ALWAYS_ON or (deployment.pattern == EDGE and deployment.replicas == 1)
        if ideal and alone and not apart and not self.assumed.rate_per_hour(deployment.pattern):
            return System(self.table(deployment), executors=deployment.replicas, batcher=batcher)
        return System(
            self.table(deployment), stations=deployment.replicas, executors=batcher.executors or 1, batcher=batcher,
            router=self._router(deployment, ideal=ideal), scaling=self._scaling(deployment, batcher),
        )  # fmt: skip

    def _router(self, deployment: Deployment, *, ideal: bool) -> Router:
        if deployment.pattern == EDGE:
            return RandomChoice()  # a request comes from a site, which nobody chooses
        if ideal and deployment.pattern != ALWAYS_ON:
            return LeastOutstanding()
        return read_phrase(deployment.router or "power-of-two", ROUTERS, field="router")

    def _scaling(self, deployment: Deployment, batcher: Batcher) -> Scaling | None:
        if deployment.pattern != AUTOSCALED:
            return None
        target = self.assumed.target * batcher.max_batch
        return Scaling(RayServeScaling(target), deployment.replicas, deployment.most, self.assumed.cold_start_s)

    def fly(self, deployment: Deployment, seeds: Seeds) -> Evaluation:
        """Fly a deployment through every trace."""
        flown = [self._live(name, trace, deployment, seeds) for name, trace in self.traces.items()]
        replays = [replay for replay, _ in flown]
        if deployment.pattern != SERVERLESS:
            replays += [self._troubled(trouble, deployment, seeds) for trouble in self.troubles]
        # told on the first trace, which is the recorded one
        paid = replace(deployment, usd_per_hour=max(deployment.usd_per_hour, flown[0][1]))
        return Evaluation(paid, tuple(replays), all(self.keeps(replay) for replay in replays))

    def _live(self, name: str, trace: Trace, deployment: Deployment, seeds: Seeds) -> tuple[Replay, float]:
        """What becomes of a trace, and what an hour of it costs where that is not known beforehand, else 0."""
        flight, usd_per_hour, times = self.flight(trace, deployment, seeds)
        replay = self.look_back(name, flight, self._hop_s(deployment))
        if times:
            calm = self.look_back(name, self._fly(trace, self.system(deployment), seeds, self._hop_s(deployment)))
            rate = self.assumed.rate_per_hour(deployment.pattern) * max(1, deployment.machines)
            expected = rate * trace.duration_s / 3600.0
            each = max(0, replay.late - calm.late) / times
            replay = replace(replay, expected_late=min(float(replay.requests), calm.late + expected * each))
        return replay, usd_per_hour

    def flight(
        self, trace: Trace, deployment: Deployment, seeds: Seeds, *, log: bool = False
    ) -> tuple[Flight, float, int]:
        """One flight, what an hour of it costs where that is not known beforehand (else 0), and losses of machines in it.

        Args:
            trace: what comes.
            deployment: what serves.
            seeds: the luck.
            log: whether every request is written down.
        """
        slo_s = self.slo.latency_s - self._hop_s(deployment)
        if deployment.pattern == SERVERLESS:
            function = self.functions[deployment.hardware]
            flown, billed_s = fly_functions(
                trace, self.table(deployment)[1], seeds, self.assumed.function_start_s, self.assumed.keep_s, slo_s=slo_s
            )
            usd = function.usd_per_million(billed_s) * len(trace) / 1e6
            return flown, usd / (trace.duration_s / 3600.0), 0
        system = self.system(deployment)
        faults, times = self.assumed.losses(deployment, system.stations, trace.duration_s, seeds)
        flown = self._fly(trace, replace(system, faults=faults), seeds, self._hop_s(deployment), log=log)
        return flown, self._paid(deployment, flown), times

    def _fly(self, trace: Trace, system: System, seeds: Seeds, hop_s: float = 0.0, *, log: bool = False) -> Flight:
        return fly(system, trace, seeds, log=log, slo_s=self.slo.latency_s - hop_s, bin_s=trace.duration_s / BINS)

    def _paid(self, deployment: Deployment, flight: Flight) -> float:
        """Of a fleet that scales, which pays by the second for its share of machines; a session takes the place of one."""
        if deployment.pattern != AUTOSCALED:
            return 0.0
        filled, usd_per_hour = self.together[deployment.hardware]
        sessions = sessions_of(deployment.batcher)
        each = usd_per_hour / max(1, filled // sessions) / sessions
        return flight.summary.replica_s / flight.summary.seconds_simulated * each

    def _hop_s(self, deployment: Deployment) -> float:
        return self.assumed.hop_s if deployment.pattern == EDGE else 0.0

    def days(self, deployment: Deployment, seeds: Seeds, *, log: bool = False) -> Iterator[tuple[str, Flight]]:
        """The flights of every day that a deployment can live through at all."""
        yield from ((name, self.flight(trace, deployment, seeds, log=log)[0]) for name, trace in self.traces.items())
        for trouble in self.troubles if deployment.pattern != SERVERLESS else ():
            day = self._struck(trouble, deployment, seeds)
            if day is not None:
                yield trouble.name, self._fly(day.trace, day.system, seeds, log=log)

    def _struck(self, trouble: Scenario, deployment: Deployment, seeds: Seeds) -> Day | None:
        """The worse day; None where there is too little of the deployment for it, such as one replica of which one is lost."""
        first = next(iter(self.traces.values()))
        try:
            return trouble.strike(Day.calm(first, self.system(deployment, apart=True)), seeds)
        except ConfigError:
            return None

    def _troubled(self, trouble: Scenario, deployment: Deployment, seeds: Seeds) -> Replay:
        day = self._struck(trouble, deployment, seeds)
        if day is None:
            requests = len(next(iter(self.traces.values())))
            return Replay(trouble.name, math.inf, 0.0, 0.0, drains=False, late=requests, requests=requests)
        hop_s = self._hop_s(deployment)
        return self.look_back(trouble.name, self._fly(day.trace, day.system, seeds, hop_s), hop_s)

    def keeps(self, replay: Replay) -> bool:
        """Whether no more requests than allowed are late, and the queue is worked off."""
        return replay.drains and replay.late <= allowed_late(self.slo, replay.requests)

    def look_back(self, name: str, flight: Flight, hop_s: float = 0.0) -> Replay:
        """The few figures of a flight, so that nothing large travels between processes; a hop comes on top of every latency."""
        summary = flight.summary
        late = summary.requests - round(float(np.sum(flight.over_time[:, _GOOD])))
        return Replay(
            trace=name,
            latency_s=self._latency_s(flight, late, hop_s),
            mean_batch=summary.mean_batch or 0.0,
            utilization=summary.utilization or 0.0,
            drains=flight.drift_per_s == 0.0 and not flight.overflowed,
            late=late,
            requests=summary.requests,
        )

    def _latency_s(self, flight: Flight, late: int, hop_s: float) -> float:
        summary, bound_s = flight.summary, self.slo.latency_s
        share = self.slo.quantile * summary.requests / summary.completed if summary.completed else math.inf
        read_s = summary.latency_times.quantile_s(share) + hop_s if share <= 1.0 else math.inf
        # a histogram knows a time to within its bin, the count of late ones on which side of the bound it lies
        if late <= allowed_late(self.slo, summary.requests):
            return min(read_s, bound_s)
        return max(read_s, math.nextafter(bound_s, math.inf))

    def windows(self) -> dict[str, Trace]:
        """The busiest stretch of each trace that is long enough for it to decide."""
        found = {name: self._busiest(trace) for name, trace in self.traces.items()}
        return {name: window for name, window in found.items() if window is not None}

    def _busiest(self, trace: Trace) -> Trace | None:
        length = max(WINDOW_TIMES * allowed_late(self.slo, len(trace)), LEAST_WINDOW)
        if 2 * length > len(trace):
            return None
        first = int(np.argmin(trace.arrivals_s[length:] - trace.arrivals_s[:-length]))
        part = slice(first, first + length)
        columns = {name: column[part] for name, column in trace.columns.items()}
        times_s = trace.arrivals_s[part] - trace.arrivals_s[first]
        return Trace(trace.name, times_s, columns) if times_s[-1] > 0.0 else None

    def fails_window(self, name: str, window: Trace, deployment: Deployment, seeds: Seeds) -> bool:
        """Whether a window alone has more late requests than the whole trace may have, and chance can not be why.

        It starts with an empty queue, so no more are late in it than in the same stretch of the whole.
        """
        if deployment.pattern in {AUTOSCALED, SERVERLESS}:
            return False  # on the whole day there may have been more replicas, or warm ones, by then
        hop_s = self._hop_s(deployment)
        replay = self.look_back(name, self._fly(window, self.system(deployment), seeds, hop_s), hop_s)
        allowed = allowed_late(self.slo, len(self.traces[name]))
        return replay.late > allowed + DEVIATIONS * math.sqrt(allowed * deployment.batch.max_batch)


def _padded_to(batcher: str, largest: int) -> int:
    usual = {"max_batch": largest}
    return int(np.max(read_phrase(batcher, BATCHERS, field="batcher", usual=usual).padded(largest)))
