from __future__ import annotations

import gzip
import importlib
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.backtest import Tally
from windtunnel.backtest.question import Question
from windtunnel.backtest.reading import Ask, FeatureSource, Ingest, LabelSource, Roles, Rules, rows_of
from windtunnel.backtest.reading.intake import NEVER_US
from windtunnel.backtest.rows import Rows
from windtunnel.backtest.tally import merged
from windtunnel.errors import ConfigError, DataError
from windtunnel.loss import loss_named
from windtunnel.recording import Columns, Recording

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2024, 1, 1, tzinfo=UTC)
START_US = 1_704_067_200_000_000
HOUR_US = 3_600_000_000
MODELS = {"champion": "p_old", "challenger": "p_new"}
BARE = Roles("asked", MODELS, id="id")
LABELLED = Roles("asked", MODELS, id="id", label="late", label_time="known")
LABELS = LabelSource("labels.parquet", "id", "late", "known")
LENIENT = Rules(most_missing=1.0)


def at(hours: float | None) -> datetime | None:
    """So many hours after the start."""
    return None if hours is None else START + timedelta(hours=hours)


def recorded(rows: list[tuple[Any, ...]], **more: list[Any]) -> pl.DataFrame:
    """A recording from id, asked, label, known, in hours."""
    columns = list(zip(*rows, strict=True))
    return pl.DataFrame(
        {"id": columns[0], "asked": [at(t) for t in columns[1]], "late": columns[2], "known": [at(t) for t in columns[3]],
         "p_old": [0.5] * len(rows), "p_new": [0.25] * len(rows), **more},
        schema_overrides={"late": pl.Float64, "known": pl.Datetime("us", "UTC")},
    )  # fmt: skip


def read(
    folder: Path, table: pl.DataFrame, roles: Roles = LABELLED, *, piece_rows: int = 2**20, **ask: Any
) -> tuple[pl.DataFrame, Ingest]:
    """The canonical rows of a table, sorted, and how they were read."""
    table.write_parquet(folder / "r.parquet")
    ingest = Ingest(Ask("r.parquet", roles, **ask), folder, piece_rows)
    return ingest.held().sort("id", "known"), ingest


def hours(column: pl.Series) -> list[float | None]:
    """Times as hours after the start; None for never."""
    return [None if value == NEVER_US else (value - START_US) / HOUR_US for value in column]


THREE = [("a", 0, 1.0, 2), ("b", 1, 0.0, 5), ("c", 2, None, None)]


def test_rows(tmp_path: Path) -> None:
    """Each request is a row under two clocks; one that was never answered has no label and is known never."""
    rows, ingest = read(tmp_path, recorded(THREE))

    assert rows.columns == ["id", "time", "known", "until", "first", "label", "champion", "challenger"]
    assert hours(rows["time"]) == [0, 1, 2]
    assert hours(rows["known"]) == [2, 5, None]
    assert hours(rows["until"]) == [None] * 3
    assert rows["label"].fill_nan(None).to_list() == [1.0, 0.0, None]
    assert rows["champion"].to_list() == [0.5] * 3
    assert (ingest.intake.rows, ingest.intake.requests, ingest.intake.labelled, ingest.intake.corrections) == (
        3,
        3,
        2,
        0,
    )
    assert ingest.intake.notes() == tuple(
        f"`{model}` says {said} of every request: it tells none from another."
        for model, said in [("champion", 0.5), ("challenger", 0.25)]
    )


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "jsonl.gz", "tsv"])
def test_plain_formats(tmp_path: Path, suffix: str) -> None:
    """The same table is the same rows, in whatever it is stored, packed or not; ids of a CSV are text."""
    table = recorded(THREE).with_columns(pl.col("asked", "known").dt.to_string("iso:strict"))
    text = table.write_ndjson() if "json" in suffix else table.write_csv(separator="\t" if "tsv" in suffix else ",")
    data = gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode()
    (tmp_path / f"r.{suffix}").write_bytes(data)

    assert Ingest(Ask(f"r.{suffix}", LABELLED), tmp_path).held().equals(read(tmp_path, recorded(THREE))[0])


