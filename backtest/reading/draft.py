"""A piece of a table with every column under the name of its part, checked and of one dtype: rows as they stand, not yet as they count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.errors import DataError
from windtunnel.table import take_column

from .clock import Clock
from .intake import NEVER_US
from .repeats import ids_of, kind_of_ids
from .roles import KEPT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .intake import Tally
    from .roles import Roles


@dataclass
class Draft:
    """Turns pieces of the recording's table into columns `id`, `time`, `label`, `known`, `happened`, models, numbers and features.

    Args:
        roles: which columns play which part.
        tally: told of what is odd.
        kind: what ids are compared as; found out from the first piece.
    """

    roles: Roles
    tally: Tally
    kind: pl.DataType | None = None
    _clocks: dict[str, Clock] = field(default_factory=dict, init=False)
    _before: int = field(default=0, init=False)
    _file: tuple[str, int] = field(default=("", 0), init=False)

    def of(self, piece: pl.DataFrame, file: str) -> pl.DataFrame:
        """The piece as it is to be.

        Raises:
            DataError: a time or an id that is missing, or a column of the wrong kind.
        """
        roles = self.roles
        if file != self._file[0]:
            self._file = file, self._before
        times = self._times(piece, roles.time, file)
        self._check_times(times, file)
        parts = [self._ids(piece, file), pl.Series("time", times)]
        if roles.label:
            parts += self._labels(piece, times, file)
        parts += [self._prediction(piece, name, column, file) for name, column in roles.models.items()]
        if roles.amount:
            parts.append(_number(piece, roles.amount, "amount", file, nulls=False))
        if roles.weight:
            parts.append(_number(piece, roles.weight, "weight", file, nulls=False))
        if roles.propensity:
            parts.append(self._propensity(piece, file))
        named = {part: getattr(roles, part) for part in KEPT if getattr(roles, part)}
        parts += [take_column(piece, column, file=file).alias(part) for part, column in named.items()]
        parts += [take_column(piece, column, file=file) for column in roles.features]
        self._before += len(piece)
        return pl.DataFrame(parts)

    def _times(self, piece: pl.DataFrame, column: str, file: str) -> NDArray[np.int64]:
        clock = self._clocks.setdefault(column, Clock(column, self.tally))
        return clock.read(take_column(piece, column, file=file), file)

    def _check_times(self, times: NDArray[np.int64], file: str) -> None:
        never = times == NEVER_US
        if never.any():
            raise DataError(
                f"has no time in row {self._row(never)}", file=file, field=self.roles.time,
                fix="drop or mend the rows without one",
            )  # fmt: skip

    def _row(self, wrong: NDArray[np.bool_]) -> int:
        """The place in its file of the first of a piece's rows that are wrong."""
        return self._before - self._file[1] + int(wrong.argmax())

    def _ids(self, piece: pl.DataFrame, file: str) -> pl.Series:
        if not self.roles.id:
            return pl.int_range(self._before, self._before + len(piece), eager=True, dtype=pl.Int64).alias("id")
        column = take_column(piece, self.roles.id, file=file)
        self.kind = self.kind or kind_of_ids(column.dtype)
        return ids_of(column, self.kind, file, self._before - self._file[1]).alias("id")

    def _labels(self, piece: pl.DataFrame, times: NDArray[np.int64], file: str) -> list[pl.Series]:
        roles = self.roles
        label = _number(piece, roles.label, "label", file, nulls=True)
        values = label.to_numpy()
        known = (
            self._times(piece, roles.label_time, file)
            if roles.label_time
            else np.where(np.isnan(values), NEVER_US, times)
        )
        torn = np.isnan(values) != (known == NEVER_US)
        if torn.any():
            raise DataError(
                f"and `{roles.label}` disagree in row {self._row(torn)}: one is null, the other is not", file=file,
                field=roles.label_time, fix="a label and its known time come together or never",
            )  # fmt: skip
        told = [label, pl.Series("known", known)]
        return (
            [*told, pl.Series("happened", self._times(piece, roles.label_event_time, file))]
            if roles.label_event_time
            else told
        )

    def _prediction(self, piece: pl.DataFrame, name: str, column: str, file: str) -> pl.Series:
        """Numbers; what is null, NaN or infinite is NaN."""
        values = _number(piece, column, name, file, nulls=True)
        return values if values.is_finite().all() else values.set(~values.is_finite(), float("nan"))

    def _propensity(self, piece: pl.DataFrame, file: str) -> pl.Series:
        values = _number(piece, self.roles.propensity, "propensity", file, nulls=True)
        wrong = (values < 0.0) | (values > 1.0) & ~values.is_nan()
        if wrong.any():
            raise DataError(
                "is no probability in some rows", file=file, field=self.roles.propensity, value=values.filter(wrong)[0],
                fix="log the probability with which the action was taken",
            )  # fmt: skip
        zero = values == 0.0
        self.tally.propensities_of_zero += int(zero.sum())
        return values.set(zero, None).fill_nan(None)


def _number(piece: pl.DataFrame, column: str, name: str, file: str, *, nulls: bool) -> pl.Series:
    """A column as float64 without null: NaN stands for it where there may be any."""
    values = take_column(piece, column, file=file)
    if not (values.dtype.is_numeric() or values.dtype in {pl.Boolean, pl.Null}):
        fix = "store 0 and 1, or the numbers of the classes" if name == "label" else "store it as numbers"
        raise DataError(
            f"has dtype {values.dtype} where numbers are needed", file=file, field=column, role=name if name != column else "",
            value=values.drop_nulls().head(1).to_list()[0] if values.count() else None, fix=fix,
        )  # fmt: skip
    numbers = values.cast(pl.Float64).fill_null(float("nan")).alias(name)
    if not nulls and not numbers.is_finite().all():
        row = int((~numbers.is_finite()).arg_max() or 0)
        raise DataError(
            "is not a number in every row", file=file, field=column, role=name if name != column else "", value=values[row],
            fix="mend or drop the rows without one",
        )  # fmt: skip
    return numbers
