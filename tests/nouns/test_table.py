from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.errors import DataError
from windtunnel.table import read_arrays, read_table, take_column, timestamps_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLE = pl.DataFrame({"a": range(500), "b": [f"row {n}" for n in range(500)]})


def _parquet(path: Path) -> None:
    TABLE.write_parquet(path)


def _csv(path: Path) -> None:
    TABLE.write_csv(path)


def _gz(path: Path) -> None:
    path.write_bytes(gzip.compress(TABLE.write_csv().encode()))


def _jsonl(path: Path) -> None:
    TABLE.write_ndjson(path)


@pytest.mark.parametrize(("name", "write"), [("t.parquet", _parquet), ("t.csv", _csv), ("t.csv.gz", _gz), ("t.jsonl", _jsonl)])  # fmt: skip
def test_kinds(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    """Each kind of file gives the same table."""
    write(tmp_path / name)

    assert TABLE.equals(read_table(tmp_path / name))


@pytest.mark.parametrize("read", [read_table, read_arrays])
def test_no_file(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    """What is missing, a folder, or empty is refused as just that, by its name."""
    empty = tmp_path / "empty.csv"
    empty.touch()
    for path, problem in ((tmp_path / "none.csv", "does not exist"), (tmp_path, "is a directory"), (empty, "is empty")):
        with pytest.raises(DataError, match=rf"{path.name}: {problem}; "):
            read(path)


def test_unknown_kind(tmp_path: Path) -> None:
    """A kind that is not read here is answered with those that are."""
    (tmp_path / "t.xlsx").write_bytes(b"PK")

    with pytest.raises(DataError, match=r"t\.xlsx.*known: \.parquet, \.csv, \.gz, \.jsonl"):
        read_table(tmp_path / "t.xlsx")


@pytest.mark.parametrize(("name", "write"), [("t.parquet", _parquet), ("t.csv.gz", _gz)])
def test_truncated_anywhere(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    """A Parquet or gzipped file that was cut off at any place is refused."""
    path = tmp_path / name
    write(path)
    data = path.read_bytes()
    for length in range(20, len(data), len(data) // 20):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"cannot be read \(.*is it truncated"):
            read_table(path)


def test_damaged_parquet(tmp_path: Path) -> None:
    """A Parquet file with one wrong byte is read or refused; nothing else comes out of it."""
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": np.arange(2000), "s": [str(n) for n in range(2000)]}).write_parquet(path)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for place in rng.integers(len(data), size=300):
        path.write_bytes(data[:place] + bytes([data[place] ^ int(rng.integers(1, 256))]) + data[place + 1 :])
        try:
            read_table(path)
        except DataError:
            refused += 1

    assert refused > 0


def test_a_panic_of_the_reader_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that panics on a damaged file has refused it."""

    def panic(_path: Path) -> pl.DataFrame:
        raise pl.exceptions.PanicException("Thrift out of range")

    (tmp_path / "t.parquet").write_bytes(b"x")
    monkeypatch.setitem(read_table.__globals__["READERS"], ".parquet", panic)
    with pytest.raises(DataError, match=r"cannot be read \(Thrift out of range\)"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("t.csv", "a,b\n", "has no rows"),
        ("t.csv", "\n", "cannot be read"),
        ("t.csv", "a,b\n1,2,3\n", "cannot be read"),
        ("t.jsonl", '{"a": 1}\n{"a":', "cannot be read"),
        ("t.parquet", "a,b\n1,2\n", "cannot be read"),
        ("t.csv.gz", "a,b\n1,", "cannot be read|has no rows"),
    ],
)
def test_content_refused(tmp_path: Path, name: str, text: str, problem: str) -> None:
    """A file without rows, or with content of another kind, is refused by name."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode())[:-9] if name.endswith(".gz") else text.encode())

    with pytest.raises(DataError, match=rf"{name}: (?:{problem})"):
        read_table(path)


def test_arrays(tmp_path: Path) -> None:
    """Arrays come back by name as they were."""
    x, y = np.arange(6.0).reshape(3, 2), np.array([1, 0, 1])
    np.savez(tmp_path / "a.npz", x=x, y=y)
    arrays = read_arrays(tmp_path / "a.npz")

    assert list(arrays) == ["x", "y"]
    assert x.tolist() == arrays["x"].tolist()
    assert y.dtype == arrays["y"].dtype


def _savez(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


def _damaged(path: Path) -> None:
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=2000))
    data = bytearray(path.read_bytes())
    data[100:400] = bytes(each ^ 0x55 for each in data[100:400])
    path.write_bytes(data)


def _cut(path: Path) -> None:
    np.savez(path, x=np.arange(1000.0))
    path.write_bytes(path.read_bytes()[:4000])


def _bare(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.arange(3))


def _checkpoint(path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"not an array")


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (_savez(x=np.arange(3), y=np.arange(4)), r"'x': 3, 'y': 4.*same number of rows"),
        (_savez(x=np.array(1.0)), "same number of rows"),
        (_savez(x=np.empty((0, 2))), "holds no rows"),
        (_savez(), "holds no arrays; save one for each input"),
        (_savez(x=np.array([{"a": 1}], dtype=object)), "cannot be read.*allow_pickle"),
        (_bare, "cannot be read"),
        (_cut, "cannot be read"),
        (_damaged, "cannot be read"),
        (_checkpoint, "same number of rows"),
        (lambda path: path.write_bytes(b"garbage"), "cannot be read"),
    ],
)
def test_arrays_refused(tmp_path: Path, write: Callable[[Path], None], problem: str) -> None:
    """Pickles, ragged or empty arrays and broken archives are refused by name, and never unpickled."""
    write(tmp_path / "a.npz")

    with pytest.raises(DataError, match=rf"a\.npz: .*{problem}"):
        read_arrays(tmp_path / "a.npz")


def test_take_column() -> None:
    """A column that is not there is answered with the nearest and with all."""
    assert take_column(TABLE, "a", file="t.csv").to_list() == list(range(500))
    with pytest.raises(DataError, match=r"t\.csv: `bb` is not a column; did you mean `b`\? \(the columns are: a, b\)"):
        take_column(TABLE, "bb", file="t.csv")


NOON = datetime(2024, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "column",
    [
        pl.Series(["2024-07-01T12:00:00"]),
        pl.Series(["2024-07-01 12:00:00.0000000"]),
        pl.Series(["2024-07-01T12:00:00Z"]),
        pl.Series(["2024-07-01T14:00:00+02:00"]),
        pl.Series([NOON.replace(tzinfo=None)]),
        pl.Series([NOON.replace(tzinfo=None)], dtype=pl.Datetime("ns")),
        pl.Series([NOON.replace(tzinfo=None)], dtype=pl.Datetime("ms")),
        pl.Series([NOON.astimezone(timezone(timedelta(hours=-4)))], dtype=pl.Datetime("us", "America/New_York")),
    ],
)
def test_one_instant_in_many_forms(column: pl.Series) -> None:
    """Text, zones and units all come to the same UTC time stamp; what has no zone counts as UTC."""
    assert timestamps_of(column).to_list() == [NOON]


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (
            pl.Series("t", ["2024-07-01T12:00:00", "noon"]),
            r"`t` \(='noon'\) holds text that is no time stamp; write ISO",
        ),
        (pl.Series("t", ["noon", None]), r"`t` \(='noon'\) holds text"),
        (pl.Series("t", [1, 2]), "dtype Int64 where time stamps are needed"),
        (pl.Series("t", [[1]]), "dtype List"),
        (pl.Series("t", [NOON.date()]), "dtype Date where"),
    ],
)
def test_no_time_stamps(column: pl.Series, problem: str) -> None:
    """What is no time stamp is refused with the very value, the dtype and the way out."""
    with pytest.raises(DataError, match=problem):
        timestamps_of(column, file="t.csv")


def test_missing_times() -> None:
    """A time that is missing stays missing."""
    text = pl.Series(["2024-07-01T12:00:00", None])

    assert timestamps_of(text).to_list() == [NOON, None]
    assert timestamps_of(pl.Series([None, None], dtype=pl.String)).null_count() == 2
