"""A trace file before its format is known: unpacked, in pieces, with its first row looked at."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from windtunnel.errors import DataError
from windtunnel.table import check_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from .reading import Tally

CHUNK = 2**24
"""Bytes that are looked at together; memory for a text file is some multiples of this, and of what is kept of each row."""

HEAD = 2**18
PACKED: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)
"""By what a packed file begins with, whatever it is called, and how it is opened."""

BROKEN = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Source:
    """One file, and what its beginning shows.

    Args:
        path: the file.
        kind: "parquet", "json" (lines, an array or one document), "csv" (a header was recognised) or "text".
        header: the columns of a table, or the keys of the first JSON object.
        first: the first line that is not blank.
        separator: what separates the fields of a CSV.
    """

    path: Path
    kind: str
    header: tuple[str, ...]
    first: str
    separator: str = ","

    @staticmethod
    def look(path: Path) -> Source:
        """Look at the beginning of a file.

        Raises:
            DataError: missing, a directory, empty, or packed in a way that is not read here.
        """
        check_file(path)
        with _reading(path), _open(path) as file:
            head = _fill(file, HEAD)[0].removeprefix(BYTE_ORDER_MARK)
        if head.startswith(b"PAR1"):
            return Source(path, "parquet", _parquet_columns(path), "")
        if b"\x00" in head[:4096]:
            raise DataError("is no text and no Parquet", file=path, value=head[:4], fix="unpack it, or write it as CSV")
        lines = head.decode(errors="replace").splitlines()
        first = next((line.strip() for line in lines if line.strip()), "")
        if not first:
            raise DataError("is empty", file=path, fix="record it again")
        if head.lstrip()[:1] == b"{" or (head.lstrip()[:1] == b"[" and head.lstrip()[1:].lstrip()[:1] == b"{"):
            return Source(path, "json", _first_keys(head, first), first)
        separator = max(",;\t|", key=first.count)
        fields = tuple(each.strip() for each in next(csv.reader([first], delimiter=separator)))
        if _is_header(fields):
            return Source(path, "csv", fields, first, separator)
        return Source(path, "text", (), first)

    def frames(self, columns: Sequence[str], tally: Tally) -> Iterator[pl.DataFrame]:
        """The named columns, piece by piece: typed from Parquet, as text otherwise; a column that is not there is null.

        Raises:
            DataError: it cannot be read, or is no table.
        """
        if self.kind == "parquet":
            yield from self._parquet_frames(columns)
        elif self.kind == "json":
            yield from frames_of(self.documents(tally), [name for name in columns if name in self.header])
        else:
            yield from self._csv_frames(columns, tally)

    def _parquet_frames(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        there = [name for name in dict.fromkeys(columns) if name in self.header]
        with _reading(self.path):
            if _opener(self.path) is not None:
                with _open(self.path) as file:
                    yield pl.read_parquet(io.BytesIO(file.read()), columns=there)
            else:
                yield pl.scan_parquet(self.path, glob=False).select(there).collect(engine="streaming")

    def _csv_frames(self, columns: Sequence[str], tally: Tally) -> Iterator[pl.DataFrame]:
        header = b""
        there = sorted({self.header.index(name) for name in columns if name in self.header})
        for chunk in self.chunks(tally, fields=len(self.header)):
            if not header:
                header, _, rows = chunk.lstrip().partition(b"\n")
            else:
                rows = chunk
            if rows.strip():
                yield self._parse_csv(header + b"\n" + rows, there)

    def _parse_csv(self, rows: bytes, places: list[int]) -> pl.DataFrame:
        for quote in ('"', None):
            try:
                table = pl.read_csv(
                    rows, columns=places, infer_schema=False, truncate_ragged_lines=True, encoding="utf8-lossy",
                    quote_char=quote, separator=self.separator,
                )  # fmt: skip
            except pl.exceptions.PolarsError as error:
                reason = str(error).strip().splitlines()[0]
                continue
            table.columns = [self.header[place] for place in places]
            return table
        raise DataError(f"cannot be read ({reason})", file=self.path, fix="write it again")

    def lines(self, tally: Tally) -> Iterator[pl.Series]:
        """The lines that are not blank, piece by piece."""
        for chunk in self.chunks(tally):
            lines = pl.Series("line", chunk.decode(errors="replace").split("\n"), dtype=pl.String).str.strip_chars()
            yield lines.filter(lines != "")

    def documents(self, tally: Tally) -> Iterator[dict[str, Any]]:
        """The JSON objects: of lines, of an array, or one after another over many lines.

        A line that is no JSON object is counted; a last line that breaks off is counted as such.
        """
        if self.first.startswith("[") or not _whole(self.first):
            yield from self._loose_documents(tally)
            return
        for lines in self.lines(tally):
            for line in lines:
                try:
                    found = json.loads(line)
                except ValueError:
                    found = None
                if isinstance(found, dict):
                    yield found
                else:
                    tally.skip("line_is_no_json_object", example=line)

    def _loose_documents(self, tally: Tally) -> Iterator[dict[str, Any]]:
        text = b"".join(self.chunks(tally, whole_lines=False)).decode(errors="replace")
        decoder, place = json.JSONDecoder(), 0
        while (place := _next_token(text, place)) < len(text):
            try:
                found, place = decoder.raw_decode(text, place)
            except ValueError:
                tally.skip("document_breaks_off", example=text[place : place + 80])
                return
            yield from (each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict))

    def chunks(self, tally: Tally, *, fields: int = 0, whole_lines: bool = True) -> Iterator[bytes]:
        """Pieces of whole lines of the unpacked file.

        Args:
            tally: told of a last line that breaks off, and of a packed file that does.
            fields: of a CSV's header; a last line with fewer and without its end is left out.
            whole_lines: whether the pieces end with a line.
        """
        rest = b""
        for piece in self._pieces(tally):
            if not whole_lines:
                yield piece
                continue
            whole, rest = _cut(rest + piece)
            if whole:
                yield whole
        if rest and not self._breaks_off(rest, fields):
            yield rest
        elif rest:
            tally.skip("last_line_breaks_off", example=rest.decode(errors="replace"))

    def _breaks_off(self, rest: bytes, fields: int) -> bool:
        last = rest.decode(errors="replace")
        if self.kind == "json":
            return not _whole(last)
        return fields > 0 and len(next(csv.reader([last], delimiter=self.separator), [])) < fields

    def _pieces(self, tally: Tally) -> Iterator[bytes]:
        with _reading(self.path), _open(self.path) as file:
            first, whole = True, True
            while whole:
                piece, whole = _fill(file, CHUNK)
                if not whole:
                    tally.warn("the packed file breaks off: what could be unpacked before that was read")
                    tally.skip("packed_file_breaks_off")
                if not piece:
                    return
                yield piece.removeprefix(BYTE_ORDER_MARK) if first else piece
                first = False


def _fill(file: io.BufferedReader, size: int) -> tuple[bytes, bool]:
    """Read so many bytes, or what there is; and whether the file did not break off meanwhile."""
    parts: list[bytes] = []
    length = 0
    while length < size:
        try:
            part = file.read1(size - length)
        except BROKEN:
            return b"".join(parts), False
        if not part:
            break
        parts.append(part)
        length += len(part)
    return b"".join(parts), True


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """Part whole lines from the beginning of the next, not within quotes if that can be helped."""
    end = place = data.rfind(b"\n") + 1
    while place > max(0, end - HEAD):
        if data.count(b'"', 0, place) % 2 == 0:
            return data[:place], data[place:]
        place = data.rfind(b"\n", 0, place - 1) + 1
    return data[:end], data[end:]


def frames_of(
    documents: Iterator[dict[str, Any]], columns: Sequence[str], rows: int = 50_000
) -> Iterator[pl.DataFrame]:
    """Some keys of many objects as a table of text, piece by piece; what is not there is null."""
    names = list(dict.fromkeys(columns))
    kept: dict[str, list[str | None]] = {name: [] for name in names}
    for document in documents:
        for name in names:
            value = document.get(name)
            kept[name].append(None if value is None else str(value))
        if names and len(kept[names[0]]) == rows:
            yield pl.DataFrame(kept, schema=dict.fromkeys(names, pl.String))
            kept = {name: [] for name in names}
    yield pl.DataFrame(kept, schema=dict.fromkeys(names, pl.String))


def _next_token(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n,":
        place += 1
    return place


def _whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _first_keys(head: bytes, first: str) -> tuple[str, ...]:
    """The keys of the first object, also where it stretches over lines or beyond the head."""
    text = head.decode(errors="replace").lstrip().removeprefix("[").lstrip()
    for candidate in (first, text):
        try:
            found, _ = json.JSONDecoder().raw_decode(candidate)
        except ValueError:
            continue
        if isinstance(found, dict):
            return tuple(found)
    return tuple(key for key in ("resourceSpans", "resource_spans") if f'"{key}"' in text[:4096])


def _is_header(fields: tuple[str, ...]) -> bool:
    """Names, not values: none empty, the first no number, nothing of a log line in them."""
    strange = any(not each or len(each) > 80 or set(each) & set('["') for each in fields)
    return not strange and not _is_number(fields[0]) and (len(fields) > 1 or " " not in fields[0])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parquet_columns(path: Path) -> tuple[str, ...]:
    with _reading(path):
        if _opener(path) is None:
            return tuple(pl.read_parquet_schema(path))
        with _open(path) as file:
            return tuple(pl.read_parquet_schema(io.BytesIO(file.read())))


def _opener(path: Path) -> Callable[..., Any] | None:
    with path.open("rb") as file:
        magic = file.read(8)
    if magic.startswith((b"\x28\xb5\x2f\xfd", b"PK\x03\x04")):
        raise DataError("is packed in a way that is not read here", file=path, fix="unpack it, or pack it with gzip")
    return next((opener for start, opener in PACKED if magic.startswith(start)), None)


def _open(path: Path) -> io.BufferedReader:
    opener = _opener(path)
    return cast("io.BufferedReader", opener(path, "rb")) if opener else path.open("rb")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what a library says about an unreadable file into a refusal that names the file."""
    try:
        yield
    # some corrupt Parquet makes polars panic, which is no PolarsError
    except (*BROKEN, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"cannot be read ({reason})", file=path, fix="is it truncated? write it again") from error
