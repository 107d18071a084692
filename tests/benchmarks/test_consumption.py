from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.benchmarks.benchmark import Benchmark, Extent, benchmark
from windtunnel.benchmarks.consumption import PIECES, Consumption, Meters, fill, measure_consumption
from windtunnel.benchmarks.disturbance import Disturbance
from windtunnel.benchmarks.measure import Effort
from windtunnel.benchmarks.section import draw
from windtunnel.benchmarks.task import Task, tasks
from windtunnel.digest import canonical_json
from windtunnel.energy import Energy
from windtunnel.errors import MissingError
from windtunnel.gpu import GpuMeter, lacks_gpu
from windtunnel.price import find_price
from windtunnel.timings import Timings
from windtunnel.variant import Origin, Signature, Variant
from windtunnel.verbs.cost import Wishes, _powers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from windtunnel.latency_profile import LatencyProfile

RANGE_UJ = 262_143_328_850
ROWS = {"x": np.ones((4, 4), np.float32)}


class _LostError(Exception):
    """What NVML raises when a device is lost."""


class _RefusedError(_LostError):
    """What NVML raises where a device does not tell something."""


class _Nvml:
    """Stands in for `pynvml` on a device that lives in a `_World`."""

    NVML_CLOCK_SM = 1
    NVMLError, NVMLError_NotSupported, NVMLError_NoPermission = _LostError, _RefusedError, _RefusedError

    def __init__(self, world: _World) -> None:
        self._world, self.open = world, 0

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own name
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802 - as above
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 - as above
        return index

    def __getattr__(self, name: str) -> Any:
        world = self._world
        answers = {
            "nvmlDeviceGetName": "NVIDIA Test",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=world.used_bytes),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=world.percent, memory=0),
            "nvmlDeviceGetPowerUsage": round(world.board_w * 1e3),
            "nvmlDeviceGetTotalEnergyConsumption": round(world.board_j * 1e3),
            "nvmlDeviceGetClockInfo": 1200,
            "nvmlDeviceGetMaxClockInfo": 1980,
            "nvmlDeviceGetCurrentClocksThrottleReasons": world.reasons,
        }

        def answer(*_: object) -> Any:
            if world.now_s >= world.fails_at_s:
                raise _LostError("GPU is lost")
            if name in world.silent:
                raise _RefusedError("Not Supported")
            return answers[name]

        return answer


