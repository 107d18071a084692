"""The rows that the engine takes: one for each request and version of its label, under two clocks.

A request is *asked* as of τ when its event time lies before τ. Of the asked,

- *matured*: a version of its label was known by τ, and came within the horizon of the request;
- *expired*: not matured, and the request is older than the horizon, so that it never will;
- *pending*: the rest.

A label that comes after its horizon does not count: those that came late are not a fair sample of what was asked. A label
that is corrected counts as corrected from the known time of the correction on, where that lies within the horizon too. When
the recording ends, what is pending stays pending: it is censored, never flushed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.errors import DataError, nearest
from windtunnel.recording import ID, LABEL, LABEL_TIME, TIME

from .kernel import NEVER_US

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.recording import Recording

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

HALF_SEED = 1
"""Decides which rows fall into which half of the noise floor."""


def _no_times() -> Ints:
    return np.empty(0, dtype=np.int64)


def _no_numbers() -> Floats:
    return np.empty(0)


def _no_flags() -> Flags:
    return np.empty(0, dtype=np.bool_)


@dataclass(frozen=True)
class Rows:
    """A piece of a recording, in any order, in whole microseconds so that no comparison is ever rounded.

    Args:
        time_us: when each request was asked, int64 [n].
        known_us: when this version of its label was known, int64 [n]; `NEVER_US` where it never was.
        label: the label, float64 [n]; NaN where it never came.
        predictions: by model, float64 [models, n], or [models, n, classes].
        half: whether the row falls into the first half of the noise floor, bool [n]; it may hang on nothing that a label tells.
        until_us: when the next version of the same request's label is known, int64 [n], `NEVER_US` for none; empty where no
            label of the piece is corrected.
        first: whether the row counts its request: the earliest version, bool [n]; empty where no label is corrected.
        amount: what a row's loss is multiplied by, float64 [n]; empty where by nothing.
        weight: how many rows it counts for in every mean, float64 [n]; empty where each counts for one.

    Example: four requests and a horizon of three ticks. The second one's label comes too late, the third's never.

        >>> rows = Rows(np.array([1, 1, 2, 4]), np.array([2, 9, NEVER_US, 5]), np.array([1.0, 0.0, np.nan, 1.0]), np.zeros((1, 4)))
        >>> for as_of in (1, 2, 3, 5, 6, 9):
        ...     print(as_of, *rows.state_at(as_of, horizon_us=3))
        1 unasked unasked unasked unasked
        2 matured pending unasked unasked
        3 matured pending pending unasked
        5 matured expired pending matured
        6 matured expired expired matured
        9 matured expired expired matured
    """

    time_us: Ints
    known_us: Ints
    label: Floats
    predictions: Floats
    half: Flags = field(default_factory=_no_flags)
    until_us: Ints = field(default_factory=_no_times)
    first: Flags = field(default_factory=_no_flags)
    amount: Floats = field(default_factory=_no_numbers)
    weight: Floats = field(default_factory=_no_numbers)

    def __len__(self) -> int:
        return len(self.time_us)

    def between(self, start: int, end: int) -> Rows:
        """Only the rows from one place to another."""
        flat = {
            name: each[start:end] if len(each := getattr(self, name)) else each
            for name in ("time_us", "known_us", "label", "half", "until_us", "first", "amount", "weight")
        }
        return Rows(predictions=np.ascontiguousarray(self.predictions[:, start:end]), **flat)

    @property
    def last_us(self) -> int:
        """The last moment that the rows tell anything about, by either clock."""
        known_us = self.known_us[self.known_us != NEVER_US]
        return int(max(self.time_us.max(), known_us.max(initial=np.iinfo(np.int64).min)))

    def state_at(self, as_of_us: int, horizon_us: int) -> NDArray[np.str_]:
        """The state as of a time, straight from the definition: `unasked` or one of the three, by each row's own label."""
        asked = self.time_us < as_of_us
        on_time = self.known_us <= self.time_us + horizon_us
        matured = asked & on_time & (self.known_us <= as_of_us)
        expired = asked & ~matured & (as_of_us - self.time_us > horizon_us)
        return np.select([matured, expired, asked], ["matured", "expired", "pending"], "unasked")

    @staticmethod
    def of(
        recording: Recording,
        predictions: Mapping[str, Floats],
        corrections: pl.DataFrame | None = None,
        amount: Floats | None = None,
        weight: Floats | None = None,
    ) -> Rows:
        """The rows of a recording that is in memory.

        Args:
            recording: the requests and the first version of their labels.
            predictions: by model, float64 [n] or [n, classes] in the recording's order.
            corrections: later versions: columns `id`, `label` and `label_time`, in any order; of two that were known at
                the same moment the later row counts.
            amount: what each request's loss is multiplied by, float64 [n].
            weight: how many requests each counts for, float64 [n].

        Raises:
            DataError: a recording without rows or without a label column, or a correction of a request that is not there, that
                came before what it corrects, or that says nothing.
        """
        if len(recording) == 0:
            raise DataError("has no requests in the given time", file=recording.name, fix="start earlier")
        if LABEL not in recording.frame.columns:
            raise DataError("is missing", file=recording.name, field=LABEL, fix="name the label and label_time columns")
        frame = recording.frame
        rows = Rows(
            frame[TIME].dt.timestamp("us").to_numpy(),
            frame[LABEL_TIME].dt.timestamp("us").fill_null(NEVER_US).to_numpy(),
            frame[LABEL].fill_null(float("nan")).to_numpy(),
            np.ascontiguousarray([predictions[name] for name in predictions]),
            halves(frame[ID]),
            amount=_no_numbers() if amount is None else amount,
            weight=_no_numbers() if weight is None else weight,
        )
        return rows if corrections is None or corrections.is_empty() else rows._corrected(recording, corrections)

    def _corrected(self, recording: Recording, corrections: pl.DataFrame) -> Rows:
        """The same rows with those of the corrections behind them."""
        places = recording.frame.select(ID).with_row_index("place")
        later = corrections.join(places, on=ID, how="left", maintain_order="left")
        _check_corrections(later, recording)
        place = np.concatenate([np.arange(len(self)), later["place"].to_numpy()])
        known_us = np.concatenate([self.known_us, later[LABEL_TIME].dt.timestamp("us").to_numpy()])
        if (known_us[len(self) :] < self.known_us[later["place"].to_numpy()]).any():
            raise DataError(
                "holds a correction that was known before the label that it corrects", file=recording.name, field=LABEL_TIME,
                fix="give the earliest version of each label as the label itself",
            )  # fmt: skip
        label = np.concatenate([self.label, later[LABEL].cast(pl.Float64).to_numpy()])
        kept, until_us, first = versions(place, known_us)
        return self.versions_of(place[kept], known_us[kept], label[kept], until_us, first)

    def versions_of(self, place: Ints, known_us: Ints, label: Floats, until_us: Ints, first: Flags) -> Rows:
        """A row for each version of a label of these requests.

        Args:
            place: which request each is of, int64 [versions].
            known_us: when it was known, int64 [versions].
            label: float64 [versions].
            until_us: when the next is known, int64 [versions].
            first: whether it is the first, bool [versions].
        """
        return Rows(
            self.time_us[place], known_us, label, np.ascontiguousarray(self.predictions[:, place]), self.half[place], until_us,
            first, self.amount[place] if len(self.amount) else self.amount,
            self.weight[place] if len(self.weight) else self.weight,
        )  # fmt: skip


