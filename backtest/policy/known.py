"""What was known: the one place where rows to learn from are cut by both clocks, and the digest of what was cut.

Nothing else in this folder hands a label to the user's `fit`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from windtunnel.backtest.kernel import NEVER_US
from windtunnel.backtest.rows import Rows
from windtunnel.recording import LABEL, LABEL_TIME, TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.recording import Recording

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


class Standing(NamedTuple):
    """The labels that stand at a moment: the place of each request in the recording, rising, the label, since when it is known."""

    place: Ints
    label: Floats
    known_us: Ints


@dataclass(frozen=True)
class Labels:
    """Every version of every label, in order of request and of known time, [versions] each.

    Args:
        place: the request's place in the recording.
        time_us: when it was asked.
        known_us: when this version was known.
        until_us: when the next one is; `NEVER_US` for none.
        label: what it says.
    """

    place: Ints
    time_us: Ints
    known_us: Ints
    until_us: Ints
    label: Floats

    @staticmethod
    def of(recording: Recording, corrections: pl.DataFrame | None = None) -> Labels:
        """The labels of a recording.

        Args:
            recording: the requests and the first version of their labels.
            corrections: later versions, as `Rows.of` takes them.

        Raises:
            DataError: as `Rows.of` does.
        """
        # places are carried along as if they were predictions: exact up to 2⁵³ requests
        rows = Rows.of(recording, {"place": np.arange(len(recording), dtype=np.float64)}, corrections)
        came = ~np.isnan(rows.label)
        until_us = rows.until_us if len(rows.until_us) else np.full(len(rows), NEVER_US)
        place = rows.predictions[0].astype(np.int64)
        return Labels(place[came], rows.time_us[came], rows.known_us[came], until_us[came], rows.label[came])

    def within(self, horizon_us: int) -> Labels:
        """Only the versions that count in judging: those that came within the horizon; later ones do not supersede them either."""
        due_us = self.time_us + horizon_us
        kept = self.known_us <= due_us
        until_us = np.where(self.until_us <= due_us, self.until_us, NEVER_US)
        return Labels(self.place[kept], self.time_us[kept], self.known_us[kept], until_us[kept], self.label[kept])

    def standing(self, before_us: int, first: int = 0, end: int | None = None) -> Standing:
        """The versions known strictly before a moment, and not superseded before it.

        Args:
            before_us: the moment; what is known *at* τ is known before τ + 1.
            first: the place of the first request to look at.
            end: the place behind the last.
        """
        low = np.searchsorted(self.place, first)
        high = len(self.place) if end is None else np.searchsorted(self.place, end)
        span = slice(int(low), int(high))
        stands = (self.known_us[span] < before_us) & (self.until_us[span] >= before_us)
        return Standing(self.place[span][stands], self.label[span][stands], self.known_us[span][stands])


def rows_known(recording: Recording, labels: Labels, before_us: int, window_us: int | None = None) -> pl.DataFrame:
    """The rows that may be learnt from at a moment: their label was known strictly before it, and stands as it was known then.

    Args:
        recording: the requests.
        labels: theirs; those that came after a horizon too, for they are known.
        before_us: the moment.
        window_us: how far back requests count; None: all.

    Returns:
        The recording's columns, in its order.

    Example: the second request's label is known at 30, which is not before 30.

        >>> from datetime import UTC, datetime
        >>> from windtunnel.recording import Columns, Recording
        >>> at = lambda *us: pl.Series(us, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
        >>> table = pl.DataFrame({"t": at(1, 2), "y": [1.0, 0.0], "k": at(9, 30)})
        >>> recording = Recording.from_table(table, Columns("t", "", "y", "k"), name="two")
        >>> [len(rows_known(recording, Labels.of(recording), before_us)) for before_us in (9, 10, 30, 31)]
        [0, 1, 1, 2]
    """
    first = 0
    if window_us is not None:
        first = int(np.searchsorted(recording.frame[TIME].dt.timestamp("us").to_numpy(), before_us - window_us))
    standing = labels.standing(before_us, first)
    instants = pl.Series(standing.known_us).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    frame = recording.frame[standing.place]
    return frame.with_columns(
        pl.Series(LABEL, standing.label), instants.cast(frame.schema[LABEL_TIME]).alias(LABEL_TIME)
    )


def digest_rows(rows: pl.DataFrame) -> str:
    """The sha256 of a table's names, dtypes and values, in hexadecimal; equal tables have equal digests on any machine.

    Example:
        >>> a, b = pl.DataFrame({"x": [1, None]}), pl.DataFrame({"x": [1, 0]})
        >>> digest_rows(a) == digest_rows(a.clone()), digest_rows(a) == digest_rows(b)
        (True, False)
    """
    digest = hashlib.sha256()
    for column in rows.iter_columns():
        digest.update(f"{column.name}\0{column.dtype}\0{len(column)}\0".encode())
        digest.update(column.is_null().to_numpy().tobytes())
        digest.update(_bytes_of(column))
    return digest.hexdigest()


def _bytes_of(column: pl.Series) -> bytes:
    """The values; whatever lies where one is missing does not count."""
    dtype = column.dtype
    if dtype.is_float() or dtype.is_integer() or dtype.is_temporal():
        return column.to_physical().fill_null(0).to_numpy().tobytes()
    if dtype == pl.String:
        texts = column.fill_null("")
        return texts.str.len_bytes().to_numpy().tobytes() + "".join(texts.to_list()).encode()
    return "\0".join(map(repr, column.to_list())).encode()
