from __future__ import annotations

import csv
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.catalogue import Catalogue, Yardstick, flag
from windtunnel.errors import ConfigError
from windtunnel.price import Price, find_price
from windtunnel.price_file import COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

TODAY = date(2026, 11, 22)
SMALL = Price("me:small", "here", "x86_64", 2, 8.0, "", 0, 0.1, "2026-11-01", "a test")


def _table(path: Path, *rows: tuple[str, int, float]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for name, vcpu, usd in rows:
            provider, _, kind = name.partition(":")
            writer.writerow((provider, kind, "us-east-1", "x86_64", vcpu, 4 * vcpu, "", 0, usd, "2026-11-01", "mine"))
    return path


def _flags(*prices: Price) -> dict[str, tuple[str, ...]]:
    return {name: price.flags for name, price in flag({price.name: price for price in prices}, TODAY).items()}


def test_extended(tmp_path: Path) -> None:
    """Rows of a user's table replace those of the same name, add the others, and leave the rest as it was."""
    shipped = Catalogue.shipped(TODAY)
    mine = shipped.extended(_table(tmp_path / "mine.csv", ("aws:m7i.large", 2, 0.08), ("me:box", 4, 0.15)))

    assert (mine.find("aws:m7i.large").usd_per_hour, mine.find("aws:m7i.large").source) == (0.08, "mine")
    assert mine.find("me:box").vcpu == 4
    assert mine.find("aws:g5.xlarge") == shipped.find("aws:g5.xlarge")
    assert len(mine.prices) == len(shipped.prices) + 1
    assert shipped.find("aws:m7i.large").usd_per_hour == 0.1008


def test_unknown_name() -> None:
    """A name that is not there is answered with the nearest ones."""
    with pytest.raises(ConfigError, match=r"\(='aws:m7i\.lage'\) is not in the price catalogue; .*`aws:m7i\.large`"):
        Catalogue.shipped().find("aws:m7i.lage")


def test_fillers_are_refused_unless_asked_for(tmp_path: Path) -> None:
    """A filler is found in the table, refused with its figure and its source, and given to who asks for it."""
    mine = Catalogue.shipped(TODAY).extended(_table(tmp_path / "mine.csv", ("me:box", 4, 700.0)))

    with pytest.raises(
        ConfigError, match=r"\(='me:box'\) has no price but a filler of 700 USD an hour \(mine\); .*--prices"
    ):
        mine.find("me:box")
    assert mine.find("me:box", placeholders=True).flags == ("placeholder",)


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        ({}, ()),
        ({"usd_per_hour": 1.9}, ()),
        ({"usd_per_hour": 700.0}, ("placeholder",)),
        ({"usd_per_hour": 99999.0}, ("placeholder",)),
        ({"usd_per_hour": 0.0001}, ("placeholder",)),
        ({"vcpu": 192, "memory_gib": 24576.0, "usd_per_hour": 218.0}, ()),
        ({"accelerator": "H100", "accelerators": 8, "vcpu": 192, "memory_gib": 2048.0, "usd_per_hour": 98.32}, ()),
        ({"accelerator": "H100", "accelerators": 1, "usd_per_hour": 700.0}, ("placeholder",)),
        ({"accelerator": "B300", "accelerators": 8, "vcpu": 192, "memory_gib": 4096.0, "usd_per_hour": 140.0}, ()),
        ({"accelerator": "B300", "accelerators": 1, "usd_per_hour": 700.0}, ("placeholder",)),
        ({"vcpu": 0, "memory_gib": float("nan"), "usd_per_hour": 50.0}, ()),
        ({"vcpu": 0, "memory_gib": float("nan"), "usd_per_hour": 999.0}, ("placeholder",)),
        ({"date": "2026-01-01"}, ("stale",)),
        ({"date": "last year", "usd_per_hour": 700.0}, ("placeholder", "undated")),
    ],
)  # fmt: skip
def test_flags(change: dict[str, object], flags: tuple[str, ...]) -> None:
    """A price far from what its parts cost, or all nines, is a filler; dear and cheap machines are not."""
    assert {"me:small": flags} == _flags(replace(SMALL, **change))  # type: ignore[arg-type]  # one field of any type


def test_one_figure_for_all_sizes() -> None:
    """A figure that types of very different sizes share is a filler, even where it would suit each; alike ones share it."""
    sizes = {"me:a": 8, "me:b": 32, "me:c": 96}
    different = [
        replace(SMALL, name=name, vcpu=vcpu, memory_gib=4.0 * vcpu, usd_per_hour=2.0) for name, vcpu in sizes.items()
    ]
    alike = [replace(SMALL, name=name, usd_per_hour=0.12) for name in sizes]

    assert _flags(*different) == dict.fromkeys(sizes, ("placeholder",))
    assert _flags(*different[:2]) == {"me:a": (), "me:b": ()}
    assert _flags(*alike) == dict.fromkeys(sizes, ())


@given(share=st.floats(0.0, 0.45), filler=st.sampled_from([700.0, 1234.0, 1e6]))
def test_yardstick_is_robust(share: float, filler: float) -> None:
    """Up to nearly half of all rows being fillers moves what machines cost by a factor of two at most."""
    honest = [
        replace(SMALL, name=f"me:{vcpu}", vcpu=vcpu, memory_gib=4.0 * vcpu, usd_per_hour=0.05 * vcpu)
        for vcpu in range(1, 101)
    ]
    spoilt = [
        replace(price, usd_per_hour=filler) if index < share * 100 else price for index, price in enumerate(honest)
    ]

    assert 0.5 <= Yardstick.fit(spoilt).usd_per_vcpu / 0.05 <= 2.0


def test_shipped_prices_fit_the_yardstick() -> None:
    """Every shipped price is within four times of what its parts cost: the factor of twenty is far from all of them."""
    prices = Catalogue.shipped(TODAY).prices.values()
    stick = Yardstick.fit(prices)

    assert [price.name for price in prices if not 0.25 <= price.usd_per_hour / stick.expect(price)[0] <= 4.0] == []


def test_find_price_is_the_shipped_catalogue() -> None:
    """The two doors lead to one room."""
    assert find_price("aws:g5.xlarge") == Catalogue.shipped().find("aws:g5.xlarge")
