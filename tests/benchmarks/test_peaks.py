from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.benchmarks.peaks import cache_bytes, measure_peak, stream_sizes

if TYPE_CHECKING:
    from pathlib import Path


def test_measured() -> None:
    """This machine has peaks, all above zero, and says where they come from."""
    peak = measure_peak(1, seconds=0.01, stream_bytes=2**22)

    assert (peak.kind, peak.cores, peak.fork_s, peak.transfer_bytes_per_s) == ("cpu", 1, 0.0, None)
    assert min(peak.flops("float32"), peak.flops("int8"), peak.bytes_per_s, peak.cache_bytes_per_s) > 0.0
    assert peak.source == "measured here through the runtime with 1 thread"


def test_two_threads() -> None:
    """Two threads must be woken, which costs something or nothing, never less."""
    peak = measure_peak(2, seconds=0.01, stream_bytes=2**22)

    assert peak.cores == 2
    assert peak.fork_s >= 0.0


def test_caches(tmp_path: Path) -> None:
    """Caches are read as the kernel shows them; where it shows none 1 MiB is taken."""
    for index, (level, size) in enumerate((("1", "48K"), ("2", "2048K"), ("3", "1G"))):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "level").write_text(level + "\n")
        (tmp_path / f"index{index}" / "size").write_text(size + "\n")

    assert [cache_bytes(level, tmp_path) for level in (1, 2, 3, 4)] == [48 * 1024, 2**21, 2**30, 2**20]


def test_streams() -> None:
    """The far stream does not fit what is near, and is no larger than 256 MiB; two near ones fit half of the near caches."""
    far, near = stream_sizes(1)

    assert 2**26 <= far <= 2**28
    assert near < far
