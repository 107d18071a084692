"""Thundering herd: the door was shut for a while, and all who waited before it come in at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from windtunnel.errors import DataError
from windtunnel.simulate.fault import ProxyStall
from windtunnel.simulate.proxy import Proxy

from .scenario import Episode, check

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds

    from .day import Day

    Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ThunderingHerd(Episode):
    """The front proxy stalls; at one instant all that came meanwhile goes through, and every client connects anew.

    A system without a proxy gets one that takes no time, so that something can stall.

    Args:
        again: requests that each waiting client sends besides at the instant at which the proxy goes on: a reconnect, a
            session that is opened again. A fraction is met on the whole.

    Raises:
        ConfigError: a negative figure.
    """

    again: float = 1.0

    name: ClassVar[str] = "thundering-herd"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "again", least=0.0)

    def strike(self, day: Day, seeds: Seeds) -> Day:
        """The day with the stall, and the herd after it."""
        from_s, until_s = self.window(day)
        rows = day.between(from_s, until_s)
        if rows.start == rows.stop:
            raise DataError(
                f"has no request from {from_s:g} s to {until_s:g} s, so nobody waits", field=day.trace.name,
                fix="move the window with start_share or after, or widen it with lasts",
            )  # fmt: skip
        like = self._who(day, rows, self.chance(seeds))
        worse = day.joined("a thundering herd", np.full(len(like), until_s), like) if len(like) else day
        worse = replace(worse, system=replace(worse.system, proxy=worse.system.proxy or Proxy(1, 0.0)))
        return worse.befallen(ProxyStall(from_s - day.first_s, until_s - from_s)).during(from_s, until_s)

    def _who(self, day: Day, rows: slice, rng: np.random.Generator) -> Ints:
        """Who comes again: of the recorded first, so that they are the same whoever else waits."""
        waiting = np.arange(rows.start, rows.stop)
        recorded = np.isin(waiting, day.recorded, assume_unique=True)
        groups = waiting[recorded], waiting[~recorded]
        return np.concatenate([
            each[rng.integers(0, len(each), size=round(self.again * len(each)))] for each in groups if len(each)
        ])  # fmt: skip
