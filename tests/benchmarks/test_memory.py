from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.benchmarks.memory import available_bytes, refuse_beyond_memory
from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

MIB = 2**20


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"meminfo": "MemTotal: 9000 kB\nMemAvailable:    2048 kB\n"}, 2 * MIB),
        ({"memory.max": f"{8 * MIB}\n", "memory.current": f"{5 * MIB}\n"}, 3 * MIB),
        (
            {
                "memory.max": f"{8 * MIB}",
                "memory.current": f"{5 * MIB}",
                "memory.stat": f"anon 7\ninactive_file {MIB}\n",
            },
            4 * MIB,
        ),
        ({"memory.max": f"{8 * MIB}", "memory.current": f"{5 * MIB}", "meminfo": "MemAvailable: 1024 kB\n"}, MIB),
        ({"memory.max": "max\n", "memory.current": "7", "meminfo": "MemAvailable: 1024 kB\n"}, MIB),
        ({"memory.max": f"{MIB}", "memory.current": f"{2 * MIB}"}, 0),
        (
            {
                "memory/memory.limit_in_bytes": f"{8 * MIB}",
                "memory/memory.usage_in_bytes": f"{6 * MIB}",
                "memory/memory.stat": f"inactive_file 5\ntotal_inactive_file {MIB}\n",
            },
            3 * MIB,
        ),
    ],
)
def test_available(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    """The limit less what is used and not given back, or what the machine has, whichever is less; None where unknown."""
    _write(tmp_path, files)

    assert available_bytes(tmp_path, tmp_path) == expected


def test_available_here() -> None:
    """On a machine that shows it there is some memory left."""
    found = available_bytes()

    assert found is None or found > 0


def test_what_fits_is_let_through() -> None:
    """Nothing is refused that fits to the byte, or where it is not known what there is."""
    refuse_beyond_memory("m", (1, 8), lambda batch: 100 * batch, 800)
    refuse_beyond_memory("m", (1, 8), lambda batch: 100 * batch, 1600, instances=2)
    refuse_beyond_memory("m", (1, 8), lambda batch: 100 * batch, None)


def test_refusal() -> None:
    """The refusal names the smallest batch that does not fit, the prediction, what there is, and what would fit."""
    words = r"`batch` \(=64\) needs at least 66 MiB for m, and 40 MiB are free; the largest batch that fits is 38$"
    with pytest.raises(ConfigError, match=words):
        refuse_beyond_memory("m", (256, 1, 64), lambda batch: (2 + batch) * MIB, 40 * MIB)


def test_nothing_fits() -> None:
    """Where the weights alone are too large no batch is offered."""
    with pytest.raises(ConfigError, match="no batch fits: free memory, or measure on a larger machine"):
        refuse_beyond_memory("m", (1,), lambda _: 2 * MIB, MIB)


@given(st.integers(0, 1000), st.integers(1, 50), st.integers(1, 4000), st.integers(1, 8), st.integers(0, 10**6))
def test_the_largest_batch_fits(weights: int, row: int, batch: int, instances: int, available: int) -> None:
    """What is offered fits, and one row more does not."""

    def peak(rows: int) -> int:
        return weights + row * rows

    try:
        refuse_beyond_memory("m", (batch,), peak, available, instances=instances)
    except ConfigError as error:
        largest = int(error.fix.rpartition(" ")[2]) if error.fix.startswith("the largest") else 0
        assert instances * peak(batch) > available
        assert largest < batch
        assert largest == 0 or instances * peak(largest) <= available
        assert instances * peak(largest + 1) > available
    else:
        assert instances * peak(batch) <= available
