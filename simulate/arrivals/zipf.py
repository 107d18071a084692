"""Zipf's law: a few keys are asked for most of the time."""

from __future__ import annotations

from dataclasses import dataclass

from windtunnel.errors import ConfigError


@dataclass(frozen=True)
class Zipf:
    """How often each of so many keys is asked for: in proportion to rank^−exponent.

    Args:
        distinct: how many keys there are.
        exponent: 0 makes all alike; caches and stores of real traffic show about 0.6 to 1.2.

    Raises:
        ConfigError: no key, more than ten million, or an exponent below zero.

    Source: Breslau et al., *Web caching and Zipf-like distributions*, INFOCOM 1999.

    Example:
        >>> Zipf(100)
        Zipf(distinct=100, exponent=1.0)
    """

    distinct: int
    exponent: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.distinct <= 10_000_000:
            raise ConfigError("is outside 1 to 10,000,000", field="distinct", value=self.distinct)
        if not 0.0 <= self.exponent < float("inf"):
            raise ConfigError(
                "must be zero or more", field="exponent", value=self.exponent, fix="0 makes all keys alike"
            )


KEYS = {"zipf": Zipf}
"""The laws of keys, by the name they have on the command line."""
