"""How one machine is best filled with a model: few instances of many threads, or many of one.

Closed loop: every instance has its next batch ready when it finishes one, so that what is counted is throughput at
saturation. It says what a machine can carry at most, never at which latency; for that there is `simulate.capacity`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ConfigError
from windtunnel.quantity import format_figure
from windtunnel.stats import Interval, mean_interval, ratio_interval

from .instances import RUNTIME, Instances, name_of
from .measure import Effort, find_pace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .instances import Block, Processes, Source

    Arrays = Mapping[str, NDArray[Any]]
    Floats = NDArray[np.float64]

MIN_ROUNDS = 6
EFFORT = Effort(precision=0.05, budget_s=2.0)
"""Of one model; on a quiet machine a second is enough."""


@dataclass(frozen=True)
class Layout:
    """One way to fill the machine, and what came of it.

    Args:
        threads: intra-op threads of each instance.
        instances: how many were busy at once.
        rounds_per_s: rows a second of all instances together, one figure a round.
        cpu_s_per_row: CPU seconds that a row took, of all threads.
    """

    threads: int
    instances: int
    rounds_per_s: tuple[float, ...]
    cpu_s_per_row: float

    @property
    def rows_per_s(self) -> Interval:
        """Rows a second, with Student's interval over the rounds."""
        return mean_interval(np.array(self.rounds_per_s))

    def against(self, other: Layout) -> Interval:
        """How many times as many rows a second as another layout, paired round by round."""
        return ratio_interval(np.array(self.rounds_per_s), np.array(other.rounds_per_s))

    def __str__(self) -> str:
        instances = f"{self.instances} instances" if self.instances > 1 else "1 instance"
        return f"{instances} of {self.threads} thread{'s' if self.threads > 1 else ''}"


