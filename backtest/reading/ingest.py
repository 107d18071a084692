"""Reading a recording: whatever it is stored as → canonical rows, piece by piece, and an account of what was wrong.

Two passes are made over the ids: the first finds those that stand more than once. Their rows are set aside and settled together at
the end; all others pass through a piece at a time. What has to wait for its like goes to disk once it is much (see `spool`): hashes of
ids, rows of repeated ids, and, where labels have a large table of their own, all requests and all labels, each matched within its
part. So what is held is a piece, a part, and the features that lie in tables of their own, whatever the length of the recording.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.errors import ConfigError, DataError
from windtunnel.feature_table import Freshness
from windtunnel.source import find_files
from windtunnel.table import take_column

from .clock import Clock
from .draft import Draft
from .feature_files import read_feature_table
from .formats import detect
from .intake import NEVER_US, Intake, Tally
from .label_table import LabelTable, labels_in
from .order import Order
from .repeats import Rising, among, hashes_of, ids_of, kind_of_ids, repeated
from .roles import LabelSource, Roles, Rules, Wanted
from .spool import Spool
from .versioned import LABEL_PARTS, several, single

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Self

    from numpy.typing import NDArray

    from .format import Format
    from .roles import FeatureSource

PIECE_ROWS = 2**19
"""Rows read at a time: some 50 MB with all that is made of them."""

MOST_LABELS = 2**22
"""A table of more labels is not held: they and the requests go to disk, and are matched part by part."""

MOST_ASIDE = 2**20
"""So many rows of repeated ids are held; more go to disk."""

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
        thin: only requests are taken whose id has a hash that so many divide, a power of two: a sample that hangs on nothing else.

    Raises:
        ConfigError: a part that must be named is not, or an unknown format.
        DataError: there is no file, or the first cannot be read.
    """

    def __init__(self, ask: Ask, home: Path, piece_rows: int = PIECE_ROWS, *, thin: int = 1) -> None:
        self.ask, self.home, self.piece_rows, self.thin = ask, home, piece_rows, thin
        self.files = find_files(ask.source, home)
        self.form = detect(self.files[0], ask.format)
        self.roles = _completed(ask, self.form)
        self._intake: Intake | None = None
        self._repeats: NDArray[np.uint64] | None = None

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
        with _Reading(self, tally) as reading:
            yield from reading.pieces()
        self._intake = tally.intake()

    def held(self) -> pl.DataFrame:
        """All rows at once, for a recording that fits into memory."""
        rows = self.held_within(None)
        assert rows is not None
        return rows

    def held_within(self, most: int | None) -> pl.DataFrame | None:
        """All rows at once, or None as soon as they are seen to be more than so many."""
        pieces, rows = [], 0
        for piece in self:
            pieces.append(piece)
            rows += len(piece)
            if most is not None and rows > most:
                return None
        if not pieces:
            raise DataError("has no requests", file=self.ask.source, fix="record some traffic first")
        return pl.concat(pieces, how="diagonal_relaxed")

    @property
    def kind(self) -> pl.DataType | None:
        """What ids are compared as; None where there are none."""
        return next((kind_of_ids(ids.dtype) for _, _, ids in self._raw_ids()), None)

    @property
    def repeats(self) -> NDArray[np.uint64]:
        """The hashes of ids that stand more than once, sorted; the ids are read for it once."""
        if self._repeats is None:
            rising = Rising()
            for ids in self._ids():
                rising.add(ids)
                if not rising.holds:
                    break
            self._repeats = np.empty(0, np.uint64) if rising.holds else repeated(self._hashes())
        return self._repeats

    def span(self) -> tuple[int, int]:
        """When the first request was asked, and the last moment that anything is told of; in µs since 1970, by the clocks alone.

        Rows that will be left out count too, so what is said of the rows that stay may end earlier.

        Raises:
            DataError: no request has a time.
        """
        roles, rising, kind = self.roles, Rising(), self.kind
        asked = [roles.time, *([roles.label_time] if roles.label_time else [])]

        def pieces(file: str) -> Iterator[pl.DataFrame]:
            columns, before = tuple(dict.fromkeys([*asked, *([roles.id] if roles.id else [])])), 0
            for piece in self.form.read(file, Wanted(columns, columns), self.piece_rows, Tally()):
                if kind is not None and rising.holds:
                    rising.add(ids_of(piece[roles.id], kind, file, before))
                before += len(piece)
                yield piece

        labels = [] if self.ask.labels is None else self._label_span(self.ask.labels)
        spans = [*_spans(((file, pieces(file)) for file in self.files), asked), *labels]
        if rising.holds:  # seen on the way, so that ids need not be read for it again
            self._repeats = np.empty(0, np.uint64)
        first = [least for column, least, _ in spans if column == self.roles.time]
        if not first:
            raise DataError("has no requests", file=self.ask.source, fix="record some traffic first")
        return min(first), max(most for _, _, most in spans)

    def _label_span(self, source: LabelSource) -> list[tuple[str, int, int]]:
        files, form, roles = _labels(source, self.home)
        known = [roles.label_time]
        pieces = (
            (file, form.read(file, Wanted(tuple(known), tuple(known)), self.piece_rows, Tally())) for file in files
        )
        return [("", least, most) for _, least, most in _spans(pieces, known)]

    def _raw_ids(self) -> Iterator[tuple[str, int, pl.Series]]:
        """Of each piece the file, how many of its rows stand before, and the ids."""
        wanted = Wanted((self.roles.id,), (self.roles.id,))
        for file in self.files if self.roles.id else ():
            before = 0
            for piece in self.form.read(file, wanted, self.piece_rows, Tally()):
                yield file, before, piece[self.roles.id]
                before += len(piece)

    def _ids(self) -> Iterator[pl.Series]:
        kind: pl.DataType | None = None
        for file, before, column in self._raw_ids():
            kind = kind or kind_of_ids(column.dtype)
            yield ids_of(column, kind, file, before)

    def _hashes(self) -> Iterator[NDArray[np.uint64]]:
        for ids in self._ids():
            hashes = hashes_of(ids)
            yield hashes if self.thin == 1 else hashes[taken(hashes, self.thin)]


