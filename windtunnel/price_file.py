"""Reading tables of prices: windtunnel's own, SkyPilot's `vms.csv`, gpuhunt's; told apart by their headings.

- windtunnel: `COLUMNS`, and as many of `OPTIONAL` as are known; one row an instance type and region.
- SkyPilot catalogue (skypilot-org/skypilot-catalog, `catalogs/v8/<provider>/vms.csv`): one row an instance type and
  zone. On-demand prices of the zones of a region must agree; spot is the median over the zones, less AWS's local
  zones, which are other places at other prices. The provider is the folder's name. Rows without a type are accelerators alone, and Google's GPU hosts (a2, a3, a4, g2, g4) are priced
  there without their GPUs: neither is a machine, and both are left out.
- gpuhunt (dstackai/gpuhunt 0.1, `<provider>.csv`): one row an offer; spot offers are rows of their own. The provider
  is the file's name.

A type that is offered as spot only has no on-demand price, and is left out.
"""

from __future__ import annotations

import csv
import math
import re
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from windtunnel.errors import DataError, nearest
from windtunnel.price import ARCHITECTURES, Price

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

COLUMNS = ("provider", "instance_type", "region", "arch", "vcpu", "memory_gib", "accelerator", "accelerator_count",
           "ondemand_usd_per_hour", "catalog_date", "source")  # fmt: skip
"""What every row of windtunnel's own tables says."""

OPTIONAL = ("physical_cores", "sustained_clock_ghz", "accelerator_memory_gib_each", "spot_usd_per_hour", "spot_min_usd",
            "spot_max_usd", "spot_zones", "currency")  # fmt: skip
"""What a row may say besides."""

SKYPILOT = ("InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Price", "SpotPrice", "Region")
GPUHUNT = ("instance_name", "location", "price", "cpu", "memory", "gpu_count", "gpu_name", "gpu_memory", "spot")

HOMES = {"aws": "us-east-1", "azure": "eastus", "gcp": "us-east1"}
"""The region of each provider that the shipped catalogue speaks of, and that others are read for by default."""

GPU_HOSTS = re.compile(r"(a2|a3|a4|g2|g4)-")
"""Google's machines that come with GPUs, which SkyPilot prices apart."""


AWS_ZONES = re.compile(r"[a-z0-9]+-az\d+|[a-z]+(-[a-z]+)+-\d[a-z]|")
"""Zones of an AWS region by identity (`use1-az1`) or name (`us-east-1a`); `use1-atl2-az1` is a local zone."""


@dataclass(frozen=True)
class Row:
    """One row of a table, that knows where it stands.

    Args:
        path: the file.
        line: its last line in the file.
        cells: text by heading.
    """

    path: Path
    line: int
    cells: dict[str, str]

    def text(self, column: str) -> str:
        """A cell; empty where the column is not there."""
        return self.cells.get(column, "").strip()

    def number(self, column: str) -> float | None:
        """A figure, zero or more; None where the cell is empty.

        Raises:
            DataError: not a number, not finite, or below zero.
        """
        text = self.text(column)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            raise self.refusal("is not a number", column) from None
        if not math.isfinite(value) or value < 0.0:
            raise self.refusal("is not a figure of zero or more", column)
        return value

    def required(self, column: str) -> float:
        """A figure, zero or more, that may not be left out.

        Raises:
            DataError: empty, not a number, not finite, or below zero.
        """
        value = self.number(column)
        if value is None:
            raise self.refusal("is empty", column)
        return value

    def usd(self, column: str, name: str) -> float | None:
        """A price in US dollars an hour; None where the cell is empty.

        Raises:
            DataError: not a number, or not above zero.
        """
        text = self.text(column)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            raise self.refusal("is not a number", column, fix="give US dollars an hour, above zero") from None
        if not value > 0.0 or math.isinf(value):
            raise self.refusal(f"of {name} is not a price", column, fix="give US dollars an hour, above zero")
        return value

    def count(self, column: str) -> int:
        """A whole number, rounded up; 0 where the cell is empty."""
        return math.ceil(self.number(column) or 0.0)

    def refusal(self, problem: str, column: str, *, fix: str = "mend the row") -> DataError:
        """What is wrong with a cell, with its place."""
        return DataError(
            f"{problem} (row at line {self.line})", file=self.path, field=column, value=self.text(column), fix=fix
        )


def read_price_file(path: Path, *, provider: str = "", region: str = "") -> dict[str, Price]:
    """Read a table of prices, one region a provider, by `provider:instance_type`; nothing is flagged yet.

    Args:
        path: a CSV of one of the three kinds.
        provider: whose prices, where the table does not say; the folder's (SkyPilot) or file's (gpuhunt) name where empty.
        region: the one to take; the provider's home region where empty, or else the one with the most types.

    Raises:
        DataError: no file, not UTF-8, empty, a missing column, a row that is cut, a figure that is none, a price not
            above zero, a type that stands twice, or no row of the region.
    """
    header, rows = read_rows(path)
    if "InstanceType" in header:
        prices = _skypilot(rows, header, path, provider or path.resolve().parent.name)
    elif "instance_name" in header:
        prices = _gpuhunt(rows, header, path, provider or path.stem)
    else:
        check_columns(COLUMNS, header, path)
        prices = [_own(row) for row in rows]
    if not prices:
        raise DataError("offers no machine on demand", file=path, fix="give a table with on-demand prices")
    return _one_region(prices, region, path)