def versions(place: Ints, known_us: Ints) -> tuple[Ints, Ints, Flags]:
    """The versions of labels in order of request and known time: which rows they are, when the next is known, which is first.

    Args:
        place: the request of each row, int64 [n].
        known_us: when it was known, int64 [n]; of equal ones only the last row counts.

    Returns:
        The rows that count, int64 [versions]; when each is superseded, int64, `NEVER_US` for never; whether it is the first, bool.

    Example:
        >>> kept, until_us, first = versions(np.array([0, 1, 0, 0]), np.array([5, 6, 9, 9]))
        >>> kept.tolist(), (until_us == NEVER_US).tolist(), int(until_us[0]), first.tolist()
        ([0, 3, 1], [False, True, True], 9, [True, False, True])
    """
    order = np.lexsort((known_us, place))  # stable: rows of one moment stay in their order
    same = place[order][1:] == place[order][:-1]
    order = order[np.append(~(same & (known_us[order][1:] == known_us[order][:-1])), True)]
    follows = place[order][1:] == place[order][:-1]
    until_us = np.append(np.where(follows, known_us[order][1:], NEVER_US), NEVER_US)
    return order, until_us, np.append(True, ~follows)


def halves(ids: pl.Series) -> Flags:
    """A fair coin a row that hangs on its id alone, so that neither order nor labels can move it."""
    hashed: NDArray[np.uint64] = ids.hash(HALF_SEED).to_numpy()
    half: Flags = ((hashed >> np.uint64(32)) & np.uint64(1)).astype(np.bool_)
    return half


def check_scale(
    values: Floats, part: str, rows: int, file: str, column: str = "", ids: pl.Series | None = None
) -> None:
    """Refuse amounts and weights that no mean can be taken with; a message names the request where ids are given.

    Raises:
        DataError: another number of rows than the recording's, a NaN or ∞, or a weight below zero.
    """
    if values.shape != (rows,):
        raise DataError(
            f"has shape {values.shape} where the recording has {rows} rows",
            file=file,
            field=column or part,
            fix="give one a row",
        )
    wrong = ~np.isfinite(values) | ((values < 0.0) if part == "weight" else False)
    if wrong.any():
        row = int(np.argmax(wrong))
        where = f"in row {row}" if ids is None else f"of request {ids[row]}"
        raise DataError(
            f"cannot be used {where}", file=file, field=column or part, value=float(values[row]), fix="give a finite number a row, weights of zero or more"
        )  # fmt: skip


def _check_corrections(later: pl.DataFrame, recording: Recording) -> None:
    """Refuse corrections of nothing, and corrections that say nothing."""
    strangers = later.filter(pl.col("place").is_null())
    if len(strangers):
        raise DataError(
            "is corrected but was never asked", file=recording.name, field=ID, value=strangers[ID][0],
            fix=nearest(str(strangers[ID][0]), map(str, recording.frame[ID].head(5).to_list())),
        )  # fmt: skip
    if later[LABEL].null_count() or later[LABEL_TIME].null_count() or later[LABEL].cast(pl.Float64).is_nan().any():
        raise DataError(
            "is missing from a correction",
            file=recording.name,
            field=LABEL,
            fix="a correction needs a label and its known time",
        )
