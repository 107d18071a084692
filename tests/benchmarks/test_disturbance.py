from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from windtunnel.benchmarks import disturbance as module
from windtunnel.benchmarks.disturbance import SPINS, Disturbance, DisturbanceMeter, time_spin_s

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


@pytest.mark.parametrize("name", ["cpu.pressure", "pressure/cpu"])
def test_waiting_for_a_processor(tmp_path: Path, clock: _Clock, name: str) -> None:
    """The share of the wall time in which some task waited is read from the cgroup's account, or else the machine's."""
    pressure = tmp_path / name
    pressure.parent.mkdir(exist_ok=True)
    pressure.write_text("some avg10=1.00 avg60=2.00 avg300=3.00 total=1000000\nfull avg10=0.00 total=9\n")
    meter = DisturbanceMeter(tmp_path, tmp_path)
    clock.now_s += 10.0
    pressure.write_text("some avg10=1.00 avg60=2.00 avg300=3.00 total=2500000\nfull avg10=0.00 total=9\n")

    assert meter.read().waiting == pytest.approx(0.15)


def test_the_cgroups_own_waiting_comes_first(tmp_path: Path, clock: _Clock) -> None:
    """Where the cgroup keeps count, what others on the machine wait for is not ours."""
    (tmp_path / "pressure").mkdir()
    for path in (tmp_path / "cpu.pressure", tmp_path / "pressure" / "cpu"):
        path.write_text("some avg10=0 total=0\n")
    meter = DisturbanceMeter(tmp_path, tmp_path)
    clock.now_s += 10.0
    (tmp_path / "pressure" / "cpu").write_text("some avg10=0 total=9000000\n")

    assert meter.read().waiting == 0.0


def test_pressure_that_may_not_be_read(tmp_path: Path, clock: _Clock) -> None:
    """A kernel that has the file and refuses to read it (here a folder stands for it) is passed over."""
    (tmp_path / "cpu.pressure").mkdir()

    assert DisturbanceMeter(tmp_path, tmp_path).read().waiting == 0.0
    assert clock.now_s == 100.0


def test_throttled_in_the_older_cgroup(tmp_path: Path, clock: _Clock) -> None:
    """The first version of cgroups keeps the same account in nanoseconds, in a folder of its own."""
    stat = tmp_path / "cpu" / "cpu.stat"
    stat.parent.mkdir()
    stat.write_text("nr_periods 5\nnr_throttled 3\nthrottled_time 1000000000\n")
    meter = DisturbanceMeter(tmp_path, tmp_path)
    clock.now_s += 10.0
    stat.write_text("nr_periods 9\nnr_throttled 4\nthrottled_time 3000000000\n")

    assert meter.read().throttled == pytest.approx(0.2)


@pytest.mark.usefixtures("clock")
def test_a_slower_processor(tmp_path: Path) -> None:
    """A loop that usually takes 1.25 ms and 1 ms at its best shows that a fifth of the speed was missing."""
    spins = iter([1.25e-3, 1e-3, 1.25e-3])
    meter = DisturbanceMeter(tmp_path, tmp_path, clocks_mhz=lambda: None, spin_s=lambda: next(spins))
    for _ in range(3):
        meter.sample()

    assert meter.read().slowed == pytest.approx(0.2)
    assert meter.read().clock_fell == 0.0


@pytest.mark.usefixtures("clock")
def test_a_clock_that_falls(tmp_path: Path) -> None:
    """The clock of the fastest processor is looked at, idle ones are not; a usual 3 GHz under 4 GHz misses a quarter."""
    clocks = iter([(4000.0, 800.0), (800.0, 3000.0), (3000.0, 900.0)])
    meter = DisturbanceMeter(tmp_path, tmp_path, clocks_mhz=lambda: next(clocks), spin_s=lambda: 1e-3)
    for _ in range(3):
        meter.sample()

    assert meter.read().clock_fell == pytest.approx(0.25)
    assert meter.read().slowed == 0.0


def test_the_best_of_some_spins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spin that was interrupted is not the one that counts."""
    stamps = iter([0.0, 9.0, 10.0, 11.0, *(20.0, 25.0) * (SPINS - 2)])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(stamps)))

    assert time_spin_s() == 1.0


def test_every_share_is_told() -> None:
    """Each share has its words, in the order of the fields."""
    told = Disturbance(0.1, 0.2, 0.3, 0.4, 0.5).told

    assert [share for share, _ in told] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert len({words for _, words in told}) == 5