class _World:
    """A machine whose clock goes on only while it is idle or busy: a package of 20 W, 50 W when busy, and a board of 60 W.

    The board draws 260 W when busy, and computes 100 rows a second, as the package does.
    """

    def __init__(self, root: Path, *, start_uj: int = 0, packages: bool = True) -> None:
        self.root, self.now_s, self._uj = root, 100.0, start_uj
        self.idle_w, self.busy_w, self.rate_per_s = 20.0, 50.0, 100.0
        self.board_w, self.board_j, self.used_bytes, self.percent, self.reasons = 60.0, 5000.0, 1000, 0, 0
        self.silent: set[str] = set()
        self.fails_at_s, self.loaded, self.packages = np.inf, 0, packages
        self.throttles, self.noise = 0, np.random.default_rng(0)
        self.spread = 0.0
        self.nvml = _Nvml(self)
        if packages:
            self._zone = root / "intel-rapl:0"
            self._zone.mkdir()
            (self._zone / "name").write_text("package-0\n")
            (self._zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
            self._pass(0.0, 0.0)

    @property
    def meters(self) -> Meters:
        return Meters(self.root, lambda: GpuMeter(nvml=self.nvml, clock=self.clock), self.clock, self._rest)

    def clock(self) -> float:
        return self.now_s

    def _pass(self, seconds: float, package_w: float) -> None:
        self.now_s += seconds
        self.board_j += seconds * self.board_w
        if self.packages:
            self._uj = (self._uj + round(seconds * package_w * 1e6)) % (RANGE_UJ + 1)
            (self._zone / "energy_uj").write_text(f"{self._uj}\n")
            if self.now_s >= self.fails_at_s:
                (self._zone / "energy_uj").unlink()

    def _rest(self, seconds: float) -> None:
        self.board_w, self.percent, self.reasons = 60.0, 0, 0
        self._pass(seconds, self.idle_w)

    @contextlib.contextmanager
    def load(self, _: Task, __: int, ___: int | None) -> Iterator[Callable[..., float]]:
        self.loaded += 1
        self.used_bytes = 5000
        yield self._work

    def _work(self, seconds: float, tick: Callable[[], None]) -> float:
        self.board_w, self.percent, self.reasons = 260.0, 80, self.throttles
        self._pass(seconds / 2.0, self.busy_w + self.spread * self.noise.normal())
        tick()
        self._pass(seconds / 2.0, self.busy_w)
        return self.rate_per_s


def _task(name: str = "m", runtime: str = "onnxruntime-cpu", **setting: Any) -> Task:
    variant = Variant(name, None, "0" * 64, "fp32", 9, Signature((), ()), Origin("file"))  # type: ignore[arg-type]  # never loaded
    return Task(variant, ROWS, runtime, "onnxruntime 1 CPUExecutionProvider", **setting)


def _measured(world: _World, *measured: Task, seconds: float = 10.0) -> Consumption:
    found = measure_consumption(
        measured or (_task(),), (1, 8), cores=2, seconds=seconds, meters=world.meters, load=world.load
    )
    return found[0]


CUDA = "onnxruntime-cuda"


def test_processor(tmp_path: Path) -> None:
    """50 W while busy and 20 W while idle, at 100 rows a second: 0.3 J a row, and the whole power kept beside it."""
    found = _measured(_World(tmp_path))

    assert (found.name, found.batch, found.instances, found.filled, found.reason) == ("m", 8, 2, True, "")
    assert found.rows == 1000
    assert found.busy_s == pytest.approx(10.0)
    assert found.energy is not None
    assert found.idle is not None
    assert [found.energy.joules, found.idle.joules] == pytest.approx([500.0, 200.0])
    assert found.joules_per_request is not None
    assert found.joules_per_request.value == pytest.approx(0.3)
    assert found.joules_per_request.samples == PIECES
    assert found.above is not None
    assert found.above.joules / found.rows == pytest.approx(found.joules_per_request.value)
    assert found.watts == pytest.approx(50.0)
    assert found.gpu is None


def test_interval_covers(tmp_path: Path) -> None:
    """Of 150 measurements whose power trembles, about 95% of the intervals hold the true joules a row."""
    world = _World(tmp_path)
    world.spread, covered = 10.0, 0
    for _ in range(150):
        joules = _measured(world).joules_per_request
        assert joules is not None
        covered += joules.low <= 0.3 <= joules.high

    # 142 are expected; fewer than 133 are seen by chance once in a thousand, as are all 150
    assert 133 <= covered < 150


def test_wrap_around(tmp_path: Path) -> None:
    """A counter that starts again at zero within the busy stretch loses no joule."""
    through = _measured(_World(tmp_path, start_uj=RANGE_UJ - 350_000_000))

    assert through.joules_per_request is not None
    assert through.joules_per_request.value == pytest.approx(0.3)


@pytest.mark.parametrize("fails_at_s", [104.0, 115.0], ids=["idle", "busy"])
def test_processor_meter_that_fails_in_the_middle(tmp_path: Path, fails_at_s: float) -> None:
    """A counter that can no longer be read leaves no figure, and the reason."""
    world = _World(tmp_path)
    world.fails_at_s = fails_at_s
    found = _measured(world)

    assert (found.energy, found.idle, found.joules_per_request, found.watts) == (None,) * 4
    assert "a meter failed while it was read" in found.reason


def test_counter_that_stands_still(tmp_path: Path) -> None:
    """A counter that never moves, as in some virtual machines, is no meter: nothing is called free."""
    world = _World(tmp_path)
    world.idle_w = world.busy_w = 0.0
    found = _measured(world)

    assert (found.energy, found.joules_per_request) == (None, None)
    assert "stood still" in found.reason


def test_device(tmp_path: Path) -> None:
    """Board and package are added up; memory counts from before loading; the device is let go."""
    world = _World(tmp_path)
    found = _measured(world, _task(runtime=CUDA))

    assert found.joules_per_request is not None
    assert found.joules_per_request.value == pytest.approx((260 - 60 + 50 - 20) / 100)
    assert found.watts == pytest.approx(310.0)
    assert found.energy is not None
    assert found.energy.what == "package-0 + NVIDIA Test (counter)"
    assert found.gpu is not None
    assert (found.gpu.memory_bytes, found.gpu.memory_before_bytes) == (4000, 1000)
    assert found.gpu.power_w == pytest.approx(260.0)
    assert found.gpu.utilisation == pytest.approx(0.8)
    assert (found.instances, found.slowed, world.nvml.open) == (1, (), 0)


def test_device_without_processor(tmp_path: Path) -> None:
    """Where only the board has a meter the figure says that the processor is not in it."""
    found = _measured(_World(tmp_path, packages=False), _task(runtime=CUDA))

    assert found.joules_per_request is not None
    assert found.joules_per_request.value == pytest.approx(2.0)
    assert found.energy is not None
    assert "without the processor" in found.energy.what


def test_device_without_an_energy_counter(tmp_path: Path) -> None:
    """Samples of power are added up instead, and the figure says so."""
    world = _World(tmp_path, packages=False)
    world.silent = {"nvmlDeviceGetTotalEnergyConsumption"}
    found = _measured(world, _task(runtime=CUDA))

    assert found.joules_per_request is not None
    assert found.joules_per_request.value == pytest.approx(2.0)
    assert found.energy is not None
    assert "(integrated)" in found.energy.what


def test_device_that_tells_no_power(tmp_path: Path) -> None:
    """Without energy there is still what the device held and how busy it was."""
    world = _World(tmp_path)
    world.silent = {"nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage"}
    found = _measured(world, _task(runtime=CUDA))

    assert (found.energy, found.joules_per_request) == (None, None)
    assert "tells neither its energy nor its power" in found.reason
    assert found.gpu is not None
    assert (found.gpu.memory_bytes, found.gpu.energy_j) == (4000, None)


@pytest.mark.parametrize("fails_at_s", [100.0, 104.0, 115.0], ids=["at once", "idle", "busy"])
def test_device_that_is_lost(tmp_path: Path, fails_at_s: float) -> None:
    """A device that no longer answers leaves no figure, and the reason."""
    world = _World(tmp_path, packages=False)
    world.fails_at_s = fails_at_s
    found = _measured(world, _task(runtime=CUDA))

    assert world.nvml.open == 0
    assert (found.energy, found.joules_per_request, found.gpu) == (None,) * 3
    assert "the GPU no longer answers (GPU is lost)" in found.reason


def test_device_held_back(tmp_path: Path) -> None:
    """A device that runs hot says for how much of the time it was held back."""
    world = _World(tmp_path)
    world.throttles = 0x40
    ((share, words),) = _measured(world, _task(runtime=CUDA)).slowed

    assert 0.8 < share <= 1.0
    assert words == "the GPU's time was under its hardware thermal slowdown"


def test_a_device_is_watched_for_longer(tmp_path: Path) -> None:
    """A board's power is a mean over as much as a second, so its pieces last one at least."""
    assert _measured(_World(tmp_path), seconds=1.0).busy_s == pytest.approx(1.0)
    (tmp_path / "board").mkdir()
    assert _measured(_World(tmp_path / "board"), _task(runtime=CUDA), seconds=1.0).busy_s == pytest.approx(5.0)


def test_without_meters(tmp_path: Path) -> None:
    """Where nothing tells the energy nothing is loaded and no time passes; the reason is told, and figures are null."""
    world = _World(tmp_path, packages=False)
    found = _measured(world)

    assert (world.loaded, world.now_s, found.energy) == (0, 100.0, None)
    assert "the kernel shows no RAPL" in found.reason
    document = json.loads(canonical_json(found.to_dict()))
    assert [document[key] for key in ("joules_per_request", "joules_per_request_low", "watts", "idle_watts")] == [
        None
    ] * 4


def test_without_driver(tmp_path: Path) -> None:
    """A task of a device whose meter cannot be opened is not measured by the processor's alone."""

    def refuse() -> GpuMeter:
        raise MissingError("no NVIDIA driver can be reached")

    world = _World(tmp_path)
    meters = replace(world.meters, open_gpu=refuse)
    (found,) = measure_consumption([_task(runtime=CUDA)], (8,), meters=meters, load=world.load)

    assert (world.loaded, found.energy, found.reason) == (0, None, "no NVIDIA driver can be reached")


def test_which_tasks(tmp_path: Path) -> None:
    """Every variant and runtime once, by its first task; one instance alone where no cores are to be filled."""
    world = _World(tmp_path)
    measured = [_task(), _task(threads=2), _task(runtime=CUDA), _task("other", size="n=8"), _task("other", size="n=64")]
    found = measure_consumption(measured, (1, 8), meters=world.meters, load=world.load)

    assert [each.name for each in found] == [measured[0].name, measured[2].name, "other, n=8"]
    assert [each.filled for each in found] == [False, True, False]
    assert [each.instances for each in found] == [1, 1, 1]


def test_a_real_model_fills_the_machine(tiny_model: Path) -> None:
    """Two processes of a real model are kept busy, and say how many rows they serve."""
    (task,) = tasks([Variant.from_file(tiny_model)], {"": ROWS})
    with fill(task, 4, 2) as busy:
        rate = busy(0.01, lambda: None)

    assert rate > 0.0


def test_in_a_benchmark(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark reads the meters once it has timed; without filling the machine it is one instance's consumption."""
    world = _World(tmp_path)
    with_meters = partial(measure_consumption, meters=world.meters, load=world.load)
    monkeypatch.setitem(benchmark.__globals__, "measure_consumption", with_meters)
    measured = tasks([Variant.from_file(tiny_model)], {"": ROWS})
    found = benchmark(measured, (1, 4), effort=Effort(0.5, 0.0), extent=Extent(footprint=False, scaling=False))
    (known,) = found.consumptions

    assert (known.name, known.batch, known.filled, world.loaded) == ("tiny", 4, False, 1)
    assert known.watts == pytest.approx(50.0)


def test_described(tmp_path: Path) -> None:
    """What is told is JSON as it stands, and says that idle power was subtracted."""
    document = json.loads(canonical_json(_measured(_World(tmp_path), _task(runtime=CUDA)).to_dict()))

    assert document["joules_per_request_low"] <= document["joules_per_request"] <= document["joules_per_request_high"]
    assert document["what"] == "package-0 + NVIDIA Test (counter), less 80 W when idle"
    assert (document["basis"], document["gpu"]["memory_bytes"]) == ("measured", 4000)


def test_in_the_report(tmp_path: Path, make_profile: Callable[..., LatencyProfile]) -> None:
    """A benchmark carries what is known into its document and a table; what nothing is known of has no row."""
    known = _measured(_World(tmp_path), _task(runtime=CUDA))
    result = Benchmark((make_profile(),), Timings({}, {}), 2e-6, Disturbance(0.0, 0.0))
    found = replace(result, consumptions=(known, Consumption("m", 8, reason="no meter")))
    captions = {table.caption.split(" (")[0]: table for table in draw(found).tables}
    (row,) = captions["Energy beyond idling, and the GPU, at full load"].rows

    assert row[3].startswith("2.3 (")
    assert row[4:6] == ("310 W", "80 W")
    assert len(row) == len(captions["Energy beyond idling, and the GPU, at full load"].columns)
    assert [each["name"] for each in found.to_dict()["consumptions"]] == [known.name, "m"]
    bare = draw(replace(result, consumptions=(Consumption("m", 8, reason="no meter"),)))
    assert not any("Energy" in table.caption for table in bare.tables)


def _drew(name: str, watts: float, what: str = "package-0", *, filled: bool = True) -> Consumption:
    return Consumption(name, 8, 2, filled, energy=Energy(watts, 1.0, "measured", what))


def test_power_of_this_machine() -> None:
    """Power measured here stands before stated and rated power, for this machine alone; the variant that draws most counts."""
    here, there = find_price("azure:D2s_v5"), find_price("aws:g5.xlarge")
    drew = (_drew("fp32", 45.0), _drew("int8", 50.0))
    stated = _powers((here, there), Wishes("p99<=50ms", (), power_w=30.0), here.name, drew)

    assert (stated[here.name].watts, stated[here.name].basis) == (50.0, "measured")
    assert stated[here.name].what == "package-0, filled with int8"
    assert (stated[there.name].watts, stated[there.name].basis) == (30.0, "specified")
    rated = _powers((here, there), Wishes("p99<=50ms", ()), here.name, drew)
    assert [rated[name].basis for name in (here.name, there.name)] == ["measured", "rated"]


@pytest.mark.parametrize(
    "drew",
    [(), (_drew("m", 50.0, filled=False),), (_drew("m", 0.0),), (_drew("m", 50.0), _drew("n", 60.0, "NVIDIA Test"))],
    ids=["none", "one instance alone", "no power", "different meters"],
)
def test_power_that_is_not_the_machines(drew: tuple[Consumption, ...]) -> None:
    """What was not measured of a full machine, or of different parts of it, is not called its power."""
    here = find_price("azure:D2s_v5")

    assert _powers((here,), Wishes("p99<=50ms", ()), here.name, drew) == {}


@pytest.mark.gpu
def test_real_device() -> None:
    """A real board draws more when it copies than when it idles."""
    if reason := lacks_gpu():
        pytest.skip(reason)
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")

    @contextlib.contextmanager
    def load(*_: object) -> Iterator[Callable[..., float]]:
        from windtunnel.benchmarks.consumption import _loop

        square = torch.rand(4096, 4096, device="cuda")

        def call() -> None:
            square @ square
            torch.cuda.synchronize()

        yield lambda seconds, tick: _loop(call, 1, seconds, tick)

    (found,) = measure_consumption([_task(runtime=CUDA)], (1,), load=load)

    assert found.reason == ""
    assert found.joules_per_request is not None
    assert found.joules_per_request.low > 0.0
    assert found.gpu is not None
    assert found.gpu.memory_bytes >= 4 * 4096**2
