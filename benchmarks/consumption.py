"""What serving draws, in joules, and what it holds of a GPU, while a machine is kept busy; where a meter exists."""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from windtunnel.energy import POWERCAP, Energy, EnergyMeter
from windtunnel.errors import ConfigError, MeasurementError, MissingError
from windtunnel.gpu import GpuMeter
from windtunnel.session import cut
from windtunnel.stats import mean_interval

from .instances import Instances, Processes
from .measure import MIN_CALLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from windtunnel.gpu import GpuUse
    from windtunnel.stats import Interval

    from .task import Task

T = TypeVar("T")

PIECES = 5
"""Into how many pieces a stretch is cut, so that its figures have intervals."""

DEVICE_PIECE_S = 1.0
"""A piece lasts so long at least on a GPU, whose power is a mean over as much as a second."""

TICK_S = 0.05
"""How often a GPU is asked, between calls."""


class Load(Protocol):
    """Keeps a machine busy with batches of one model, each asked for when the one before it is done."""

    def __call__(self, seconds: float, tick: Callable[[], None], /) -> float:
        """Be busy for about so many seconds, calling `tick` now and then; the rows that were served a second."""
        ...


class Fill(Protocol):
    """Loads a task's model so often that it fills some cores, for as long as a block lasts."""

    def __call__(self, task: Task, batch: int, cores: int | None, /) -> contextlib.AbstractContextManager[Load]:
        """What keeps the machine busy with it."""
        ...


@dataclass(frozen=True)
class Meters:
    """The meters of a machine.

    Args:
        root: where the kernel shows RAPL.
        open_gpu: opens the device that is computed on.
        clock: tells seconds.
        wait: lets some pass, idle.
    """

    root: Path = POWERCAP
    open_gpu: Callable[[], GpuMeter] = GpuMeter
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep

    def energy(self, gpu: GpuMeter | None) -> EnergyMeter:
        """What adds up from now on: the processor's counters where there are any, and the device's."""
        return EnergyMeter(root=self.root, gpu=gpu, clock=self.clock)


HERE = Meters()


@dataclass(frozen=True)
class Consumption:
    """What one task drew and held while the machine was busy with it.

    Counters cover a package or a board, whoever keeps it busy: what else runs there is in the energy, and where it runs
    all the time it is in the idle power too, and so subtracted from `joules_per_request`.

    Args:
        name: of the task.
        batch: rows a call.
        instances: how many were busy at once.
        filled: whether they kept the whole machine busy, so that `energy` is that of a machine at work.
        rows: how many were served, about.
        busy_s: in how long.
        energy: of the busy stretch, what is drawn when idle included; None where nothing tells it.
        idle: of a stretch as long in which the model was loaded and nobody called it.
        joules_per_request: what a row took beyond what is drawn when idle, with Student's interval over the pieces.
        gpu: what the device did while busy, its memory above that before loading; None on a processor.
        reason: why something is not told; empty where all is.
    """

    name: str
    batch: int
    instances: int = 0
    filled: bool = False
    rows: int = 0
    busy_s: float = 0.0
    energy: Energy | None = None
    idle: Energy | None = None
    joules_per_request: Interval | None = None
    gpu: GpuUse | None = None
    reason: str = ""

    @property
    def watts(self) -> float | None:
        """Mean power while busy, what is drawn when idle included."""
        return self.energy.watts if self.energy is not None else None

    @property
    def above(self) -> Energy | None:
        """The energy of the busy stretch beyond what is drawn when idle."""
        return self.energy.above(self.idle) if self.energy is not None and self.idle is not None else None

    @property
    def slowed(self) -> tuple[tuple[float, str], ...]:
        """The shares in which the device was held back, with words as in `Disturbance.told`.

        Example:
            >>> Consumption("m", 8).slowed
            ()
        """
        if self.gpu is None:
            return ()
        return tuple((share, f"the GPU's time was under its {what}") for what, share in self.gpu.slowed.items())

    def to_dict(self) -> dict[str, Any]:
        """The consumption as JSON values; null where nothing tells it, and `reason` says why."""
        joules, above = self.joules_per_request, self.above
        known = {f"joules_per_request{end}": None for end in ("", "_low", "_high")}
        return {
            "name": self.name, "batch": self.batch, "instances": self.instances, "rows": self.rows, "busy_s": self.busy_s,
            **(joules.to_dict("joules_per_request") if joules is not None else known),
            "watts": self.watts, "idle_watts": self.idle.watts if self.idle is not None else None,
            "basis": above.basis if above is not None else None, "what": above.what if above is not None else None,
            "gpu": _gpu_to_dict(self.gpu) if self.gpu is not None else None, "reason": self.reason,
        }  # fmt: skip


