"""A Space: every deployment that may be chosen, as lines on which only the number of replicas differs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from windtunnel.deployment import BatchPolicy, Deployment
from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .offer import Offer

POWER_OF_TWO = "power-of-two"


@dataclass(frozen=True)
class Line:
    """Deployments that differ in the number of replicas alone: the same machine, as full, batching and routing alike.

    On a line with one queue more replicas serve no less: each is as fast as before, and there are more. That is what a search may
    lean on, and looks at; where each replica has a queue that waits for company, more of them fill it more slowly. From one line
    to another nothing is known.

    Args:
        offer: the variant and the machine.
        sharing: replicas on the fullest machine.
        rungs: the deployments, replicas rising.
    """

    offer: Offer
    sharing: int
    rungs: tuple[Deployment, ...]

    @property
    def max_batch(self) -> int:
        """The largest batch."""
        return self.rungs[0].batch.max_batch


@dataclass(frozen=True)
class Space:
    """Every combination of a machine and variant, replicas, batching and routing.

    Machines are filled up with replicas evenly, and paid for whole. A batch of one waits for nobody, so with `max_batch` 1
    only the shortest wait is in the space; and behind one queue (`ideal`) nothing is routed.

    Args:
        offers: what may be rented.
        replicas: numbers to try.
        max_batch: the largest batches to try.
        max_wait_s: the waits to try, in seconds.
        batchers: phrases of `windtunnel.simulate.batching`.
        routers: phrases of `windtunnel.simulate.routing`, for batchers of which each replica has its own queue.

    Raises:
        ConfigError: nothing to try, replicas or batches below one, a negative wait, or a machine and variant twice.
        DataError: a batch that was not profiled.
    """

    offers: tuple[Offer, ...]
    replicas: tuple[int, ...]
    max_batch: tuple[int, ...]
    max_wait_s: tuple[float, ...]
    batchers: tuple[str, ...] = field(default=("ideal",))
    routers: tuple[str, ...] = field(default=(POWER_OF_TWO,))

    def __post_init__(self) -> None:
        named = {
            "hardware": self.offers, "replicas": self.replicas, "max_batch": self.max_batch, "max_wait": self.max_wait_s,
            "batcher": self.batchers, "router": self.routers,
        }  # fmt: skip
        for name, values in named.items():
            if not values:
                raise ConfigError("is empty, so there is nothing to try", field=name, fix="give at least one value")
        for name, least in (("replicas", 1), ("max_batch", 1)):
            if min(getattr(self, name)) < least:
                raise ConfigError(f"must be at least {least}", field=name, value=min(getattr(self, name)))
        if not 0.0 <= min(self.max_wait_s) <= max(self.max_wait_s) < math.inf:
            raise ConfigError("must be zero or more", field="max_wait", value=self.max_wait_s)
        twice = [key for key, count in _counted(offer.key for offer in self.offers).items() if count > 1]
        if twice:
            raise ConfigError("is offered twice", field="hardware", value=" on ".join(twice[0]), fix="give one profile")
        for offer in self.offers:
            sizes = offer.profile.batch_sizes
            if max(self.max_batch) > sizes[-1] or sizes[0] > 1:
                offer.profile.service_table(max(self.max_batch), points=1)  # says what was profiled

    def __len__(self) -> int:
        return sum(len(line.rungs) for line in self.lines)

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """All lines, in the order of the settings."""
        found = []
        for offer, policy, (batcher, router) in itertools.product(self.offers, self._policies(), self._queues()):
            by_sharing: dict[int, list[Deployment]] = {}
            for replicas in sorted(set(self.replicas)):
                machines = math.ceil(replicas / offer.per_machine)
                usd_per_hour = machines * offer.price.usd_per_hour
                by_sharing.setdefault(math.ceil(replicas / machines), []).append(
                    Deployment(
                        offer.profile.name, replicas, policy, machines, usd_per_hour, offer.price.name, batcher, router
                    )
                )
            found += [Line(offer, sharing, tuple(rungs)) for sharing, rungs in by_sharing.items()]
        return tuple(found)

    def deployments(self) -> Iterator[Deployment]:
        """Every deployment, line by line."""
        return itertools.chain.from_iterable(line.rungs for line in self.lines)

    def offer_of(self, deployment: Deployment) -> Offer:
        """What a deployment rents.

        Raises:
            DataError: nothing in this space.
        """
        for offer in self.offers:
            if offer.key == (deployment.variant, deployment.hardware):
                return offer
        raise DataError("is not in this space", field="deployment", value=str(deployment))

    def _policies(self) -> list[BatchPolicy]:
        waits = sorted(set(self.max_wait_s))
        return [
            BatchPolicy(size, wait_s)
            for size in sorted(set(self.max_batch))
            for wait_s in (waits if size > 1 else waits[:1])
        ]

    def _queues(self) -> list[tuple[str, str]]:
        queues = [
            (batcher, router if not is_shared(batcher) else "") for batcher in self.batchers for router in self.routers
        ]
        return list(dict.fromkeys(queues))


def is_shared(batcher: str) -> bool:
    """Whether all replicas stand behind one queue."""
    return batcher.partition("(")[0].strip() == "ideal"


def _counted(keys: Iterator[tuple[str, str]]) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    return counts