def test_folders_globs_and_pieces(tmp_path: Path) -> None:
    """A folder, a glob and a file are read alike, in pieces of any size, twice with the same rows."""
    many = [(f"r{i:03}", i, float(i % 2), i + 3) for i in range(50)]
    whole, _ = read(tmp_path, recorded(many))
    folder = tmp_path / "by_day" / "day=1"
    folder.mkdir(parents=True)
    (tmp_path / "by_day" / "_SUCCESS").write_text("")
    recorded(many[:20]).write_parquet(folder / "a.parquet")
    recorded(many[20:]).write_parquet(folder / "b.parquet")

    for source in ("by_day", "by_day/**/*.parquet", str(tmp_path / "by_day" / "*" / "?.parquet")):
        ingest = Ingest(Ask(source, LABELLED), tmp_path, piece_rows=7)
        pieces = list(ingest)
        assert max(map(len, pieces)) <= 7
        assert whole.equals(pl.concat(pieces))
        assert whole.equals(ingest.held())
        assert ingest.intake.files == 2


def test_addresses(tmp_path: Path) -> None:
    """What names a scheme is left to polars, a glob in it too."""
    whole, _ = read(tmp_path, recorded(THREE))

    assert whole.equals(Ingest(Ask(f"file://{tmp_path}/*.parquet", LABELLED), tmp_path).held())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: (folder / "other.parquet").touch(), "r.parquet: holds no file"),
        (lambda folder: (folder / "r.parquet").write_bytes(b""), "is empty"),
        (lambda folder: (folder / "r.parquet").write_bytes(b"PAR1" + b"x" * 99), "cannot be read"),
        (lambda folder: (folder / "r.parquet" / "_delta_log").mkdir(parents=True), "is a Delta table"),
        (
            lambda folder: recorded(THREE).drop("p_new").write_parquet(folder / "r.parquet"),
            "`p_new` is not a column; .*p_old",
        ),
        (lambda folder: recorded(THREE).clear().write_parquet(folder / "r.parquet"), "has no requests"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, make: Any, message: str) -> None:
    """What cannot be read is refused by its name, with the way out."""
    make(tmp_path)

    with pytest.raises(DataError, match=message):
        Ingest(Ask("r.parquet", LABELLED), tmp_path).held()


def test_a_csv_that_breaks_off(tmp_path: Path) -> None:
    """A CSV that ends in the middle of a row is not taken for one whose last fields are null."""
    (tmp_path / "r.csv").write_text(recorded(THREE).write_csv() + "d,2024-01-01T0")

    with pytest.raises(DataError, match="ends in the middle of a row"):
        Ingest(Ask("r.csv", LABELLED), tmp_path).held()


def test_labels_of_their_own(tmp_path: Path) -> None:
    """Several rows of an id are a label and its corrections, by known time; of those known at one moment the later in the file wins."""
    labels = pl.DataFrame(
        {"id": ["a", "b", "a", "x", "a", "b", "c", "c"], "late": [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, None, 1.0],
         "known": [at(t) for t in (9, 4, 3, 1, 9, 4, 5, None)], "by": ["u", "v", "w", "x", "y", "z", "-", "-"]}
    )  # fmt: skip
    labels.write_parquet(tmp_path / "labels.parquet")
    source = LabelSource("labels.parquet", "id", "late", "known", version="by")
    rows, ingest = read(
        tmp_path, recorded(THREE).select("id", "asked", "p_old", "p_new"), BARE, labels=source, piece_rows=2
    )

    assert rows["id"].to_list() == ["a", "a", "b", "c"]
    assert hours(rows["known"]) == [3, 9, 4, None]
    assert hours(rows["until"]) == [9, None, None, None]
    assert rows["first"].to_list() == [True, False, True, True]
    assert rows["label"].fill_nan(None).to_list() == [0.0, 1.0, 1.0, None]
    assert rows["label_version"].to_list() == ["w", "y", "z", None]
    intake = ingest.intake
    assert (intake.requests, intake.labelled, intake.corrections, intake.tied, intake.strays) == (3, 2, 1, 2, 1)
    assert intake.skipped == {"labels without a value or a known time": 2}


def test_labels_of_another_recording(tmp_path: Path) -> None:
    """Labels of which none has a request mean another id, and are refused."""
    pl.DataFrame({"id": ["x1"], "late": [1.0], "known": [at(3)]}).write_parquet(tmp_path / "labels.parquet")

    with pytest.raises(DataError, match=r"labels\.parquet: `labels\.id` \(='x1'\) has no label of any request"):
        read(tmp_path, recorded(THREE), BARE, labels=LABELS)


