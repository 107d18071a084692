from __future__ import annotations

import pytest

from windtunnel.errors import DataError
from windtunnel.gpu_spec import find_gpu
from windtunnel.peak import Peak, gpu_peak


def _peak(**changes: float) -> Peak:
    figures = {"cores": 2.0, "bytes_per_s": 2e10, "dispatch_s": 1e-6, **changes}
    return Peak(
        "m", "cpu", figures["cores"], {"float32": 2e11, "int8": 8e11}, figures["bytes_per_s"], figures["dispatch_s"], None, "made up",
        cache_bytes=4_000_000, cache_bytes_per_s=1e11, fork_s=1e-5,
    )  # fmt: skip


def test_types() -> None:
    """A type without a figure of its own runs like float32."""
    assert [_peak().flops(dtype) for dtype in ("float32", "int8", "int64")] == [2e11, 8e11, 2e11]


def test_bandwidth() -> None:
    """A model that fits the caches streams from there; a larger one, or one of no size, from memory."""
    assert [_peak().bandwidth(size) for size in (4_000_000, 4_000_001, 0)] == [1e11, 2e10, 2e10]


def test_rescaled() -> None:
    """Twice the cores at half the clock: the same arithmetic, twice the memory bandwidth, fixed costs doubled."""
    other = _peak().rescaled("n", cores=4.0, clock=0.5, source="s", memory_bytes=7)

    assert (other.name, other.cores, other.source, other.memory_bytes) == ("n", 4.0, "s", 7)
    assert (dict(other.flops_per_s), other.bytes_per_s) == ({"float32": 2e11, "int8": 8e11}, 4e10)
    assert (other.cache_bytes, other.cache_bytes_per_s) == (8_000_000, 1e11)
    assert (other.dispatch_s, other.fork_s) == (2e-6, 2e-5)
    assert _peak().rescaled("n", cores=1.0, clock=1.0, source="s").fork_s == 0.0


def test_data_sheet() -> None:
    """A GPU's peaks are its data sheet's, dense; what no data sheet says is assumed and said."""
    peak = gpu_peak(find_gpu("T4"))

    assert peak.kind == "gpu"
    assert [peak.flops("float32"), peak.flops("int8"), peak.bytes_per_s] == pytest.approx([8.14e12, 130e12, 320e9])
    assert (peak.memory_bytes, peak.transfer_bytes_per_s, peak.dispatch_s) == (16_000_000_000, 12e9, 5e-6)
    assert "assumed: 5 µs a kernel, 12 GB/s between host and GPU" in peak.source


@pytest.mark.parametrize("field", ["cores", "bytes_per_s"])
def test_refuses_nothing_per_second(field: str) -> None:
    """A machine that does nothing in any time is refused by the figure's name."""
    with pytest.raises(DataError, match=rf"`{field}` .*must be above zero"):
        _peak(**{field: 0.0})
