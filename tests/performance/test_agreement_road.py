"""The script that measures agreement: how it writes a row, and what it counts as kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.performance.agreement_road import line, repeated, rows_of, summary
from windtunnel.variant import Signature, Tensor


def row(p99_gap: float | None) -> dict[str, Any]:
    """A row in which all but p99 is right."""
    gaps = {"p50": 0.01, "p90": 0.3, "p99": p99_gap, "throughput": 0.001, "mean_batch": 0.5}
    figures = [
        {"quantity": name, "tunnel": 0.01, "road": 0.01, "gap": gap, "gap_low": -0.01, "gap_high": None, "gap_at_pace": 0.02 if name == "p50" else None} for name, gap in gaps.items()
    ]  # fmt: skip
    parts = [{"part": "proxy", "gap_s": 0.0001}, {"part": "loop", "gap_s": -0.002}]
    return {
        "model": "minilm", "trace": "azure", "load": 50.0, "lag_p99_ms": 0.3, "others": 0.012, "agreement": figures, "parts": parts,
        "verdict": "go",
    }  # fmt: skip


def test_a_row_is_a_line() -> None:
    """Road's figure, gap, interval; the part that differs most; how late the generator was, and what others took."""
    told = line(row(0.04))
    assert told.startswith("minilm azure    50%  p50 10 +1.0% (-1.0%/?) at pace +2.0%; p90 10 +30.0% (-1.0%/?); ")
    assert told.endswith("loop -2.00 ms; lag 0.30 ms; others 1.2%; go")


def test_the_bar_is_p50_p99_and_throughput() -> None:
    """p90 and the mean batch are told and not counted; a p99 that is not known is not kept."""
    assert summary([row(0.04), row(0.2), row(None)]).startswith("1 of 3 rows")


def test_a_road_lies_apart_by_its_largest_and_smallest(capsys: pytest.CaptureFixture[str]) -> None:
    """Of three times, whatever their order, p50 and p99 each for itself."""
    row = repeated("minilm", "azure", 70.0, [[0.011, 0.3], [0.010, 0.2], [0.012, 0.25]])
    assert row["apart"] == pytest.approx([0.2, 0.5])
    assert capsys.readouterr().out == "minilm azure    70%  apart: p50 20.0%, p99 50.0% (3 times)\n"


def test_rows_are_of_one_length() -> None:
    """Whole numbers for words, ones for masks, normal numbers else."""

    class OfWords:
        signature = Signature(
            (
                Tensor("ids", "int64", ("n", "words")),
                Tensor("mask", "int64", ("n", "words")),
                Tensor("x", "float32", ("n", 3)),
            ),
            (),
        )

    rows = rows_of(OfWords())  # type: ignore[arg-type]  # as much of a variant as is read
    assert {name: each.shape for name, each in rows.items()} == {"ids": (256, 32), "mask": (256, 32), "x": (256, 3)}
    assert np.all(rows["mask"] == 1)