def _gpu_to_dict(use: GpuUse) -> dict[str, Any]:
    return {
        "name": use.name, "memory_bytes": use.memory_bytes, "memory_before_bytes": use.memory_before_bytes,
        "utilisation": use.utilisation, "power_w": use.power_w, "energy_basis": use.energy_basis, "samples": use.samples,
        "clock_hz": use.clock_hz, "clock_max_hz": use.clock_max_hz, "slowed": dict(use.slowed),
    }  # fmt: skip


@contextlib.contextmanager
def fill(task: Task, batch: int, cores: int | None) -> Iterator[Load]:
    """Load a model as it would be served: on a device once, else in as many processes as fit on the cores.

    Args:
        task: the model in its setting.
        batch: rows a call.
        cores: how many there are to fill; None for one instance alone.

    Raises:
        ModelError: the runtime cannot load or run it.
        MeasurementError: a process died or fell silent.
    """
    if task.device != "cpu":
        call = task.opener().ready(cut(task.feeds, batch))
        call()  # what is allocated on the first call is not part of serving
        yield partial(_loop, call, batch)
        return
    count = instances_of(task, cores)
    with Processes(count) as processes:
        instances = Instances(
            processes, task.loaded, task.feeds, (batch,), count=count, threads=task.threads, runtime=task.runtime,
            home=task.home,
        )  # fmt: skip
        instances.open()
        yield _Together(instances, batch, count)


class _Together:
    """Instances in processes of their own; how many calls fill the time is known from the block before."""

    def __init__(self, instances: Instances, batch: int, count: int) -> None:
        self._instances, self._batch, self._rows = instances, batch, batch * count
        instances.block(batch, MIN_CALLS)  # what is allocated on the first calls is not part of serving
        self._rate_per_s = instances.block(batch, MIN_CALLS).rows_per_s

    def __call__(self, seconds: float, _: Callable[[], None], /) -> float:
        calls = max(1, round(seconds * self._rate_per_s / self._rows))
        self._rate_per_s = self._instances.block(self._batch, calls).rows_per_s
        return self._rate_per_s


