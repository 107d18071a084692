"""The measurement itself: interleaved blocks, warm-up ended by a test, whole distributions kept."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from windtunnel.progress import SILENT, Progress
from windtunnel.session import NullSession, cut
from windtunnel.stats import quantile_interval
from windtunnel.timer import time_calls
from windtunnel.timings import Timings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.session import Session
    from windtunnel.timings import Key

    Floats = NDArray[np.float64]
    Arrays = Mapping[str, NDArray[Any]]

BLOCK_S = 0.02
"""How long one block of one cell lasts, about: short enough that all cells see the same machine, long enough for a median."""

MIN_CALLS, MAX_CALLS = 5, 500
WARM_S, MAX_WARM_CALLS = 0.01, 5000
"""How long a model runs before each of its blocks. After another model ran, an 8 µs call is 7% slower for some milliseconds:
caches and branch predictors are the other's. A server under load does not start cold."""

MIN_BLOCKS = 8
STEADY = 0.05
"""Warm-up is over when the medians of two windows in a row differ by less than this share."""

WINDOWS = 12
"""After so many windows that did not agree, warm-up is given up."""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Args:
        precision: stop when the 95% interval of the quantile is narrower than ± this share, for everything measured.
        budget_s: stop then in any case.
        quantile: the quantile that is to be precise.
        rounds: so many at least, as far as the budget goes; with fewer than `MIN_BLOCKS` nothing can be said.
    """

    precision: float = 0.05
    budget_s: float = 60.0
    quantile: float = 0.5
    rounds: int = 20


class Subject(Protocol):
    """What is measured: one model in one setting, opened anew for every round."""

    def open(self) -> None:
        """Load the model anew, in the place of the one that was loaded."""
        ...

    def time(self, batch: int, calls: int) -> tuple[Floats, float]:
        """Time calls of one batch size: seconds each, and the CPU seconds that all of them used."""
        ...


class InProcess:
    """A model whose calls are made from here, one after the other.

    Args:
        opener: loads it.
        feeds: rows, by input name; batches are cut from their start.
        batch_sizes: rows a call.
    """

    def __init__(self, opener: Callable[[], Session], feeds: Arrays, batch_sizes: Sequence[int]) -> None:
        self._opener, self._rows = opener, {batch: cut(feeds, batch) for batch in batch_sizes}
        self._calls: dict[int, Callable[[], object]] = {}
        self._tried = False

    def open(self) -> None:
        """Load the model anew, and copy its inputs, so that both lie elsewhere in memory than before.

        Raises:
            ModelError: the runtime cannot load it, or cannot run the rows; tried once.
        """
        self._calls.clear()  # before the next is loaded: only one is held
        session = self._opener()
        if not self._tried:
            for rows in self._rows.values():
                session.run(rows)
            self._tried = True
        for batch, rows in self._rows.items():
            self._calls[batch] = session.ready({name: array.copy() for name, array in rows.items()})

    def time(self, batch: int, calls: int) -> tuple[Floats, float]:
        """Time calls of one batch size."""
        started = time.process_time()
        times = time_calls(self._calls[batch], calls)
        return times, time.process_time() - started


@dataclass(frozen=True)
class Pace:
    """How long a call takes, as warm-up left it.

    Args:
        warm: whether two windows agreed.
        call_s: the median of the last.
    """

    warm: bool
    call_s: float

    @property
    def block_calls(self) -> int:
        """How many calls last about `BLOCK_S`."""
        return int(np.clip(BLOCK_S / self.call_s, MIN_CALLS, MAX_CALLS))

    @property
    def warm_calls(self) -> int:
        """How many calls last about `WARM_S`: so many go before each block, uncounted."""
        return int(np.clip(WARM_S / self.call_s, MIN_CALLS, MAX_WARM_CALLS))


def find_pace(block: Callable[[int], Floats]) -> Pace:
    """Run windows until the medians of two in a row agree.

    Args:
        block: times so many calls.
    """
    block(MIN_CALLS)
    pace = Pace(False, float(np.median(block(MIN_CALLS))))
    for _ in range(WINDOWS):
        call_s = float(np.median(block(pace.block_calls)))
        if abs(call_s - pace.call_s) <= STEADY * pace.call_s:
            return Pace(True, call_s)
        pace = Pace(False, call_s)
    return pace


def measure(
    openers: Mapping[str, Callable[[], Session]],
    feeds: Arrays,
    batch_sizes: Sequence[int],
    *,
    effort: Effort | None = None,
    rng: np.random.Generator,
    progress: Progress = SILENT,
) -> Timings:
    """Time every model at every batch size, side by side.

    Args:
        openers: what loads each, by name.
        feeds: real rows, by input name; batches are cut from their start, repeated where there are too few.
        batch_sizes: rows a call.
        effort: precision and budget.
        rng: the order of the blocks.
        progress: shown while measuring.

    Returns:
        Every service time in seconds, by block.
    """
    subjects = {name: InProcess(opener, feeds, batch_sizes) for name, opener in openers.items()}
    return measure_subjects(subjects, batch_sizes, effort=effort, rng=rng, progress=progress)


def measure_subjects(
    subjects: Mapping[str, Subject],
    batch_sizes: Sequence[int],
    *,
    effort: Effort | None = None,
    rng: np.random.Generator,
    progress: Progress = SILENT,
    each_round: Callable[[], None] = lambda: None,
) -> Timings:
    """Time subjects side by side, in rounds.

    Each round opens every subject anew and runs one block of each of its batch sizes, all in a new random order, each after a stretch of
    uncounted calls. A slow
    minute of the machine meets all alike; and where a model happens to lie in memory, which makes two sessions of the very
    same file differ by some percent for as long as they live, is drawn again each time, so that intervals hold that doubt
    too. Rounds go on until every quantile asked for is precise enough (and `Effort.rounds` are done) or the budget ends, and
    for at least `MIN_BLOCKS`.

    Args:
        subjects: by name.
        batch_sizes: rows a call.
        effort: precision and budget.
        rng: the order of the blocks.
        progress: shown while measuring.
        each_round: called before each round, outside what is timed.

    Returns:
        Every service time in seconds, by block, and the CPU seconds of a call.
    """
    wanted = effort if effort is not None else Effort()
    rounds = _Rounds(subjects, batch_sizes, rng)
    deadline = time.monotonic() + wanted.budget_s
    collecting = gc.isenabled()
    gc.disable()
    try:
        rounds.warm_up()
        with progress.bar("measuring (rounds, at least)", wanted.rounds) as done:
            while not rounds.enough(wanted, deadline):
                each_round()
                rounds.run()
                done(rounds.finished)
    finally:
        if collecting:
            gc.enable()
    return rounds.timings()


class _Rounds:
    """What has been measured so far."""

    def __init__(self, subjects: Mapping[str, Subject], batch_sizes: Sequence[int], rng: np.random.Generator) -> None:
        self._subjects, self._rng = subjects, rng
        self._keys: list[Key] = [(name, batch) for name in subjects for batch in batch_sizes]
        self._blocks: dict[Key, list[Floats]] = {key: [] for key in self._keys}
        self._cpu_s: dict[Key, float] = dict.fromkeys(self._keys, 0.0)
        self._paces: dict[Key, Pace] = {}
        self._clock_s = clock_s()
        self.finished = 0

    def warm_up(self) -> None:
        for subject in self._subjects.values():
            subject.open()
        self._paces = {key: find_pace(partial(self._time, *key)) for key in self._keys}

    def _time(self, name: str, batch: int, calls: int) -> Floats:
        return self._subjects[name].time(batch, calls)[0]

    def run(self) -> None:
        """One block of every key, on sessions opened for it."""
        for subject in self._subjects.values():
            subject.open()
        for index in self._rng.permutation(len(self._keys)):
            key = name, batch = self._keys[index]
            self._time(name, batch, self._paces[key].warm_calls)
            times, cpu_s = self._subjects[name].time(batch, self._paces[key].block_calls)
            self._blocks[key].append(times)
            self._cpu_s[key] += cpu_s
        self.finished += 1

    def enough(self, effort: Effort, deadline: float) -> bool:
        if self.finished < MIN_BLOCKS:
            return False
        if time.monotonic() >= deadline:
            return True
        series = (np.concatenate(blocks) for blocks in self._blocks.values())
        return self.finished >= effort.rounds and all(
            precise(each, effort, self.finished, self._clock_s) for each in series
        )

    def timings(self) -> Timings:
        blocks = {key: tuple(each) for key, each in self._blocks.items()}
        cpu_s = {key: self._cpu_s[key] / sum(map(len, each)) for key, each in blocks.items()}
        return Timings(blocks, {key: pace.warm for key, pace in self._paces.items()}, cpu_s, self._clock_s)


def precise(series: Floats, effort: Effort, rounds: int, clock_s: float = 0.0) -> bool:
    """Whether a series of service times tells the quantile as precisely as was asked for, the clock's doubt included."""
    interval = quantile_interval(series, effort.quantile, rounds=rounds)
    if interval is None:
        return False
    return interval.high - interval.low + 2 * clock_s <= 2 * effort.precision * interval.value


def clock_s(calls: int = 5000) -> float:
    """What a call that does nothing at all reads on the clock: two honest ways of timing a call differ by about as much."""
    return float(np.median(time_calls(lambda: None, calls)))


def harness_floor_s(session: Session, feeds: Arrays, calls: int = 2000) -> float:
    """What the harness itself adds to a call: the median time of a session that does nothing, in seconds."""
    return float(np.median(time_calls(NullSession(session.signature).ready(cut(feeds, 1)), calls)))
