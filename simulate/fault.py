"""What befalls stations and the proxy: each fault is a few events at stated times, and nothing else knows of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError

from .world import CRASH, MEND, NOTICE, SLOW, STALL

if TYPE_CHECKING:
    from collections.abc import Mapping

Change = tuple[float, int, int, float]
"""When (seconds after the first arrival), which station, what, and by how much."""


def _check(fault: object) -> None:
    for each in fields(fault):  # type: ignore[arg-type]  # every fault is a dataclass
        value = getattr(fault, each.name)
        if not value >= 0.0 or (each.name != "back_s" and value == math.inf):
            raise ConfigError("must be zero or more", field=each.name, value=value)


@dataclass(frozen=True)
class Crash:
    """A station is gone from one moment to the next: all that waits or is served there fails.

    Args:
        station: its index.
        at_s: when.
        back_s: how long until it is up again; infinite where it stays away.
    """

    station: int
    at_s: float
    back_s: float = math.inf

    def __post_init__(self) -> None:
        _check(self)

    def changes(self) -> list[Change]:
        """Gone, and back."""
        back = [(self.at_s + self.back_s, self.station, MEND, 0.0)] if self.back_s < math.inf else []
        return [(self.at_s, self.station, CRASH, 0.0), *back]


@dataclass(frozen=True)
class Slow:
    """A station takes longer than it else would over every batch it begins while the fault lasts; several faults multiply.

    Args:
        station: its index.
        at_s: from when.
        lasts_s: how long.
        factor: how many times as long a batch takes.
    """

    station: int
    at_s: float
    lasts_s: float
    factor: float

    def __post_init__(self) -> None:
        _check(self)
        if self.factor == 0.0:
            raise ConfigError("would serve in no time", field="factor", value=0.0)

    def changes(self) -> list[Change]:
        """Slow, and, said with a minus, as before."""
        return [
            (self.at_s, self.station, SLOW, self.factor),
            (self.at_s + self.lasts_s, self.station, SLOW, -self.factor),
        ]


@dataclass(frozen=True)
class Preemption:
    """A spot machine is taken away after a notice, in which it takes nothing new on; what is left then fails.

    Args:
        station: its index.
        at_s: when the notice comes.
        notice_s: how long it is: 120 s on AWS, 30 s on GCP and Azure.
        back_s: from being taken away until another one is up; infinite where none comes.
    """

    station: int
    at_s: float
    notice_s: float = 120.0
    back_s: float = math.inf

    def __post_init__(self) -> None:
        _check(self)

    def changes(self) -> list[Change]:
        """Noticed, gone, and back."""
        gone_s = self.at_s + self.notice_s
        back = [(gone_s + self.back_s, self.station, MEND, 0.0)] if self.back_s < math.inf else []
        return [(self.at_s, self.station, NOTICE, 0.0), (gone_s, self.station, CRASH, 0.0), *back]


@dataclass(frozen=True)
class ProxyStall:
    """The proxy starts on nothing for a while: a pause of its garbage collector, a reload of its configuration.

    Args:
        at_s: from when.
        lasts_s: how long.
    """

    at_s: float
    lasts_s: float

    def __post_init__(self) -> None:
        _check(self)

    def changes(self) -> list[Change]:
        """Stalled; it goes on by itself."""
        return [(self.at_s, 0, STALL, self.lasts_s)]


Fault = Crash | Slow | Preemption | ProxyStall
"""What may befall a system."""

FAULTS: Mapping[str, type[Fault]] = {
    "crash": Crash,
    "slow": Slow,
    "preemption": Preemption,
    "proxy-stall": ProxyStall,
}
"""The faults, by the name they have on the command line."""
