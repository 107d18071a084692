from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from windtunnel.benchmarks import disturbance as module
from windtunnel.benchmarks.disturbance import Disturbance, DisturbanceMeter

if TYPE_CHECKING:
    from pathlib import Path


class _Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    own = _Clock()
    monkeypatch.setattr(module, "time", own)
    return own


def _write(folder: Path, throttled_us: int, ticks: tuple[int, ...]) -> None:
    (folder / "cpu.stat").write_text(f"usage_usec 987\nnr_throttled 3\nthrottled_usec {throttled_us}\n")
    (folder / "stat").write_text(f"cpu  {' '.join(map(str, ticks))}\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n")


def test_shares_since_the_start(tmp_path: Path, clock: _Clock) -> None:
    """What was throttled is a share of the wall time, what was stolen of the processors' time; guests are counted once."""
    _write(tmp_path, 1_000_000, (100, 0, 100, 800, 0, 0, 0, 50, 7, 7))
    meter = DisturbanceMeter(tmp_path, tmp_path)
    clock.now_s += 10.0
    _write(tmp_path, 3_000_000, (400, 0, 200, 1300, 0, 0, 0, 150, 900, 900))

    found = meter.read()
    assert (found.throttled, found.stolen) == pytest.approx((0.2, 100 / 1000))


def test_nothing_happened(tmp_path: Path, clock: _Clock) -> None:
    """Counters that stand still, or that were read at once, are no disturbance."""
    _write(tmp_path, 5, (1, 1, 1, 1, 1, 1, 1, 1))

    assert DisturbanceMeter(tmp_path, tmp_path).read() == Disturbance(0.0, 0.0)
    assert clock.now_s == 100.0


def test_counters_that_are_not_there(tmp_path: Path) -> None:
    """Where the kernel keeps no such counters, or throttles nobody, nothing is claimed."""
    assert DisturbanceMeter(tmp_path, tmp_path).read() == Disturbance(0.0, 0.0)

    (tmp_path / "cpu.stat").write_text("usage_usec 987\n")
    assert DisturbanceMeter(tmp_path, tmp_path).read().throttled == 0.0
