from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.errors import DataError
from windtunnel.npz_header import check_npz
from windtunnel.table import read_arrays

if TYPE_CHECKING:
    from pathlib import Path


def test_a_bomb(tmp_path: Path) -> None:
    """A small file that unpacks to more than may be held is refused before it is unpacked."""
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(10_000_000, np.uint8))

    assert (tmp_path / "bomb.npz").stat().st_size < 20_000
    with pytest.raises(DataError, match=r"bomb\.npz: unpacks to 9\.54 MiB where 1 MiB may be held; give fewer rows"):
        check_npz(tmp_path / "bomb.npz", limit_bytes=2**20)


def test_a_header_that_boasts(tmp_path: Path) -> None:
    """A header that promises terabytes over a few bytes is refused by the name of its array."""
    part = io.BytesIO()
    np.lib.format.write_array_header_1_0(part, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("x.npy", part.getvalue() + b"12345678")

    with pytest.raises(DataError, match=r"m\.npz: `x` promises 8 TiB and holds 136 B"):
        check_npz(tmp_path / "m.npz")


def test_a_bomb_by_another_name(tmp_path: Path) -> None:
    """A member that is no array is refused, as whoever reads the file would unpack it whole."""
    np.savez_compressed(tmp_path / "m.npz", x=np.zeros(3))
    with zipfile.ZipFile(tmp_path / "m.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes", bytes(10_000_000))

    with pytest.raises(DataError, match=r"m\.npz: `notes` is no array; write it with numpy\.savez, of arrays only"):
        check_npz(tmp_path / "m.npz", limit_bytes=2**20)


@pytest.mark.parametrize(("place", "value"), [(6, 1), (8, 99)], ids=["encrypted", "packed in an unknown way"])
def test_members_that_cannot_be_read(tmp_path: Path, place: int, value: int) -> None:
    """A member that no reader opens is left to whoever reads it, and he says so."""
    np.savez(tmp_path / "m.npz", x=np.zeros(3))
    data = bytearray((tmp_path / "m.npz").read_bytes())
    data[place] = data[data.index(b"PK\x01\x02") + place + 2] = value
    (tmp_path / "m.npz").write_bytes(data)
    check_npz(tmp_path / "m.npz")

    with pytest.raises(DataError, match=r"m\.npz: cannot be read"):
        read_arrays(tmp_path / "m.npz")


def test_a_damaged_stream(tmp_path: Path) -> None:
    """Bytes that do not unpack are left to whoever reads them."""
    np.savez_compressed(tmp_path / "m.npz", x=np.zeros(3))
    data = bytearray((tmp_path / "m.npz").read_bytes())
    start = 30 + int.from_bytes(data[26:28], "little") + int.from_bytes(data[28:30], "little")
    data[start] = 0xFF
    (tmp_path / "m.npz").write_bytes(data)

    check_npz(tmp_path / "m.npz")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 torn"])
def test_no_archive(content: bytes, tmp_path: Path) -> None:
    """What is no archive is left to whoever reads it, and says so better."""
    (tmp_path / "m.npz").write_bytes(content)

    check_npz(tmp_path / "m.npz")


def test_honest(tmp_path: Path) -> None:
    """An ordinary file passes."""
    np.savez_compressed(tmp_path / "m.npz", x=np.zeros((3, 4), np.float32), name=np.array(["a", "b", "c"]))

    check_npz(tmp_path / "m.npz")
