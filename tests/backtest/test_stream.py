from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import polars.selectors as cs
import pytest

from windtunnel.backtest.kernel import NEVER_US
from windtunnel.backtest.question import Question, first_look_us
from windtunnel.backtest.reading import Ask, Ingest, Roles
from windtunnel.backtest.replay import backtest
from windtunnel.backtest.stream import (
    Count,
    Piece,
    Reading,
    backtest_files,
    backtest_stream,
    count_stretch,
    pieces_of,
    repeated_ids,
)
from windtunnel.backtest.tally import Tally, merged
from windtunnel.errors import ConfigError, DataError
from windtunnel.fanout import Workers, fan_out
from windtunnel.loss import loss_named
from windtunnel.recording import Columns, Recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.backtest.comparison import Comparison

DAY_US = 86_400_000_000
COLUMNS = Columns("time", "id", "label", "label_time")
MODELS = {"old": "p_old", "new": "p_new"}


@pytest.fixture(scope="module")
def logged(make_traffic: Callable[..., Any]) -> pl.DataFrame:
    """Forty days of requests with two models' predictions beside them."""
    recording, truth = make_traffic(40, per_day=50)
    frame: pl.DataFrame = recording.frame
    return frame.with_columns(p_old=pl.lit(0.4), p_new=pl.Series(truth))


def judged(files: list[Path], **settings: Any) -> Comparison:
    return backtest_files(
        files, COLUMNS, MODELS, **({"incumbent": "old", "candidates": ["new"], "name": "made"} | settings)
    )


def said(comparison: Comparison) -> dict[str, Any]:
    told = comparison.to_dict()
    return {key: value for key, value in told.items() if key not in {"notes", "recording"}}


def test_a_stream_says_what_memory_says(tmp_path: Path, logged: pl.DataFrame, make_traffic: Callable[..., Any]) -> None:
    """Files read in pieces give every figure that the recording in memory gives, to the last bit."""
    recording, truth = make_traffic(40, per_day=50)
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for file, part in zip(files, (logged.head(700), logged.tail(-700)), strict=True):
        part.write_parquet(file, row_group_size=128)
    whole = backtest(recording, {"old": np.full(len(truth), 0.4), "new": truth}, incumbent="old", candidates=["new"])

    assert said(whole) == said(judged(files, piece_rows=300)) == said(judged(files))


def test_order_does_not_matter(tmp_path: Path, logged: pl.DataFrame) -> None:
    """Rows in any order are counted alike, though the first of the file is not the first that was asked."""
    orders = {"sorted": logged, "shuffled": logged.sample(fraction=1.0, shuffle=True, seed=1)}
    for name, frame in orders.items():
        frame.write_parquet(tmp_path / f"{name}.parquet")
    told = [said(judged([tmp_path / f"{name}.parquet"], piece_rows=300)) for name in orders]

    assert told[0] == told[1]


def test_pieces_cover_every_row_once(tmp_path: Path, logged: pl.DataFrame) -> None:
    """Pieces follow each other without a gap, the last being what is left."""
    logged.write_parquet(tmp_path / "a.parquet")
    pieces = pieces_of([tmp_path / "a.parquet"] * 2, 900)

    assert [(each.start, each.rows, each.before) for each in pieces] == [
        (0, 900, 0), (900, 900, 900), (1800, 200, 1800), (0, 900, 2000), (900, 900, 2900), (1800, 200, 3800),
    ]  # fmt: skip


def tallies_of(counts: list[Count]) -> list[Tally]:
    return [count.tally for count in counts if count.tally is not None]


def dies_once(shared: tuple[Reading, Path], stretch: tuple[Piece, ...]) -> Count:
    """Counts a stretch, but takes its worker down with it the first time that it is the third one's turn."""
    reading, marker = shared
    if stretch[0].before == 800 and not marker.exists():
        marker.touch()
        os._exit(1)
    return count_stretch(reading, stretch)


