"""Training–serving skew: features recomputed, held against those that were logged when the model answered.

A model is trained on one program's features and served another's; where the two differ it answers questions that it was never
asked. Recomputed are features from a table, as they were known when the question was asked, or by the candidate's own preprocessing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.errors import DataError, nearest
from windtunnel.quantity import format_figure
from windtunnel.report.section import Section, Table
from windtunnel.table import take_column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from windtunnel.feature_table import FeatureTable

    Flags = NDArray[np.bool_]

WORST = 5
"""Rows kept of each feature."""


@dataclass(frozen=True)
class Difference:
    """One row of one feature: what was logged, what was recomputed, and how far apart they are (infinite for text)."""

    id: Any
    logged: Any
    recomputed: Any
    size: float


@dataclass(frozen=True)
class FeatureSkew:
    """One feature, over all rows.

    Args:
        name: of the feature.
        rows: compared.
        differing: both are there and differ by more than the tolerance.
        logged_only: rows in which only the logged one is there; counted apart.
        recomputed_only: rows in which only the recomputed one is.
        bias: the mean of recomputed − logged where both are numbers; NaN for text.
        mean_size: the mean of its absolute value.
        greatest: the greatest absolute value.
        spread: the standard deviation of the logged numbers, to judge the others by.
        worst: the rows that differ most, the worst first.
    """

    name: str
    rows: int
    differing: int
    logged_only: int
    recomputed_only: int
    bias: float
    mean_size: float
    greatest: float
    spread: float
    worst: tuple[Difference, ...]

    @property
    def share(self) -> float:
        """Of the rows, those that differ in any way."""
        return (self.differing + self.logged_only + self.recomputed_only) / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Skew:
    """The skew of all features, the most often differing first.

    Args:
        features: one each.
        absolute: how far numbers may lie apart, whatever their size.
        relative: and beside that, as a share of the logged one.
    """

    features: tuple[FeatureSkew, ...]
    absolute: float
    relative: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; null for what is no number."""
        figures = (
            "name",
            "rows",
            "differing",
            "logged_only",
            "recomputed_only",
            "share",
            "bias",
            "mean_size",
            "greatest",
            "spread",
        )
        told = [
            {name: _finite(getattr(each, name)) for name in figures}
            | {"worst": [{"id": d.id, "logged": _finite(d.logged), "recomputed": _finite(d.recomputed), "size": _finite(d.size)} for d in each.worst]}
            for each in self.features
        ]  # fmt: skip
        return {"absolute": self.absolute, "relative": self.relative, "features": told}


def compare_features(
    pieces: Iterable[pl.DataFrame],
    recompute: Callable[[pl.DataFrame], pl.DataFrame],
    features: Sequence[str],
    *,
    absolute: float = 1e-9,
    relative: float = 1e-6,
) -> Skew:
    """Hold recomputed features against logged ones.

    Args:
        pieces: canonical rows with the logged features, as `Ingest` gives them; corrections of a label are passed over.
        recompute: takes a piece and returns a table with the features, row for row; `from_table` makes one of a feature table.
        features: which are compared.
        absolute: how far numbers may lie apart, whatever their size.
        relative: and beside that, as a share of the logged one; float32 carries about 1e-7.

    Raises:
        DataError: a feature that is not there, or another number of rows.

    Example:
        >>> logged = pl.DataFrame({"id": [1, 2, 3], "first": [True] * 3, "km": [1.0, 2.0, None]})
        >>> skew = compare_features([logged], lambda rows: pl.DataFrame({"km": [1.0, 2.5, 4.0]}), ["km"])
        >>> found = skew.features[0]
        >>> found.differing, found.recomputed_only, found.greatest, found.worst[0].id
        (1, 1, 0.5, 2)
    """
    sums = [_Sums(name, absolute, relative) for name in features]
    for piece in pieces:
        rows = piece.filter(pl.col("first"))
        again = recompute(rows)
        if len(again) != len(rows):
            raise DataError(
                f"gave {len(again)} rows for {len(rows)}", field="recomputed features", fix="return one row for each request, in order"
            )  # fmt: skip
        for each in sums:
            each.add(rows["id"], take_column(rows, each.name), _taken(again, each.name))
    told = sorted((each.skew() for each in sums), key=lambda found: -found.share)
    return Skew(tuple(told), absolute, relative)


