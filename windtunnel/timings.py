"""Timings: service times of several sessions measured side by side, in blocks, so that they can be compared in pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.stats import Interval, ratio_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Key = tuple[str, int]


@dataclass(frozen=True)
class Timings:
    """What an interleaved measurement saw.

    Args:
        blocks_s: for each (session name, batch size) one array of service times in seconds per block; block `i` of one
            pair ran beside block `i` of every other.
        warm: for each pair, whether warm-up ended in a steady state.
        cpu_s: for each pair, the CPU seconds of a call, all threads together.
        clock_s: what the clock itself cannot tell, in seconds.

    Example:
        >>> fast, slow = np.full(5, 0.001), np.full(5, 0.002)
        >>> pair = {("a", 1): (fast, fast, fast), ("b", 1): (slow, slow, slow)}
        >>> Timings(pair, {}).speedup("b", "a", 1).value
        2.0
    """

    blocks_s: Mapping[Key, tuple[Floats, ...]]
    warm: Mapping[Key, bool]
    cpu_s: Mapping[Key, float] = field(default_factory=dict)
    clock_s: float = 0.0

    @property
    def rounds(self) -> int:
        """How many blocks there are of each pair."""
        return min((len(blocks) for blocks in self.blocks_s.values()), default=0)

    def samples_s(self, name: str, batch: int) -> Floats:
        """Every service time of one session at one batch size, in the order in which they were measured."""
        return np.concatenate(self.blocks_s[name, batch])

    def medians_s(self, name: str, batch: int) -> Floats:
        """The median of each block."""
        return self.quantiles_s(name, batch, 0.5)

    def quantiles_s(self, name: str, batch: int, quantile: float) -> Floats:
        """A quantile of each block; of a block with few calls a high one is about its longest."""
        return np.array([np.quantile(block, quantile) for block in self.blocks_s[name, batch]])

    def speedup(self, parent: str, child: str, batch: int, confidence: float = 0.95) -> Interval:
        """How many times as fast the child is at one batch size, with the interval of the paired block medians."""
        return ratio_interval(self.medians_s(parent, batch), self.medians_s(child, batch), confidence)

    def mean_speedup(self, parent: str, child: str, batches: tuple[int, ...], confidence: float = 0.95) -> Interval:
        """The geometric mean of the speed-ups over several batch sizes, paired block by block."""
        logs = [np.log(self.medians_s(parent, b)) - np.log(self.medians_s(child, b)) for b in batches]
        mean = np.exp(np.mean(logs, axis=0))
        return ratio_interval(mean, np.ones_like(mean), confidence)
