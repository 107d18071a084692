"""`windtunnel backtest`: a recording with logged predictions, from a file of its own."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command


def test_document(windtunnel: Command) -> None:
    """The challenger that is truly better wins, and the document has the keys that were promised."""
    ran = windtunnel("backtest", "backtest.toml", "--json")

    assert (ran.code, ran.document["verdict"], ran.document["winner"]) == (0, "go", "challenger")
    assert datetime.fromisoformat(ran.document["decided_at"]) <= datetime.fromisoformat("2024-03-01T00:00:00+00:00")
    (challenger,) = ran.document["candidates"]
    assert {"name", "matured", "metric", "difference", "difference_low", "difference_high", "e_value"} <= set(
        challenger
    )
    assert challenger["difference_low"] <= challenger["difference"] <= challenger["difference_high"] < 0
    assert "leak_test" not in ran.document


def test_timeline(home: Path, windtunnel: Command) -> None:
    """At each look every request that was asked is matured, expired or pending, by the definitions, counted by hand."""
    rows = pl.read_parquet(home / "logged.parquet")
    asked = rows["asked_at"].to_numpy().astype("datetime64[us]")
    known = rows["known_at"].to_numpy().astype("datetime64[us]")
    timeline = windtunnel("backtest", "backtest.toml", "--json").document["timeline"]

    assert {each["name"] for each in timeline} == {"champion", "challenger"}
    for look in timeline:
        as_of = np.datetime64(datetime.fromisoformat(look["as_of"]).replace(tzinfo=None))
        was_asked = asked < as_of
        matured = was_asked & (known <= as_of) & (known - asked <= np.timedelta64(timedelta(days=7)))
        expired = was_asked & ~matured & (as_of - asked > np.timedelta64(timedelta(days=7)))
        counted = {"asked": was_asked.sum(), "matured": matured.sum(), "expired": expired.sum()}
        assert {key: look[key] for key in counted} == counted
        assert look["pending"] == look["asked"] - look["matured"] - look["expired"]
        assert look["coverage"] == pytest.approx(look["matured"] / look["asked"])


def test_leak_test(windtunnel: Command) -> None:
    """--leak-test deletes and scrambles what was known later, and says that nothing moved; the figures are the same."""
    plain = windtunnel("backtest", "backtest.toml", "--json").document
    tested = windtunnel("backtest", "backtest.toml", "--leak-test", "--json").document

    assert tested["leak_test"]["passed"] is True
    assert {each["change"] for each in tested["leak_test"]["checks"]} == {"deleted", "scrambled"}
    assert plain["timeline"] == tested["timeline"]


def test_worse_candidate(home: Path, windtunnel: Command) -> None:
    """A candidate that is truly worse is a no-go, exit 1."""
    text = (home / "backtest.toml").read_text()
    swapped = text.replace('champion = "p_old", challenger = "p_new"', 'champion = "p_new", challenger = "p_old"')
    (home / "backtest.toml").write_text(swapped)
    ran = windtunnel("backtest", "backtest.toml", "--json")

    assert (ran.code, ran.document["verdict"], ran.document["winner"]) == (1, "no-go", "champion")


def test_too_little(home: Path, windtunnel: Command) -> None:
    """Three days carry no decision: inconclusive, exit 3, and what would change it."""
    rows = pl.read_parquet(home / "logged.parquet").head(72)
    rows.write_parquet(home / "logged.parquet")
    ran = windtunnel("backtest", "backtest.toml", "--json")

    assert (ran.code, ran.document["verdict"]) == (3, "inconclusive")
    assert ran.document["would_change"]
