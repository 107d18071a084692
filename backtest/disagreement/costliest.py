"""The requests on which the candidate costs most more than the incumbent, with their lines of the decision log."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.digest import canonical_json, write_atomically
from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.backtest.metrics import Clocks, Judged, Metric

    Floats = NDArray[np.float64]

MOST = 100

PARTS = (
    "id",
    "time",
    "label",
    "label_time",
    "incumbent",
    "candidate",
    "incumbent_cost",
    "candidate_cost",
    "extra_cost",
)
"""The columns that every line has; those of the features follow."""


@dataclass(frozen=True)
class Costliest:
    """The costliest requests, the worst first.

    Args:
        table: one row a request: the columns of `PARTS`, then those of the log that have no such name.
        total: what the candidate costs more over all requests on which it costs more.
        rows: how many those are.
    """

    table: pl.DataFrame
    total: float
    rows: int

    @property
    def share(self) -> float:
        """Of the total that these requests make; 0 where it costs more nowhere."""
        return float(self.table["extra_cost"].sum()) / self.total if self.rows else 0.0

    @staticmethod
    def of(
        metric: Metric, incumbent: Judged, candidate: Judged, clocks: Clocks, log: pl.DataFrame, *,
        as_of_us: int, horizon_us: int, id_column: str = "", most: int = MOST,
    ) -> Costliest:  # fmt: skip
        """Find them among the requests whose label is known as of a look.

        Args:
            metric: a loss or cost: a mean over rows of which less is better.
            incumbent: its answers, with labels and amounts, one row for each version of a label.
            candidate: likewise, on the same rows.
            clocks: when each row was asked and its label known.
            log: the columns of the decision log, [n, columns].
            as_of_us: the look.
            horizon_us: how long after its request a label still counts.
            id_column: of the log, that names the request; the row number where empty.
            most: how many.

        Raises:
            ConfigError: the metric has no cost in each row.
            DataError: no such column, or a log of another length.

        Example:
            >>> from windtunnel.backtest.metrics import Clocks, Judged, metric_named
            >>> label = np.array([1.0, 1.0, 0.0])
            >>> ours, theirs = Judged(label, np.array([0.9, 0.5, 0.1])), Judged(label, np.array([0.1, 0.4, 0.1]))
            >>> log, times = pl.DataFrame({"key": ["x", "y", "z"]}), np.array([1, 2, 3])
            >>> found = Costliest.of(
            ...     metric_named("brier"), ours, theirs, Clocks(times, times), log, as_of_us=9, horizon_us=9, id_column="key")
            >>> found.table["id"].to_list(), found.table["extra_cost"].round(2).to_list(), found.rows
            (['x', 'y'], [0.8, 0.11], 2)
        """
        _check(metric, log, clocks, id_column)
        begin, end = clocks.spans(np.array([as_of_us]), horizon_us)
        counts = np.flatnonzero((begin < end) & ~np.isnan(incumbent.label))
        ours, theirs = _costs(metric, incumbent.take(counts)), _costs(metric, candidate.take(counts))
        extra = theirs - ours
        # the costliest first; of equally costly ones the first in time, then in the log
        order = np.lexsort((clocks.time_us[counts], -extra))
        order = order[extra[order] > 0.0]
        first = order[:most]
        rows = counts[first]
        lines = pl.DataFrame({
            "id": log[id_column][rows] if id_column else pl.Series(rows),
            "time": _moments(clocks.time_us[rows]), "label": incumbent.label[rows], "label_time": _moments(clocks.known_us[rows]),
            "incumbent": incumbent.prediction[rows], "candidate": candidate.prediction[rows],
            "incumbent_cost": ours[first], "candidate_cost": theirs[first], "extra_cost": extra[first],
        })  # fmt: skip
        others = [name for name in log.columns if name not in {*PARTS, id_column}]
        return Costliest(lines.hstack(log[rows].select(others)), float(extra[order].sum()), len(order))

    def to_dict(self) -> dict[str, Any]:
        """The lines as JSON values, times in ISO 8601."""
        return {
            "rows": self.rows, "extra_cost": self.total, "share": self.share,
            "requests": [{name: _json(value) for name, value in line.items()} for line in self.table.iter_rows(named=True)],
        }  # fmt: skip

    def write(self, path: Path) -> None:
        """Write the lines as a table: Parquet, or JSON with one object a line of the log.

        Raises:
            ConfigError: neither `.parquet` nor `.json`.
        """
        if path.suffix == ".json":
            write_atomically(path, canonical_json(self.to_dict()["requests"]) + "\n")
            return
        if path.suffix != ".parquet":
            raise ConfigError("is no format for a table", file=path, value=path.suffix, fix="write .json or .parquet")
        held = io.BytesIO()
        self.table.write_parquet(held)
        write_atomically(path, held.getvalue())


def _check(metric: Metric, log: pl.DataFrame, clocks: Clocks, id_column: str) -> None:
    if not metric.additive or metric.better != "lower":
        raise ConfigError(
            "is no cost that every row has", field="metric", value=metric.name, fix="use log_loss, brier or a cost"
        )
    if len(log) != len(clocks):
        raise DataError(
            f"has {len(log)} rows where there are {len(clocks)} times", field="log", fix="give one line a row"
        )
    if id_column and id_column not in log.columns:
        raise DataError("is not a column", field=id_column, fix=f"the columns are: {', '.join(log.columns)}")


def _costs(metric: Metric, rows: Judged) -> Floats:
    assert metric.row is not None
    metric.check(rows)
    return metric.row(rows)


def _moments(at_us: NDArray[np.int64]) -> pl.Series:
    return pl.Series(at_us, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))


def _json(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
