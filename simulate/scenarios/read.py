"""Scenarios as they are spelled, and as those see them who fly nothing but traces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError
from windtunnel.simulate.phrase import read_phrase
from windtunnel.simulate.system import System

from .day import Day
from .together import Together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.seeds import Seeds
    from windtunnel.trace import Trace

    from .scenario import Named, Scenario

_COMMA, _PLUS = (re.compile(rf"{sign}(?![^()]*\))") for sign in (",", r"\+"))
"""Signs that are not between brackets."""


def read_named(text: str, known: Mapping[str, type[Named]], field: str) -> tuple[Scenario, ...]:
    """The scenarios of a list of days, in their order; those with plus signs between them make one day.

    Raises:
        ConfigError: one that is not known, is named twice, or refuses its settings.
    """
    days = [_PLUS.split(each) for each in _COMMA.split(text)] if text.strip() else []
    found = [tuple(read_phrase(each.strip(), known, field=field) for each in day) for day in days]
    names = [each.name for day in found for each in day]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"names {name} twice", field=field, value=text, fix="name it once")
    return tuple(Together(day) if len(day) > 1 else day[0] for day in found)


def worsened(trace: Trace, scenarios: Sequence[Scenario], seeds: Seeds) -> Trace:
    """What comes on a day that scenarios make worse which change nothing else.

    Raises:
        ConfigError: one that changes the system.
    """
    # so fast that no scenario's own times depend on it
    nominal = System(np.full((2, 1), 1e-6))
    day = Day.calm(trace, nominal)
    for each in scenarios:
        day = each.strike(day, seeds)
        if day.system is not nominal:
            raise ConfigError(
                "changes more than who comes when", field="--scenario", value=each.name,
                fix="fly it with windtunnel simulate, or give flash-crowd",
            )  # fmt: skip
    return day.trace
