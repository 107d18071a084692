"""A Catalogue: prices by name, each with what is doubtful about it; the shipped one, and those a user adds."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cache
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, nearest
from windtunnel.price import CATALOGUE, Price, age_flags
from windtunnel.price_file import read_price_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


OUT_BY = 20.0
"""A price that is so many times what its parts would cost, or that small a part of it, is no price."""

REPEATS, SPREAD = 3, 8.0
"""One figure for this many types, the largest of which would cost so many times the smallest, is a filler."""


@dataclass(frozen=True)
class Yardstick:
    """What machines of some size usually cost, by the median machine; good to a factor of a few, and meant for no more.

    Args:
        usd_per_vcpu: an hour of one hardware thread, with its usual memory.
        usd_per_gib: an hour of one GiB; a machine's processor part is the larger of its threads' and its memory's.
        usd_per_accelerator: an hour of one, by name.
    """

    usd_per_vcpu: float
    usd_per_gib: float
    usd_per_accelerator: Mapping[str, float]

    @staticmethod
    def fit(prices: Iterable[Price]) -> Yardstick:
        """Take the medians over machines; nearly half of them may be fillers without moving the result far."""
        known = [price for price in prices if price.vcpu]
        plain = [price for price in known if not price.accelerators]
        sized = [price for price in plain if price.memory_gib > 0.0]
        usd_per_vcpu = median([price.usd_per_hour / price.vcpu for price in plain]) if plain else math.nan
        usd_per_gib = median([price.usd_per_hour / price.memory_gib for price in sized]) if sized else math.nan
        rest: dict[str, list[float]] = defaultdict(list)
        for price in known:
            if price.accelerators:
                share = max(price.usd_per_hour - usd_per_vcpu * price.vcpu, 0.1 * price.usd_per_hour)
                rest[price.accelerator].append(share / price.accelerators)
        return Yardstick(usd_per_vcpu, usd_per_gib, {name: median(shares) for name, shares in rest.items()})

    def expect(self, price: Price) -> tuple[float, float]:
        """The least and most US dollars an hour that a machine usually costs; wide for an accelerator not known.

        Example:
            >>> stick = Yardstick(0.05, 0.0125, {"L4": 0.6, "H100": 7.0})
            >>> stick.expect(Price("a:b", "", "", 4, 16.0, "L4", 1, 700.0, "", ""))
            (0.8, 0.8)
            >>> stick.expect(Price("a:b", "", "", 4, 16.0, "B300", 1, 700.0, "", ""))
            (0.8, 7.2)
        """
        parts = (self.usd_per_vcpu * price.vcpu, self.usd_per_gib * price.memory_gib)
        host = float(np.nanmax([0.0, *parts]))
        if not price.accelerators:
            return host, host
        known = self.usd_per_accelerator
        each = (known[price.accelerator],) if price.accelerator in known else tuple(known.values()) or (math.nan,)
        return host + min(each) * price.accelerators, host + max(each) * price.accelerators


@dataclass(frozen=True)
class Catalogue:
    """Prices by `provider:instance_type`.

    Args:
        prices: one a name, flagged.
        today: the day on which their age was judged.
    """

    prices: Mapping[str, Price]
    today: date

    @staticmethod
    def shipped(today: date | None = None) -> Catalogue:
        """The catalogue that comes with windtunnel.

        Example:
            >>> "aws:g5.xlarge" in Catalogue.shipped().prices
            True
        """
        return _shipped(today or datetime.now(UTC).date())

    @staticmethod
    def read(path: Path, *, provider: str = "", region: str = "", today: date | None = None) -> Catalogue:
        """Read a table of prices alone; what it costs is judged beside the shipped catalogue.

        Raises:
            DataError: see `windtunnel.price_file.read_price_file`.
        """
        day = today or datetime.now(UTC).date()
        return Catalogue(flag(read_price_file(path, provider=provider, region=region), day), day)

    def extended(self, path: Path, *, provider: str = "", region: str = "") -> Catalogue:
        """The same with a user's table: its rows replace those of the same name, and the others are added.

        Raises:
            DataError: see `windtunnel.price_file.read_price_file`.
        """
        added = Catalogue.read(path, provider=provider, region=region, today=self.today)
        return replace(self, prices={**self.prices, **added.prices})

    def find(self, name: str, *, placeholders: bool = False) -> Price:
        """Find an instance type.

        Args:
            name: `provider:instance_type`.
            placeholders: whether a filler may be used as a price.

        Raises:
            ConfigError: no such instance type (the nearest ones are named), or a filler in place of its price.

        Example:
            >>> Catalogue.shipped().find("aws:m7i.large").physical_cores
            1.0
        """
        if name not in self.prices:
            raise ConfigError(
                "is not in the price catalogue", field="hardware", value=name, fix=nearest(name, self.prices)
            )
        price = self.prices[name]
        if "placeholder" in price.flags and not placeholders:
            raise ConfigError(
                f"has no price but a filler of {price.usd_per_hour:g} USD an hour ({price.source})",
                field="hardware", value=name, fix="give its price with --prices FILE",
            )  # fmt: skip
        return price


def flag(prices: Mapping[str, Price], today: date) -> dict[str, Price]:
    """Say of each price what is doubtful about it.

    A price is a `placeholder` where it is all nines, out by more than `OUT_BY` from what the machine's parts cost in
    the shipped catalogue (accelerators that are not known there: in the table itself), or shared by types of very
    different sizes; `stale` where older than `windtunnel.price.STALE_DAYS`; `undated` where its source has no date.
    """
    fillers = _fillers(prices.values())
    return {
        name: replace(price, flags=(*(("placeholder",) if name in fillers else ()), *age_flags(price.date, today)))
        for name, price in prices.items()
    }


def _fillers(prices: Iterable[Price]) -> set[str]:
    table = list(prices)
    stick = _yardstick(table)
    groups: dict[float, list[Price]] = defaultdict(list)
    for price in table:
        groups[price.usd_per_hour].append(price)
    repeated = {price.name for group in groups.values() if _is_filler(group, stick) for price in group}
    return repeated | {price.name for price in table if _is_nines(price) or _is_out(price, stick)}


def _yardstick(table: Iterable[Price]) -> Yardstick:
    own, shipped = Yardstick.fit(table), Yardstick.fit(_rows().values())
    return replace(shipped, usd_per_accelerator={**_plausible(own, shipped), **shipped.usd_per_accelerator})


def _plausible(own: Yardstick, shipped: Yardstick) -> dict[str, float]:
    """Accelerators that only the table knows, less those priced as nobody prices any."""
    known = shipped.usd_per_accelerator.values()
    low, high = min(known) / OUT_BY, max(known) * OUT_BY
    return {name: usd for name, usd in own.usd_per_accelerator.items() if low <= usd <= high}


def _is_nines(price: Price) -> bool:
    return re.fullmatch(r"9{3,}", f"{price.usd_per_hour:g}") is not None


def _is_out(price: Price, stick: Yardstick) -> bool:
    low, high = stick.expect(price)
    return low > 0.0 and not low / OUT_BY <= price.usd_per_hour <= high * OUT_BY


def _is_filler(group: list[Price], stick: Yardstick) -> bool:
    """Whether types that share a price are so different in size that the price can be nobody's."""
    expected = [stick.expect(price) for price in group]
    sizes = [low for low, high in expected if low == high and low > 0.0]
    return len(sizes) >= REPEATS and max(sizes) > SPREAD * min(sizes)


@cache
def _rows() -> Mapping[str, Price]:
    return read_price_file(CATALOGUE)


@cache
def _shipped(today: date) -> Catalogue:
    return Catalogue(flag(_rows(), today), today)