def taken(hashes: NDArray[np.uint64], thin: int) -> NDArray[np.bool_]:
    """Which requests are of a sample of one in so many, by the hashes of their ids; every thinner sample lies within it.

    Example:
        >>> taken(np.array([4, 6, 7, 8], np.uint64), 4).tolist()
        [True, False, False, True]
    """
    of: NDArray[np.bool_] = (hashes & np.uint64(thin - 1)) == 0
    return of


def _spans(files: Iterable[tuple[str, Iterable[pl.DataFrame]]], columns: list[str]) -> Iterator[tuple[str, int, int]]:
    """The first and the last moment of some columns in each piece."""
    clocks = {column: Clock(column, Tally()) for column in columns}
    for file, pieces in files:
        for piece in pieces:
            for column, clock in clocks.items():
                moments = clock.read(take_column(piece, column, file=file), file)
                moments = moments[moments != NEVER_US]
                if len(moments):
                    yield column, int(moments.min()), int(moments.max())


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
        self.aside = Spool(MOST_ASIDE)
        self.label_rows = Spool(MOST_LABELS)
        self.labels: LabelTable | None = None
        self.features = [
            (source.source, read_feature_table(source, ingest.home, tally)) for source in ingest.ask.features
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.aside.close()
        self.label_rows.close()

    def pieces(self) -> Iterator[pl.DataFrame]:
        twice, thin = self.ingest.repeats, self.ingest.thin
        order = Order(twice)
        if self.ingest.ask.labels is not None:
            self._read_labels(self.ingest.ask.labels)
        for file in self.ingest.files:
            for piece in self.ingest.form.read(file, self.roles.wanted, self.ingest.piece_rows, self.tally):
                drafts = self.draft.of(piece, file)
                if thin > 1:
                    drafts = drafts.filter(pl.Series(taken(hashes_of(drafts["id"]), thin)))
                self.tally.unsorted += order.late(drafts["id"], drafts["time"].to_numpy())
                drafts = self._parted(drafts, twice)
                if len(drafts):
                    yield self._finished(self._versions(drafts, file))
        for drafts in self._set_aside():
            rows = self._finished(self._settled_repeats(drafts))
            yield from rows.iter_slices(self.ingest.piece_rows)
        self._check()

    def _read_labels(self, source: LabelSource) -> None:
        """Read labels of a table of their own: few are held, ready to be looked up; many go to disk, as will all requests."""
        if (kind := self.ingest.kind) is None:
            return
        self.draft.kind = kind
        files, form, roles = _labels(source, self.ingest.home)
        own = Tally()
        pieces = (
            (file, piece) for file in files for piece in form.read(file, roles.wanted, self.ingest.piece_rows, own)
        )
        for rows in labels_in(pieces, roles, kind, self.tally):
            thin = self.ingest.thin
            self.label_rows.add(rows if thin == 1 else rows.filter(pl.Series(taken(hashes_of(rows["id"]), thin))))
        if own.bad > 0:
            self.tally.skip("labels that cannot be read", own.bad)
        if self.label_rows.spilled:
            self.aside.spill()
        else:
            (held,) = self.label_rows.parts()
            self.labels = LabelTable.of(held) if len(held) else None

    def _set_aside(self) -> Iterator[pl.DataFrame]:
        """What was set aside, a part at a time, each with its own labels at hand where those lie on disk too."""
        if not self.label_rows.spilled:
            yield from (part for part in self.aside.parts() if len(part))
            self.tally.strays = 0 if self.labels is None else self.labels.strays
            return
        for drafts, labels in zip(self.aside.parts(), self.label_rows.parts(), strict=True):
            self.labels = LabelTable.of(labels) if len(labels) else None
            if len(drafts):
                yield drafts
            self.tally.strays += 0 if self.labels is None else self.labels.strays

    def _parted(self, drafts: pl.DataFrame, twice: NDArray[np.uint64]) -> pl.DataFrame:
        """Set rows of repeated ids aside, and all rows whose labels lie on disk."""
        if self.label_rows.spilled:
            self.aside.add(drafts)
            return drafts.clear()
        if not len(twice):
            return drafts
        again = pl.Series(among(hashes_of(drafts["id"]), twice))
        self.aside.add(drafts.filter(again))
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
        if self.ingest.ask.labels is not None or not self.roles.label_time:
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
        if self.ingest.ask.labels is not None and 0 < len(self.label_rows) == tally.strays:
            raise DataError(
                "has no label of any request of the recording", file=self.ingest.ask.labels.source,
                field="labels.id", value=next(part["id"][0] for part in self.label_rows.parts() if len(part)),
                fix="see that both mean the same id",
            )  # fmt: skip


def _labels(source: LabelSource, home: Path) -> tuple[Sequence[str], Format, Roles]:
    """The files of a label table, what they are of, and what plays which part in them."""
    files = find_files(source.source, home)
    form = detect(files[0])
    return files, form, source.roles_in(form.given)
