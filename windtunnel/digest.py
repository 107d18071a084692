"""Digests of files and values, and the one way in which JSON is written so that equal values are equal bytes."""

from __future__ import annotations

import hashlib
import json
import math
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def canonical_json(value: Any) -> str:
    """Write a value as JSON: sorted keys, two spaces, a final newline; infinities and NaN as null.

    Example:
        >>> print(canonical_json({"b": 1, "a": float("nan")}), end="")
        {
          "a": null,
          "b": 1
        }
    """
    return json.dumps(_finite(value), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """Turn what JSON cannot carry (NaN, infinities, numpy's scalars and arrays, tuples, sets) into what it can."""
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, set | frozenset):
        # a set's own order changes from process to process
        return sorted((_finite(each) for each in value), key=canonical_json)
    if isinstance(value, bool | str | int) or value is None:
        return value
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def digest_bytes(data: bytes) -> str:
    """The sha256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_value(value: Any) -> str:
    """The sha256 of a value's canonical JSON.

    Example:
        >>> digest_value({"a": 1, "b": 2}) == digest_value({"b": 2, "a": 1})
        True
    """
    return digest_bytes(canonical_json(value).encode())


def digest_file(path: Path) -> str:
    """The sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one and nothing between."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
