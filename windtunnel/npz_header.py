"""What an npz file says it holds, read off its headers without unpacking an array."""

from __future__ import annotations

import math
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import DataError
from windtunnel.hardware import allowed_memory_bytes
from windtunnel.quantity import format_bytes

if TYPE_CHECKING:
    from pathlib import Path


def check_npz(path: Path, *, limit_bytes: int | None = None) -> None:
    """Refuse an npz file that would unpack to more than may be held, or whose headers promise other sizes than are there.

    A file of some kilobytes can unpack to any number of gigabytes: so the headers are read first.

    Args:
        path: the file; one that is no archive is left to whoever reads it.
        limit_bytes: what may be held; half of the memory that may be used where None.

    Raises:
        DataError: too much, cut off, or something else than arrays in it, which its reader would unpack too.
    """
    limit = allowed_memory_bytes() // 2 if limit_bytes is None else limit_bytes
    if not zipfile.is_zipfile(path):
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return
    with archive:
        parts = archive.infolist()
        total = sum(part.file_size for part in parts)
        for part in parts:
            if not part.filename.endswith(".npy"):
                raise DataError(
                    "is no array", file=path, field=part.filename, fix="write it with numpy.savez, of arrays only"
                )
            declared = _declared_bytes(archive, part)
            total = max(total, declared)
            if declared > part.file_size:
                raise DataError(
                    f"promises {format_bytes(declared)} and holds {format_bytes(part.file_size)}",
                    file=path, field=part.filename.removesuffix(".npy"), fix="write it with numpy.savez",
                )  # fmt: skip
    if total > limit:
        raise DataError(
            f"unpacks to {format_bytes(total)} where {format_bytes(limit)} may be held",
            file=path, fix="give fewer rows, or a loader that yields batches",
        )  # fmt: skip


def _declared_bytes(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> int:
    """What the header of one array promises; 0 where it is no header that numpy knows, which whoever reads it will say."""
    try:
        with archive.open(part) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
    # RuntimeError: encrypted, a header nested too deep, or packed in a way that is not known here (NotImplementedError)
    except (ValueError, TypeError, SyntaxError, zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError):
        return 0
    return math.prod(shape) * dtype.itemsize if not dtype.hasobject else 0
