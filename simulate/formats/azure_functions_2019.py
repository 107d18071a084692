"""Azure Functions dataset of 2019: a row a function, with its invocations in each minute of a day; durations in a file beside.

Columns `HashOwner,HashApp,HashFunction,Trigger` and `1`..`1440`, or some of them. `key` is the function's row. Within a minute the
invocations are laid out as `--spread` says. Durations come from the file of percentiles beside it, found by its name
(`invocations` → `durations`, `invocations_per_function_md` → `function_durations_percentiles`) or given with `--durations`: `duration_s`
is drawn from a straight line through `percentile_Average_{0,1,25,50,75,99,100}` (ms), which are percentiles of averages over
half a minute, not of single calls, so their tails are too light.
Source: github.com/Azure/AzurePublicDataset, AzureFunctionsDataset2019.md; Shahrad et al., "Serverless in the Wild", ATC 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from windtunnel.errors import DataError

from .counts import MOST
from .reading import Tally
from .rows import Rows
from .source import Source

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds

    from .reading import Ask

MINUTE_S = 60.0
SHARES = np.array([0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0])
PERCENTILES = tuple(f"percentile_Average_{percent}" for percent in (0, 1, 25, 50, 75, 99, 100))
NAMES = (("invocations_per_function_md", "function_durations_percentiles"), ("invocations", "durations"))


@dataclass(frozen=True)
class AzureFunctions2019:
    """Counts a minute of many functions."""

    hears: ClassVar[frozenset[str]] = frozenset({"durations"})

    name: str = "azure-functions-2019"
    looks: str = "columns HashOwner, HashApp, HashFunction, Trigger, 1, 2, … 1440"

    def matches(self, source: Source) -> bool:
        """Whether it has functions and minutes."""
        return {"HashFunction", "Trigger"} <= set(source.header) and bool(_minutes(source))

    def read(self, source: Source, ask: Ask, tally: Tally, seeds: Seeds) -> Rows:
        """Lay out every invocation at the start of its minute, minute by minute, function by function.

        Raises:
            DataError: no minutes, no rows, or more invocations than fit into memory.
        """
        minutes = _minutes(source)
        if not minutes or "HashFunction" not in source.header:
            raise DataError(
                "is not there", file=source.path, field="HashFunction, 1, 2, …", fix=f"it needs {self.looks}"
            )
        table = pl.concat(
            [frame for frame in source.frames(["HashFunction", *minutes], tally) if frame.height] or [pl.DataFrame()]
        )
        if table.height == 0:
            raise DataError("has no rows", file=source.path, field="HashFunction", fix="give some functions")
        counts = _counts(table, minutes, tally)
        if (total := int(counts.sum())) > MOST:
            raise DataError(
                f"counts {total} invocations, and {MOST} are laid out at most",
                file=source.path,
                fix="give some of the functions",
            )
        functions = np.tile(np.arange(table.height), len(minutes))
        key = np.repeat(functions, counts.T.ravel())
        starts = np.repeat(np.array([MINUTE_S * int(each) for each in minutes]), counts.sum(axis=0))
        took_s = _durations(source, ask, table["HashFunction"], key, tally, seeds)
        tally.warn("counts in bins of 60 s, of which the minutes of the day are the columns")
        return Rows("minute", starts, took_s, columns={"key": key}, counted=True, resolution_s=MINUTE_S)


def _minutes(source: Source) -> list[str]:
    return sorted((name for name in source.header if name.isdecimal()), key=int)


def _counts(table: pl.DataFrame, minutes: list[str], tally: Tally) -> NDArray[np.int64]:
    """Invocations [functions, minutes]; what is no count is none, and is counted."""
    counts = table.select(pl.col(minutes).cast(pl.Int64, strict=False))
    bad = counts.select(pl.all_horizontal(pl.col(minutes).is_not_null() & (pl.col(minutes) >= 0))).to_series()
    tally.skip(
        "function_with_impossible_count", int((~bad).sum()), example=table["HashFunction"][int((~bad).arg_max() or 0)]
    )
    possible = counts.select(pl.col(minutes).fill_null(0).clip(lower_bound=0)).to_numpy()
    return np.asarray(possible * bad.to_numpy()[:, None])


def _durations(
    source: Source, ask: Ask, functions: pl.Series, key: NDArray[np.int64], tally: Tally, seeds: Seeds
) -> NDArray[np.float64] | None:
    path = ask.durations or _beside(source.path)
    if path is None:
        tally.warn("no file of durations lies beside: give it with --durations")
        return None
    beside = Source.look(path)
    if missing := {"HashFunction", *PERCENTILES} - set(beside.header):
        raise DataError("is not a column", file=path, field=min(missing), fix="give the file of duration percentiles")
    table = pl.concat(list(beside.frames(["HashFunction", *PERCENTILES], Tally()))).unique(
        "HashFunction", maintain_order=True
    )
    joined = pl.DataFrame({"HashFunction": functions}).join(table, on="HashFunction", how="left", maintain_order="left")
    knots_s = joined.select(pl.col(PERCENTILES).cast(pl.Float64, strict=False)).to_numpy() / 1000.0
    tally.notice("duration_unknown", int(np.isnan(knots_s[key, 0]).sum()))
    tally.warn(f"durations were drawn from the percentiles in {path.name}")
    return draw_durations(knots_s, key, seeds.stream("spread", 1).random(len(key)))


def _beside(path: Path) -> Path | None:
    places = [path.with_name(path.name.replace(ours, theirs)) for ours, theirs in NAMES if ours in path.name]
    return next((place for place in places if place.is_file()), None)


def draw_durations(
    knots_s: NDArray[np.float64], key: NDArray[np.int64], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Invert each function's straight-line distribution.

    Args:
        knots_s: float64 [functions, 7], at `SHARES`.
        key: int64 [requests], the function of each.
        draws: float64 [requests], uniform.

    Example:
        >>> knots_s = np.array([[0.0, 0.1, 1.0, 2.0, 3.0, 4.0, 5.0]])
        >>> draw_durations(knots_s, np.array([0, 0]), np.array([0.5, 0.625]))
        array([2. , 2.5])
    """
    place = np.clip(np.searchsorted(SHARES, draws, side="right") - 1, 0, len(SHARES) - 2)
    within = (draws - SHARES[place]) / (SHARES[place + 1] - SHARES[place])
    low, high = knots_s[key, place], knots_s[key, place + 1]
    return np.asarray(low + within * (high - low))


AZURE_FUNCTIONS_2019 = AzureFunctions2019()