def test_workers_may_be_many_and_may_die(tmp_path: Path, logged: pl.DataFrame) -> None:
    """Eight workers, one of them killed half-way, come to the bytes of one process."""
    file, marker = tmp_path / "a.parquet", tmp_path / "died"
    logged.write_parquet(file, row_group_size=128)
    first_us = int(logged["time"].dt.timestamp("us").to_numpy().min())
    question = Question(("old", "new"), loss_named("log_loss"), first_look_us(first_us), DAY_US, 7 * DAY_US)
    reading = Reading(COLUMNS, (("p_old",), ("p_new",)), question)
    stretches = [(piece,) for piece in pieces_of([file], 400)]
    alone = merged(tallies_of([count_stretch(reading, each) for each in stretches]))
    found = fan_out(dies_once, stretches, shared=(reading, marker), workers=Workers(8))
    many = merged(tallies_of(found.results))

    assert (found.where, marker.exists()) == ("ray", True)
    for ours, theirs in zip(dataclasses.astuple(alone), dataclasses.astuple(many), strict=True):
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()


def told(metric: str, frame: pl.DataFrame, **settings: Any) -> dict[str, Any]:
    """What memory says of a table, labels corrected and all."""
    first = frame.sort("label_time", nulls_last=True).unique("id", keep="first").sort("time", "id")
    later = frame.join(first.select("id", "label_time"), on=["id", "label_time"], how="anti", nulls_equal=True)
    recording = Recording.from_table(first.drop(cs.starts_with("p_", "amount", "weight")), COLUMNS, name="made")
    models = {name: first[column].to_numpy() for name, column in MODELS.items()}
    return said(backtest(
        recording, models, incumbent="old", candidates=["new"], metric=metric,
        corrections=later.select("id", "label", "label_time"), **settings,
    ))  # fmt: skip


def corrected(frame: pl.DataFrame) -> pl.DataFrame:
    """Every fifth label that came is turned a day later, and every tenth turned back another day later."""
    came = frame.filter(pl.col("label").is_not_null())
    turned = (pl.lit(1.0) - pl.col("label"), pl.col("label"))
    later = [
        came.gather_every(step).with_columns(label.alias("label"), pl.col("label_time").dt.offset_by(f"{days}d"))
        for step, days, label in zip((5, 10), (1, 2), turned, strict=True)
    ]
    return pl.concat([frame, *later]).sample(fraction=1.0, shuffle=True, seed=3)


