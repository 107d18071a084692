from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

import pytest

from windtunnel.errors import ConfigError
from windtunnel.price import CATALOGUE, STALE_DAYS, age_flags, find_price, read_date, read_prices, unmeasured

SHARED = Path(__file__).parents[3] / "shared" / "data"
"""The gathered data beside the checkout, which the shipped catalogues are copies of."""

CORRECTED = {"NV6ads_A10_v5"}
"""Rows that were gathered with a mistake; catalog/SOURCES.md says which."""


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-09-06", date(2026, 9, 6)),
        ("2026-09-06 (package)", date(2026, 9, 6)),
        ("2025-04 (package release)", date(2025, 4, 1)),
        ("undated (crawled copy, 2025-2026)", None),
        ("2026-13-01", None),
        ("2026-02-30", None),
        ("2026-09-061", None),
        ("", None),
    ],
)
def test_dates(text: str, day: date | None) -> None:
    """A date is a day, or a month's first, or nothing; an impossible one is nothing."""
    assert day == read_date(text)


def test_age() -> None:
    """A price is stale from the day after its last good one, and undated where nobody knows."""
    read = date(2026, 1, 1)
    last = date.fromordinal(read.toordinal() + STALE_DAYS)

    assert age_flags("2026-01-01", last) == ()
    assert age_flags("2026-01-01", date.fromordinal(last.toordinal() + 1)) == ("stale",)
    assert age_flags("yesterday", last) == ("undated",)


def test_nearest_names() -> None:
    """A slip in an instance type is answered with the nearest ones."""
    with pytest.raises(ConfigError, match=r"`hardware` \(='aws:g5\.xlrge'\).*did you mean.*`aws:g5\.xlarge`"):
        find_price("aws:g5.xlrge")


def test_everything_that_is_known() -> None:
    """A shipped price carries its cores, clock, spot prices with their range, and the doubt about its date."""
    price = find_price("aws:m7i.large")

    assert (price.vcpu, price.physical_cores, price.clock_ghz, price.memory_gib) == (2, 1.0, 3.2, 8.0)
    assert (price.usd_per_hour, price.currency) == (0.1008, "USD")
    assert (price.spot_usd_per_hour, price.spot_min_usd, price.spot_max_usd) == (0.0396, 0.0361, 0.0483)
    assert (price.dated, price.flags) == (None, ("undated",))
    assert find_price("aws:g5.xlarge").accelerator_memory_gib == 22.35
    assert find_price("azure:D2s_v5").physical_cores is None


def test_unmeasured() -> None:
    """Nothing measured on x86 speaks of an ARM machine, nor of one with accelerators."""
    assert unmeasured(find_price("aws:m7i.large"), "x86_64") == ""
    assert unmeasured(find_price("aws:m8g.large"), "aarch64") == ""
    assert unmeasured(find_price("aws:m8g.large"), "x86_64") == "run windtunnel benchmark on arm64; this was x86_64"
    assert "1 × A10G" in unmeasured(find_price("aws:g5.xlarge"), "x86_64")


def test_shipped_rows_are_sourced() -> None:
    """Every shipped price names its source and its date, none is a filler, and no type stands there twice."""
    with CATALOGUE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    prices = read_prices(today=date(2026, 11, 22))

    assert len(rows) == len(prices) >= 68
    assert [name for name, price in prices.items() if not (price.source and price.date and price.vcpu > 0)] == []
    assert [name for name, price in prices.items() if "placeholder" in price.flags] == []
    assert {price.currency for price in prices.values()} == {"USD"}


def test_shipped_as_gathered() -> None:
    """The shipped catalogue begins with the gathered one, row by row, but for the rows whose mistakes were mended."""
    if not (SHARED / "instance_prices.csv").exists():
        pytest.skip("the gathered instance_prices.csv is not beside this checkout")
    gathered, shipped = (
        list(csv.reader(io.StringIO(path.read_text()))) for path in (SHARED / "instance_prices.csv", CATALOGUE)
    )

    assert [row for row in gathered if row[1] not in CORRECTED] == [
        row for row in shipped[: len(gathered)] if row[1] not in CORRECTED
    ]
