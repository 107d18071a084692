"""`windtunnel backtest`: a recording with logged predictions, from a file of its own."""

from __future__ import annotations

import importlib
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


def test_folder_and_glob(home: Path, windtunnel: Command) -> None:
    """A recording in several files, named by folder or glob, is judged as the same rows in one file."""
    whole = windtunnel("backtest", "backtest.toml", "--json").document
    rows, text = pl.read_parquet(home / "logged.parquet"), (home / "backtest.toml").read_text()
    (home / "logs").mkdir()
    rows.head(500).write_parquet(home / "logs" / "a.parquet")
    rows.tail(-500).write_parquet(home / "logs" / "b.parquet")
    for place in ("logs", "logs/*.parquet"):
        (home / "backtest.toml").write_text(text.replace("logged.parquet", place))

        assert windtunnel("backtest", "backtest.toml", "--json").document["timeline"] == whole["timeline"]


def test_a_large_recording_is_streamed(home: Path, windtunnel: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in pieces, a recording gives the same figures; its leak test is refused with the way out."""
    whole = windtunnel("backtest", "backtest.toml", "--json").document
    monkeypatch.setattr(importlib.import_module("windtunnel.verbs.backtest"), "MOST_HELD", 100)
    (home / "backtest.toml").write_text((home / "backtest.toml").read_text().replace("7d", "168h"))
    streamed = windtunnel("backtest", "backtest.toml", "--out", "other", "--json").document
    refused = windtunnel("backtest", "backtest.toml", "--out", "third", "--leak-test")

    assert [streamed[key] for key in ("timeline", "candidates")] == [whole[key] for key in ("timeline", "candidates")]
    assert "that no request stands twice was not checked" in str(streamed["notes"])
    assert (refused.code, "test a part of it" in refused.err) == (2, True)


def test_corrected_labels(home: Path, windtunnel: Command) -> None:
    """A label that is corrected counts as it was until its correction is known, and as corrected from then on; nothing leaks."""
    rows = pl.read_parquet(home / "logged.parquet")
    wrong = rows.head(48).with_columns(late=1.0 - pl.col("late"), known_at=pl.col("known_at") + timedelta(days=3))
    before = windtunnel("backtest", "backtest.toml", "--json").document["timeline"]
    pl.concat([rows, wrong]).sort("asked_at", maintain_order=True).write_parquet(home / "logged.parquet")
    tested = windtunnel("backtest", "backtest.toml", "--leak-test", "--json").document
    pairs = [(old["metric"], new["metric"]) for old, new in zip(before, tested["timeline"], strict=True)]
    counts = ("asked", "matured", "expired", "pending")

    assert tested["leak_test"]["passed"] is True
    assert all(old[key] == new[key] for old, new in zip(before, tested["timeline"], strict=True) for key in counts)
    assert [old == new for old, new in pairs[:6]] == [True] * 6
    assert all(old != new for old, new in pairs[12:20])


@pytest.mark.parametrize("metric", ['metric = "pinball@0.9"', 'metric = "cost"\ncost = [[0.0, 1.0], [5.0, 0.0]]'])
def test_losses_with_parameters(home: Path, windtunnel: Command, metric: str) -> None:
    """A quantile's loss and a cost matrix judge as any other."""
    text = (home / "backtest.toml").read_text().replace('metric = "log_loss"', metric)
    (home / "backtest.toml").write_text(text)
    document = windtunnel("backtest", "backtest.toml", "--json").document

    assert document["metric"] == metric.split('"')[1]
    assert document["candidates"][0]["matured"] > 0


def test_a_cost_needs_its_matrix(home: Path, windtunnel: Command) -> None:
    """`cost` without a matrix, and a matrix without `cost`, are refused with what to write."""
    text = (home / "backtest.toml").read_text()
    for metric in ('metric = "cost"', 'metric = "brier"\ncost = [[0.0, 1.0], [5.0, 0.0]]'):
        (home / "backtest.toml").write_text(text.replace('metric = "log_loss"', metric))
        ran = windtunnel("backtest", "backtest.toml")

        assert (ran.code, "takes metric" in ran.err) == (2, True)
