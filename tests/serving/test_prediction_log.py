from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.errors import ConfigError
from windtunnel.serving.log_layout import Entry, Layout
from windtunnel.serving.prediction_log import (
    COUNTED,
    FAILED,
    FULL,
    STALE_S,
    WAITING,
    WRITTEN,
    LogSettings,
    PredictionLog,
    size_of,
)
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from pathlib import Path

SIGNATURE = Signature((Tensor("km", "float32", ("n",)),), (Tensor("y", "float32", ("n",)),))
LAYOUT = Layout.of({"m": SimpleNamespace(name="m", signature=SIGNATURE, sha256="a" * 64)}, 1.0)  # type: ignore[dict-item]  # as much of a variant as is looked at


def _entry(number: int, rows: int = 1) -> Entry:
    values = np.full(rows, number, np.float32)
    return Entry(str(number), float(number), 0.001, "m", {"km": values}, {"y": values})


class Rig:
    """A log without its thread: the test is the writer, the clock and the one who hears."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.counts: Counter[str] = Counter()
        self.said: list[str] = []
        self.now_s = 0.0
        self.log = PredictionLog(
            LogSettings(folder, **settings), LAYOUT, count=self._count, say=self.said.append, clock=lambda: self.now_s
        )

    def _count(self, name: str, number: float) -> None:
        assert name in COUNTED
        self.counts[name] += int(number)

    def offer(self, *numbers: int) -> Rig:
        """Offer requests of one row, called by their numbers."""
        for number in numbers:
            self.log.offer(_entry(number))
        return self


def _ids(folder: Path) -> list[str]:
    return sorted((pl.read_parquet(folder / "*.parquet")["id"].to_list()), key=int)


def test_a_piece_is_finished_by_rows_by_bytes_and_by_age(tmp_path: Path) -> None:
    """A piece is written when it is full, or old, or at the end; until then there is nothing to be read."""
    rig = Rig(tmp_path, piece_rows=3, piece_s=60.0)
    rig.offer(1, 2).log.turn()
    assert list(tmp_path.glob("*.parquet")) == []
    rig.offer(3).log.turn()
    assert _ids(tmp_path) == ["1", "2", "3"]
    rig.offer(4).log.turn()
    rig.now_s = 61.0
    rig.log.turn()
    assert _ids(tmp_path) == ["1", "2", "3", "4"]
    rig.offer(5).log.close()

    assert _ids(tmp_path) == ["1", "2", "3", "4", "5"]
    assert len(list(tmp_path.glob("*.parquet"))) == 3
    assert rig.counts == {WRITTEN: 5}


def test_memory_is_bounded(tmp_path: Path) -> None:
    """What does not fit among those that wait, by number or by bytes, is dropped and counted; the rest is written."""
    rig = Rig(tmp_path, waiting=3)
    rig.offer(*range(10)).log.close()
    assert (rig.counts, _ids(tmp_path)) == ({WAITING: 7, WRITTEN: 3}, ["0", "1", "2"])

    by_bytes = Rig(tmp_path / "b", waiting_bytes=4 * 8, piece_bytes=8.0)
    by_bytes.offer(*range(10)).log.turn()
    by_bytes.offer(10).log.close()
    assert by_bytes.counts == {WAITING: 6, WRITTEN: 5}
    assert len(list((tmp_path / "b").glob("*.parquet"))) == 5


def test_the_disk_is_bounded_by_all_pieces_together(tmp_path: Path) -> None:
    """Two replicas share the bound: no byte beyond it, one sentence when it is reached, and another when there is room again."""
    Rig(tmp_path).offer(1).log.close()
    piece = size_of(tmp_path)
    rigs = [Rig(tmp_path, most_bytes=2.5 * piece, piece_rows=1) for _ in range(2)]
    for number in range(2, 12):
        rigs[number % 2].offer(number).log.turn()

    assert piece < size_of(tmp_path) <= 2.5 * piece
    assert sum((rig.counts for rig in rigs), Counter()) == {WRITTEN: 1, FULL: 9}
    assert [len(rig.said) for rig in rigs] == [1, 1]
    assert "--log-most" in rigs[0].said[0]
    for each in tmp_path.glob("*.parquet"):
        each.unlink()
    rigs[0].offer(99).log.turn()
    assert _ids(tmp_path) == ["99"]
    assert rigs[0].said[1].endswith("again")


def test_nothing_half_written_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails in the middle leaves no file; it is said once, counted, and the log goes on when it can."""
    rig = Rig(tmp_path, piece_rows=1)

    def torn(_: pl.DataFrame, file: Any, **__: Any) -> None:
        file.write(b"PAR1half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", torn)
        rig.offer(1, 2).log.turn()
    assert [each.name for each in tmp_path.iterdir() if each.name != ".lock"] == []
    rig.offer(3).log.turn()

    assert (rig.counts, _ids(tmp_path)) == ({FAILED: 2, WRITTEN: 1}, ["3"])
    assert len(rig.said) == 2
    assert "No space left" in rig.said[0]


