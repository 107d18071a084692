"""Rows that have to wait for each other, parted by the hash of their id: in memory while they are few, else on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

PARTS = 64
"""Into so many parts rows are cut on disk; one of them is held at a time."""

SEED = 3
"""Of the hash that decides which part a row falls into; another than that by which rows are sampled."""

FLUSH_ROWS = 2**20
"""So many rows are gathered before they are written once rows go to disk."""


class Spool:
    """Rows with a column `id`, given back part by part: rows of one id lie in one part, in the order in which they were added.

    What is on disk lies in a temporary folder (`TMPDIR` says where) until the spool is closed.

    Args:
        most: so many rows are held in memory; with more, all go to disk.

    Example:
        >>> with Spool(most=2) as spool:
        ...     for ids in ([1, 2], [3], [2, 1]):
        ...         spool.add(pl.DataFrame({"id": ids}))
        ...     sorted(part["id"].to_list() for part in spool.parts() if len(part)), spool.spilled, len(spool)
        ([[1, 1], [2, 2], [3]], True, 5)
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.spilled = False
        self._held: list[pl.DataFrame] = []
        self._waiting = self._written = self._files = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return self._written + self._waiting

    def add(self, rows: pl.DataFrame) -> None:
        """Take in rows."""
        if rows.is_empty():
            return
        self._held.append(rows)
        self._waiting += len(rows)
        if self._waiting > (min(self.most, FLUSH_ROWS) if self.spilled else self.most):
            self.spill()

    def spill(self) -> None:
        """Put on disk what is held."""
        self.spilled = True
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="windtunnel-")
        if not self._held:
            return
        rows = pl.concat(self._held, how="vertical_relaxed")
        part = (rows["id"].hash(SEED) % PARTS).alias("__part")
        for (number,), some in (
            rows.with_columns(part).partition_by("__part", maintain_order=True, include_key=False, as_dict=True).items()
        ):
            some.write_ipc(Path(self._folder.name) / f"{number:02}-{self._files:06}.arrow")
        self._written, self._waiting, self._files, self._held = len(self), 0, self._files + 1, []

    def parts(self) -> Iterator[pl.DataFrame]:
        """Every part once: all in one while they are in memory, else `PARTS` of them, of which any may be empty."""
        if not self.spilled:
            yield pl.concat(self._held, how="vertical_relaxed") if self._held else pl.DataFrame()
            return
        self.spill()
        assert self._folder is not None
        for number in range(PARTS):
            files = sorted(Path(self._folder.name).glob(f"{number:02}-*.arrow"))
            read = [pl.read_ipc(file) for file in files]
            yield pl.concat(read, how="vertical_relaxed") if read else pl.DataFrame()

    def close(self) -> None:
        """Take the rows off the disk."""
        self._held = []
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