def test_ids_of_two_kinds(tmp_path: Path) -> None:
    """Ids that are numbers in one table and text in the other are the same ids where they can be."""
    pl.DataFrame({"id": ["7"], "late": [1.0], "known": [at(3)]}).write_parquet(tmp_path / "labels.parquet")
    rows, _ = read(tmp_path, recorded([(7, 0, None, None)]), BARE, labels=LABELS)
    assert rows.select("id", "label").rows() == [(7, 1.0)]

    pl.DataFrame({"id": ["seven"], "late": [1.0], "known": [at(3)]}).write_parquet(tmp_path / "labels.parquet")
    with pytest.raises(DataError, match=r"`id` has dtype String where the other files have Int64"):
        read(tmp_path, recorded([(7, 0, None, None)]), BARE, labels=LABELS)


def test_versions_in_the_recording(tmp_path: Path) -> None:
    """Rows of one id and time that bring labels are versions, whichever piece they are in; other repetitions are duplicates."""
    rows, ingest = read(
        tmp_path,
        recorded([
            ("a", 0, 1.0, 2), ("b", 1, None, None), ("a", 0, 0.0, 6), ("c", 1, 1.0, 2), ("b", 1, 1.0, 4), ("a", 0, 0.0, 6), ("c", 7, 0.0, 9),
            ("d", 8, 1.0, 9),
        ]),
        piece_rows=2,
    )  # fmt: skip

    assert rows["id"].to_list() == ["a", "a", "b", "c", "d"]
    assert hours(rows["known"]) == [2, 6, 4, 2, 9]
    assert hours(rows["until"]) == [6, None, None, None, None]
    assert rows["first"].to_list() == [True, False, True, True, True]
    assert (ingest.intake.duplicates, ingest.intake.corrections, ingest.intake.requests) == (2, 1, 4)


def test_whole_repetitions_are_counted(tmp_path: Path) -> None:
    """A row that repeats the first of its request in every part, its label included, is a duplicate and no version."""
    _, ingest = read(tmp_path, recorded([("a", 0, 1.0, 2), ("a", 0, 1.0, 2), ("b", 1, 1.0, 2), ("a", 0, 0.0, 3)]))

    assert (ingest.intake.duplicates, ingest.intake.corrections, ingest.intake.requests) == (1, 1, 2)


def test_duplicates(tmp_path: Path) -> None:
    """Where known times are not recorded, of rows of one id the first in the recording stays, and the others are counted."""
    table = recorded([("a", 0, 1.0, 2), ("b", 1, 1.0, 2), ("a", 0, 0.0, 6), ("a", 3, 0.0, 6)])
    rows, ingest = read(tmp_path, table, Roles("asked", MODELS, id="id", label="late"), piece_rows=1)

    assert rows.select("id", "label").rows() == [("a", 1.0), ("b", 1.0)]
    assert hours(rows["known"]) == [0, 1]
    assert ingest.intake.duplicates == 2


def test_clock_skew(tmp_path: Path) -> None:
    """A label known a little before its request or its event is moved to it and counted; one known long before is refused."""
    table = recorded([("a", 1, 1.0, 1 - 1e-4), ("b", 1, 1.0, 2)], happened=[at(0.5), at(2 + 2e-4)])
    roles = Roles("asked", MODELS, id="id", label="late", label_time="known", label_event_time="happened")

    rows, ingest = read(tmp_path, table, roles)
    assert hours(rows["known"]) == [1, 2 + 2e-4]
    assert ingest.intake.moved == 2
    with pytest.raises(DataError, match=r"says that 1 label was known more than 0\.5 s before the event"):
        read(tmp_path, table, roles, rules=Rules(skew_s=0.5))
    with pytest.raises(DataError, match=r"says that 1 label was known more than 0 s before the request.*time zone"):
        read(tmp_path, table, LABELLED, rules=Rules(skew_s=0.0))


