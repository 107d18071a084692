"""The script that measures the generators runs, and what it tells belongs together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.performance import driving

if TYPE_CHECKING:
    import pytest


def test_it_measures(capsys: pytest.CaptureFixture[str]) -> None:
    """A rate is its share of the capacity, and quantiles rise."""
    code = driving.main(["--seconds", "0.5", "--shares", "0.02", "--json"])
    told = json.loads(capsys.readouterr().out)
    (driven,) = told["driven"]

    assert code == 0
    assert driven["rate_per_s"] == 0.02 * told["capacity_per_s"]
    assert 0.0 <= driven["lag_p50_s"] <= driven["lag_p99_s"] <= driven["lag_p999_s"]
