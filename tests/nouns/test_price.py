from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from windtunnel.errors import ConfigError, DataError
from windtunnel.price import CATALOGUE, COLUMNS, find_price, read_prices

SHARED = Path(__file__).parents[3] / "shared" / "data"
"""The gathered data beside the checkout, which the shipped catalogues are copies of."""

ROW = {
    "provider": "aws", "instance_type": "t4.tiny", "region": "us-east-1", "arch": "x86_64", "vcpu": "2", "memory_gib": "4.0",
    "accelerator": "", "accelerator_count": "0", "ondemand_usd_per_hour": "0.5", "catalog_date": "2026-01-01", "source": "a page",
}  # fmt: skip


def _catalogue(path: Path, row: dict[str, str], columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerow(row)
    return path


def test_read(tmp_path: Path) -> None:
    """A row is read under its provider and type, with where and when its price was seen."""
    price = read_prices(_catalogue(tmp_path / "p.csv", ROW))["aws:t4.tiny"]

    assert (
        price.vcpu,
        price.memory_gib,
        price.usd_per_hour,
        price.accelerator,
        price.accelerators,
    ) == (2, 4.0, 0.5, "", 0)
    assert (price.date, price.source, price.region) == ("2026-01-01", "a page", "us-east-1")


@pytest.mark.parametrize("column", COLUMNS)
def test_missing_column(tmp_path: Path, column: str) -> None:
    """A catalogue that lacks a column is refused by that column's name."""
    path = _catalogue(tmp_path / "p.csv", ROW, tuple(each for each in COLUMNS if each != column))

    with pytest.raises(DataError, match=rf"p\.csv: `{column}` is not a column"):
        read_prices(path)


@pytest.mark.parametrize(
    ("usd", "problem"),
    [("-1", "not a price"), ("0", "not a price"), ("0.0", "not a price"), ("nan", "not a price"), ("inf", "not a price"),
     ("", "not a price"), ("free", "not a number")],
)  # fmt: skip
def test_impossible_price(tmp_path: Path, usd: str, problem: str) -> None:
    """A price that nobody can pay is refused with the file, the column and the value."""
    path = _catalogue(tmp_path / "p.csv", ROW | {"ondemand_usd_per_hour": usd})

    with pytest.raises(DataError, match=rf"p\.csv: `ondemand_usd_per_hour` .*{problem}") as caught:
        read_prices(path)
    assert (caught.value.value or "") == usd


@pytest.mark.parametrize("column", ["vcpu", "memory_gib", "accelerator_count"])
def test_figure_that_is_no_number(tmp_path: Path, column: str) -> None:
    """A figure that is no number is refused with the file, the column and the value."""
    with pytest.raises(DataError, match=rf"p\.csv: `{column}` \(='many'\) is not a number"):
        read_prices(_catalogue(tmp_path / "p.csv", ROW | {column: "many"}))


def test_empty_figures(tmp_path: Path) -> None:
    """What a source does not say is not made up: memory is unknown, and there is no accelerator."""
    price = read_prices(_catalogue(tmp_path / "p.csv", ROW | {"memory_gib": "", "accelerator_count": ""}))[
        "aws:t4.tiny"
    ]

    assert math.isnan(price.memory_gib)
    assert price.accelerators == 0


def test_row_cut_short(tmp_path: Path) -> None:
    """A row that ends before its price has no price."""
    path = _catalogue(tmp_path / "p.csv", ROW)
    path.write_text(path.read_text() + "aws,cut,us-east-1,x86_64,2\n")

    with pytest.raises(DataError, match="of aws:cut is not a price"):
        read_prices(path)


def test_no_file(tmp_path: Path) -> None:
    """A catalogue that is not there, or a folder, is refused with the columns that one needs."""
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match="ondemand_usd_per_hour"):
            read_prices(path)


def test_nearest_names() -> None:
    """A slip in an instance type is answered with the nearest ones."""
    with pytest.raises(ConfigError, match=r"`hardware` \(='aws:g5\.xlrge'\).*did you mean.*`aws:g5\.xlarge`"):
        find_price("aws:g5.xlrge")


def test_shipped_rows_are_sourced() -> None:
    """Every shipped price names its source and its date, and no type stands there twice."""
    with CATALOGUE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    prices = read_prices()

    assert len(rows) == len(prices) >= 20
    assert [name for name, price in prices.items() if not (price.source and price.date and price.vcpu > 0)] == []


@pytest.mark.parametrize("name", ["instance_prices.csv"])
def test_shipped_as_gathered(name: str) -> None:
    """The shipped catalogue is the gathered one, byte for byte."""
    if not (SHARED / name).exists():
        pytest.skip(f"the gathered {name} is not beside this checkout")

    assert (SHARED / name).read_bytes() == CATALOGUE.with_name(name).read_bytes()