def test_times_as_they_come(tmp_path: Path) -> None:
    """Times in another zone, as text with and without one, and as numbers since 1970 are the same instants, and that is told."""
    expected, _ = read(tmp_path, recorded(THREE))
    whole = recorded(THREE)
    text = pl.Series(["2024-01-01T01:00:00+01:00", "2024-01-01 01:00:00", "2024-01-01T02:00:00.000Z"])
    epochs = {unit: whole["asked"].dt.epoch(unit) for unit in ("s", "ms", "us", "ns")}

    for asked in (text, whole["asked"].dt.convert_time_zone("Asia/Tokyo"), *epochs.values(), epochs["ms"] / 1e3):
        rows, ingest = read(tmp_path, whole.with_columns(asked=asked))
        assert expected.equals(rows)
    assert any("read as seconds" in said for said in ingest.intake.said)
    mixed = read(tmp_path, whole.with_columns(asked=text))[1].intake
    assert mixed.mixed_zones
    assert any("`asked`: times with a zone and times without one" in note for note in mixed.notes())


def test_times_of_feature_tables(tmp_path: Path) -> None:
    """A feature table's times come in every form that a recording's may, and say so where they lack the zone that others have."""
    wind = pl.DataFrame({"at": [datetime(2023, 12, 31), datetime(2024, 1, 1, 0, 30)], "wind": [1.0, 2.0]})  # noqa: DTZ001  # a file has none
    source = FeatureSource("wind.parquet", ("wind",), known_time="at")
    told = []
    for at in (pl.col("at"), pl.col("at").dt.replace_time_zone("UTC"), pl.col("at").dt.epoch("s")):
        wind.with_columns(at).write_parquet(tmp_path / "wind.parquet")
        rows, ingest = read(tmp_path, recorded(THREE), features=(source,))
        told.append(rows["wind"].to_list())

        assert ingest.intake.mixed_zones == (len(told) == 1)
        assert any("`at of wind.parquet`: times without a zone" in doubt for doubt in ingest.intake.doubts()) == (
            len(told) == 1
        )
    assert told[0] == told[1] == told[2]
    assert set(told[0]) == {1.0, 2.0}
    assert "`at of wind.parquet` holds numbers: they were read as seconds since 1970." in ingest.intake.said


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (pl.Series([1, 2, 3]), r"`asked` \(=1\) has dtype Int64 where time stamps are needed"),
        (pl.Series(["2024-01-01T00:00:00Z", "noonZ", "x"]), r"`asked` \(='noonZ'\) holds text that is no time stamp"),
        (pl.Series(["2024-01-01", "noon", "x"]), r"`asked` \(='noon'\) holds text that is no time stamp"),
        (pl.Series([at(0), None, at(1)]), "`asked` has no time in row 1"),
        (pl.Series([True, False, True]), "`asked` has dtype Boolean"),
    ],
)
def test_times_that_are_none(tmp_path: Path, asked: pl.Series, message: str) -> None:
    """What is no time is refused by column and value."""
    with pytest.raises(DataError, match=message):
        read(tmp_path, recorded(THREE).with_columns(asked=asked))


def test_missing_predictions(tmp_path: Path) -> None:
    """A request without a number from some model is left out for all, counted by model; too many are refused."""
    table = recorded([*THREE, ("d", 3, 1.0, 4)]).with_columns(
        p_old=pl.Series([0.5, None, 0.5, math.inf]), p_new=pl.Series([math.nan, 0.5, 0.5, 0.5])
    )
    rows, ingest = read(tmp_path, table, rules=LENIENT)

    assert rows["id"].to_list() == ["c"]
    assert (ingest.intake.left_out, dict(ingest.intake.missing)) == (3, {"champion": 2, "challenger": 1})
    assert any("3 requests lack a prediction (most of `champion`: 2)" in note for note in ingest.intake.notes())
    with pytest.raises(DataError, match=r"`p_old` has no number in 2 of 4 requests; .*most_missing"):
        read(tmp_path, table)