def from_table(table: FeatureTable) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Recompute features from a table, as they were known when each request was asked."""

    def recompute(rows: pl.DataFrame) -> pl.DataFrame:
        asked = pl.from_epoch("time", time_unit="us").dt.replace_time_zone("UTC").alias("__asked_at")
        return table.join(rows.select(*table.by, asked), "__asked_at")[0].select(table.take)

    return recompute


def draw(skew: Skew) -> Section:
    """Draw the skew as a section of the report."""
    off = [each for each in skew.features if each.share > 0.0]
    found = (
        f"{len(off)} of {len(skew.features)} features differ between logged and recomputed, `{off[0].name}` most often: in {off[0].share:.2%} of "
        "the requests."
        if off
        else f"All {len(skew.features)} features were recomputed as they had been logged."
    )
    note = (
        f"Numbers count as equal within {skew.absolute:g} + {skew.relative:g} × the logged one; NaN counts as null, and nulls are counted "
        "apart. Requests are counted once, corrected or not."
    )
    return Section("Training–serving skew", "", (found,), (_summary(skew), _worst(skew)), (), (note,))


def _summary(skew: Skew) -> Table:
    rows = tuple(
        (each.name, f"{each.share:.2%}", f"{each.differing:,}", f"{each.logged_only:,}", f"{each.recomputed_only:,}", _shown(each.mean_size),
         _shown(each.greatest), _shown(each.bias), _shown(each.spread))
        for each in skew.features
    )  # fmt: skip
    return Table(
        "Features, recomputed against logged",
        ("feature", "differ", "other value", "null when recomputed", "null when logged", "mean size", "greatest", "bias", "spread of logged"),
        rows, brief=("feature", "differ", "mean size", "greatest"),
    )  # fmt: skip


def _worst(skew: Skew) -> Table:
    rows = tuple(
        (each.name, str(found.id), _shown(found.logged), _shown(found.recomputed), _shown(found.size))
        for each in skew.features
        for found in each.worst
    )
    return Table("The rows that differ most", ("feature", "request", "logged", "recomputed", "apart"), rows, brief=())


def _shown(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return str(value)
    return f"{'−' if value < 0 else ''}{format_figure(abs(value))}" if math.isfinite(value) else "—"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _taken(table: pl.DataFrame, name: str) -> pl.Series:
    if name not in table.columns:
        raise DataError("was not recomputed", field=name, fix=nearest(name, table.columns))
    return table[name]


@dataclass
class _Sums:
    """What is added up of one feature; thrown away after the comparison."""

    name: str
    absolute: float
    relative: float
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(5, np.int64))
    bias: float = 0.0
    size: float = 0.0
    greatest: float = 0.0
    moments: tuple[int, float, float] = (0, 0.0, 0.0)
    numeric: bool = True
    worst: list[Difference] = field(default_factory=list)

    def add(self, ids: pl.Series, logged: pl.Series, again: pl.Series) -> None:
        a, b = _plain(logged), _plain(again)
        there_a, there_b = a.is_not_null().to_numpy(), b.is_not_null().to_numpy()
        both = there_a & there_b
        if a.dtype.is_numeric() != b.dtype.is_numeric() and both.any():
            raise DataError(
                f"was logged as {logged.dtype} and recomputed as {again.dtype}", field=self.name, fix="make both numbers or both text"
            )  # fmt: skip
        differ, apart = self._apart(a, b, both)
        only_a, only_b = int((there_a & ~there_b).sum()), int((there_b & ~there_a).sum())
        self.counts += np.array([len(a), int(differ.sum()), only_a, only_b, int(both.sum())])
        rows = np.flatnonzero(differ)
        rows = rows[np.argsort(-np.abs(apart[rows]), kind="stable")][:WORST]
        found = [Difference(ids[int(row)], logged[int(row)], again[int(row)], float(abs(apart[row]))) for row in rows]
        self.worst = sorted([*self.worst, *found], key=lambda each: -each.size)[:WORST]

    def _apart(self, a: pl.Series, b: pl.Series, both: Flags) -> tuple[Flags, NDArray[np.float64]]:
        """Which rows differ, and by how much; infinity where that is no number."""
        if not (a.dtype.is_numeric() and b.dtype.is_numeric()):
            self.numeric = self.numeric and not both.any()
            differ = (a.cast(pl.String) != b.cast(pl.String)).fill_null(value=False).to_numpy() & both
            return differ, np.where(differ, np.inf, 0.0)
        ours, theirs = (each.cast(pl.Float64).fill_null(float("nan")).to_numpy() for each in (a, b))
        with np.errstate(invalid="ignore"):  # ∞ − ∞
            apart = np.where(both & (ours != theirs), theirs - ours, 0.0)
            limit = self.absolute + self.relative * np.abs(np.where(np.isfinite(ours), ours, 0.0))
        differ = np.abs(apart) > limit
        whole = apart[both]
        self.bias += float(whole.sum())
        self.size += float(np.abs(whole).sum())
        self.greatest = max(self.greatest, float(np.abs(whole).max(initial=0.0)))
        self.moments = _joined(self.moments, ours[np.isfinite(ours)])
        return differ, apart

    def skew(self) -> FeatureSkew:
        rows, differing, logged_only, recomputed_only, both = (int(count) for count in self.counts)
        number = self.numeric and both > 0
        spread = (
            math.sqrt(self.moments[2] / (self.moments[0] - 1)) if self.moments[0] > 1 and self.numeric else math.nan
        )
        figures = (self.bias / both, self.size / both, self.greatest) if number else (math.nan,) * 3
        return FeatureSkew(
            self.name, rows, differing, logged_only, recomputed_only, *figures, spread, tuple(self.worst)
        )


def _plain(column: pl.Series) -> pl.Series:
    """Numbers with null for NaN, or whatever it is."""
    if column.dtype == pl.Boolean:
        return column.cast(pl.Int8)
    return column.fill_nan(None) if column.dtype.is_float() else column


def _joined(moments: tuple[int, float, float], values: NDArray[np.float64]) -> tuple[int, float, float]:
    """Count, mean and summed squares about it, with more values (Chan, Golub & LeVeque 1979)."""
    if not len(values):
        return moments
    n, mean, squares = moments
    more, mean_of_more = len(values), float(values.mean())
    gap = mean_of_more - mean
    total = n + more
    return (
        total,
        mean + gap * more / total,
        squares + float(((values - mean_of_more) ** 2).sum()) + gap * gap * n * more / total,
    )
