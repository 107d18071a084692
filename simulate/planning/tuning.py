"""Tuning: the batching with which a given fleet is fastest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.fanout import fan_out

from .course import Course, Evaluation
from .proof import fresh, summed
from .space import Space

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.deployment import Deployment, Slo
    from windtunnel.fanout import Workers
    from windtunnel.seeds import Seeds
    from windtunnel.trace import Trace

    from .offer import Offer

WAITS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""The waits that are tried, as shares of the promised bound: one that takes it all keeps no promise."""

FINALISTS = 3
"""So many of the fastest in one run are run again with fresh luck."""

REPEATS = 5
"""How often."""

EVEN = 0.01
"""Latencies that differ by less are even: then the shorter wait wins, and the smaller batch."""


@dataclass(frozen=True)
class Tuning:
    """The best batching of a fleet.

    Args:
        best: with intervals at 95%.
        tried: all settings, in one run each.
        requests: simulated for it.
    """

    best: Evaluation
    tried: tuple[Evaluation, ...]
    requests: int

    def to_dict(self, quantile: float) -> dict[str, Any]:
        """The tuning as JSON values."""
        tried = [each.to_dict(quantile) for each in self.tried]
        return {
            "best": self.best.to_dict(quantile),
            "tried": [{k: v for k, v in each.items() if k != "traces"} for each in tried],
        }


def tune(
    traces: Mapping[str, Trace],
    offer: Offer,
    fleet: Deployment,
    *,
    slo: Slo,
    seeds: Seeds,
    workers: Workers | None = None,
) -> Tuning:
    """Find the batching with which a fleet's promised quantile is least on its worst trace.

    Every measured size of batch is flown with every wait of `WAITS`; the fastest are run again with fresh luck, the same for
    each, and the one with the least mean wins.

    Args:
        traces: by name.
        offer: what the fleet rents.
        fleet: whose machines, replicas, batcher and router stay as they are.
        slo: the promise.
        seeds: as for `plan`.
        workers: who does it.
    """
    space = Space(
        (offer,), (fleet.replicas,), offer.profile.batch_sizes, tuple(slo.latency_s * share for share in WAITS),
        (fleet.batcher,), (fleet.router or "power-of-two",),
    )  # fmt: skip
    course = Course.of(traces, space, slo)
    tried = fan_out(_fly, list(space.deployments()), shared=(course, seeds), workers=workers).results
    finalists = sorted(tried, key=lambda each: each.worst.latency_s)[:FINALISTS]
    proven = [_again(course, each, seeds) for each in finalists]
    least_s = min(each.worst.latency_s for each in proven)
    even = [each for each in proven if each.worst.latency_s <= least_s * (1.0 + EVEN)]
    best = min(even, key=lambda each: (each.deployment.batch.max_wait_s, each.deployment.batch.max_batch))
    return Tuning(best, tuple(tried), course.requests * (len(tried) + REPEATS * len(finalists)))


def _fly(shared: tuple[Course, Seeds], deployment: Deployment) -> Evaluation:
    course, seeds = shared
    return course.fly(deployment, seeds)


def _again(course: Course, evaluation: Evaluation, seeds: Seeds) -> Evaluation:
    runs = [course.fly(evaluation.deployment, fresh(seeds, item)).replays for item in range(1, REPEATS + 1)]
    return summed(evaluation, runs, 0.95)
