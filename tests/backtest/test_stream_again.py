from __future__ import annotations

import importlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest import Rows, backtest, leak_test, stream_again
from windtunnel.recording import ID, LABEL, LABEL_TIME

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.backtest import Comparison, LeakCheck
    from windtunnel.recording import Recording

SETTINGS: dict[str, Any] = {"incumbent": "old", "candidates": ["new"], "horizon_s": 3 * 86400.0}


@pytest.fixture
def world(make_traffic: Callable[..., Any]) -> tuple[Recording, dict[str, Any], pl.DataFrame]:
    """Thirty days of requests, a tenth of whose labels are turned half a day later."""
    recording, truth = make_traffic(30, per_day=40)
    recording = replace(recording, frame=recording.frame.with_columns(amount=pl.Series(truth * 10.0)))
    came = recording.frame.filter(pl.col(LABEL).is_not_null()).gather_every(10)
    later = came.select(ID, (1.0 - pl.col(LABEL)).alias(LABEL), pl.col(LABEL_TIME).dt.offset_by("12h"))
    return recording, {"old": np.full(len(truth), 0.4), "new": truth}, later


def run(
    recording: Recording, predictions: Any, corrections: pl.DataFrame | None = None, *, apart: bool = False
) -> Comparison:
    return stream_again(recording, predictions, corrections, apart=apart, **SETTINGS).comparison


def checks(
    world: tuple[Recording, dict[str, Any], pl.DataFrame], times: int = 1, *, apart: bool = False
) -> tuple[LeakCheck, ...]:
    recording, predictions, corrections = world
    tested = partial(run, apart=apart)
    return leak_test(recording, predictions, tested, np.random.default_rng(1), times, corrections)


def test_written_down_and_read_in_pieces_it_is_the_same(
    world: tuple[Recording, dict[str, Any], pl.DataFrame],
) -> None:
    """Corrections and amounts included, every figure is that of the recording in memory."""
    recording, predictions, corrections = world
    amount = recording.frame["amount"].to_numpy()
    whole = backtest(recording, predictions, corrections=corrections, amount=amount, **SETTINGS)

    assert run(*world).to_dict() == run(*world, apart=True).to_dict() == whole.to_dict()


def test_what_is_read_in_pieces_does_not_leak(world: tuple[Recording, dict[str, Any], pl.DataFrame]) -> None:
    """Nothing that is said moves with what became known later."""
    found = (*checks(world, times=2), *checks(world, apart=True))

    assert len(found) == 6
    assert all(check.passed for check in found)
    assert min(check.labels for check in found) > 0


@pytest.mark.parametrize("reader", ["rows_in", "rows_of"])
def test_a_leak_in_the_reading_is_found(
    world: tuple[Recording, dict[str, Any], pl.DataFrame], monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """Where pieces are counted as if each label had been known a thousand times as soon, the test says so, whichever way they are read."""
    stream = importlib.import_module("windtunnel.backtest.stream")
    monkeypatch.setattr(stream, reader, partial(_known_too_soon, getattr(stream, reader)))
    found = checks(world, apart=reader == "rows_in")

    assert not any(check.passed for check in found if check.change == "deleted")


def _known_too_soon(honest: Callable[..., Rows], *arguments: Any) -> Rows:
    rows = honest(*arguments)
    soon = rows.time_us + (rows.known_us - rows.time_us) // 1000
    return replace(rows, known_us=np.where(np.isnan(rows.label), rows.known_us, soon))
