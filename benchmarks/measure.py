"""The measurement itself: interleaved blocks, warm-up ended by a test, whole distributions kept."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.progress import SILENT, Progress
from windtunnel.session import NullSession
from windtunnel.stats import dependent_quantile_interval
from windtunnel.timings import Timings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.session import Session
    from windtunnel.timings import Key

    Floats = NDArray[np.float64]
    Arrays = Mapping[str, NDArray[Any]]

BLOCK_S = 0.02
"""How long one block of one pair lasts, about: short enough that all pairs see the same machine, long enough for a median."""

MIN_CALLS, MAX_CALLS = 5, 500
MIN_BLOCKS = 8
STEADY = 0.05
"""Warm-up is over when the medians of two windows in a row differ by less than this share."""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Args:
        precision: stop when the 95% interval of every median is narrower than ± this share.
        budget_s: stop then in any case.
    """

    precision: float = 0.05
    budget_s: float = 60.0


class _Pair:
    """One session at one batch size, while it is being measured."""

    def __init__(self, session: Session, rows: Arrays) -> None:
        self.run, self.rows = session.run, dict(rows)
        self.blocks: list[Floats] = []
        self.warm, self.calls = self._warm_up()

    def _warm_up(self, windows: int = 12) -> tuple[bool, int]:
        """Run until two windows in a row agree; also decide how many calls fill a block."""
        time_calls(self.run, self.rows, MIN_CALLS)
        before = float(np.median(time_calls(self.run, self.rows, MIN_CALLS)))
        for _ in range(windows):
            calls = int(np.clip(BLOCK_S / before, MIN_CALLS, MAX_CALLS))
            after = float(np.median(time_calls(self.run, self.rows, calls)))
            if abs(after - before) <= STEADY * before:
                return True, int(np.clip(BLOCK_S / after, MIN_CALLS, MAX_CALLS))
            before = after
        return False, int(np.clip(BLOCK_S / before, MIN_CALLS, MAX_CALLS))

    def precise(self, precision: float) -> bool:
        interval = dependent_quantile_interval(np.concatenate(self.blocks), 0.5)
        return interval is not None and interval.high - interval.low <= 2 * precision * interval.value


def time_calls(run: Callable[[Arrays], object], rows: Arrays, calls: int) -> Floats:
    """Time each of some calls; nothing but the call stands between two readings of the clock."""
    clock = time.perf_counter_ns
    stamps = [0] * calls
    for call in range(calls):
        started = clock()
        run(rows)
        stamps[call] = clock() - started
    return np.array(stamps, dtype=np.float64) * 1e-9


def measure(
    sessions: Mapping[str, Session],
    feeds: Arrays,
    batch_sizes: Sequence[int],
    *,
    effort: Effort | None = None,
    rng: np.random.Generator,
    progress: Progress = SILENT,
) -> Timings:
    """Time every session at every batch size, side by side.

    Each round runs one block of every pair in a new random order, so a slow minute of the machine meets all alike;
    rounds go on until every median is precise enough or the budget ends, and for at least `MIN_BLOCKS` rounds.

    Args:
        sessions: by name.
        feeds: real rows, by input name; batches are cut from their start, repeated where there are too few.
        batch_sizes: rows a call.
        effort: precision and budget.
        rng: the order of the blocks.
        progress: shown while measuring.

    Returns:
        Every service time in seconds, by block.
    """
    wanted = effort if effort is not None else Effort()
    deadline = time.monotonic() + wanted.budget_s
    collecting = gc.isenabled()
    gc.disable()
    try:
        pairs = {(name, b): _Pair(session, cut(feeds, b)) for name, session in sessions.items() for b in batch_sizes}
        _rounds(pairs, wanted, deadline, rng, progress)
    finally:
        if collecting:
            gc.enable()
    return Timings({key: tuple(p.blocks) for key, p in pairs.items()}, {key: p.warm for key, p in pairs.items()})


def _rounds(
    pairs: Mapping[Key, _Pair], effort: Effort, deadline: float, rng: np.random.Generator, progress: Progress
) -> None:
    keys = list(pairs)
    with progress.bar("measuring (rounds, at least)", MIN_BLOCKS) as done:
        finished = 0
        while finished < MIN_BLOCKS or time.monotonic() < deadline:
            for index in rng.permutation(len(keys)):
                pair = pairs[keys[index]]
                pair.blocks.append(time_calls(pair.run, pair.rows, pair.calls))
            finished += 1
            done(finished)
            if finished >= MIN_BLOCKS and all(pair.precise(effort.precision) for pair in pairs.values()):
                return


def cut(feeds: Arrays, rows: int) -> dict[str, NDArray[Any]]:
    """Take the first rows of real inputs, from the top again where there are too few.

    Example:
        >>> cut({"x": np.array([1, 2])}, 3)["x"].tolist()
        [1, 2, 1]
    """
    have = len(next(iter(feeds.values())))
    index = np.arange(rows) % have
    return {name: np.ascontiguousarray(array[index]) for name, array in feeds.items()}


def harness_floor_s(session: Session, feeds: Arrays, calls: int = 2000) -> float:
    """What the harness itself adds to a call: the median time of a session that does nothing, in seconds."""
    return float(np.median(time_calls(NullSession(session.signature).run, cut(feeds, 1), calls)))
