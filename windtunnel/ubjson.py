"""UBJSON, as XGBoost writes it: JSON in bytes, whose numbers stand in rows of one kind.

Source: the draft 12 specification at ubjson.org, and `src/common/json.cc` of XGBoost 3.2, which writes whole numbers of 1 to 8
bytes, floats of 4, counted arrays, and numbers in arrays of one kind. What it never writes is not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
"""Numpy's names for the kinds of numbers; all of them begin with the most significant byte."""

CONSTANTS = {b"T": True, b"F": False, b"Z": None}

DEEPEST = 64
"""What is nested deeper is no model."""


def decode_ubjson(data: bytes) -> Any:
    r"""Read a document; a row of numbers becomes an array.

    Args:
        data: all of it.

    Raises:
        ValueError: cut off, nested too deep, longer than one document, or of a kind that XGBoost does not write.

    Example:
        >>> decode_ubjson(b"{i\x01a[$i#i\x02\x05\x06i\x01bSi\x02no}")
        {'a': array([5, 6], dtype=int8), 'b': 'no'}
    """
    reader = _Reader(data)
    value = reader.value(reader.take(1), 0)
    if reader.place != len(data):
        raise ValueError(f"{len(data) - reader.place} bytes behind its end")
    return value


@dataclass
class _Reader:
    """Bytes, and how far they were read."""

    data: bytes
    place: int = 0

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.data) - self.place:
            raise ValueError(f"cut off at byte {len(self.data)}")
        self.place += count
        return self.data[self.place - count : self.place]

    def value(self, marker: bytes, depth: int) -> Any:
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST}")
        if marker in NUMBERS:
            return self.numbers(marker, 1)[0].item()
        if marker in CONSTANTS:
            return CONSTANTS[marker]
        if marker == b"S":
            return self.text()
        if marker == b"{":
            return self.members(depth)
        if marker == b"[":
            return self.items(depth)
        raise ValueError(f"an unknown kind {marker!r} at byte {self.place - 1}")

    def numbers(self, marker: bytes, count: int) -> Any:
        kind = np.dtype(NUMBERS[marker])
        return np.frombuffer(self.take(count * kind.itemsize), kind).astype(kind.newbyteorder("="))

    def count(self) -> int:
        marker = self.take(1)
        if marker not in NUMBERS or marker in {b"d", b"D"}:
            raise ValueError(f"no number of entries at byte {self.place - 1}")
        return int(self.numbers(marker, 1)[0])

    def text(self) -> str:
        return self.take(self.count()).decode()

    def members(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.data[self.place : self.place + 1] != b"}":
            name = self.text()
            found[name] = self.value(self.take(1), depth + 1)
        self.take(1)
        return found

    def items(self, depth: int) -> Any:
        kind = b""
        if self.data[self.place : self.place + 1] == b"$":
            kind = self.take(2)[1:]
        if self.data[self.place : self.place + 1] == b"#":
            self.take(1)
            if kind:
                return self._row(kind, self.count())
            return [self.value(self.take(1), depth + 1) for _ in range(self.count())]
        found = []
        while (marker := self.take(1)) != b"]":
            found.append(self.value(marker, depth + 1))
        return found

    def _row(self, kind: bytes, count: int) -> Any:
        if kind not in NUMBERS:
            raise ValueError(f"a row of {kind!r} at byte {self.place}")
        return self.numbers(kind, count)
