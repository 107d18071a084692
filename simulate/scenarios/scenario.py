"""A Scenario: one bad thing that happens to a day. It changes traffic, clients or what befalls the system, and nothing else."""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from windtunnel.seeds import Seeds
    from windtunnel.simulate.system import System

    from .day import Day

START_SHARE = 0.4
"""When trouble starts where nobody says, as a share of the trace."""

LASTS_SHARE = 0.02
"""How long trouble lasts where nobody says: this share of the trace,"""

LONGEST_S = 300.0
"""and no longer than this, where it need not."""


class Scenario(ABC):
    """One bad thing. The same day and the same seeds make the same worse day; recorded requests stay as they are."""

    @property
    @abstractmethod
    def name(self) -> str:
        """As it is called on the command line, without its settings."""

    @property
    def parts(self) -> tuple[Scenario, ...]:
        """The scenarios that it is made of: itself, where it is not several at once."""
        return (self,)

    @abstractmethod
    def strike(self, day: Day, seeds: Seeds) -> Day:
        """The worse day.

        Raises:
            ConfigError: it cannot happen to this system, or at this time.
            DataError: it cannot happen to this trace.
        """

    def chance(self, seeds: Seeds) -> np.random.Generator:
        """This scenario's own stream, by its name: what others draw, or that there are others, changes nothing of it."""
        return seeds.stream("arrivals", zlib.crc32(self.name.encode()))


class Named(Scenario):
    """A scenario that is one bad thing, with a name of its own."""

    name: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class Episode(Named):
    """A scenario that strikes in the middle of a day and is over before the day is.

    Args:
        start_share: when it starts, as a share of the trace's duration.
        after_s: when it starts, in seconds after the first request; where None, `start_share` says.
        lasts_s: how long it lasts; where zero, `LASTS_SHARE` of the trace and at most `LONGEST_S`.

    Raises:
        ConfigError: a start outside the trace or said twice, or a negative duration.
    """

    start_share: float = START_SHARE
    after_s: float | None = None
    lasts_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.start_share < 1.0:
            raise ConfigError("is not within the trace", field="start_share", value=self.start_share, fix="write 40%")
        if self.after_s is not None:
            check(self, "after_s", least=0.0)
            if self.start_share != START_SHARE:
                raise ConfigError(
                    "says twice when it starts", field="start_share", value=self.start_share, fix="leave it out"
                )
        check(self, "lasts_s", least=0.0)

    def window(self, day: Day, least_s: float = 0.0) -> tuple[float, float]:
        """From when until when; where nobody said how long, at least so long.

        Raises:
            ConfigError: it ends when the trace has.
        """
        share_s = self.start_share * (day.last_s - day.first_s)
        start_s = day.first_s + (share_s if self.after_s is None else self.after_s)
        return ending(day, start_s, self.lasts_s or max(usual_s(day), least_s), self.name)


def usual_s(day: Day) -> float:
    """How long trouble lasts where nobody says."""
    return min(LASTS_SHARE * (day.last_s - day.first_s), LONGEST_S)


def ending(day: Day, start_s: float, lasts_s: float, name: str) -> tuple[float, float]:
    """A time within the day.

    Raises:
        ConfigError: it ends when the trace has: nobody would see whether the system recovers.
    """
    if start_s + lasts_s >= day.last_s:
        raise ConfigError(
            f"is over at {start_s + lasts_s:g} s, and the trace at {day.last_s:g} s: nobody would see it recover",
            field=name, fix="let it start earlier or last shorter, or give a longer trace",
        )  # fmt: skip
    return start_s, start_s + lasts_s


def check(scenario: object, field: str, *, least: float, most: float = math.inf, above: bool = False) -> None:
    """Refuse a figure outside its range, or not finite.

    Raises:
        ConfigError: it is.
    """
    value = getattr(scenario, field)
    if not (least < value if above else least <= value) or not value <= most or value == math.inf:
        upto = f" and at most {most:g}" if most < math.inf else ""
        raise ConfigError(f"must be {'above' if above else 'at least'} {least:g}{upto}", field=field, value=value)


def full_batch_s(system: System) -> float:
    """The mean time of the largest batch of the first size class in the first group."""
    largest = int(system.batcher.padded(system.batcher.max_batch)[-1])
    return float(np.mean(system.by_group[0, 0, largest]))
