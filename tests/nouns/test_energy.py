from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.energy import Energy, EnergyMeter, co2_g
from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

RANGE_UJ = 262_143_328_850


def _zone(root: Path, folder: str, name: str, uj: int) -> None:
    place = root / folder
    place.mkdir(exist_ok=True)
    (place / "name").write_text(f"{name}\n")
    (place / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    (place / "energy_uj").write_text(f"{uj}\n")


def _machine(root: Path, package_uj: int, memory_uj: int = 0) -> Path:
    """Two cores of a server, as Linux shows them: zones that overlap and zones that do not."""
    _zone(root, "intel-rapl:0", "package-0", package_uj)
    _zone(root, "intel-rapl:0:0", "core", package_uj // 2)
    _zone(root, "intel-rapl:0:1", "dram", memory_uj)
    _zone(root, "intel-rapl:1", "psys", 3 * package_uj)
    return root


class _Clock:
    """Tells the time that it is told."""

    now_s = 5.0

    def __call__(self) -> float:
        return self.now_s


class _Gpu:
    """Stands in for a `GpuMeter`."""

    def __init__(self, joules: float | None) -> None:
        self.energy_j, self.energy_basis, self.name = joules, "counter" if joules is not None else "", "NVIDIA Test"

    def begin(self) -> None:
        """Nothing to forget."""

    def sample(self) -> None:
        """Nothing to ask."""

    def read(self) -> Any:
        return self


def test_rapl(tmp_path: Path) -> None:
    """Packages and their memory are added up; cores, which a package holds, and `psys`, which holds it, are not."""
    clock = _Clock()
    meter = EnergyMeter(root=_machine(tmp_path, 1_000_000, 500_000), clock=clock)
    _machine(tmp_path, 61_000_000, 10_500_000)
    clock.now_s += 2.0

    assert meter.read() == Energy(70.0, 2.0, "measured", "package-0 + memory of package 0 + without any GPU")


@given(steps=st.lists(st.integers(0, RANGE_UJ), max_size=20), start=st.integers(0, RANGE_UJ))
def test_wrap_around(tmp_path_factory: pytest.TempPathFactory, steps: list[int], start: int) -> None:
    """However often the counter starts again at zero, no joule is lost, if it is read in between."""
    root, clock, counter = tmp_path_factory.mktemp("powercap"), _Clock(), start
    _zone(root, "intel-rapl:0", "package-0", counter)
    meter = EnergyMeter(root=root, clock=clock)
    for step in steps:
        counter = (counter + step) % (RANGE_UJ + 1)
        _zone(root, "intel-rapl:0", "package-0", counter)
        clock.now_s += 100.0
        meter.sample()
    energy = meter.read()

    assert energy is not None
    assert energy.joules == pytest.approx(sum(steps) * 1e-6, abs=1e-3)


def test_left_alone_for_too_long(tmp_path: Path) -> None:
    """A counter that may have passed its range unseen gives no figure, and the reason."""
    clock = _Clock()
    meter = EnergyMeter(root=_machine(tmp_path, 0), clock=clock)
    clock.now_s += 300.0

    assert meter.read() is None
    assert "package-0 was not read for so long" in meter.reason


def test_stated(tmp_path: Path) -> None:
    """Without a counter a stated power is used, and never called measured; with a counter the counter is."""
    clock = _Clock()
    meter = EnergyMeter(watts=15.0, root=tmp_path, clock=clock)
    clock.now_s += 4.0
    energy = meter.read()

    assert energy == Energy(60.0, 4.0, "specified", "15 W, as stated")
    counted = EnergyMeter(watts=15.0, root=_machine(tmp_path, 0), clock=clock).read()
    assert counted is not None
    assert counted.basis == "measured"


def test_nothing_tells(tmp_path: Path) -> None:
    """Where nothing tells the energy there is none, and the reason names the way out."""
    meter = EnergyMeter(root=tmp_path)

    assert meter.read() is None
    assert "shows no RAPL" in meter.reason
    assert "state the power" in meter.reason


def test_gpu(tmp_path: Path) -> None:
    """A GPU's energy is added to the processor's; what is not covered is said; a silent GPU leaves no sum."""
    clock = _Clock()
    alone = EnergyMeter(gpu=_Gpu(40.0), root=tmp_path, clock=clock)  # type: ignore[arg-type]  # a stand-in
    assert alone.read() == Energy(40.0, 0.0, "measured", "NVIDIA Test (counter) + without the processor")
    both = EnergyMeter(gpu=_Gpu(40.0), root=_machine(tmp_path, 0), clock=clock)  # type: ignore[arg-type]  # a stand-in
    _machine(tmp_path, 2_000_000)
    assert both.read() == Energy(42.0, 0.0, "measured", "package-0 + memory of package 0 + NVIDIA Test (counter)")
    silent = EnergyMeter(gpu=_Gpu(None), root=tmp_path, clock=clock)  # type: ignore[arg-type]  # a stand-in
    assert silent.read() is None
    assert "neither its energy nor its power" in silent.reason


def test_root_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters that only root may read are refused with that reason, not taken for zero."""
    _machine(tmp_path, 0)
    read_text = type(tmp_path).read_text

    def refuse(path: Path, *arguments: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(path)
        return read_text(path, *arguments)

    monkeypatch.setattr(type(tmp_path), "read_text", refuse)
    meter = EnergyMeter(root=tmp_path)

    assert meter.read() is None
    assert "root only" in meter.reason


def test_above_idle() -> None:
    """Idle power is subtracted for as long as the work took, never below zero, and only from what covers the same."""
    idle = Energy(100.0, 10.0, "measured", "package-0")

    assert Energy(90.0, 2.0, "measured", "package-0").above(idle).joules == 70.0
    assert Energy(10.0, 2.0, "measured", "package-0").above(idle).joules == 0.0
    with pytest.raises(ConfigError, match="covers something else"):
        Energy(10.0, 2.0, "measured", "package-0 + NVIDIA Test (counter)").above(idle)


@pytest.mark.parametrize("watts", [0.0, -1.0, float("nan"), float("inf")])
def test_no_power(watts: float) -> None:
    """A stated power that is none is refused."""
    with pytest.raises(ConfigError, match="is no power"):
        EnergyMeter(watts=watts)


def test_co2() -> None:
    """A kilowatt-hour emits what the grid's intensity says; a negative intensity is refused."""
    assert co2_g(1.8e6, 380.0) == 190.0
    assert co2_g(5.0, 0.0) == 0.0
    with pytest.raises(ConfigError, match="is no grid intensity"):
        co2_g(1.0, -1.0)
