"""Labels in a table of their own, found by the id of their request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.errors import ConfigError, DataError
from windtunnel.table import take_column

from .clock import Clock
from .intake import NEVER_US
from .repeats import hashes_of, ids_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from .intake import Tally
    from .roles import Roles

    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class LabelTable:
    """Versions of labels, held in memory: some 40 bytes each beside the ids.

    Args:
        rows: columns `id`, `label` (float64), `known` (int64 µs) and, where the table has them, `happened` and `label_version`, in the
            order of the file.
        order: the rows by the hash of their id; rows of one id in the order of the file.
        hashes: in that order, uint64 [rows].
        used: which rows have met their request, bool [rows]; written while requests pass.
    """

    rows: pl.DataFrame
    order: Ints
    hashes: NDArray[np.uint64]
    used: NDArray[np.bool_]

    @staticmethod
    def of(rows: pl.DataFrame) -> LabelTable:
        """Make rows of `labels_in` ready to be looked up."""
        hashes = hashes_of(rows["id"])
        order = np.argsort(hashes, kind="stable")
        return LabelTable(rows, order, hashes[order], np.zeros(len(rows), dtype=np.bool_))

    @property
    def strays(self) -> int:
        """Rows whose request never came."""
        return int((~self.used).sum())

    def find(self, ids: pl.Series) -> tuple[Ints, Ints]:
        """The versions of the labels of some requests: which request each is of and which row it is; int64, by request, then as in the file."""
        wanted = hashes_of(ids)
        start, many = np.empty(len(wanted), np.int64), np.empty(len(wanted), np.int64)
        along = np.argsort(wanted)  # looked up in order, neighbours are in the cache
        ordered = wanted[along]
        start[along] = np.searchsorted(self.hashes, ordered)
        many[along] = np.searchsorted(self.hashes, ordered, side="right")
        many -= start
        place = np.repeat(np.arange(len(wanted)), many)
        rank = np.arange(len(place)) - np.repeat(np.cumsum(many) - many, many)
        row = self.order[np.repeat(start, many) + rank]
        same = (self.rows["id"].gather(row) == ids.gather(place)).to_numpy()  # for hashes may collide
        place, row = place[same], row[same]
        self.used[row] = True
        return place, row


def labels_in(
    pieces: Iterable[tuple[str, pl.DataFrame]], roles: Roles, kind: pl.DataType, tally: Tally
) -> Iterator[pl.DataFrame]:
    """Read the table, piece by piece; rows without a label or a known time are counted and left out.

    Raises:
        ConfigError: no id, label or known time is named.
        DataError: a column that is missing or of the wrong kind, or no rows.
    """
    for part in ("id", "label", "label_time"):
        if not getattr(roles, part):
            raise ConfigError(
                "must be named",
                field=f"labels.{part.replace('label_time', 'known_time')}",
                fix="say which column it is",
            )
    clocks = (Clock(roles.label_time, tally), Clock(roles.label_event_time, tally))
    found = False
    for file, piece in pieces:
        found = True
        rows = _typed(piece, roles, kind, clocks, file)
        whole = rows.filter(pl.col("label").is_not_nan() & (pl.col("known") != NEVER_US))
        tally.skip("labels without a value or a known time", len(rows) - len(whole))
        yield whole
    if not found:
        raise DataError("has no rows", field="labels", fix="give the labels that came")


def _typed(
    piece: pl.DataFrame, roles: Roles, kind: pl.DataType, clocks: tuple[Clock, Clock], file: str
) -> pl.DataFrame:
    label = take_column(piece, roles.label, file=file)
    if not (label.dtype.is_numeric() or label.dtype == pl.Boolean):
        raise DataError(
            f"has dtype {label.dtype} where a label is a number", file=file, field=roles.label, fix="store 0 and 1"
        )
    parts = [
        ids_of(take_column(piece, roles.id, file=file), kind, file).alias("id"),
        label.cast(pl.Float64).fill_null(float("nan")).alias("label"),
        pl.Series("known", clocks[0].read(take_column(piece, roles.label_time, file=file), file)),
    ]
    if roles.label_event_time:
        parts.append(pl.Series("happened", clocks[1].read(take_column(piece, roles.label_event_time, file=file), file)))
    if roles.label_version:
        parts.append(take_column(piece, roles.label_version, file=file).alias("label_version"))
    return pl.DataFrame(parts)
