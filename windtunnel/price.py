"""What an hour of which machine costs, from a dated, sourced catalogue."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from windtunnel.errors import ConfigError, DataError, nearest

CATALOGUE = Path(__file__).parent / "catalog" / "instance_prices.csv"
"""The catalogue shipped with windtunnel; each row names its source and date."""

COLUMNS = ("provider", "instance_type", "region", "arch", "vcpu", "memory_gib", "accelerator", "accelerator_count",
           "ondemand_usd_per_hour", "catalog_date", "source")  # fmt: skip


@dataclass(frozen=True)
class Price:
    """An hour of one instance type, on demand.

    Args:
        name: `provider:instance_type`.
        region: where.
        architecture: such as `x86_64`; empty where the source does not say.
        vcpu: hardware threads.
        memory_gib: memory.
        accelerator: its name, or empty.
        accelerators: how many.
        usd_per_hour: on demand, Linux.
        date: of the catalogue.
        source: where the figure was read.
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


def read_prices(path: Path = CATALOGUE) -> dict[str, Price]:
    """Read a catalogue, by `provider:instance_type`.

    Raises:
        DataError: missing file or column, a price that is missing, not a number, or not above zero, or another figure
            that is not a number.

    Example:
        >>> read_prices()["aws:g5.xlarge"].usd_per_hour
        1.006
    """
    if not path.is_file():
        raise DataError("is not a file", file=path, fix="give a CSV with the columns " + ", ".join(COLUMNS))
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        for column in COLUMNS:
            if column not in (reader.fieldnames or ()):
                raise DataError(
                    "is not a column", file=path, field=column, fix=nearest(column, reader.fieldnames or ())
                )
        prices = [_price(row, path) for row in reader]
    return {price.name: price for price in prices}


def _number(row: dict[str, str | None], column: str, empty: str, path: Path) -> float:
    """Read a figure of a row; a row that is cut short lacks its last columns."""
    text = row[column] or empty
    try:
        return float(text)
    except ValueError:
        raise DataError("is not a number", file=path, field=column, value=row[column], fix="mend the row") from None


def _price(row: dict[str, str | None], path: Path) -> Price:
    name = f"{row['provider']}:{row['instance_type']}"
    usd = _number(row, "ondemand_usd_per_hour", "nan", path)
    if not usd > 0.0 or math.isinf(usd):
        raise DataError(
            f"of {name} is not a price",
            file=path,
            field="ondemand_usd_per_hour",
            value=row["ondemand_usd_per_hour"],
            fix="give US dollars an hour, above zero",
        )
    return Price(
        name, row["region"] or "", row["arch"] or "", int(_number(row, "vcpu", "0", path)),
        _number(row, "memory_gib", "nan", path), row["accelerator"] or "", int(_number(row, "accelerator_count", "0", path)),
        usd, row["catalog_date"] or "", row["source"] or "",
    )  # fmt: skip


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


@cache
def _shipped() -> dict[str, Price]:
    return read_prices()


def find_price(name: str) -> Price:
    """Find an instance type in the shipped catalogue.

    Raises:
        ConfigError: no such instance type; the nearest ones are named.

    Example:
        >>> find_price("aws:g5.xlarge").accelerator
        'A10G'
    """
    if name not in _shipped():
        raise ConfigError("is not in the price catalogue", field="hardware", value=name, fix=nearest(name, _shipped()))
    return _shipped()[name]
