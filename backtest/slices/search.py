"""Where the candidate is worse or better than the incumbent: slices searched, with a bound on the share of false finds.

What could be found is fixed before anything is judged: edges, values and which slices are common enough are taken from the
first days, and only later days are judged. So a look may be taken at any time, and as of a time nothing later counts.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.backtest.evidence import Asymptotic, apart, e_bh
from windtunnel.backtest.kernel import DAY_US
from windtunnel.errors import ConfigError, DataError

from .basis import Basis
from .blocks import add_up
from .cut import Cut
from .found import Account, Slice, Slices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from windtunnel.backtest.metrics import Clocks

    from .basis import Against

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

REFERENCE_DAYS = 14
"""The first days, from which edges are taken: two weeks have every weekday twice."""

LEAST_SHARE = 0.01
"""A slice with a smaller share of the reference is not looked at: every slice more makes the others harder to find."""


def search_slices(
    features: pl.DataFrame,
    difference: Floats,
    clocks: Clocks,
    *,
    as_of_us: int,
    horizon_us: int,
    columns: Sequence[str] | None = None,
    pairs: bool = True,
    against: Against | None = None,
    rate: float = 0.05,
    reference_days: int = REFERENCE_DAYS,
    block_days: int | None = None,
    least_share: float = LEAST_SHARE,
    weight: Floats | None = None,
) -> Slices:
    """Search slices by one column and by two in which the candidate's loss differs.

    Each slice has the mean difference of each UTC day of requests that is mature as of the look (its end plus the horizon has
    passed), and from these an e-value against no difference (`Asymptotic`, `apart`). Of those that `e_bh` names at most a share of `rate`
    is false on average, however slices overlap. Their intervals are at the level rate · named / searched, so that on average
    at most a share of `rate` of the intervals of those named misses the truth (e-BY: Xu, Wang & Ramdas, *Post-selection
    inference for e-value based confidence intervals*, arXiv 2203.12572); such an interval leaves zero out exactly where the slice is named.

    Args:
        features: one row a request version, as known when it was asked; [n, columns].
        difference: the loss of the candidate less that of the incumbent, float64 [n]; NaN where no label came.
        clocks: when each row was asked and its label known.
        as_of_us: the look, microseconds.
        horizon_us: how long after its request a label still counts.
        columns: to be searched; None: all that can be cut.
        pairs: whether slices by two columns are searched too.
        against: `incumbent`: the difference in the slice; `rest`: how much it differs from that in the rest of the rows, day by
            day, which finds where a candidate that is better everywhere is least so. None: the incumbent, unless days last so
            long that slices could not be believed; see `Basis`.
        rate: the share of false finds that is borne.
        reference_days: how many of the first days edges are taken from.
        least_share: of the rows of these days that a slice must hold.
        weight: how many requests each row counts for in the mean of its block, float64 [n], zero or more; None: one. Blocks weigh the
            same whatever is in them, and shares are of rows.
        block_days: how many days make a block; None: as many as it takes, by what days carry over; see `Basis`.

    Raises:
        ConfigError: a rate, a share or a block that is none.
        DataError: a column that is not there or cannot be cut, rows of different lengths, or no row after the reference.

    Example: in one of three regions the candidate is worse.

        >>> from windtunnel.backtest.metrics import Clocks
        >>> rng = np.random.default_rng(0)
        >>> time = np.sort(rng.integers(0, 80 * DAY_US, size=8000))
        >>> region = rng.choice(["north", "south", "west"], size=8000)
        >>> loss = rng.normal(size=8000) + 0.5 * (region == "west")
        >>> found = search_slices(
        ...     pl.DataFrame({"region": region}), loss, Clocks(time, time), as_of_us=80 * DAY_US, horizon_us=0)
        >>> [(each.name, each.direction) for each in found.found]
        [('region = west', 'worse')]
    """
    _check(features, difference, clocks, rate, least_share)
    for field, wished in (("block_days", block_days), ("reference_days", reference_days)):
        if wished is not None and wished < 1:
            raise ConfigError("must be a day or more", field=field, value=wished, fix="write 7")
    names = list(columns) if columns is not None else [each.name for each in features if _can_be_cut(each)]
    for name in names:
        if name not in features.columns:
            raise DataError("is not a column", field=name, fix=f"the columns are: {', '.join(features.columns)}")
    weights = np.ones(len(difference)) if weight is None else weight
    days = _Blocks.of(clocks, (difference, weights), as_of_us, horizon_us, reference_days)
    basis = Basis.of(*days.totals(), against, block_days)
    blocks = days.merged(basis.block_days)
    if not blocks.rows:
        raise DataError(
            f"has {days.count} days to be judged, not one whole block of {basis.block_days} with a label that counts", field="time",
            fix="record longer, or take shorter blocks",
        )  # fmt: skip
    cuts = [Cut.of(features[name], blocks.reference) for name in names]
    searched = list(_searched(cuts, blocks, pairs, least_share, basis.against))
    account = _accounted(clocks, blocks, as_of_us, reference_days, basis.block_days)
    return _named(searched, blocks, basis, rate, account)


def _check(features: pl.DataFrame, difference: Floats, clocks: Clocks, rate: float, least_share: float) -> None:
    if not len(features) == len(difference) == len(clocks):
        raise DataError(
            f"has {len(features)} rows, differences {len(difference)}, and times {len(clocks)}", field="features",
            fix="give one of each a row",
        )  # fmt: skip
    for field, value in (("rate", rate), ("least_share", least_share)):
        if not 0.0 < value < 1.0:
            raise ConfigError("must lie between 0 and 1", field=field, value=value, fix="write 0.05 or 0.01")


def _can_be_cut(values: pl.Series) -> bool:
    return values.dtype.is_numeric() or values.dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum)


AT_ONCE = 500
"""So many slices of equally many days are weighed together: fast, in some megabytes."""


@dataclass(frozen=True)
class _Blocks:
    """The blocks of days that are judged, and the rows in them.

    Args:
        count: how many there are.
        of_row: the block of each row, from 0, int32 [n]; −1 for rows that are not judged.
        difference: float64 [n].
        weight: float64 [n].
        reference: rows that edges are taken from, bool [n].
    """

    count: int
    of_row: NDArray[np.int32]
    difference: Floats
    weight: Floats
    reference: NDArray[np.bool_]

    @staticmethod
    def of(
        clocks: Clocks, values: tuple[Floats, Floats], as_of_us: int, horizon_us: int, reference_days: int
    ) -> _Blocks:
        difference, weight = values
        day = clocks.time_us // DAY_US
        begin, end = (int(day.min()) if len(day) else 0) + reference_days, (as_of_us - horizon_us) // DAY_US
        count = max(0, int(end - begin))
        asked_once = clocks.first if len(clocks.first) else np.ones(len(day), dtype=np.bool_)
        judged = (day >= begin) & (day < end) & clocks.final(horizon_us) & ~np.isnan(difference)
        reference = (day < begin) & (clocks.time_us < as_of_us) & asked_once
        if not judged.any() or not reference.any():
            raise DataError(
                f"has no label that counts after the first {reference_days} days and before the last that are mature", field="time",
                fix="record longer, or take a shorter reference",
            )  # fmt: skip
        return _Blocks(count, np.where(judged, day - begin, -1).astype(np.int32), difference, weight, reference)

    def merged(self, length: int) -> _Blocks:
        """The same with `length` days in a block; those that are left over at the end are not judged."""
        count = self.count // length
        block = self.of_row // length  # of a row that is not judged still below zero
        return _Blocks(
            count, np.where(block < count, block, -1).astype(np.int32), self.difference, self.weight, self.reference
        )

    @property
    def rows(self) -> int:
        """How many rows are judged."""
        return int((self.of_row >= 0).sum())

    def totals(self) -> tuple[Floats, Floats]:
        """The weights of each block's rows, and the sum of their differences times these, float64 [blocks] each."""
        judged = self.of_row >= 0
        day, weight = self.of_row[judged], self.weight[judged]
        return (
            np.asarray(np.bincount(day, weight, minlength=self.count), dtype=np.float64),
            np.asarray(np.bincount(day, weight * self.difference[judged], minlength=self.count), dtype=np.float64),
        )


