"""Reading a recording: whatever it is stored as → canonical rows, piece by piece, and an account of what was wrong.

Two passes are made over the ids: the first finds those that stand more than once. Their rows are set aside and settled together at
the end; all others pass through a piece at a time. So what is held is a piece, eight bytes a request, the labels and features that
lie in tables of their own, and the rows of repeated ids.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.errors import ConfigError, DataError
from windtunnel.feature_table import Freshness
from windtunnel.source import find_files

from .draft import Draft
from .feature_files import read_feature_table
from .formats import detect
from .intake import Intake, Tally
from .label_table import LabelTable
from .repeats import among, hashes_of, ids_of, kind_of_ids, repeated
from .roles import LabelSource, Roles, Rules, Wanted
from .versioned import LABEL_PARTS, several, single

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from .format import Format
    from .roles import FeatureSource

PIECE_ROWS = 2**20
"""Rows read at a time: some 100 MB with all that is made of them."""

ASKED = "__asked_at"
ROW, PLACE, FIRST_ASKED = "__row", "__place", "__first_asked"
"""Columns of our own among the user's, gone again before the rows are handed out."""


@dataclass(frozen=True)
class Ask:
    """What is to be read, and how it is to be understood.

    Args:
        source: file, folder, glob or URI.
        roles: which columns play which part.
        labels: where labels lie if not in the recording itself.
        features: feature tables to join as-of.
        rules: what is forgiven.
        format: a key of `FORMATS`; empty: found out from the first file.
    """

    source: str
    roles: Roles
    labels: LabelSource | None = None
    features: tuple[FeatureSource, ...] = ()
    rules: Rules = field(default_factory=Rules)
    format: str = ""

    def __post_init__(self) -> None:
        if self.labels is not None and self.roles.label:
            raise ConfigError(
                "is named though labels have a table of their own", field="columns.label", value=self.roles.label, fix="name one of them"
            )  # fmt: skip


