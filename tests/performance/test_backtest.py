"""The script that compares us with river runs; its figures have their interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.performance import backtest

if TYPE_CHECKING:
    from pathlib import Path


def test_it_measures(tmp_path: Path) -> None:
    """The table has a ratio with its interval, and both speeds; every row that was written is judged."""
    told = backtest.measure(2, 20_000, tmp_path)

    assert told["ratio_low"] <= told["ratio"] <= told["ratio_high"]
    assert min(told["ours_rows_per_cpu_s"], told["river_rows_per_cpu_s"]) > 0.0
    assert backtest.judged(sorted(tmp_path.glob("*.parquet"))).rows == 20_000