def read_rows(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    """Read a CSV with headings as text, each row as long as the headings.

    Raises:
        DataError: no file, a directory, not UTF-8, empty, no rows, or a row of another length.
    """
    if not path.is_file():
        raise DataError("is not a file", file=path, fix="give a CSV with the columns " + ", ".join(COLUMNS))
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = tuple(name.strip() for name in next(reader, ()))
            rows = [_row(cells, header, path, reader.line_num) for cells in reader if cells]
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 ({error.reason})", file=path, fix="save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"is not CSV ({error})", file=path, fix="write it again") from error
    if not header:
        raise DataError("is empty", file=path, fix="give a CSV with the columns " + ", ".join(COLUMNS))
    if not rows:
        raise DataError("has no rows", file=path, fix="give one row an instance type")
    return header, rows


def _row(cells: list[str], header: tuple[str, ...], path: Path, line: int) -> Row:
    if len(cells) != len(header):
        raise DataError(
            f"has {len(cells)} fields in the row at line {line}, but {len(header)} columns",
            file=path, value=",".join(cells)[:80], fix="is it cut short, or a comma not quoted? write the row again",
        )  # fmt: skip
    return Row(path, line, dict(zip(header, cells, strict=True)))


def check_columns(columns: Iterable[str], header: Sequence[str], path: Path) -> None:
    """Refuse a table that lacks a column.

    Raises:
        DataError: the first column that is not there.
    """
    for column in columns:
        if column not in header:
            raise DataError("is not a column", file=path, field=column, fix=nearest(column, header))


def _own(row: Row) -> Price:
    provider, kind = row.text("provider"), row.text("instance_type")
    if not provider or not kind:
        raise row.refusal("is empty", "instance_type" if provider else "provider")
    name = f"{provider}:{kind}"
    usd = row.usd("ondemand_usd_per_hour", name)
    if usd is None:
        raise row.refusal(
            f"of {name} is not a price", "ondemand_usd_per_hour", fix="give US dollars an hour, above zero"
        )
    if row.text("currency") not in {"", "USD"}:
        raise row.refusal("is not USD", "currency", fix="give US dollars: no exchange rate is known here")
    memory_gib = row.number("memory_gib")
    return Price(
        name, row.text("region"), row.text("arch"), row.count("vcpu"), math.nan if memory_gib is None else memory_gib,
        row.text("accelerator"), row.count("accelerator_count"), usd, row.text("catalog_date"), row.text("source"),
        physical_cores=row.number("physical_cores"), clock_ghz=row.number("sustained_clock_ghz"),
        accelerator_memory_gib=row.number("accelerator_memory_gib_each"),
        spot_usd_per_hour=row.usd("spot_usd_per_hour", name), spot_min_usd=row.usd("spot_min_usd", name),
        spot_max_usd=row.usd("spot_max_usd", name),
    )  # fmt: skip


def _skypilot(rows: Sequence[Row], header: Sequence[str], path: Path, provider: str) -> list[Price]:
    check_columns(SKYPILOT, header, path)
    zones: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if _is_machine(row, provider):
            zones[row.text("InstanceType"), row.text("Region")].append(row)
    prices = (_skypilot_price(kind, region, group, provider) for (kind, region), group in zones.items())
    return [price for price in prices if price is not None]


def _is_machine(row: Row, provider: str) -> bool:
    """Whether a row offers a whole machine in the region itself."""
    kind = row.text("InstanceType")
    if provider == "gcp" and GPU_HOSTS.match(kind):
        return bool(row.text("AcceleratorName"))
    if provider == "aws" and not AWS_ZONES.fullmatch(row.text("AvailabilityZone")):
        return False
    return bool(kind)


def _skypilot_price(kind: str, region: str, rows: Sequence[Row], provider: str) -> Price | None:
    name, first = f"{provider}:{kind}", rows[0]
    # Vast writes a spot price of zero where it has none
    spot = [usd for row in rows if row.text("SpotPrice").strip("0.") and (usd := row.usd("SpotPrice", name))]
    usd = _agreed(rows, "Price", name, spot_only=bool(spot))
    if usd is None:
        return None
    memory_gib = first.number("MemoryGiB")
    accelerator, count = _accelerators(first.text("AcceleratorName"), first.number("AcceleratorCount"))
    architecture = first.text("Arch")
    price = Price(
        name, region, ARCHITECTURES.get(architecture, architecture), first.count("vCPUs"),
        math.nan if memory_gib is None else memory_gib, accelerator, count, usd, "undated (SkyPilot catalogue)",
        f"{first.path.name} ({provider}, SkyPilot catalogue)", accelerator_memory_gib=_gpu_memory_gib(first.text("GpuInfo")),
    )  # fmt: skip
    return _with_spot(price, spot)


