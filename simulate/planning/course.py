"""A Course: the traces that every deployment of a plan flies through, with the same luck, and what became of each."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ConfigError
from windtunnel.simulate.batching import BATCHERS, IdealBatching
from windtunnel.simulate.flight import fly
from windtunnel.simulate.kernel import OVER_TIME
from windtunnel.simulate.phrase import read_phrase
from windtunnel.simulate.routing import ROUTERS
from windtunnel.simulate.scenarios.day import Day
from windtunnel.simulate.system import System
from windtunnel.trace import Trace

from .bound import DEVIATIONS, allowed_late

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from windtunnel.deployment import Deployment, Slo
    from windtunnel.seeds import Seeds
    from windtunnel.simulate.flight import Flight
    from windtunnel.simulate.scenarios import Scenario
    from windtunnel.stats import Interval

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
        interval: of `latency_s`, from repeated runs; None where it was run once.
    """

    trace: str
    latency_s: float
    mean_batch: float
    utilization: float
    drains: bool
    late: int
    requests: int
    interval: Interval | None = None

    def to_dict(self, key: str) -> dict[str, Any]:
        """The replay as JSON values, under the name of its quantile; the ends are null where it was run once."""
        low, high = (self.interval.low, self.interval.high) if self.interval else (None, None)
        return {
            f"{key}_s": _known(self.latency_s), f"{key}_s_low": _known(low), f"{key}_s_high": _known(high),
            "mean_batch": self.mean_batch, "utilization": self.utilization, "drains": self.drains,
            "in_time": 1.0 - self.late / self.requests,
        }  # fmt: skip


def _known(figure: float | None) -> float | None:
    return figure if figure is not None and math.isfinite(figure) else None


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
            "hardware": deployment.hardware, "variant": deployment.variant, "replicas": deployment.replicas,
            "machines": deployment.machines, "max_batch": deployment.batch.max_batch,
            "max_wait_s": deployment.batch.max_wait_s, "batcher": deployment.batcher, "router": deployment.router or None,
            "usd_per_hour": deployment.usd_per_hour, "quantile": quantile, "keeps": self.keeps,
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
    """

    traces: Mapping[str, Trace]
    tables: Mapping[tuple[str, str], Floats]
    slowdowns: Mapping[tuple[str, str, int], float]
    slo: Slo
    troubles: tuple[Scenario, ...] = ()

    @staticmethod
    def of(traces: Mapping[str, Trace], space: Space, slo: Slo, troubles: tuple[Scenario, ...] = ()) -> Course:
        """The course of a space."""
        largest = max(space.max_batch)
        padded = max((_padded_to(text, largest) for text in space.batchers), default=largest)
        tables = {offer.key: offer.table(max(largest, padded)) for offer in space.offers}
        slowdowns = {(*line.offer.key, line.sharing): line.offer.slowdown(line.sharing) for line in space.lines}
        return Course(dict(traces), tables, slowdowns, slo, troubles)

    @property
    def requests(self) -> int:
        """On all traces together: what flying one deployment takes."""
        days = [len(trace) for trace in self.traces.values()]
        return sum(days) + len(self.troubles) * (days[0] if days else 0)

    def on(self, traces: Mapping[str, Trace]) -> Course:
        """The same with other traces."""
        return replace(self, traces=dict(traces))

    def table(self, deployment: Deployment) -> Floats:
        """Service times of its replicas, which are all as slow as those on the fullest machine."""
        key = deployment.variant, deployment.hardware
        sharing = math.ceil(deployment.replicas / deployment.machines)
        largest = max(deployment.batch.max_batch, _padded_to(deployment.batcher, deployment.batch.max_batch))
        return self.tables[key][: largest + 1] * self.slowdowns[*key, sharing]

    def system(self, deployment: Deployment, *, apart: bool = False) -> System:
        """The deployment as the tunnel takes it.

        Args:
            deployment: any of the space.
            apart: whether each replica has a queue of its own in any case, so that something can befall one of them.
        """
        usual = {"max_batch": deployment.batch.max_batch, "max_wait_s": deployment.batch.max_wait_s}
        batcher = read_phrase(deployment.batcher, BATCHERS, field="batcher", usual=usual)
        if isinstance(batcher, IdealBatching) and not apart:
            return System(self.table(deployment), executors=deployment.replicas, batcher=batcher)
        router = read_phrase(deployment.router or "power-of-two", ROUTERS, field="router")
        return System(
            self.table(deployment),
            stations=deployment.replicas,
            executors=batcher.executors or 1,
            batcher=batcher,
            router=router,
        )

    def fly(self, deployment: Deployment, seeds: Seeds) -> Evaluation:
        """Fly a deployment through every trace."""
        system = self.system(deployment)
        replays = [self._replay(name, trace, system, seeds) for name, trace in self.traces.items()]
        replays += [self._troubled(trouble, deployment, seeds) for trouble in self.troubles]
        return Evaluation(deployment, tuple(replays), all(self.keeps(replay) for replay in replays))

    def days(self, deployment: Deployment, seeds: Seeds) -> Iterator[tuple[str, Trace, System]]:
        """What comes and what serves, on every day that a deployment can live through at all."""
        system = self.system(deployment)
        yield from ((name, trace, system) for name, trace in self.traces.items())
        for trouble in self.troubles:
            day = self._struck(trouble, deployment, seeds)
            if day is not None:
                yield trouble.name, day.trace, day.system

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
        return self._replay(trouble.name, day.trace, day.system, seeds)

    def keeps(self, replay: Replay) -> bool:
        """Whether no more requests than allowed are late, and the queue is worked off."""
        return replay.drains and replay.late <= allowed_late(self.slo, replay.requests)

    def _replay(self, name: str, trace: Trace, system: System, seeds: Seeds) -> Replay:
        return self.look_back(name, fly(system, trace, seeds, slo_s=self.slo.latency_s, bin_s=trace.duration_s / BINS))

    def look_back(self, name: str, flight: Flight) -> Replay:
        """The few figures of a flight, so that nothing large travels between processes."""
        summary = flight.summary
        late = summary.requests - round(float(np.sum(flight.over_time[:, _GOOD])))
        return Replay(
            trace=name,
            latency_s=self._latency_s(flight, late),
            mean_batch=summary.mean_batch or 0.0,
            utilization=summary.utilization or 0.0,
            drains=flight.drift_per_s == 0.0 and not flight.overflowed,
            late=late,
            requests=summary.requests,
        )

    def _latency_s(self, flight: Flight, late: int) -> float:
        summary, bound_s = flight.summary, self.slo.latency_s
        share = self.slo.quantile * summary.requests / summary.completed if summary.completed else math.inf
        read_s = summary.latency_times.quantile_s(share) if share <= 1.0 else math.inf
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
        replay = self._replay(name, window, self.system(deployment), seeds)
        allowed = allowed_late(self.slo, len(self.traces[name]))
        return replay.late > allowed + DEVIATIONS * math.sqrt(allowed * deployment.batch.max_batch)


def _padded_to(batcher: str, largest: int) -> int:
    usual = {"max_batch": largest}
    return int(np.max(read_phrase(batcher, BATCHERS, field="batcher", usual=usual).padded(largest)))
