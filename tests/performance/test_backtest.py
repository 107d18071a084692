"""The script that compares us with river runs; its figures have their interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.performance import backtest

if TYPE_CHECKING:
    from pathlib import Path


def test_it_measures(tmp_path: Path) -> None:
    """The table has both ratios with their intervals, and all speeds; every row that was written is judged."""
    told = backtest.measure(2, 20_000, tmp_path)

    for way in ("one", "both"):
        assert told[f"ratio_{way}_low"] <= told[f"ratio_{way}"] <= told[f"ratio_{way}_high"]
        assert min(told[f"ours_{way}_rows_per_cpu_s"], told["river_rows_per_cpu_s"]) > 0.0
    assert backtest.judged(sorted(tmp_path.glob("*.parquet"))).rows == 20_000
    assert backtest.judged(sorted(tmp_path.glob("*.parquet")), ()).candidates == ()