def _accounted(clocks: Clocks, blocks: _Blocks, as_of_us: int, reference_days: int, block_days: int) -> Account:
    """Where the requests went that were asked before the look."""
    asked = clocks.time_us < as_of_us
    if len(clocks.first):
        asked &= clocks.first
    day = clocks.time_us // DAY_US
    end = int(day.min()) + reference_days + blocks.count * block_days
    requests, young = int(asked.sum()), int((asked & (day >= end)).sum())
    return Account(as_of_us, requests, int(blocks.reference.sum()), young, blocks.rows)


@dataclass(frozen=True)
class _Cell:
    """One slice before it is weighed: its columns, their values in it, rows, differences of blocks, and their mean from the incumbent."""

    columns: tuple[str, ...]
    names: tuple[str, ...]
    rows: int
    values: Floats
    alone: float


def _searched(cuts: list[Cut], blocks: _Blocks, pairs: bool, least_share: float, against: Against) -> Iterator[_Cell]:
    """Every slice that is common enough in the reference and neither all of it nor a repetition of a column."""
    whole = Cut("", ("",), np.zeros(len(blocks.of_row), dtype=np.int16))
    together = [(cut, whole) for cut in cuts] + (list(itertools.combinations(cuts, 2)) if pairs else [])
    totals = blocks.totals()
    kept_days = blocks.reference.sum()
    reference = np.flatnonzero(blocks.reference)
    for first, second in together:
        width = len(second.names)
        cells = len(first.names) * width
        shown = np.bincount(first.codes[reference].astype(np.int64) * width + second.codes[reference], minlength=cells)
        common = (shown >= least_share * kept_days) & (shown < kept_days)
        if second.column:
            common &= ~_repeats(shown.reshape(-1, width)).ravel()
        if not common.any():
            continue
        counts, (weights, sums) = np.zeros((blocks.count, cells), np.int64), np.zeros((2, blocks.count, cells))
        add_up(first.codes, second.codes, width, blocks.of_row, blocks.difference, blocks.weight, counts, weights, sums)
        for cell in np.flatnonzero(common).tolist():
            names = first.names[cell // width], second.names[cell % width]
            columns = (first.column, second.column) if second.column else (first.column,)
            values = _values(weights[:, cell], sums[:, cell], totals, against)
            own = _values(weights[:, cell], sums[:, cell], totals, "incumbent")
            alone = float(own.mean()) if len(own) else float("nan")
            yield _Cell(columns, names[: len(columns)], int(counts[:, cell].sum()), values, alone)


def _repeats(shown: Ints) -> NDArray[np.bool_]:
    """Which cells of two columns hold all rows of a slice by one of them, and so are that slice once more; bool [first, second]."""
    whole: NDArray[np.bool_] = (shown == shown.sum(axis=1, keepdims=True)) | (shown == shown.sum(axis=0, keepdims=True))
    return whole


def _values(weight: Floats, total: Floats, totals: tuple[Floats, Floats], against: Against) -> Floats:
    """The mean difference of each block in which there is one, float64 [blocks]."""
    some = weight > 0.0
    if against == "incumbent":
        return total[some] / weight[some]
    rest, rest_total = totals[0] - weight, totals[1] - total
    # what is left of all weights where a slice has them all is rounding
    both = some & (rest > 1e-12 * totals[0])
    return total[both] / weight[both] - rest_total[both] / rest[both]


def _weigh(searched: list[_Cell], rate: float) -> tuple[Floats, Floats, Floats]:
    """The mean difference of each slice, how far its interval at `rate` reaches, and the e-value against none, float64 [slices] each."""
    sequence = Asymptotic(rate)
    difference, reach, e_value = np.full((3, len(searched)), [[np.nan], [np.inf], [1.0]])
    lengths = np.array([len(each.values) for each in searched])
    for length in np.unique(lengths[lengths > 0]).tolist():
        places = np.flatnonzero(lengths == length)
        for some in np.array_split(places, -(-len(places) // AT_ONCE)):
            values = np.stack([searched[place].values for place in some])
            low, high = sequence.bounds(values)
            reach[some] = (high[:, -1] - low[:, -1]) / 2.0
            difference[some], e_value[some] = values.mean(axis=1), apart(sequence, values)[:, -1]
    return difference, reach, e_value


def _named(searched: list[_Cell], blocks: _Blocks, basis: Basis, rate: float, account: Account) -> Slices:
    difference, reach, e_value = _weigh(searched, rate)
    named = e_bh(e_value, rate) if len(searched) else np.zeros(0, dtype=np.bool_)
    level, rows = rate * max(1, int(named.sum())) / max(1, len(searched)), account.judged
    slices = []
    for place, each in enumerate(searched):
        middle, arm = float(difference[place]), float(reach[place]) * _widening(len(each.values), rate, level)
        slices.append(Slice(
            each.columns, each.names, each.rows, each.rows / rows, len(each.values), middle, middle - arm, middle + arm,
            float(e_value[place]), bool(named[place]), each.alone,
        ))  # fmt: skip
    slices.sort(key=lambda each: (not each.named, -each.e_value, -abs(each.harm) if each.rows else 0.0))
    days = blocks.count * basis.block_days
    return Slices(account, basis, rate, level, days, tuple(slices))


def _widening(blocks: int, rate: float, level: float) -> float:
    """How much wider the same sequence is at another level: its bounds are where its e-value is 1 / level."""
    scale = blocks * Asymptotic(rate).sequence.rho ** 2 + 1.0
    return float(np.sqrt(np.log(np.sqrt(scale) / level) / np.log(np.sqrt(scale) / rate)))