def instances_of(task: Task, cores: int | None) -> int:
    """How many instances fill some cores; a device is kept busy by one."""
    return max(1, cores // task.threads) if cores is not None and task.device == "cpu" else 1


def _loop(call: Callable[[], object], batch: int, seconds: float, tick: Callable[[], None]) -> float:
    """Call again and again, in this thread: some runtimes keep what they recorded for one thread alone."""
    started = now = ticked = time.monotonic()
    calls = 0
    while now - started < seconds:
        call()
        calls, now = calls + 1, time.monotonic()
        if now - ticked >= TICK_S:
            tick()
            ticked = now
    return calls * batch / (now - started)


def measure_consumption(
    tasks: Sequence[Task],
    batch_sizes: Sequence[int],
    *,
    cores: int | None = None,
    seconds: float = 1.0,
    meters: Meters = HERE,
    load: Fill = fill,
) -> tuple[Consumption, ...]:
    """Keep the machine busy with each model, and read what meters there are; without any, nothing is run.

    Of every variant and runtime the first task is taken, at the largest batch: first loaded and idle, then busy.

    Args:
        tasks: what is measured.
        batch_sizes: rows a call.
        cores: how many to fill; None for one instance alone.
        seconds: how long the machine is idle, and how long it is busy; on a GPU five seconds at least.
        meters: of this machine.
        load: what keeps it busy.

    Raises:
        ModelError: a runtime cannot load or run a variant.
        MeasurementError: a process of an instance died or fell silent.
    """
    firsts: dict[tuple[str, str], Task] = {}
    for task in tasks:
        firsts.setdefault((task.variant.name, task.runtime), task)
    batch = max(batch_sizes)
    return tuple(_measure(task, batch, cores, seconds / PIECES, meters, load) for task in firsts.values())


def _measure(task: Task, batch: int, cores: int | None, piece_s: float, meters: Meters, load: Fill) -> Consumption:
    filled = task.device != "cpu" or cores is not None
    known = Consumption(task.name, batch, instances_of(task, cores), filled)
    if task.device == "cpu":
        return _of_processor(known, partial(load, task, batch, cores), piece_s, meters)
    try:
        gpu = meters.open_gpu()
    except (MissingError, ConfigError, MeasurementError) as error:
        return _untold(known, str(error))
    try:
        return _of_device(known, partial(load, task, batch, cores), max(piece_s, DEVICE_PIECE_S), meters, gpu)
    finally:
        gpu.close()


def _untold(known: Consumption, reason: str) -> Consumption:
    """Nothing was run."""
    return Consumption(known.name, known.batch, reason=reason)


Loading = partial[contextlib.AbstractContextManager[Load]]


def _of_processor(known: Consumption, loading: Loading, piece_s: float, meters: Meters) -> Consumption:
    probe = meters.energy(None)
    if probe.read() is None:
        return _untold(known, probe.reason)
    with loading() as busy:
        return _watch(known, busy, piece_s, meters, None)


def _of_device(known: Consumption, loading: Loading, piece_s: float, meters: Meters, gpu: GpuMeter) -> Consumption:
    """Its memory is counted from before the model was loaded."""
    try:
        before_bytes = gpu.read().memory_before_bytes
    except MeasurementError as error:
        return _untold(known, str(error))
    with loading() as busy:
        found = _watch(known, busy, piece_s, meters, gpu)
    if found.gpu is None:
        return found
    most_bytes = found.gpu.memory_before_bytes + found.gpu.memory_bytes
    use = replace(found.gpu, memory_bytes=max(0, most_bytes - before_bytes), memory_before_bytes=before_bytes)
    return replace(found, gpu=use)


def _watch(known: Consumption, busy: Load, piece_s: float, meters: Meters, gpu: GpuMeter | None) -> Consumption:
    """Idle first, loaded; then busy, once it has been so for a piece that is not counted."""

    def rest(seconds: float, _: Callable[[], None]) -> float:
        meters.wait(seconds)
        return 0.0

    idle = _stretch(rest, piece_s, meters, gpu)
    busy(piece_s, lambda: None)
    work = _stretch(busy, piece_s, meters, gpu)
    done = replace(known, rows=work.rows, busy_s=work.seconds, gpu=work.use, reason=idle.reason or work.reason)
    return done if done.reason else _with_energy(done, idle, work)


def _with_energy(done: Consumption, idle: _Stretch, work: _Stretch) -> Consumption:
    """The energies of both stretches, and what a row took."""
    energy, at_rest = work.totals[-1], idle.totals[-1]
    if energy.what != at_rest.what:
        return replace(done, reason=f"{at_rest.what} was read when idle, and {energy.what} when busy")
    if energy.joules == 0.0:  # some virtual machines show counters that stand still
        return replace(done, reason=f"the counters of {energy.what} stood still; state the power in watts")
    joules = (np.array(work.watts) - np.array(idle.watts)) / np.array(work.rows_per_s)
    return replace(done, energy=energy, idle=at_rest, joules_per_request=mean_interval(joules))


@dataclass
class _Stretch:
    """What the meters said over some pieces of time, one after the other.

    Args:
        totals: the energy from the start to the end of each piece.
        rows_per_s: what was served in each.
        seconds: how long all of them were.
        use: what the device did.
        reason: why there is no energy; empty where there is.
        lost: whether a meter failed; it is not asked again.
    """

    totals: list[Energy] = field(default_factory=list)
    rows_per_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    use: GpuUse | None = None
    reason: str = ""
    lost: bool = False

    @property
    def rows(self) -> int:
        return round(float(np.mean(self.rows_per_s)) * self.seconds)

    @property
    def watts(self) -> list[float]:
        """Of each piece alone."""
        ends = [(0.0, 0.0), *((total.joules, total.seconds) for total in self.totals)]
        pieces = itertools.pairwise(ends)
        return [(joules - before) / (end_s - start_s) for (before, start_s), (joules, end_s) in pieces]

    def asking(self, ask: Callable[[], T]) -> T | None:
        """The meter's answer; None once it has failed, for a figure with a hole in it is none."""
        if self.lost:
            return None
        try:
            return ask()
        except (OSError, MeasurementError) as error:
            self.lost, self.reason = True, f"a meter failed while it was read: {error}"
            return None


def _stretch(work: Load, piece_s: float, meters: Meters, gpu: GpuMeter | None) -> _Stretch:
    found = _Stretch()
    started = meters.clock()
    meter = found.asking(partial(meters.energy, gpu))

    def tick() -> None:
        if meter is not None:
            found.asking(meter.sample)

    for _ in range(PIECES):
        found.rows_per_s.append(work(piece_s, tick))
        if meter is not None:
            _note(found, meter)
    found.seconds = meters.clock() - started
    found.use = found.asking(gpu.read) if gpu is not None else None
    return found


def _note(found: _Stretch, meter: EnergyMeter) -> None:
    total = found.asking(meter.read)
    if total is not None:
        found.totals.append(total)
    elif not found.lost:
        found.reason = meter.reason
