"""Retry storm: a short dip of capacity, and clients that ask again at once and without end in sight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from windtunnel.simulate.fault import Slow

from .scenario import Episode, check, full_batch_s

if TYPE_CHECKING:
    from windtunnel.seeds import Seeds
    from windtunnel.simulate.client import Client
    from windtunnel.simulate.system import System

    from .day import Day

PATIENCE = 10.0
"""Full batches that a client waits for where nobody says how long it does."""

USUAL_RETRIES = 3
"""Retries where nobody says how many."""

TIMEOUTS = 5.0
"""Timeouts that the dip lasts at least where nobody says how long."""


@dataclass(frozen=True, kw_only=True)
class RetryStorm(Episode):
    """All stations are slow for a moment; clients that time out ask again at once, on top of those who come anyway.

    When the dip is over, load and capacity are what they were. But while nobody is answered in time, each request counts
    `1 + retries` times; where that is more than the stations can serve, and they serve what nobody waits for any more,
    they stay collapsed. A retry budget that the system's clients have, they keep; their back-off is taken away.

    Source: Bronson et al., *Metastable failures in distributed systems*, HotOS 2021; Huang et al., *Metastable failures in
    the wild*, OSDI 2022, section 2.

    Args:
        slowdown: how many times as long every batch takes that begins in the dip.
        timeout_s: how long clients wait for an attempt; where zero, as long as they do now, or for `PATIENCE` full batches.
        retries: how often they ask again; where zero, as often as they do now, or `USUAL_RETRIES` times.

    Raises:
        ConfigError: no slowdown, or a negative figure.
    """

    slowdown: float = 10.0
    timeout_s: float = 0.0
    retries: int = 0

    name: ClassVar[str] = "retry-storm"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "slowdown", least=1.0, above=True)
        check(self, "timeout_s", least=0.0)
        check(self, "retries", least=0)

    def strike(self, day: Day, seeds: Seeds) -> Day:  # noqa: ARG002  # nothing is left to chance
        """The day with the dip, and clients that make it worse."""
        system = replace(day.system, client=self.client(day.system))
        from_s, until_s = self.window(day, TIMEOUTS * system.client.timeout_s)
        dips = [Slow(each, from_s - day.first_s, until_s - from_s, self.slowdown) for each in range(system.most)]
        return replace(day, system=system).befallen(*dips).during(from_s, until_s)

    def client(self, system: System) -> Client:
        """Clients that ask again at once."""
        now = system.client
        usual_s = PATIENCE * full_batch_s(system) + getattr(system.batcher, "max_wait_s", 0.0)
        return replace(
            now, timeout_s=self.timeout_s or now.timeout_s or usual_s, retries=self.retries or now.retries or USUAL_RETRIES,
            backoff_s=0.0, jitter=0.0,
        )  # fmt: skip