def test_other_parts(tmp_path: Path) -> None:
    """Entity, arm, action, versions, amount, propensity, classes and features are handed on under the names of their parts."""
    more: dict[str, list[Any]] = {"who": ["u", "v", "u"], "side": ["x", "y", "x"], "did": [1, 0, 1], "usd": [1.0, 2.0, 3.0], "pi": [0.5, 0.0, None], "km": [1, 2, 3],
            "v": ["1", "1", "2"]}  # fmt: skip
    roles = Roles(
        "asked", {"champion": ("p_old", "p_new")}, entity="who", arm="side", action="did", amount="usd", propensity="pi", features=("km",),
        model_version="v",
    )  # fmt: skip
    rows, ingest = read(tmp_path, recorded(THREE, **more), roles)

    assert rows["id"].to_list() == [0, 1, 2]
    assert rows["entity"].to_list() == ["u", "v", "u"]
    assert rows.select("champion[0]", "champion[1]", "arm", "action", "amount", "km", "model_version").row(1) == (
        0.5,
        0.25,
        "y",
        0,
        2.0,
        2,
        "1",
    )
    assert rows["propensity"].to_list() == [0.5, None, None]
    assert ingest.intake.propensities_of_zero == 1
    assert rows_of(rows, ["champion[0]"]).amount.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pi": [0.5, 1.5, 0.1]}, r"`pi` \(=1\.5\) is no probability"),
        ({"usd": [1.0, None, 2.0]}, r"`usd` \(amount\) .*is not a number in every row"),
        (
            {"p_old": ["a", "b", "c"]},
            r"`p_old` \(champion\) \(=.*\) has dtype String where numbers are needed; store it as numbers",
        ),
        ({"id": ["a", None, "c"]}, "`id` has no id in row 1"),
        ({"late": [1.0, None, None]}, "`known` and `late` disagree in row 1"),
    ],
)
def test_malformed(tmp_path: Path, changes: dict[str, list[Any]], message: str) -> None:
    """What would make every figure after it wrong is refused by column and value."""
    roles = Roles("asked", MODELS, id="id", label="late", label_time="known", propensity="pi", amount="usd")
    table = recorded(THREE, pi=[0.5] * 3, usd=[1.0] * 3).with_columns(
        **{name: pl.Series(each) for name, each in changes.items()}
    )

    with pytest.raises(DataError, match=message):
        read(tmp_path, table, roles)


def test_constant_predictions(tmp_path: Path) -> None:
    """A model that says the same of every request is named with what it says, whichever pieces its rows are in."""
    table = recorded([("a", 0, 1.0, 2), ("b", 1, 0.0, 2), ("c", 2, 1.0, 3)])
    said = MODELS["champion"]
    _, flat = read(tmp_path, table.with_columns(pl.lit(0.5).alias(said)), piece_rows=1)
    _, moving = read(tmp_path, table.with_columns(pl.Series(said, [0.5, 0.5, 0.6])), piece_rows=1)

    assert flat.intake.constant["champion"] == 0.5
    assert "`champion` says 0.5 of every request: it tells none from another." in flat.intake.doubts()
    assert "champion" not in moving.intake.constant


def test_one_class_and_no_class(tmp_path: Path) -> None:
    """Labels of one class, and none at all, are said, for they limit what can be judged."""
    one = read(tmp_path, recorded([("a", 0, 1.0, 2), ("b", 0, 1.0, 2)]))[1].intake
    none = read(tmp_path, recorded([("a", 0, None, None)]))[1].intake

    assert one.one_class
    assert any("All labels are 1" in note for note in one.notes())
    assert (none.labelled, none.to_dict()["least_label"]) == (0, None)
    assert any("No label ever came" in note for note in none.notes())


def test_unsorted(tmp_path: Path) -> None:
    """Requests out of order are kept and counted, across pieces too."""
    rows, ingest = read(
        tmp_path, recorded([("a", 5, 1.0, 6), ("b", 3, 1.0, 6), ("c", 4, 1.0, 6), ("d", 5, 1.0, 6)]), piece_rows=1
    )

    assert len(rows) == 4
    assert ingest.intake.unsorted == 2


def test_corrections_are_not_out_of_order(tmp_path: Path) -> None:
    """A row that brings another label of an earlier request is no request out of order."""
    table = recorded([("a", 0, 1.0, 2), ("b", 1, 0.0, 5), ("a", 0, 0.0, 6), ("c", 2, 1.0, 7)])
    for piece_rows in (1, 100):
        intake = read(tmp_path, table, piece_rows=piece_rows)[1].intake
        assert (intake.unsorted, intake.corrections) == (0, 1)


def test_a_row_is_named_by_its_place_in_its_own_file(tmp_path: Path) -> None:
    """Of several files in several pieces, a refusal names the file and the row in it."""
    good = recorded([("a", 0, 1.0, 2), ("b", 1, 0.0, 5), ("c", 2, 1.0, 7)])
    good.write_parquet(tmp_path / "1.parquet")
    for bad, told in (
        (good.with_columns(id=pl.Series(["d", None, "e"])), "`id` has no id in row 1"),
        (good.with_columns(asked=pl.Series([at(3), at(4), None])), "`asked` has no time in row 2"),
    ):
        bad.write_parquet(tmp_path / "2.parquet")
        with pytest.raises(DataError, match=f"2.parquet: {told}"):
            Ingest(Ask("*.parquet", LABELLED), tmp_path, 1).held()