@dataclass(frozen=True)
class Scaling:
    """What threads and instances are worth on one machine, for one variant at one batch size.

    Args:
        variant: its name.
        batch: rows a call.
        cores: how many cores there are to fill.
        layouts: what was tried; 1 × 1 thread is among them.
    """

    variant: str
    batch: int
    cores: int
    layouts: tuple[Layout, ...]

    def find(self, threads: int, instances: int) -> Layout:
        """The layout of so many instances of so many threads.

        Raises:
            KeyError: it was not tried.
        """
        for layout in self.layouts:
            if (layout.threads, layout.instances) == (threads, instances):
                return layout
        raise KeyError((threads, instances))

    @property
    def best(self) -> Layout:
        """The layout that carries most; where two are alike, the one of fewer threads an instance."""
        return max(self.layouts, key=lambda layout: (layout.rows_per_s.value, -layout.threads))

    @property
    def starved(self) -> float:
        """The share of time in which instances of one thread had no processor, at worst: what they worked against what they took.

        Example:
            >>> one, two = Layout(1, 1, (100.0, 100.0), 0.01), Layout(1, 2, (120.0, 120.0), 0.01)
            >>> round(Scaling("m", 1, 2, (one, two)).starved, 3)     # 2 processors for 1.2 s of work a second
            0.4
        """
        single = [each for each in self.layouts if each.threads == 1]
        return max(0.0, *(1.0 - each.cpu_s_per_row * each.rows_per_s.value / each.instances for each in single))

    def parallel_efficiency(self, threads: int = 1) -> Interval:
        """What instances on all cores carry, over as many times what one alone carries, at most 1.

        Two processors that share a core, caches and memory make it less than one; that is what replicas on one machine
        will meet.

        Example:
            >>> one, two = Layout(1, 1, (100.0, 102.0), 0.01), Layout(1, 2, (150.0, 153.0), 0.013)
            >>> round(Scaling("m", 1, 2, (one, two)).parallel_efficiency().value, 3)
            0.75
        """
        instances = max(1, self.cores // threads)
        alone, all_cores = self.find(threads, 1), self.find(threads, instances)
        if instances == 1:
            return Interval(1.0, 1.0, 1.0, len(alone.rounds_per_s), 0.95)
        ratio = all_cores.against(alone)
        value, low, high = (min(1.0, each / instances) for each in (ratio.value, ratio.low, ratio.high))
        return Interval(value, low, high, ratio.samples, ratio.confidence)

    @property
    def meaning(self) -> str:
        """What it comes to, in a sentence."""
        best = self.best
        rate = f"{_told(best.rows_per_s)} rows a second at saturation, by {best} in batches of {self.batch}"
        ends = [self.find(*each) for each in ((self.cores, 1), (1, self.cores))]
        rivals = [end for end in dict.fromkeys(ends) if end != best]
        return "; ".join([rate, *(_beside(best, rival) for rival in rivals)])

    def to_dict(self) -> dict[str, Any]:
        """The scaling as JSON values; the throughput at saturation is that of the best layout."""
        return {
            "variant": self.variant, "batch": self.batch, "cores": self.cores,
            **self.best.rows_per_s.to_dict("throughput_at_saturation_per_s"),
            "best": {"threads": self.best.threads, "instances": self.best.instances},
            **self.parallel_efficiency().to_dict("parallel_efficiency"),
            "starved": self.starved, "meaning": self.meaning,
            "layouts": [
                {
                    "threads": each.threads, "instances": each.instances, "rounds": len(each.rounds_per_s), **each.rows_per_s.to_dict("rows_per_s"),
                    "cpu_s_per_row": each.cpu_s_per_row,
                }
                for each in self.layouts
            ],
        }  # fmt: skip


def _told(interval: Interval) -> str:
    reach = (interval.high - interval.low) / 2.0 / interval.value
    return f"{format_figure(interval.value)} (±{reach:.0%})"


def _beside(best: Layout, rival: Layout) -> str:
    ratio = best.against(rival)
    apart = f"{ratio.value:.3g} times as many" if ratio.low > 1.0 else "cannot be told from as many"
    return f"{apart} as by {rival}"


def layouts(cores: int, threads: Sequence[int] = ()) -> list[tuple[int, int]]:
    """Which (threads, instances) to try on so many cores: alone with more and more threads, and the machine filled with each.

    Threads go up in powers of two to all cores; more of them at once than cores are never tried.

    Args:
        cores: how many there are.
        threads: further numbers of threads that must be among them.

    Raises:
        ConfigError: more threads than cores.

    Example:
        >>> layouts(2)
        [(1, 1), (1, 2), (2, 1)]
        >>> layouts(6)
        [(1, 1), (1, 2), (1, 4), (1, 6), (2, 1), (2, 3), (4, 1), (6, 1)]
    """
    if any(not 1 <= each <= cores for each in threads):
        raise ConfigError("must be between 1 and the cores there are", field="threads", value=max(threads),
                          fix=f"{cores} may be used here")  # fmt: skip
    powers = [2**power for power in range(cores.bit_length()) if 2**power <= cores]
    steps = {*powers, cores}
    tried = {(t, n) for t in steps | set(threads) for n in (1, cores // t)} | {(1, n) for n in steps}
    return sorted(tried)


def measure_scaling(
    processes: Processes,
    source: Source,
    feeds: Arrays,
    batch: int,
    *,
    cores: int,
    threads: Sequence[int] = (),
    runtime: str = RUNTIME,
    home: Path = Path(),
    rng: np.random.Generator,
    effort: Effort = EFFORT,
) -> Scaling:
    """Measure what threads and instances are worth.

    Each round loads the model anew and runs one block of every layout, in a new random order; there are at least
    `MIN_ROUNDS` of them.

    Args:
        processes: at least as many as cores.
        source: the model: a variant, or `file.py:function` for torch's runtimes.
        feeds: rows, by input name.
        batch: rows a call.
        cores: how many may be used.
        threads: further numbers of threads to try.
        runtime: by name.
        home: the folder that a function's file is relative to.
        rng: the order of the blocks.
        effort: rounds go on until every layout's interval is narrower than ± its precision, or its budget ends.

    Raises:
        ConfigError: more threads than cores.
        ModelError: the runtime cannot load or run it.
        MeasurementError: a process died or fell silent.
    """
    tried = {
        (t, n): Instances(processes, source, feeds, (batch,), count=n, threads=t, runtime=runtime, home=home)
        for t, n in layouts(cores, threads)
    }
    try:
        blocks = _rounds(tried, batch, rng, effort)
    finally:
        for instances in tried.values():
            instances.close()
    return Scaling(name_of(source), batch, cores, tuple(_layout(*key, each, batch) for key, each in blocks.items()))


def _rounds(
    tried: Mapping[tuple[int, int], Instances], batch: int, rng: np.random.Generator, effort: Effort
) -> dict[tuple[int, int], list[Block]]:
    """Blocks by layout, as many of each."""
    deadline = time.monotonic() + effort.budget_s
    keys, paces = list(tried), {}
    for key, instances in tried.items():
        instances.open()
        paces[key] = find_pace(partial(_times, instances, batch))
    blocks: dict[tuple[int, int], list[Block]] = {key: [] for key in keys}
    while not _enough(list(blocks.values()), effort, deadline):
        for index in rng.permutation(len(keys)):
            instances = tried[keys[index]]
            instances.open()
            pace = paces[keys[index]]
            instances.block(batch, pace.warm_calls)
            blocks[keys[index]].append(instances.block(batch, pace.block_calls))
    return blocks


def _enough(blocks: Sequence[Sequence[Block]], effort: Effort, deadline: float) -> bool:
    if len(blocks[0]) < MIN_ROUNDS:
        return False
    if time.monotonic() >= deadline:
        return True
    intervals = [mean_interval(np.array([block.rows_per_s for block in each])) for each in blocks]
    return all(each.high - each.low <= 2.0 * effort.precision * each.value for each in intervals)


def _times(instances: Instances, batch: int, calls: int) -> Floats:
    return instances.block(batch, calls).times_s


def _layout(threads: int, instances: int, blocks: Sequence[Block], batch: int) -> Layout:
    rows = batch * sum(len(block.times_s) for block in blocks)
    rates = tuple(block.rows_per_s for block in blocks)
    return Layout(threads, instances, rates, sum(block.cpu_s for block in blocks) / rows)
