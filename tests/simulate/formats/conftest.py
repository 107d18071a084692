"""Files of recorded traffic, written by the tests that read them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Protocol

import pytest

SHARED = Path(__file__).parents[4] / "shared" / "data"


class Write(Protocol):
    """Writes a file and gives its path."""

    def __call__(self, text: str | bytes, name: str = "recorded") -> Path:
        """Write it."""
        ...


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file; one whose name ends in .gz, in any case, is packed."""

    def _write(text: str | bytes, name: str = "recorded") -> Path:
        path = tmp_path / name
        data = text.encode() if isinstance(text, str) else text
        path.write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
        return path

    return _write


@pytest.fixture
def shared() -> Path:
    """The folder of real traces beside this checkout; skips where there is none."""
    if not SHARED.is_dir():
        pytest.skip("the gathered traces are not beside this checkout")
    return SHARED