def test_an_entry_that_is_no_row_spoils_no_other(tmp_path: Path) -> None:
    """It is counted, and its neighbours are written."""
    rig = Rig(tmp_path).offer(1)
    rig.log.offer(Entry("2", 2.0, 0.1, "m", {"km": np.zeros(2)}, {"y": np.zeros(3)}))
    rig.offer(3).log.close()

    assert (rig.counts, _ids(tmp_path)) == ({WRITTEN: 2, FAILED: 1}, ["1", "3"])


def test_the_sample_is_the_same_everywhere(tmp_path: Path) -> None:
    """A share of the requests is taken by their ids: the same ones by every replica, about as many as was said."""
    first, second = (
        PredictionLog(LogSettings(tmp_path, 0.1), LAYOUT, count=lambda *_: None, say=print) for _ in range(2)
    )
    taken = [str(n) for n in range(5000) if first.takes(str(n))]

    assert taken == [str(n) for n in range(5000) if second.takes(str(n))]
    assert 400 < len(taken) < 600


def test_its_own_thread_writes(tmp_path: Path) -> None:
    """Started, it takes what is offered without being asked, and closing it waits until all is on disk."""
    counts: Counter[str] = Counter()
    log = PredictionLog(
        LogSettings(tmp_path, piece_rows=10), LAYOUT, count=lambda name, n: counts.update({name: int(n)}), say=print
    ).start()
    for number in range(105):
        log.offer(_entry(number))
    log.close()

    assert _ids(tmp_path) == [str(number) for number in range(105)]
    assert counts == {WRITTEN: 105}
    assert "prediction-log" not in [thread.name for thread in threading.enumerate()]


KILLED = """
import os, sys
from pathlib import Path
import polars as pl
sys.path.insert(0, sys.argv[2])
from test_prediction_log import Rig

rig = Rig(Path(sys.argv[1]), piece_rows=2)
rig.offer(1, 2, 3).log.turn()
whole = pl.DataFrame.write_parquet

def killed(table, file, **_):
    file.write(b"PAR1half")
    file.flush()
    os._exit(9)

pl.DataFrame.write_parquet = killed
rig.offer(4).log.turn()
"""


def test_a_killed_replica_loses_its_open_piece_only(tmp_path: Path) -> None:
    """Killed in the middle of a piece: the finished one is whole, no half has a name, and what it left is swept up when it is stale."""
    here = os.path.dirname(__file__)  # noqa: PTH120  # an argument of a child
    ran = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), here], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (9, "")
    assert _ids(tmp_path) == ["1", "2"]
    (left,) = tmp_path.glob(".*.partial")

    Rig(tmp_path)
    assert left.exists()
    long_ago = left.stat().st_mtime - STALE_S - 1.0
    os.utime(left, (long_ago, long_ago))
    Rig(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize("settings", [{"share": 0.0}, {"share": 1.5}, {"most_bytes": 0.0}])
def test_what_logs_nothing_is_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    """A sample of nothing, or no room at all, is a mistake."""
    with pytest.raises(ConfigError, match="--log"):
        LogSettings(tmp_path, **settings)
