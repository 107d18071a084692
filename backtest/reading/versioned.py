"""Requests and the versions of their labels → canonical rows, one for each version, that stand alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.backtest.rows import Rows, halves, versions
from windtunnel.errors import DataError

from .intake import NEVER_US

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .intake import Tally

    Ints = NDArray[np.int64]

LABEL_PARTS = ("label", "known", "happened", "label_version")


def single(drafts: pl.DataFrame, skew_us: int, tally: Tally, file: str) -> pl.DataFrame:
    """Canonical rows of requests whose label, if it came, is in their own row and was never corrected."""
    if "label" not in drafts.columns:
        drafts = drafts.with_columns(label=pl.lit(float("nan")), known=pl.lit(NEVER_US, dtype=pl.Int64))
    known_us = settled(drafts["time"].to_numpy(), drafts, skew_us, tally, file)
    return drafts.with_columns(
        pl.Series("known", known_us), pl.lit(NEVER_US, dtype=pl.Int64).alias("until"), pl.lit(value=True).alias("first")
    )


def several(
    requests: pl.DataFrame, place: Ints, labels: pl.DataFrame, skew_us: int, tally: Tally, file: str
) -> pl.DataFrame:
    """Canonical rows of requests with any number of versions of their labels.

    Args:
        requests: without columns of labels.
        place: which request each version is of, int64 [versions].
        labels: `label`, `known` and perhaps `happened` and `label_version`; of two of a request that were known at one
            moment, after those known too early were moved, the later counts.
        skew_us: how much too early a label may be known.
        tally: told of ties and of what was moved.
        file: named in messages.
    """
    known_us = settled(requests["time"].to_numpy()[place], labels, skew_us, tally, file)
    none = np.empty(0, np.int64)
    kept, until_us, first = versions(place, known_us) if len(place) else (none, none, none.astype(np.bool_))
    tally.tied += len(place) - len(kept)
    silenced = np.ones(len(requests), dtype=np.bool_)
    silenced[place] = False
    bare = np.flatnonzero(silenced)
    told = labels[kept].with_columns(
        pl.Series("known", known_us[kept]), pl.Series("until", until_us), pl.Series("first", first)
    )
    silent = pl.DataFrame(
        {"label": np.full(len(bare), np.nan), "known": np.full(len(bare), NEVER_US), "until": np.full(len(bare), NEVER_US),
         "first": np.full(len(bare), fill_value=True)}
    )  # fmt: skip
    rows = requests[np.concatenate([place[kept], bare])]
    return rows.hstack(pl.concat([told, silent], how="diagonal"))


def settled(time_us: Ints, labels: pl.DataFrame, skew_us: int, tally: Tally, file: str) -> Ints:
    """When labels count as known: not before their request nor before they happened.

    Raises:
        DataError: one was known earlier than the tolerance allows.
    """
    known_us = labels["known"].to_numpy()
    floor_us, what = time_us, "the request"
    if "happened" in labels.columns:
        happened_us = labels["happened"].to_numpy()
        happened_us = np.where(happened_us == NEVER_US, time_us, happened_us)
        if ((known_us < happened_us - skew_us) & (happened_us > time_us)).any():
            what = "the event"
        floor_us = np.maximum(time_us, happened_us)
    early = known_us < floor_us
    if early.any():
        far = known_us < floor_us - skew_us
        if far.any():
            row = int(far.argmax())
            stamp = str(np.datetime64(int(known_us[row]), "us")).removesuffix(".000000") + "Z"
            raise DataError(
                f"says that {_counted(int(far.sum()))} known more than {skew_us / 1e6:g} s before {what}", file=file,
                field="label_time", value=stamp, fix="check its time zone, or allow more with clock_skew",
            )  # fmt: skip
        tally.moved += int(early.sum())
        known_us = np.maximum(known_us, floor_us)
    return known_us


def _counted(labels: int) -> str:
    return "1 label was" if labels == 1 else f"{labels:,} labels were"


def rows_of(frame: pl.DataFrame, models: Sequence[str | Sequence[str]]) -> Rows:
    """Canonical rows as the engine takes them.

    Args:
        frame: as `Ingest` gives them.
        models: the canonical column of the incumbent's predictions, then of the candidates'; or each one's columns, one a class.
    """
    corrected = not frame["first"].all() or bool((frame["until"] != NEVER_US).any())
    extra = {"until_us": frame["until"].to_numpy(), "first": frame["first"].to_numpy()} if corrected else {}
    scales = {part: frame[part].to_numpy() for part in ("amount", "weight") if part in frame.columns}
    said = [frame[each] if isinstance(each, str) else frame.select(each) for each in models]
    return Rows(
        frame["time"].to_numpy(), frame["known"].to_numpy(), frame["label"].to_numpy(),
        np.ascontiguousarray([each.to_numpy() for each in said]), halves(frame["id"]), **extra, **scales,
    )  # fmt: skip