@pytest.mark.parametrize("created", ["created_timestamp", "created"])
def test_features_of_their_own(tmp_path: Path, created: str) -> None:
    """Features are joined as they were known; a Feast file counts as known when it was created, and what came too late is counted."""
    pl.DataFrame(
        {"who": ["u", "u", "u", "v"], "event_timestamp": [at(t) for t in (0, 1, 2, 0)], created: [at(t) for t in (0.5, 4, 2.5, 9)],
         "balance": [1.0, 2.0, 3.0, 4.0]}
    ).write_parquet(tmp_path / "feast.parquet")  # fmt: skip
    pl.DataFrame({"known": [at(0), at(1)], "wind": [5.0, 6.0]}).write_csv(tmp_path / "wind.csv")
    table = recorded(
        [("a", 1, 1.0, 9), ("b", 2.25, 1.0, 9), ("c", 5, 1.0, 9), ("d", 5, 1.0, 9)], who=["u", "u", "u", "v"]
    )
    sources = (
        FeatureSource("feast.parquet", ("balance",), ("who",)),
        FeatureSource("wind.csv", ("wind",), known_time="known", max_age_s=2 * 3600.0),
    )
    rows, ingest = read(tmp_path, table, features=sources, piece_rows=2)

    # at 5 the row of 1 is known too, created at 4; but that of 2 was known by then and is newer
    assert rows["balance"].to_list() == [1.0, 1.0, 3.0, None]
    assert rows["wind"].to_list() == [5.0, 6.0, None, None]
    feast, wind = ingest.intake.freshness.values()
    assert (feast.asked, feast.missing, feast.stale, feast.late) == (4, 1, 0, 2)
    assert (wind.asked, wind.missing, wind.stale, wind.late) == (4, 0, 2, 0)


def test_a_feature_table_without_a_known_time(tmp_path: Path) -> None:
    """Features that nobody can date by when they were known would leak, and are refused with the way out."""
    pl.DataFrame({"event_timestamp": [at(0)], "wind": [5.0]}).write_parquet(tmp_path / "f.parquet")

    with pytest.raises(DataError, match=r"`created_timestamp` is not a column, and no known_time is named"):
        read(tmp_path, recorded(THREE), features=(FeatureSource("f.parquet", ("wind",)),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Roles("t", {"label": "p"}), r"`columns` \(='label'\) is the name of two things"),
        (lambda: Roles("t", {"a": "p"}, features=("a",)), r"`columns` \(='a'\)"),
        (lambda: Roles("t", label_time="k"), "no column is named as label"),
        (lambda: Ask("r", LABELLED, LABELS), "labels have a table of their own"),
        (lambda: Rules(skew_s=-1.0), "must be zero or more"),
        (lambda: Rules(most_missing=2.0), "outside 0 to 1"),
        (lambda: FeatureSource("f", ()), "takes nothing"),
        (lambda: FeatureSource("f", ("x",), max_age_s=0.0), "must be above zero"),
    ],
)
def test_settings_that_make_no_sense(make: Any, message: str) -> None:
    """Settings are refused before anything is read."""
    with pytest.raises(ConfigError, match=message):
        make()


def test_parts_that_must_be_named(tmp_path: Path) -> None:
    """A plain table does not know its time, and labels of their own need an id."""
    recorded(THREE).write_parquet(tmp_path / "r.parquet")

    with pytest.raises(ConfigError, match=r"`columns\.time` must be named"):
        Ingest(Ask("r.parquet", Roles()), tmp_path)
    with pytest.raises(ConfigError, match=r"`columns\.id` must be named"):
        Ingest(Ask("r.parquet", Roles("asked"), LABELS), tmp_path)
    pl.DataFrame({"id": ["a"], "late": [1.0]}).write_parquet(tmp_path / "labels.parquet")
    with pytest.raises(ConfigError, match=r"`labels\.known_time` must be named"):
        read(tmp_path, recorded(THREE), BARE, labels=LabelSource("labels.parquet", "id", "late"))


