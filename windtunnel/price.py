"""What an hour of which machine costs, where and when that was read, and what is doubtful about it."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Literal

    Flag = Literal["placeholder", "stale", "undated"]

CATALOGUE = Path(__file__).parent / "catalog" / "instance_prices.csv"
"""The catalogue shipped with windtunnel; each row names its source and date."""

STALE_DAYS = 180
"""A price older than this is stale: on-demand prices stand for years, but spot prices and line-ups do not."""


@dataclass(frozen=True)
class Price:
    """An hour of one instance type.

    Args:
        name: `provider:instance_type`.
        region: where.
        architecture: such as `x86_64`; empty where the source does not say.
        vcpu: hardware threads; 0 where the source does not say.
        memory_gib: memory; not a number where the source does not say.
        accelerator: its name, or empty.
        accelerators: how many.
        usd_per_hour: on demand, Linux.
        date: of the catalogue, as the source writes it.
        source: where the figure was read.
        physical_cores: cores, each of which may show as two hardware threads.
        clock_ghz: the sustained clock that the provider states.
        accelerator_memory_gib: of each accelerator.
        spot_usd_per_hour: at one moment; the median over the region's zones where the source lists zones.
        spot_min_usd: the cheapest zone's.
        spot_max_usd: the dearest zone's.
        currency: always US dollars; a table in another currency is refused, for no exchange rate is known here.
        flags: what is doubtful about the row: `placeholder` (no price but a filler), `stale`, `undated`.
    """

    name: str
    region: str
    architecture: str
    vcpu: int
    memory_gib: float
    accelerator: str
    accelerators: int
    usd_per_hour: float
    date: str
    source: str
    physical_cores: float | None = None
    clock_ghz: float | None = None
    accelerator_memory_gib: float | None = None
    spot_usd_per_hour: float | None = None
    spot_min_usd: float | None = None
    spot_max_usd: float | None = None
    currency: str = "USD"
    flags: tuple[Flag, ...] = ()

    @property
    def dated(self) -> dt.date | None:
        """The day the price was read; the first of the month where only that is known, None where nothing is.

        Example:
            >>> find_price("aws:g6.xlarge").dated, find_price("aws:g5.xlarge").dated
            (datetime.date(2026, 9, 6), None)
        """
        return read_date(self.date)


def read_date(text: str) -> dt.date | None:
    """Find the day that a text starts with; the first of the month where it has no day.

    Example:
        >>> read_date("2025-04 (package release)"), read_date("undated (crawled copy, 2025-2026)")
        (datetime.date(2025, 4, 1), None)
    """
    found = re.match(r"(\d{4})-(\d{2})(?:-(\d{2}))?(?![\d-])", text)
    try:
        return dt.date(int(found[1]), int(found[2]), int(found[3] or 1)) if found else None
    except ValueError:
        return None


def age_flags(text: str, today: dt.date) -> tuple[Flag, ...]:
    """Say whether what was read at a date may still be believed.

    Args:
        text: the date, as the source writes it.
        today: the day to judge it on.

    Example:
        >>> age_flags("2026-09-06", dt.date(2026, 11, 22)), age_flags("2026-01-02", dt.date(2026, 11, 22))
        ((), ('stale',))
        >>> age_flags("undated (crawled copy)", dt.date(2026, 11, 22))
        ('undated',)
    """
    dated = read_date(text)
    if dated is None:
        return ("undated",)
    return ("stale",) if (today - dated).days > STALE_DAYS else ()


ARCHITECTURES = {"aarch64": "arm64", "AMD64": "x86_64"}
"""What machines call themselves, in the catalogue's words."""


def unmeasured(price: Price, architecture: str) -> str:
    """Why nothing measured on a processor of some architecture can be said of a machine; empty where it can.

    Example:
        >>> unmeasured(find_price("aws:g5.xlarge"), "x86_64")
        'run windtunnel benchmark on a machine with 1 × A10G'
        >>> unmeasured(find_price("azure:D2s_v5"), "x86_64")
        ''
    """
    if price.accelerators:
        return f"run windtunnel benchmark on a machine with {price.accelerators} × {price.accelerator}"
    here = ARCHITECTURES.get(architecture, architecture)
    if price.architecture and price.architecture != here:
        return f"run windtunnel benchmark on {price.architecture}; this was {here}"
    return ""


def read_prices(
    path: Path = CATALOGUE, *, provider: str = "", region: str = "", today: dt.date | None = None
) -> dict[str, Price]:
    """Read a price table of one of the kinds that `windtunnel.price_file` knows, by `provider:instance_type`.

    Args:
        path: the table.
        provider: whose prices they are, where the table does not say; from the file's place where empty.
        region: the one to take prices of; each provider's home region where empty.
        today: the day on which the age of prices is judged; now where None.

    Raises:
        DataError: a table that cannot be read whole, with its row, column and value.

    Example:
        >>> read_prices()["aws:g5.xlarge"].usd_per_hour
        1.006
    """
    # imported here: a catalogue holds prices, and these two doors stand beside their noun
    from windtunnel.catalogue import Catalogue

    return dict(Catalogue.read(path, provider=provider, region=region, today=today).prices)


def find_price(name: str) -> Price:
    """Find an instance type in the shipped catalogue.

    Raises:
        ConfigError: no such instance type; the nearest ones are named.

    Example:
        >>> find_price("aws:g5.xlarge").accelerator
        'A10G'
    """
    from windtunnel.catalogue import Catalogue

    return Catalogue.shipped().find(name)