def test_versions_in_a_stream_are_those_of_memory(
    tmp_path: Path, logged: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of one id in different pieces, in any order, make the corrected labels that memory makes of them, to the last bit."""
    monkeypatch.setattr(sys.modules[backtest_files.__module__], "MOST_HASHES", 1000)
    frame = corrected(logged)
    frame.write_parquet(tmp_path / "a.parquet")

    assert told("log_loss", frame) == said(judged([tmp_path / "a.parquet"], piece_rows=300))


@pytest.mark.parametrize(
    "again",
    [
        lambda frame: frame.head(1),
        lambda frame: frame.head(1).with_columns(pl.col("time").dt.offset_by("-1h"), pl.col("label_time").dt.offset_by("1h")),
        lambda frame: frame.head(1).with_columns(label=pl.lit(None, pl.Float64), label_time=pl.lit(None, frame.schema["label_time"])),
    ],
)  # fmt: skip
def test_an_id_that_stands_twice_is_refused(
    tmp_path: Path, logged: pl.DataFrame, again: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    """The same row again, the same id at another time, and a version without a label are refused by id, wherever they stand."""
    came = logged.filter(pl.col("label").is_not_null())
    pl.concat([came, again(came)]).write_parquet(tmp_path / "a.parquet")

    with pytest.raises(DataError, match=rf"`id` \(={came['id'][0]}\) is not unique"):
        judged([tmp_path / "a.parquet"], piece_rows=300)


def test_text_ids_in_no_order_need_no_second_count(tmp_path: Path, logged: pl.DataFrame) -> None:
    """Ids that do not rise are looked at by themselves, and where none stands twice the figures are as ever."""
    frame = logged.with_columns(id=(pl.col("id") * 7919 % 100_003).cast(pl.String))
    frame.write_parquet(tmp_path / "a.parquet")

    assert not len(repeated_ids(pieces_of([tmp_path / "a.parquet"], 300), "id"))
    assert told("brier", frame) == said(judged([tmp_path / "a.parquet"], piece_rows=300, metric="brier"))


def test_amounts_and_weights_in_a_stream_are_those_of_memory(tmp_path: Path, logged: pl.DataFrame) -> None:
    """Columns of amounts and weights scale losses and means in pieces as they do in memory, to the last bit."""
    rng = np.random.default_rng(6)
    scaled = logged.with_columns(
        amount=pl.Series(rng.random(len(logged))), weight=pl.Series(rng.integers(0, 4, len(logged)))
    )
    scaled.write_parquet(tmp_path / "a.parquet")
    scales = {part: scaled[part].cast(pl.Float64).to_numpy() for part in ("amount", "weight")}

    for parts in (["amount"], ["weight"], ["amount", "weight"]):
        streamed = judged([tmp_path / "a.parquet"], piece_rows=300, **{part: part for part in parts})
        assert told("log_loss", scaled, **{part: scales[part] for part in parts}) == said(streamed)


def test_classes_in_a_stream_are_those_of_memory(tmp_path: Path, logged: pl.DataFrame) -> None:
    """Several columns a model, one a class, give what arrays of classes give in memory."""
    rng, rows = np.random.default_rng(7), len(logged)
    said_of = {name: rng.dirichlet([1.0, 2.0, 1.5], size=rows) for name in MODELS}
    columns = {name: [f"{name}[{place}]" for place in range(3)] for name in MODELS}
    frame = logged.with_columns(
        pl.when(pl.col("label").is_not_null()).then(pl.Series(rng.integers(3, size=rows).astype(float))).alias("label"),
        *(pl.Series(column, said_of[name][:, place]) for name in MODELS for place, column in enumerate(columns[name])),
    )
    frame.write_parquet(tmp_path / "a.parquet")
    recording = Recording.from_table(frame.select("id", "time", "label", "label_time"), COLUMNS, name="made")
    for metric in ("log_loss", "brier", "zero_one", "accuracy"):
        whole = backtest(recording, said_of, incumbent="old", candidates=["new"], metric=metric)
        pieces = backtest_files(
            [tmp_path / "a.parquet"], COLUMNS, columns, incumbent="old", candidates=["new"], name="made", metric=metric, piece_rows=300
        )  # fmt: skip

        assert said(whole) == said(pieces)


def test_metrics_of_ranks_need_all_rows(tmp_path: Path, logged: pl.DataFrame) -> None:
    """A metric that compares rows with each other is refused of a stream, with the way out."""
    logged.write_parquet(tmp_path / "a.parquet")

    with pytest.raises(ConfigError, match=r"roc_auc.* needs all rows at once"):
        judged([tmp_path / "a.parquet"], metric="roc_auc")


def change(**columns: Any) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(**columns)


@pytest.mark.parametrize(
    ("mend", "words"),
    [
        (change(p_new=pl.lit(1.5)), r"`p_new` \(=1.5\) is the prediction in row 0"),
        (change(p_new=pl.lit(None, pl.Float64)), "`p_new` is not a number in every row"),
        (change(p_new=pl.col("p_new").cast(pl.String)), "`p_new` is not a number in every row"),
        (
            lambda frame: frame.drop("p_new"),
            "a.parquet: `p_new` is not a column; the columns are|`p_new` is not a column",
        ),
        (change(label=pl.lit(2.0)), "needs 0 or 1|disagree in row"),
        (change(label=pl.lit(None, pl.Float64)), "disagree in row 0"),
        (change(time=pl.lit(None, pl.Datetime("us", "UTC"))), "has rows without a time"),
        (change(label_time=pl.col("label_time").dt.offset_by("-90d")), "were known before they were asked about"),
        (lambda frame: frame.head(0), "has no rows"),
    ],
)
def test_bad_rows_are_refused(
    tmp_path: Path, logged: pl.DataFrame, mend: Callable[[pl.DataFrame], pl.DataFrame], words: str
) -> None:
    """What cannot be judged is refused by file, column and row."""
    mend(logged).write_parquet(tmp_path / "a.parquet")

    with pytest.raises(DataError, match=words):
        judged([tmp_path / "a.parquet"])


def test_a_torn_file_is_refused(tmp_path: Path, logged: pl.DataFrame) -> None:
    """A file that ends too early is refused by name."""
    file = tmp_path / "a.parquet"
    logged.write_parquet(file)
    file.write_bytes(file.read_bytes()[:-40])

    with pytest.raises(DataError, match=r"a.parquet: cannot be read"):
        judged([file])


def test_never_is_later_than_any_time() -> None:
    """A label that never came lies beyond every horizon."""
    assert NEVER_US > 10_000 * 365 * DAY_US


def test_ids_of_several_kinds_are_refused(tmp_path: Path, logged: pl.DataFrame) -> None:
    """Text in one file and numbers in another cannot be told apart, nor can lists; the file is named."""
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    logged.head(900).write_parquet(files[0])
    logged.tail(-900).with_columns(pl.col("id").cast(pl.String)).write_parquet(files[1])
    with pytest.raises(DataError, match=r"b\.parquet.*dtype String where ids are single values of Int64"):
        judged(files)

    logged.with_columns(pl.concat_list("id")).write_parquet(files[0])
    with pytest.raises(DataError, match=r"a\.parquet.*dtype List"):
        judged(files[:1])


def test_whole_numbers_of_any_width_are_one_kind_of_id(tmp_path: Path, logged: pl.DataFrame) -> None:
    """A correction finds its label in another file though that stores ids more narrowly."""
    came = logged.filter(pl.col("label").is_not_null()).gather_every(10)
    later = came.with_columns(1.0 - pl.col("label"), pl.col("label_time").dt.offset_by("1h"))
    files, narrow = [tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "c.parquet"
    for file, frame in (
        (files[0], logged),
        (files[1], later),
        (narrow, later.with_columns(pl.col("id").cast(pl.Int32))),
    ):
        frame.write_parquet(file)

    assert said(judged(files)) == said(judged([files[0], narrow]))


def test_too_many_repeated_ids_are_refused_before_they_are_held(
    tmp_path: Path, logged: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each repeated id has two rows at least, so that the refusal need not wait until all are in memory."""
    stream = importlib.import_module("windtunnel.backtest.stream")
    pl.concat([logged, logged]).write_parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(stream, "MOST_ASIDE", 1000)
    monkeypatch.setattr(stream, "_settled", None)
    with pytest.raises(DataError, match="more than are held"):
        judged([tmp_path / "a.parquet"], piece_rows=300)


@pytest.mark.parametrize("forgiving", [False, True])
def test_apart_or_one_after_the_other(
    tmp_path: Path, logged: pl.DataFrame, monkeypatch: pytest.MonkeyPatch, *, forgiving: bool
) -> None:
    """Pieces read apart, as they are on Ray, come to what reading one after the other does, late labels and sample included; what must be forgiven is."""
    frame = corrected(logged)
    (pl.concat([frame, frame.head(3)]) if forgiving else frame).write_parquet(tmp_path / "a.parquet")
    roles = Roles("time", MODELS, id="id", label="label", label_time="label_time")
    told = []
    for apart in (False, True):
        monkeypatch.setattr(sys.modules[backtest_files.__module__], "on_ray", lambda _workers, answer=apart: answer)
        told.append(
            backtest_stream(
                Ingest(Ask("a.parquet", roles), tmp_path, 300), incumbent="old", candidates=["new"], name="made", most_sampled=1500,
                workers=Workers(1),
            )
        )  # fmt: skip
    one, other = told

    assert one.comparison.to_dict() == other.comparison.to_dict()
    assert one.waits is not None
    assert other.waits is not None
    assert np.array_equal(one.waits.steps, other.waits.steps)
    for model in MODELS:
        assert np.array_equal(one.waits.triangle.whole().losses[model], other.waits.triangle.whole().losses[model])
    assert one.share == other.share == 0.5
    assert one.sample.sort("id", "known").equals(other.sample.sort("id", "known"))
    assert (one.read, other.read) == (1.0, 1.0 if forgiving else 0.5)
