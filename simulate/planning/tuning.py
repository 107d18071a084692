"""Tuning: the batching with which a given fleet is fastest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.fanout import fan_out

from .course import Course, Evaluation
from .journal import Journal, read, written
from .offer import DeviceOffer, Offer
from .pattern import Patterns
from .proof import fresh, summed
from .space import Space

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from windtunnel.deployment import Deployment, Slo
    from windtunnel.fanout import Workers
    from windtunnel.seeds import Seeds
    from windtunnel.simulate.scenarios import Scenario
    from windtunnel.trace import Trace

    from .offer import AnyOffer

WAITS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""The waits that are tried, as shares of the promised bound: one that takes it all keeps no promise."""

FINALISTS = 3
"""So many of the fastest in one run are run again with fresh luck."""

REPEATS = 5
"""How often."""

EVEN = 0.01
"""Latencies that differ by less are even: then the shorter wait wins, and among those the batch that carries most."""


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
    offer: AnyOffer,
    fleet: Deployment,
    *,
    slo: Slo,
    seeds: Seeds,
    troubles: tuple[Scenario, ...] = (),
    assumed: Patterns | None = None,
    workers: Workers | None = None,
    journal: Journal | None = None,
) -> Tuning:
    """Find the batching with which a fleet's promised quantile is least on its worst day.

    Every measured size of batch is flown with every wait of `WAITS`; the fastest are run again with fresh luck, the same for
    each, and the one with the least middle wins. Where the load is so light that batches hardly form, many settings are even:
    then it is the one that waits least and, should more come, carries most. A batch of one would save nothing and have nothing
    in hand.

    Args:
        traces: by name.
        offer: what the fleet rents; no function, which serves one request at a time.
        fleet: whose machines, replicas, batcher and router stay as they are.
        slo: the promise.
        seeds: as for `plan`.
        troubles: scenarios that befall the fleet, as for `plan`.
        assumed: of the way of running it, as for `plan`.
        workers: who does it.
        journal: what an interrupted tuning has flown already.
    """
    kept = journal if journal is not None else Journal()
    space, course = _around(traces, offer, fleet, slo, troubles, assumed or Patterns())
    deployments = [each for each in space.deployments() if each.replicas == fleet.replicas]
    tried = _flown(course, deployments, seeds, workers, kept)
    capacity = {size: size / float(course.tables[offer.key][size].mean()) for size in offer.profile.batch_sizes}

    def preference(each: Evaluation) -> tuple[float, float]:
        batch = each.deployment.batch
        return batch.max_wait_s, -capacity[batch.max_batch]

    proven = [_again(course, each, seeds, kept) for each in _even_first(tried, preference)[:FINALISTS]]
    best = _even_first(proven, preference)[0]
    return Tuning(best, tuple(tried), course.requests * (len(tried) + REPEATS * len(proven)))


def _around(
    traces: Mapping[str, Trace],
    offer: AnyOffer,
    fleet: Deployment,
    slo: Slo,
    troubles: tuple[Scenario, ...],
    assumed: Patterns,
) -> tuple[Space, Course]:
    """Every batching of a fleet, and the days through which it is flown."""
    waits = tuple(slo.latency_s * share for share in WAITS)
    space = Space(
        (offer,) if isinstance(offer, Offer) else (), (fleet.replicas, fleet.most or fleet.replicas), offer.profile.batch_sizes,
        waits, (fleet.batcher,), (fleet.router or "power-of-two",), (fleet.pattern,),
        devices=(offer,) if isinstance(offer, DeviceOffer) else (), assumed=assumed,
    )  # fmt: skip
    return space, Course.of(traces, space, slo, troubles)


def _even_first(
    tried: Sequence[Evaluation], preference: Callable[[Evaluation], tuple[float, float]]
) -> list[Evaluation]:
    """The fastest first; those that are as good as the fastest in the order of preference."""
    least_s = min(each.worst.latency_s for each in tried)

    def rank(each: Evaluation) -> tuple[bool, float, tuple[float, float]]:
        even = each.worst.latency_s <= least_s * (1.0 + EVEN)
        return not even, 0.0 if even else each.worst.latency_s, preference(each)

    return sorted(tried, key=rank)


def _flown(
    course: Course, deployments: Sequence[Deployment], seeds: Seeds, workers: Workers | None, journal: Journal
) -> list[Evaluation]:
    """Fly those that an interrupted tuning has not."""
    names = [f"tuning {deployment!r}" for deployment in deployments]
    values = [journal.get(name) for name in names]
    asked = [at for at, value in enumerate(values) if value is None]
    flown = fan_out(
        _fly, [deployments[at] for at in asked], shared=(course, seeds), workers=workers,
        keep=lambda at, each: journal.put(names[asked[at]], written(each)),
    ).results  # fmt: skip
    fresh_ones = dict(zip(asked, flown, strict=True))
    return [
        fresh_ones[at] if at in fresh_ones else read(values[at], deployment)
        for at, deployment in enumerate(deployments)
    ]


def _fly(shared: tuple[Course, Seeds], deployment: Deployment) -> Evaluation:
    course, seeds = shared
    return course.fly(deployment, seeds)


def _again(course: Course, evaluation: Evaluation, seeds: Seeds, journal: Journal) -> Evaluation:
    runs = [
        journal.flight(course, evaluation.deployment, fresh(seeds, item), "again").replays
        for item in range(1, REPEATS + 1)
    ]
    return summed(evaluation, runs, 0.95)
