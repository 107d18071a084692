"""A recording that is held, judged as one that is not: what the leak test changes goes through the very code that reads in pieces."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.fanout import Workers
from windtunnel.recording import ID, LABEL, LABEL_TIME, TIME

from .reading import Ask, Ingest, Roles
from .stream import backtest_stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.recording import Recording

    from .stream import Streamed

    Floats = NDArray[np.float64]

MOST_TESTED = 100_000
"""So many rows of a larger recording are tested at most: a leak that moves one request in a thousand still moves a hundred."""

PIECES = 7
"""They are read in so many pieces, so that what goes from piece to piece is tested too."""


def stream_again(
    recording: Recording, predictions: Mapping[str, Floats], corrections: pl.DataFrame | None = None, **settings: Any
) -> Streamed:
    """Write a recording down and judge it in pieces.

    Args:
        recording: the requests and the first version of their labels; columns `amount` and `weight` mean what they say.
        predictions: by model, float64 [n] or [n, classes] in the recording's order.
        corrections: later versions of labels, as `backtest` takes them.
        settings: what `backtest_stream` is asked beside the recording, such as its metric.
    """
    scales = [part for part in ("amount", "weight") if part in recording.frame.columns]
    columns, said = _said(predictions)
    frame = recording.frame.select(ID, TIME, LABEL, LABEL_TIME, *scales).hstack(said)
    if corrections is not None:
        later = corrections.join(frame.drop(LABEL, LABEL_TIME), on=ID, maintain_order="left")
        frame = pl.concat([frame, later], how="diagonal_relaxed")
    roles = Roles(
        TIME, columns, id=ID, label=LABEL, label_time=LABEL_TIME, amount="amount" if "amount" in scales else "",
        weight="weight" if "weight" in scales else "",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as folder:
        frame.write_parquet(Path(folder) / "rows.parquet")
        ingest = Ingest(Ask("rows.parquet", roles, format="table"), Path(folder), -(-len(frame) // PIECES))
        return backtest_stream(ingest, name=recording.name, most_sampled=0, workers=Workers(1), **settings)


def _said(predictions: Mapping[str, Floats]) -> tuple[dict[str, str | tuple[str, ...]], list[pl.Series]]:
    """What each model said, under names that no other column has."""
    columns: dict[str, str | tuple[str, ...]] = {}
    said: list[pl.Series] = []
    for number, (model, values) in enumerate(predictions.items()):
        wide = values.reshape(len(values), -1)
        names = [f"said {number} {place}" for place in range(wide.shape[1])]
        columns[model] = tuple(names) if values.ndim == 2 else names[0]
        said += [pl.Series(name, np.ascontiguousarray(wide[:, place])) for place, name in enumerate(names)]
    return columns, said