class Ingest:
    """One reading of a recording; iterate over it, any number of times, and look at `intake` afterwards.

    Args:
        ask: what is to be read.
        home: the folder that paths are relative to.
        piece_rows: how many rows are read at a time.

    Raises:
        ConfigError: a part that must be named is not, or an unknown format.
        DataError: there is no file, or the first cannot be read.
    """

    def __init__(self, ask: Ask, home: Path, piece_rows: int = PIECE_ROWS) -> None:
        self.ask, self.home, self.piece_rows = ask, home, piece_rows
        self.files = find_files(ask.source, home)
        self.form = detect(self.files[0], ask.format)
        self.roles = _completed(ask, self.form)
        self._intake: Intake | None = None

    @property
    def intake(self) -> Intake:
        """What reading took; known once all rows have been handed out."""
        assert self._intake is not None, "iterate first"
        return self._intake

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Canonical rows: `id`, `time`, `known`, `until` (int64 µs), `first`, `label`, a float64 column a model, and the parts named.

        A piece's rows stand alone, so pieces may be taken in any order and by anyone.

        Raises:
            DataError: what is read cannot be judged; the message says which file, column and value.
        """
        tally = Tally(self.form.name, len(self.files))
        reading = _Reading(self, tally)
        yield from reading.pieces()
        self._intake = tally.intake()

    def held(self) -> pl.DataFrame:
        """All rows at once, for a recording that fits into memory."""
        pieces = list(self)
        if not pieces:
            raise DataError("has no requests", file=self.ask.source, fix="record some traffic first")
        return pl.concat(pieces, how="diagonal_relaxed")


def _completed(ask: Ask, form: Format) -> Roles:
    """The roles with what the format knows, and the keys of feature tables among the features."""
    roles = ask.roles.filled(form.given)
    if not roles.time:
        raise ConfigError(
            "must be named", field="columns.time", fix="say which column holds when each request was asked"
        )
    if ask.labels is not None and not roles.id:
        raise ConfigError("must be named", field="columns.id", fix="labels of a table of their own are found by it")
    same = {part for part in ("entity", "action", "arm") if getattr(roles, part) == part}
    keys = [key for source in ask.features for key in source.by if key not in same]
    return replace(roles, features=tuple(dict.fromkeys([*roles.features, *keys])))


class _Reading:
    """One pass, with all that is held meanwhile; thrown away after it."""

    def __init__(self, ingest: Ingest, tally: Tally) -> None:
        self.ingest, self.tally, self.roles = ingest, tally, ingest.roles
        self.skew_us = round(ingest.ask.rules.skew_s * 1e6)
        self.draft = Draft(ingest.roles, tally)
        self.aside: list[pl.DataFrame] = []
        self.labels: LabelTable | None = None
        self.features = [(source.source, read_feature_table(source, ingest.home)) for source in ingest.ask.features]

    def pieces(self) -> Iterator[pl.DataFrame]:
        twice = self._repeated()
        if self.ingest.ask.labels is not None and self.draft.kind is not None:
            self.labels = _label_table(
                self.ingest.ask.labels, self.ingest.home, self.draft.kind, self.ingest.piece_rows, self.tally
            )
        for file in self.ingest.files:
            for piece in self.ingest.form.read(file, self.roles.wanted, self.ingest.piece_rows, self.tally):
                drafts = self._parted(self.draft.of(piece, file), twice)
                if len(drafts):
                    yield self._finished(self._versions(drafts, file))
        if self.aside:
            rows = self._finished(self._settled_repeats(pl.concat(self.aside, how="vertical_relaxed")))
            yield from rows.iter_slices(self.ingest.piece_rows)
        self._check()

    def _repeated(self) -> NDArray[np.uint64]:
        """The hashes of ids that stand more than once."""
        if not self.roles.id:
            return np.empty(0, np.uint64)
        return repeated(hashes_of(ids) for ids in self._all_ids())

    def _all_ids(self) -> Iterator[pl.Series]:
        wanted = Wanted((self.roles.id,), (self.roles.id,))
        for file in self.ingest.files:
            for piece in self.ingest.form.read(file, wanted, self.ingest.piece_rows, Tally()):
                column = piece[self.roles.id]
                self.draft.kind = self.draft.kind or kind_of_ids(column.dtype)
                yield ids_of(column, self.draft.kind, file)

    def _parted(self, drafts: pl.DataFrame, twice: NDArray[np.uint64]) -> pl.DataFrame:
        """Set rows of repeated ids aside."""
        if not len(twice):
            return drafts
        again = pl.Series(among(hashes_of(drafts["id"]), twice))
        self.aside.append(drafts.filter(again))
        return drafts.filter(~again)

    def _versions(self, drafts: pl.DataFrame, file: str) -> pl.DataFrame:
        if self.labels is None:
            return single(drafts, self.skew_us, self.tally, file)
        place, row = self.labels.find(drafts["id"])
        parts = self.labels.rows.drop("id")[row]
        return several(drafts, place, parts, self.skew_us, self.tally, file)

    def _settled_repeats(self, drafts: pl.DataFrame) -> pl.DataFrame:
        """Of each id the first row stays; those of the same time that bring a label are versions of it, where known times are recorded."""
        name = self.ingest.ask.source
        drafts = drafts.with_row_index(ROW)
        first = drafts.unique("id", keep="first", maintain_order=True).with_row_index(PLACE)
        if self.labels is not None or not self.roles.label_time:
            self.tally.duplicates += len(drafts) - len(first)
            return self._versions(first.drop(ROW, PLACE), name)
        all_rows = drafts.join(
            first.select("id", PLACE, pl.col("time").alias(FIRST_ASKED)), on="id", maintain_order="left"
        )
        told = all_rows.filter((pl.col("time") == pl.col(FIRST_ASKED)) & pl.col("label").is_not_nan())
        told = told.unique([PLACE, "known", "label"], keep="last", maintain_order=True)
        same = ["label", "known", PLACE]
        fresh = told.join(first.select(same), on=same, how="anti")
        self.tally.duplicates += len(drafts) - len(first) - len(fresh)
        there = [part for part in LABEL_PARTS if part in drafts.columns]
        return several(
            first.drop(ROW, PLACE, *there), told[PLACE].cast(pl.Int64).to_numpy(), told.select(there), self.skew_us, self.tally, name
        )  # fmt: skip

    def _finished(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Count, leave out what lacks a prediction, and add features of other tables."""
        rows = self._predicted(rows)
        self._spread(rows)
        first, labelled = rows["first"], rows["label"].is_not_nan()
        requests = int(first.sum())
        self.tally.requests += requests
        self.tally.labelled += int((first & labelled).sum())
        self.tally.corrections += len(rows) - requests
        if labelled.any():
            known = rows["label"].filter(labelled)
            self.tally.least_label = min(self.tally.least_label, float(known.min()))  # type: ignore[arg-type]  # of a float column
            self.tally.greatest_label = max(self.tally.greatest_label, float(known.max()))  # type: ignore[arg-type]  # as above
        if self.features:
            rows = self._joined(rows)
        own = ["id", "time", "known", "until", "first", "label"]
        return rows.select(*own, pl.exclude(own))

    def _predicted(self, rows: pl.DataFrame) -> pl.DataFrame:
        lacking = np.zeros(len(rows), dtype=np.bool_)
        first = rows["first"].to_numpy()
        for model in self.roles.models:
            missing = rows[model].is_nan().to_numpy()
            if missing.any():
                self.tally.missing[model] += int((missing & first).sum())
                lacking |= missing
        if not lacking.any():
            return rows
        self.tally.left_out += int((lacking & first).sum())
        return rows.filter(pl.Series(~lacking))

    def _spread(self, rows: pl.DataFrame) -> None:
        """Take note of the least and the greatest that each model said."""
        for model in self.roles.models if len(rows) else ():
            said = rows[model].to_numpy()
            self.tally.spread(model, float(said.min()), float(said.max()))

    def _joined(self, rows: pl.DataFrame) -> pl.DataFrame:
        rows = rows.with_columns(pl.from_epoch("time", time_unit="us").dt.replace_time_zone("UTC").alias(ASKED))
        for source, table in self.features:
            rows, freshness = table.join(rows, ASKED)
            self.tally.freshness[source] = self.tally.freshness.get(source, Freshness()) + freshness
        return rows.drop(ASKED)

    def _check(self) -> None:
        """Refuse what is so incomplete that a comparison would be one of other traffic."""
        tally, rules, name = self.tally, self.ingest.ask.rules, self.ingest.ask.source
        if tally.bad > rules.most_missing * max(tally.rows, 1):
            worst = max(tally.examples, key=lambda reason: tally.skipped[reason])
            raise DataError(
                f"holds {tally.bad:,} of {tally.rows:,} rows that cannot be used, most of them {worst}", file=name,
                value=tally.examples[worst], fix="mend them, or allow more with most_missing",
            )  # fmt: skip
        if tally.requests + tally.left_out == 0:
            raise DataError("has no requests", file=name, fix="record some traffic first")
        if tally.left_out > rules.most_missing * (tally.requests + tally.left_out):
            worst = max(tally.missing, key=lambda model: tally.missing[model])
            raise DataError(
                f"has no number in {tally.missing[worst]:,} of {tally.requests + tally.left_out:,} requests", file=name,
                field=self.roles.models[worst], fix="log every prediction, or allow more with most_missing",
            )  # fmt: skip
        if self.labels is not None and self.ingest.ask.labels is not None:
            tally.strays = self.labels.strays
            if len(self.labels.rows) and tally.strays == len(self.labels.rows):
                raise DataError(
                    "has no label of any request of the recording", file=self.ingest.ask.labels.source,
                    field="labels.id", value=self.labels.rows["id"][0], fix="see that both mean the same id",
                )  # fmt: skip


def _label_table(source: LabelSource, home: Path, kind: pl.DataType, rows: int, tally: Tally) -> LabelTable:
    files = find_files(source.source, home)
    form = detect(files[0])
    roles = source.roles_in(form.given)
    own = Tally()
    pieces = [(file, piece) for file in files for piece in form.read(file, roles.wanted, rows, own)]
    if own.bad > 0:
        tally.skip("labels that cannot be read", own.bad)
    return LabelTable.of(pieces, roles, kind, tally)
