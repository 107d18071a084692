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
    from windtunnel.seeds import Seeds

    from .day import Day


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
    stream: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "again", least=0.0)

    def strike(self, day: Day, seeds: Seeds) -> Day:
        """The day with the stall, and the herd after it."""
        from_s, until_s = self.window(day)
        rows = day.between(from_s, until_s)
        held = rows.stop - rows.start
        if not held:
            raise DataError(
                f"has no request from {from_s:g} s to {until_s:g} s, so nobody waits", field=day.trace.name,
                fix="move the window with start_share, or widen it",
            )  # fmt: skip
        herd = round(self.again * held)
        like = self.chance(seeds).integers(rows.start, rows.stop, size=herd)
        worse = day.joined("a thundering herd", np.full(herd, until_s), like) if herd else day
        worse = replace(worse, system=replace(worse.system, proxy=worse.system.proxy or Proxy(1, 0.0)))
        return worse.befallen(ProxyStall(from_s - day.first_s, until_s - from_s)).during(from_s, until_s)
