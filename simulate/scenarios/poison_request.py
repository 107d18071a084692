"""Poison request: whoever serves it dies, and it is sent again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from windtunnel.errors import ConfigError
from windtunnel.simulate.fault import Crash

from .scenario import Episode, check

if TYPE_CHECKING:
    from windtunnel.seeds import Seeds

    from .day import Day


@dataclass(frozen=True, kw_only=True)
class PoisonRequest(Episode):
    """One request crashes the station that gets it, and with each retry another one.

    The kernel knows no deadly request: the crashes are put where its deliveries would be, on one station after another,
    at even steps. The request itself is not flown; what was waiting and being served beside it fails with the station. A
    station that is down already cannot die again.

    Args:
        deliveries: how often the request is sent, retries and all.
        restart_s: how long until a station is back; where zero, half of the time that all of it lasts. The deliveries are
            spread over what is left.
        first: the first station that gets it.

    Raises:
        ConfigError: no delivery, or a negative figure.
    """

    deliveries: int = 4
    restart_s: float = 0.0
    first: int = 0

    name: ClassVar[str] = "poison-request"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "deliveries", least=1)
        check(self, "restart_s", least=0.0)
        check(self, "first", least=0)

    def strike(self, day: Day, seeds: Seeds) -> Day:  # noqa: ARG002  # nothing is left to chance
        """The day with one crash after another."""
        from_s, until_s = self.window(day, 2.0 * self.restart_s)
        restart_s = self.restart_s or 0.5 * (until_s - from_s)
        if not restart_s < until_s - from_s:
            raise ConfigError(
                "is as long as all of it lasts",
                field=f"{self.name} (restart)",
                value=self.restart_s,
                fix="let lasts be longer",
            )
        step_s = (until_s - from_s - restart_s) / self.deliveries
        stations = day.system.stations or day.system.most
        if self.first >= stations:
            raise ConfigError(f"is no station: there are {stations}", field=f"{self.name} (first)", value=self.first)
        crashes = [
            Crash((self.first + each) % stations, from_s - day.first_s + each * step_s, restart_s)
            for each in range(self.deliveries)
        ]
        return day.befallen(*crashes).during(from_s, until_s)
