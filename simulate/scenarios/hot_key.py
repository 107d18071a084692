"""Hot key: half the world asks for one thing, and one station has it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from windtunnel.errors import ConfigError
from windtunnel.simulate.routing import Pinned

from .scenario import Episode, check

if TYPE_CHECKING:
    from windtunnel.seeds import Seeds

    from .day import Day


@dataclass(frozen=True, kw_only=True)
class HotKey(Episode):
    """In one window a share of requests can only be served by one station; the others go where they always went.

    The load is the same as ever, and so are the stations: only where it falls has changed. Which requests ask for the key
    is drawn (see `windtunnel.simulate.routing.Pinned`): a column `key` of the trace is not read, and an attempt that is
    sent again draws anew, so that retries are kinder to the hot station than they would be.

    Args:
        share: of the window's requests that ask for the hot key.
        station: that has it.

    Raises:
        ConfigError: a share outside 0 to 1, or a negative station.
    """

    share: float = 0.5
    station: int = 0

    name: ClassVar[str] = "hot-key"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "share", least=0.0, most=1.0, above=True)
        check(self, "station", least=0)

    def strike(self, day: Day, seeds: Seeds) -> Day:  # noqa: ARG002  # the router draws
        """The day on which one station has what many want."""
        system = day.system
        if not self.station < system.most or system.most < 2:
            raise ConfigError(
                f"needs a station {self.station} and another one; there are {system.most}", field=self.name,
                fix="give more replicas, each with a queue of its own",
            )  # fmt: skip
        from_s, until_s = self.window(day)
        router = Pinned(self.share, self.station, from_s, until_s, system.router)
        return replace(day, system=replace(system, router=router)).during(from_s, until_s)