def test_the_account(tmp_path: Path) -> None:
    """The report tells each count with the rule by which it was handled, and leaves out what never occurred."""
    _, ingest = read(tmp_path, recorded([*THREE, ("a", 3, 1.0, 4)]))

    assert ingest.intake.table().rows == (
        ("read", "4", "as table, from 1 file"),
        ("requests", "3", "each counted once"),
        ("requests with a label", "2", "that ever came"),
        ("duplicates of an id", "1", "the first in the recording stays"),
    )
    assert ingest.intake.to_dict()["duplicates"] == 1


Versions = list[tuple[int, int, int]]


def _tally(pieces: list[Rows]) -> Tally:
    question = Question(
        ("champion", "challenger"), loss_named("brier"), START_US + 24 * HOUR_US, 24 * HOUR_US, 48 * HOUR_US
    )
    return merged(Tally.of(rows, question) for rows in pieces)


@settings(max_examples=25, deadline=None)
@given(
    asked=st.lists(st.integers(0, 60), min_size=1, max_size=8),
    told=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 90), st.integers(0, 1)), min_size=1, max_size=16),
    piece_rows=st.integers(1, 9),
)
def test_against_brute_force(
    tmp_path_factory: pytest.TempPathFactory, asked: list[int], told: Versions, piece_rows: int
) -> None:
    """Whatever the pieces, at every moment each request has the label that searching all rows finds, and is counted once."""
    folder = tmp_path_factory.mktemp("brute")
    told = [(who, max(known, asked[who]) if who < len(asked) else known, label) for who, known, label in told]
    told.append((0, 100, 1))
    names, known, label = zip(*told, strict=True)
    pl.DataFrame({"id": names, "known": [at(t) for t in known], "late": [float(each) for each in label]}).write_parquet(
        folder / "labels.parquet"
    )
    table = recorded([(i, t, None, None) for i, t in enumerate(asked)])
    rows, _ = read(folder, table, BARE, labels=LABELS, piece_rows=piece_rows)

    def search(who: int, now: int) -> float | None:
        seen = [(known, place) for place, (name, known, _) in enumerate(told) if name == who and known <= now]
        return float(told[max(seen)[1]][2]) if seen else None

    for now in range(0, 101, 5):
        now_us = START_US + now * HOUR_US
        current = rows.filter((pl.col("known") <= now_us) & (pl.col("until") > now_us))
        answers = dict(current.select("id", "label").rows())
        assert [search(who, now) for who in range(len(asked))] == [answers.get(who) for who in range(len(asked))]
    assert rows.filter(pl.col("first"))["id"].to_list() == list(range(len(asked)))


def test_the_engine_counts_the_same(tmp_path: Path) -> None:
    """Through pieces and the engine come the same counts and sums, to the last bit, as from a recording in memory."""
    rng = np.random.default_rng(5)
    asked = np.sort(rng.uniform(0, 200, 300))
    known = asked + rng.exponential(20, 300)
    late = [None if rng.random() < 0.2 else float(rng.random() < 0.3) for _ in asked]
    times = [None if label is None else float(t) for label, t in zip(late, known, strict=True)]
    table = recorded(
        list(zip(range(300), asked.tolist(), late, times, strict=True)),
        p_old=rng.random(300).tolist(),
        p_new=rng.random(300).tolist(),
    )
    table.write_parquet(tmp_path / "r.parquet")
    recording = Recording.from_table(table, Columns("asked", "id", "late", "known"), name="r")
    predictions = {name: table[column].to_numpy() for name, column in MODELS.items()}

    pieces = [rows_of(piece, list(MODELS)) for piece in Ingest(Ask("r.parquet", LABELLED), tmp_path, 37)]
    ours, theirs = _tally(pieces), _tally([Rows.of(recording, predictions)])

    for name in Tally.__dataclass_fields__:
        assert np.array_equal(getattr(theirs, name), getattr(ours, name)), name


@pytest.mark.parametrize("feature", ["row", "place", "asked"])
def test_a_feature_may_have_any_name_while_repeats_are_settled(tmp_path: Path, feature: str) -> None:
    """What a feature is called changes neither its values nor which rows of an id are versions of its label."""
    table = recorded([("a", 0, 1.0, 2), ("b", 1, 0.0, 5), ("a", 0, 0.0, 9)]).rename({"asked": "when"})
    roles = Roles("when", MODELS, id="id", label="late", label_time="known", features=(feature,))
    rows, ingest = read(tmp_path, table.with_columns(pl.Series(feature, [7, 8, 7])), roles)

    assert rows.select("id", "label", feature).rows() == [("a", 1.0, 7), ("a", 0.0, 7), ("b", 0.0, 8)]
    assert ingest.intake.corrections == 1