def _agreed(rows: Sequence[Row], column: str, name: str, *, spot_only: bool) -> float | None:
    """The on-demand price on which all rows of one type and region agree; None where it is sold as spot alone."""
    agreed: float | None = None
    for row in rows:
        usd = row.usd(column, name)
        if usd is None and not spot_only:
            raise row.refusal(f"of {name} is not a price", column, fix="give US dollars an hour, above zero")
        if usd is not None and agreed is not None and usd != agreed:
            raise row.refusal(
                f"of {name} differs from {agreed:g} in the same region", column, fix="keep one price a type and region"
            )
        agreed = usd if usd is not None else agreed
    return agreed


def _accelerators(name: str, count: float | None) -> tuple[str, int]:
    """Name and number; a slice of one keeps its share in its name, so that it is not taken for a whole one."""
    if not name or not count:
        return "", 0
    if count < 1.0:
        return f"{count:.3g} of {name}", 1
    return name, math.ceil(count)


def _gpu_memory_gib(info: str) -> float | None:
    """The memory of one GPU by SkyPilot's `GpuInfo`; RunPod writes GiB where others write MiB."""
    found = re.search(r"'SizeInMiB': *([0-9.]+)", info)
    if found is None:
        return None
    size = float(found[1])
    return size / 1024.0 if size >= 1024.0 else size


def _with_spot(price: Price, usd: Sequence[float]) -> Price:
    """The price with its spot prices, one a zone or offer."""
    if not usd:
        return price
    return replace(price, spot_usd_per_hour=statistics.median(usd), spot_min_usd=min(usd), spot_max_usd=max(usd))


def _gpuhunt(rows: Sequence[Row], header: Sequence[str], path: Path, provider: str) -> list[Price]:
    check_columns(GPUHUNT, header, path)
    offers: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if not row.text("instance_name"):
            raise row.refusal("is empty", "instance_name")
        if row.text("spot").lower() not in {"true", "false"}:
            raise row.refusal("is neither True nor False", "spot")
        offers[row.text("instance_name"), _region_of(row.text("location"), provider)].append(row)
    prices = (_gpuhunt_price(kind, region, group, provider) for (kind, region), group in offers.items())
    return [price for price in prices if price is not None]


def _region_of(location: str, provider: str) -> str:
    """A location without its zone, where the provider's zones are a letter after the region."""
    return re.sub(r"-[a-z]$", "", location) if provider == "gcp" else location


def _gpuhunt_price(kind: str, region: str, rows: Sequence[Row], provider: str) -> Price | None:
    name, first = f"{provider}:{kind}", rows[0]
    asked = [row for row in rows if row.text("spot").lower() == "false"]
    spot = [_required(row, "price", name) for row in rows if row.text("spot").lower() == "true"]
    usd = _agreed(asked, "price", name, spot_only=False)
    if usd is None:
        return None
    memory_gib = first.number("memory")
    accelerator, count = _accelerators(first.text("gpu_name"), first.number("gpu_count"))
    price = Price(
        name, region, "", first.count("cpu"), math.nan if memory_gib is None else memory_gib, accelerator, count, usd,
        "undated (gpuhunt catalogue)", f"{first.path.name} ({provider}, gpuhunt catalogue)",
        accelerator_memory_gib=first.number("gpu_memory") if count else None,
    )  # fmt: skip
    return _with_spot(price, spot)


def _required(row: Row, column: str, name: str) -> float:
    usd = row.usd(column, name)
    if usd is None:
        raise row.refusal(f"of {name} is not a price", column, fix="give US dollars an hour, above zero")
    return usd


def _one_region(prices: Sequence[Price], region: str, path: Path) -> dict[str, Price]:
    """Keep one region a provider, and refuse a type that stands there twice."""
    wanted = {provider: region or _home(prices, provider) for provider in {_provider(price) for price in prices}}
    kept: dict[str, Price] = {}
    for price in prices:
        if price.region != wanted[_provider(price)]:
            continue
        if price.name in kept:
            raise DataError(
                f"stands twice in {price.region}", file=path, value=price.name, fix="keep one row a type and region"
            )
        kept[price.name] = price
    if not kept:
        raise DataError(
            "has no price in this region", file=path, field="region", value=region,
            fix=nearest(region, {price.region for price in prices}),
        )  # fmt: skip
    return kept


def _provider(price: Price) -> str:
    return price.name.partition(":")[0]


def _home(prices: Sequence[Price], provider: str) -> str:
    """The provider's home region if the table has it, or else the region in which most types are sold."""
    regions = Counter(price.region for price in prices if _provider(price) == provider)
    if HOMES.get(provider) in regions:
        return HOMES[provider]
    return min(regions, key=lambda region: (-regions[region], region))
