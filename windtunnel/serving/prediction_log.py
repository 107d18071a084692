"""The PredictionLog: what was asked and answered, kept in Parquet for audits and backtests, and never in the way of an answer.

Each replica writes pieces of its own. A piece is collected in memory, written under a hidden name, flushed and renamed: a replica
that is killed loses its open piece and nothing else, and no reader ever sees half of one.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import uuid
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError
from windtunnel.quantity import format_bytes
from windtunnel.serving.split import LOGGED, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import polars as pl

    from windtunnel.serving.log_layout import Entry, Layout

WRITTEN, WAITING, FULL, FAILED = COUNTED = tuple(
    f'log_requests_total{{outcome="{outcome}"}}' for outcome in ("written", "dropped_waiting", "dropped_full", "failed")
)
"""What becomes of a request in the sample: it lies in a finished piece; too many waited for the writer; the folder holds what it
may; it could not be written."""

POLL_S = 0.25
"""How often the writer looks at what has come."""

STALE_S = 3600.0
"""A hidden file that nobody has written to for so long was left by a replica that was killed."""


@dataclass(frozen=True)
class LogSettings:
    """Where a log lies and how large it may become.

    Args:
        folder: where pieces go; several replicas, and servers, may share it.
        share: of the requests that are logged, by a stable hash of their ids.
        most_bytes: that the folder's pieces may take together; no piece is written beyond it.
        piece_rows: a piece has so many at most (and those of one last request).
        piece_bytes: it holds so much in memory at most (and one last request).
        piece_s: it is written after so long, however few its rows.
        waiting: requests that may wait for the writer.
        waiting_bytes: what these may hold in memory.
    """

    folder: Path
    share: float = 1.0
    most_bytes: float = 10 * 2.0**30
    piece_rows: int = 50_000
    piece_bytes: float = 32 * 2.0**20
    piece_s: float = 60.0
    waiting: int = 8192
    waiting_bytes: float = 64 * 2.0**20

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ConfigError(
                "logs nothing", field="--log-sample", value=self.share, fix="write 10%, or leave out --log"
            )
        if not self.most_bytes > 0.0:
            raise ConfigError("leaves no room", field="--log-most", value=self.most_bytes, fix="write 10GB")


class PredictionLog:
    """The log of one replica. `offer` is for one thread, that of the answers; a thread of the log's own writes.

    Args:
        settings: where, and how much.
        layout: of its rows.
        count: told how many requests became what, a name of `COUNTED`; each name by one thread only.
        say: told, once each, when the log stops for want of room, cannot write, and goes on.
        clock: seconds, for the age of a piece.
    """

    def __init__(
        self,
        settings: LogSettings,
        layout: Layout,
        *,
        count: Callable[[str, float], None],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.layout = settings, layout
        self._count, self._say, self._clock = count, say, clock
        self._waiting: deque[Entry] = deque()
        # each written by one thread only, so that their difference needs no lock
        self._offered_bytes, self._taken_bytes = 0, 0
        self._piece: list[Entry] = []
        self._piece_rows, self._piece_bytes, self._opened_s = 0, 0, 0.0
        self._trouble = ""
        self._name, self._number = uuid.uuid4().hex[:12], 0
        self._closing = threading.Event()
        settings.folder.mkdir(parents=True, exist_ok=True)
        _sweep(settings.folder)
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> PredictionLog:
        """Let the writer begin."""
        self._thread.start()
        return self

    def takes(self, request_id: str) -> bool:
        """Whether a request is in the sample."""
        return self.settings.share >= 1.0 or place_of(request_id, LOGGED) < self.settings.share

    def lean(self, entry: Entry) -> Entry:
        """A request as it may wait to be offered: without what is not written of it."""
        return self.layout.lean(entry)

    def offer(self, entry: Entry) -> None:
        """Hand over a request; returns at once, and drops it where too much waits."""
        entry = self.lean(entry)
        size = entry.bytes
        held = self._offered_bytes - self._taken_bytes
        if len(self._waiting) >= self.settings.waiting or held + size > self.settings.waiting_bytes:
            self._count(WAITING, 1)
            return
        self._offered_bytes += size
        self._waiting.append(entry)

    def close(self) -> None:
        """Write what is there, and stop."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self.turn(last=True)

    def _run(self) -> None:
        while not self._closing.wait(POLL_S):
            self.turn()

    def turn(self, *, last: bool = False) -> None:
        """Take what waits into the piece, and write it if it is due; the writer's thread calls it, again and again."""
        while self._waiting:
            entry = self._waiting.popleft()
            self._taken_bytes += entry.bytes
            self._take(entry)
            if self._is_due():
                self._write()
        if self._piece and (last or self._is_due()):
            self._write()

    def _take(self, entry: Entry) -> None:
        try:
            self.layout.check(entry)
        except (ValueError, KeyError, TypeError):
            self._count(FAILED, 1)
            return
        if not self._piece:
            self._opened_s = self._clock()
        self._piece.append(entry)
        self._piece_rows += entry.rows
        self._piece_bytes += entry.bytes

    def _is_due(self) -> bool:
        if not self._piece:
            return False
        full = self._piece_rows >= self.settings.piece_rows or self._piece_bytes >= self.settings.piece_bytes
        return full or self._clock() - self._opened_s >= self.settings.piece_s

    def _write(self) -> None:
        """Write the piece, or drop it and say why."""
        from polars.exceptions import PolarsError

        piece, self._piece = self._piece, []
        self._piece_rows = self._piece_bytes = 0
        try:
            wrote = self._room() > 0.0 and self._finish(self.layout.table(piece))
        except (OSError, ValueError, PolarsError) as error:
            self._count(FAILED, len(piece))
            self._tell(f"the prediction log cannot be written to {self.settings.folder}: {error}")
            return
        if wrote:
            self._count(WRITTEN, len(piece))
            self._tell("")
        else:
            self._count(FULL, len(piece))
            most = format_bytes(self.settings.most_bytes)
            self._tell(
                f"the prediction log has reached --log-most ({most}) in {self.settings.folder}: nothing is logged"
            )

    def _tell(self, trouble: str) -> None:
        """Say what changed, not what lasts."""
        if trouble != self._trouble:
            self._say(trouble or f"the prediction log is written to {self.settings.folder} again")
            self._trouble = trouble

    def _room(self) -> float:
        return self.settings.most_bytes - size_of(self.settings.folder)

    def _finish(self, table: pl.DataFrame) -> bool:
        """Write a piece and give it its name, unless there is no room for it; true if it is there."""
        folder = self.settings.folder
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{self._name}-{self._number:06}.parquet"
        partial = folder / f".{name}.partial"
        try:
            with partial.open("wb") as file:
                table.write_parquet(file, row_group_size=16_384)
                file.flush()
                os.fsync(file.fileno())
            with _locked(folder):
                if partial.stat().st_size > self._room():
                    return False
                partial.rename(folder / name)
            _flush_folder(folder)
        finally:
            partial.unlink(missing_ok=True)
        self._number += 1
        return True


def size_of(folder: Path) -> int:
    """The bytes of all finished pieces in a folder."""
    total = 0
    with os.scandir(folder) as found:
        for each in found:
            if each.name.endswith(".parquet"):
                total += each.stat().st_size
    return total


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one replica at a time see whether there is room and take it; a killed one gives the lock back."""
    with (folder / ".lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(folder: Path) -> None:
    """Remove what killed replicas left behind."""
    for each in folder.glob(".*.parquet.partial"):
        try:
            if time.time() - each.stat().st_mtime > STALE_S:
                each.unlink()
        except FileNotFoundError:
            continue  # another replica was quicker