def test_a_feature_cannot_be_called_as_the_recording_calls_its_own() -> None:
    """A feature named `label_time` would stand twice in the recording, and is refused."""
    with pytest.raises(ConfigError, match="label_time"):
        Roles("asked", MODELS, features=("label_time",))


def test_weights_reach_the_engine(tmp_path: Path) -> None:
    """Rows with weights are handed over with them, as those with amounts are."""
    rows, _ = read(tmp_path, recorded(THREE, w=[1.0, 2.0, 3.0]), Roles("asked", MODELS, id="id", weight="w"))

    assert rows_of(rows, list(MODELS)).weight.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("apart", [False, True])
def test_what_waits_on_disk_is_what_waits_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, apart: bool
) -> None:
    """Repeated ids and labels of their own, set down on disk part by part, make the rows and the account that memory makes."""
    rng = np.random.default_rng(7)
    numbers = rng.integers(0, 250, 300).tolist()
    rows = [(f"r{each}", each % 97, float(rng.random() < 0.5), each % 97 + 1.0 + 9 * rng.random()) for each in numbers]
    table = recorded(rows).unique(["id", "asked", "known"], maintain_order=True)
    more: dict[str, Any] = {}
    if apart:
        stray = recorded([("x", 0, 1.0, 2)])
        pl.concat([table, stray]).select("id", "late", "known").write_parquet(tmp_path / "labels.parquet")
        table, more = table.drop("late", "known"), {"labels": LABELS}
    roles = BARE if apart else LABELLED
    held, in_memory = read(tmp_path, table, roles, piece_rows=50, **more)
    module = importlib.import_module(Ingest.__module__)
    for name in ("MOST_ASIDE", "MOST_LABELS"):
        monkeypatch.setattr(module, name, 90)
    monkeypatch.setattr("windtunnel.backtest.reading.spool.PARTS", 3)
    monkeypatch.setattr("windtunnel.backtest.reading.repeats.MOST_HASHES", 60)
    laid, on_disk = read(tmp_path, table, roles, piece_rows=50, **more)

    assert laid.select(held.columns).equals(held.select(held.columns))
    assert on_disk.intake == in_memory.intake
    assert on_disk.intake.corrections > 20
    assert on_disk.intake.strays == int(apart)


def test_a_thinned_reading_is_a_part_of_the_whole(tmp_path: Path) -> None:
    """One request in two is taken whole, corrections and labels of their own table included, and the others not at all."""
    table = recorded([(f"r{number}", number, 1.0, number + 2) for number in range(200)])
    late = table.select("id", "late", pl.col("known") + timedelta(hours=5)).with_columns(late=pl.lit(0.0))
    pl.concat([table.select("id", "late", "known"), late]).write_parquet(tmp_path / "labels.parquet")
    whole, _ = read(tmp_path, table.drop("late", "known"), BARE, labels=LABELS)
    ingest = Ingest(Ask("r.parquet", BARE, LABELS), tmp_path, thin=2)
    some = ingest.held().sort("id", "known")

    assert 70 < ingest.intake.requests < 130
    assert some.equals(whole.filter(pl.col("id").is_in(some["id"].unique().implode())))


def test_the_span_is_told_by_the_clocks_alone(tmp_path: Path) -> None:
    """The first request and the last moment of either clock are known without the rows, labels of their own table included."""
    table = recorded(THREE)
    table.select("id", "late", "known").drop_nulls().write_parquet(tmp_path / "labels.parquet")
    _, whole = read(tmp_path, table)
    of_both = whole.span()
    _, apart = read(tmp_path, table.drop("late", "known"), BARE, labels=LABELS)

    assert of_both == apart.span() == (START_US, START_US + 5 * HOUR_US)


def test_more_than_may_be_held_is_not(tmp_path: Path) -> None:
    """Reading stops as soon as there are more rows than may be held; as many as may be are."""
    _, ingest = read(tmp_path, recorded(THREE))

    held = ingest.held_within(3)

    assert ingest.held_within(2) is None
    assert held is not None
    assert len(held) == 3
