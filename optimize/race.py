"""A short race: one file, run in several ways, beside the parent; ways that are far behind stop early.

A race says which way of running a file is its best, and about how much faster that is than the parent. It decides what
is worth proving, never what is chosen: that is timed again, for as long as it takes.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.quantity import format_duration
from windtunnel.runtime import open_session
from windtunnel.timer import time_calls

from .judged import reason_of
from .speed import cell_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.variant import Variant

    Arrays = Mapping[str, NDArray[Any]]

LAP_S = 0.01
"""How long one lap of one cell lasts, about; at least two calls."""

LAPS, MOST_CALLS = 5, 200
"""So many laps a race has; so many calls at the most one of `LAP_S`."""

SLOW_S, SLOW_LAPS = 0.05, 3
"""A call that takes so long says much by itself: one a lap, after one that is not counted, in fewer laps. Else a race of large
batches would take the time in which files are to be made."""

FAR_BEHIND = 1.4
"""Who is so many times slower than the parent, or than the same file in the same runtime run in another way, leaves after
a lap. Another runtime gives other numbers, of which only the slower may turn out to be good enough: it is no reason to leave."""

WARM_CALLS = 2

GIVE_UP = 10.0
"""Whose first call takes so many times as long as the parent's, and a second more, is not called again: some precisions
fall back to reference kernels that take a thousand times as long."""


@dataclass(frozen=True)
class Cell:
    """One batch size of one size class, with the rows that are fed there."""

    batch: int
    size: str
    rows: Arrays

    @property
    def name(self) -> str:
        """What it is called."""
        return cell_name(self.batch, self.size)


@dataclass(frozen=True)
class Finish:
    """How one way of running a file did.

    Args:
        variant: the file and the way.
        speedup: over the parent: the geometric mean over the cells of the ratio of median times.
        ratios: over the parent, at each cell.
        p50_s: by cell.
        open_s: how long loading took.
        left: why it left the race, empty where it stayed to the end.
    """

    variant: Variant
    speedup: float
    ratios: dict[str, float]
    p50_s: dict[str, float]
    open_s: float
    left: str = ""

    @property
    def worst(self) -> float:
        """The ratio at the cell where it is smallest."""
        return min(self.ratios.values())


@dataclass
class _Runner:
    """One session in the race."""

    variant: Variant
    open_s: float
    first_s: dict[str, float] = field(default_factory=dict)
    calls: dict[str, Callable[[], object]] = field(default_factory=dict)
    times_s: dict[str, list[float]] = field(default_factory=dict)
    left: str = ""

    def median_s(self, cell: str) -> float:
        return float(np.median(self.times_s[cell]))


@dataclass(frozen=True)
class Refused:
    """A way of running a file that the runtime would not take, with its words."""

    variant: Variant
    reason: str


def race(
    parent: Variant,
    ways: Sequence[Variant],
    cells: Sequence[Cell],
    *,
    to_the_end: bool = False,
    lap_s: float = LAP_S,
    laps: int = LAPS,
) -> tuple[list[Finish], list[Refused]]:
    """Race the ways of running one file, lap by lap beside the parent.

    Args:
        parent: what all are compared with; it runs in every lap.
        ways: the same file, or files of the same structure, each run in another way.
        cells: what is timed.
        to_the_end: whether nobody leaves.
        lap_s: how long one lap of one cell lasts, about, after as long a stretch that is not counted.
        laps: how many there are where calls are short.

    Returns:
        How each did, the fastest first; and the ways that could not run.
    """
    runners: list[_Runner] = []
    refused: list[Refused] = []
    pace = _open(parent, cells, {})
    for way in ways:
        try:
            runners.append(_open(way, cells, pace.first_s))
        except Exception as error:  # noqa: BLE001  # whatever a runtime raises, it is its own refusal, and told in the table
            refused.append(Refused(way, reason_of(error)))
    for _ in range(laps if min(pace.first_s.values()) < SLOW_S else SLOW_LAPS):
        running = [runner for runner in runners if not runner.left]
        for runner in (pace, *running):
            _lap(runner, cells, lap_s)
        if not to_the_end:
            _send_home(pace, running, cells)
    finishes = [_finish(pace, runner, cells) for runner in runners]
    return sorted(finishes, key=lambda finish: -finish.speedup), refused


def _open(variant: Variant, cells: Sequence[Cell], paces_s: Mapping[str, float]) -> _Runner:
    """Load a file and call every cell once.

    Raises:
        ModelError: it cannot be loaded, cannot run the rows, or takes forever.
    """
    started = time.perf_counter()
    session = open_session(variant)
    runner = _Runner(variant, time.perf_counter() - started)
    for cell in cells:
        started = time.perf_counter()
        session.run(cell.rows)
        runner.first_s[cell.name] = took_s = time.perf_counter() - started
        if took_s > GIVE_UP * paces_s.get(cell.name, math.inf) + 1.0:
            raise ModelError(f"takes {format_duration(took_s)} for its first call of {cell.name}", field=variant.name)
        runner.calls[cell.name] = session.ready(cell.rows)
        runner.times_s[cell.name] = []
    return runner


def _lap(runner: _Runner, cells: Sequence[Cell], lap_s: float) -> None:
    """A few calls of every cell, after a stretch of uncounted ones."""
    for cell in cells:
        call = runner.calls[cell.name]
        once_s = float(time_calls(call, 1)[0])
        if once_s > SLOW_S:
            runner.times_s[cell.name] += time_calls(call, 1).tolist()
            continue
        once_s = min(once_s, float(time_calls(call, WARM_CALLS - 1).min()))
        calls = int(np.clip(lap_s / once_s, 2, MOST_CALLS * lap_s / LAP_S))
        if calls > WARM_CALLS:
            time_calls(call, calls)
        runner.times_s[cell.name] += time_calls(call, calls).tolist()


def _finish(pace: _Runner, runner: _Runner, cells: Sequence[Cell]) -> Finish:
    p50_s = {cell.name: runner.median_s(cell.name) for cell in cells}
    ratios = {name: pace.median_s(name) / median_s for name, median_s in p50_s.items()}
    return Finish(runner.variant, _speedup(pace, runner, cells), ratios, p50_s, runner.open_s, runner.left)


def _speedup(pace: _Runner, runner: _Runner, cells: Sequence[Cell]) -> float:
    logs = [np.log(pace.median_s(cell.name) / runner.median_s(cell.name)) for cell in cells]
    return float(np.exp(np.mean(logs)))


def _send_home(pace: _Runner, running: list[_Runner], cells: Sequence[Cell]) -> None:
    """Whoever is far behind leaves; its session is let go."""
    speedups = {id(runner): _speedup(pace, runner, cells) for runner in running}
    for runner in running:
        own, runtime = speedups[id(runner)], runner.variant.execution.runtime
        best = max(speedups[id(other)] for other in running if other.variant.execution.runtime == runtime)
        if own * FAR_BEHIND < 1.0:
            runner.left = f"{1.0 / own:.2g} × slower than the parent"
        elif own * FAR_BEHIND < best:
            runner.left = f"{best / own:.2g} × slower than the same file run in another way"
        if runner.left:
            runner.calls.clear()
