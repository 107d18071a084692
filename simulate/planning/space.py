"""A Space: every deployment that may be chosen, as lines on which only the number of replicas differs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from windtunnel.deployment import BatchPolicy, Deployment
from windtunnel.errors import ConfigError, DataError
from windtunnel.simulate.batching import BATCHERS
from windtunnel.simulate.phrase import read_phrase

from .offer import FunctionOffer
from .pattern import ALWAYS_ON, AUTOSCALED, EDGE, SERVERLESS, SPOT, Patterns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .offer import AnyOffer, DeviceOffer, Offer

POWER_OF_TWO = "power-of-two"


@dataclass(frozen=True)
class Line:
    """Deployments that differ in the number of replicas alone: the same machine, as full, batching and routing alike.

    On a line with one queue more replicas serve no less: each is as fast as before, and there are more. That is what a search may
    lean on, and looks at; where each replica has a queue that waits for company, more of them fill it more slowly. From one line
    to another nothing is known.

    What a rung that scales, or is paid by the request, costs is known once it was flown; until then it says the least it may cost.

    Args:
        offer: the variant and the machine.
        sharing: sessions on the fullest machine.
        rungs: the deployments, replicas rising.
    """

    offer: AnyOffer
    sharing: int
    rungs: tuple[Deployment, ...]

    @property
    def pattern(self) -> str:
        """The way of running it."""
        return self.rungs[0].pattern

    @property
    def priced(self) -> bool:
        """Whether what a rung costs is known before it is flown."""
        return self.pattern not in {AUTOSCALED, SERVERLESS}

    @property
    def max_batch(self) -> int:
        """The largest batch."""
        return self.rungs[0].batch.max_batch


@dataclass(frozen=True)
class Space:
    """Every combination of a machine and variant, replicas, batching and routing.

    Machines are filled up with replicas evenly, and paid for whole. A batch of one waits for nobody, so with `max_batch` 1
    only the shortest wait is in the space; and behind one queue (`ideal`) nothing is routed. A batcher that serves several batches
    at once in a replica runs as many sessions there: such a replica takes the place of so many, and is paid for as so many.

    Every way of running it (`patterns`) has lines of its own, each sized by itself: fleets that are always on, and those on spot
    machines, by their replicas; fleets that scale by those that are always there, up to the most replicas that are tried; a function
    and a device are there once a variant, the function without batching.

    Args:
        offers: what may be rented.
        replicas: numbers to try.
        max_batch: the largest batches to try.
        max_wait_s: the waits to try, in seconds.
        batchers: phrases of `windtunnel.simulate.batching`.
        routers: phrases of `windtunnel.simulate.routing`, for batchers of which each replica has its own queue.
        patterns: ways of running that may be the answer; names of `pattern.PATTERNS`.
        functions: to be compared with, and searched where serverless may be the answer.
        devices: to be compared with, and searched where an edge device may be the answer.
        assumed: of ways of running that nobody measured.

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
    patterns: tuple[str, ...] = (ALWAYS_ON,)
    functions: tuple[FunctionOffer, ...] = ()
    devices: tuple[DeviceOffer, ...] = ()
    assumed: Patterns = field(default_factory=Patterns)

    def __post_init__(self) -> None:
        named = {
            "hardware": self.everything, "replicas": self.replicas, "max_batch": self.max_batch, "max_wait": self.max_wait_s,
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
        twice = [key for key, count in _counted(offer.key for offer in self.everything).items() if count > 1]
        if twice:
            raise ConfigError("is offered twice", field="hardware", value=" on ".join(twice[0]), fix="give one profile")
        for offer in (each for each in self.everything if not isinstance(each, FunctionOffer)):
            sizes = offer.profile.batch_sizes
            if max(self.max_batch) > sizes[-1] or sizes[0] > 1:
                offer.profile.service_table(max(self.max_batch), points=1)  # says what was profiled

    def __len__(self) -> int:
        return sum(len(line.rungs) for line in self.lines)

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """All lines, in the order of the settings."""
        found = []
        for offer, policy, queue in itertools.product(self.offers, self._policies(), self._queues()):
            if ALWAYS_ON in self.patterns:
                found += self._fleets(offer, policy, queue, ALWAYS_ON, offer.price.usd_per_hour)
            if AUTOSCALED in self.patterns:
                found += self._scaling(offer, policy, queue)
            if SPOT in self.patterns and offer.price.spot_usd_per_hour is not None:
                usd_per_hour = self.assumed.spot_usd_per_hour(offer.price.spot_usd_per_hour, offer.price.usd_per_hour)
                found += self._fleets(offer, policy, queue, SPOT, usd_per_hour)
        found += [self._function(function) for function in self.functions]
        for device, policy, queue in itertools.product(self.devices, self._policies(), self._queues()):
            found.append(self._device(device, policy, queue))
        if not found:
            raise ConfigError(
                "leave nothing to try", field="patterns", value=", ".join(self.patterns),
                fix="spot needs a spot price; serverless and edge need a function or a device in hardware",
            )  # fmt: skip
        return tuple(found)

    def _fleets(
        self, offer: Offer, policy: BatchPolicy, queue: tuple[str, str], pattern: str, usd_per_hour: float
    ) -> list[Line]:
        """Fleets of which the number of replicas stays, on machines that are paid for whole; a line for each sharing."""
        sessions = sessions_of(queue[0])
        by_sharing: dict[int, list[Deployment]] = {}
        for replicas in sorted(set(self.replicas)):
            machines = math.ceil(replicas / max(1, offer.per_machine // sessions))
            rung = Deployment(
                offer.profile.name,
                replicas,
                policy,
                machines,
                machines * usd_per_hour,
                offer.price.name,
                *queue,
                pattern,
            )
            by_sharing.setdefault(sharing_of(rung), []).append(rung)
        return [Line(offer, sharing, tuple(rungs)) for sharing, rungs in by_sharing.items()]

    def _scaling(self, offer: Offer, policy: BatchPolicy, queue: tuple[str, str]) -> list[Line]:
        """Fleets that scale, by the replicas that are always there: as slow as on full machines, of which each pays its share."""
        sessions, most = sessions_of(queue[0]), max(self.replicas)
        together = max(1, offer.per_machine // sessions)
        usd_per_hour = offer.price.usd_per_hour / together
        rungs = tuple(
            Deployment(
                offer.profile.name, least, policy, math.ceil(least / together), least * usd_per_hour, offer.price.name, *queue,
                AUTOSCALED, most,
            )
            for least in sorted(set(self.replicas))
        )  # fmt: skip
        return [Line(offer, min(most, together) * sessions, rungs)]

    def _function(self, offer: FunctionOffer) -> Line:
        rung = Deployment(offer.profile.name, 1, BatchPolicy(), 0, 0.0, offer.function.name, pattern=SERVERLESS)
        return Line(offer, 1, (rung,))

    def _device(self, offer: DeviceOffer, policy: BatchPolicy, queue: tuple[str, str]) -> Line:
        """One replica a device, one device a site: nobody routes."""
        sites = self.assumed.sites
        usd_per_hour = sites * offer.device.usd_per_hour
        rung = Deployment(offer.profile.name, sites, policy, sites, usd_per_hour, offer.device.name, queue[0], "", EDGE)
        return Line(offer, sessions_of(queue[0]), (rung,))

    @property
    def everything(self) -> tuple[AnyOffer, ...]:
        """Whatever a variant may run on."""
        found: tuple[AnyOffer, ...] = (*self.offers, *self.functions, *self.devices)
        return found

    def deployments(self) -> Iterator[Deployment]:
        """Every deployment, line by line."""
        return itertools.chain.from_iterable(line.rungs for line in self.lines)

    def offer_of(self, deployment: Deployment) -> AnyOffer:
        """What a deployment rents.

        Raises:
            DataError: nothing in this space.
        """
        for offer in self.everything:
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


def sessions_of(batcher: str) -> int:
    """Sessions that a replica runs at once: one where the batcher does not say.

    Example:
        >>> sessions_of("triton(instances=2)"), sessions_of("ideal")
        (2, 1)
    """
    return read_phrase(batcher, BATCHERS, field="batcher", usual={"max_batch": 1}).executors or 1


def sharing_of(deployment: Deployment) -> int:
    """Sessions on the fullest machine of a fleet whose number of replicas stays."""
    return math.ceil(deployment.replicas / deployment.machines) * sessions_of(deployment.batcher)


def _counted(keys: Iterator[tuple[str, str]]) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    return counts
