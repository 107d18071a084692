"""A recording as it was taken in: requests, what each model said, corrections, and an account of what was odd."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.backtest.kernel import NEVER_US
from windtunnel.recording import ID, LABEL, LABEL_TIME, TIME, Recording
from windtunnel.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.backtest.reading import Intake

    from .finding import Series

OWN = ("id", "time", "known", "until", "first", "label", "happened")
"""Canonical columns that a recording has under other names, or not at all."""


@dataclass(frozen=True)
class Taken:
    """The account of a reading, as a finding.

    Args:
        intake: the account.
    """

    intake: Intake

    @property
    def doubts(self) -> tuple[str, ...]:
        """What makes any comparison on such a recording worth less."""
        return self.intake.doubts()

    def to_dict(self) -> dict[str, Any]:
        """`intake`."""
        return {"intake": self.intake.to_dict()}

    def draw(self) -> Section:
        """What was read, and by which rule."""
        return Section("", "", (), (self.intake.table(),), (), self.intake.notes())

    def series(self) -> Series:
        """Nothing: it speaks of the recording, not of a look."""
        return np.empty(0, np.int64), {}


def recording_of(
    rows: pl.DataFrame, models: Mapping[str, str | tuple[str, ...]], name: str
) -> tuple[Recording, dict[str, NDArray[np.float64]], pl.DataFrame | None]:
    """Canonical rows as a recording in order of time, what each model said, and the later versions of its labels.

    Args:
        rows: as `Ingest` gives them, all of them.
        models: by name, the user's column of its predictions, or one a class; see `Roles.models`.
        name: the recording's.

    Returns:
        The recording; by model, float64 [requests] or [requests, classes]; columns `id`, `label`, `label_time`, or None where nothing was corrected.
    """
    clocks = [
        pl.from_epoch("time", time_unit="us").dt.replace_time_zone("UTC").alias(TIME),
        pl.col("label").fill_nan(None).alias(LABEL),
        pl.from_epoch(pl.when(pl.col("known") != NEVER_US).then("known"), time_unit="us").dt.replace_time_zone("UTC").alias(LABEL_TIME),
    ]  # fmt: skip
    requests = rows.filter("first").sort("time", maintain_order=True)
    columns = {model: _columns_of(model, said) for model, said in models.items()}
    taken = {*OWN, *(each for names in columns.values() for each in names)}
    others = [column for column in rows.columns if column not in taken]
    frame = requests.select(pl.col("id").alias(ID), *clocks, *others)
    predictions = {
        model: requests[model].to_numpy() if names == [model] else requests.select(names).to_numpy()
        for model, names in columns.items()
    }
    later = rows.filter(~pl.col("first")).select(pl.col("id").alias(ID), *clocks[1:])
    return Recording(name, frame), predictions, later if len(later) else None


def _columns_of(model: str, said: str | tuple[str, ...]) -> list[str]:
    """The canonical columns of a model's predictions."""
    return [model] if isinstance(said, str) else [f"{model}[{place}]" for place in range(len(said))]
