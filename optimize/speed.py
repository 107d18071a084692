"""How fast a child is beside its parent: at every batch size and size class, and over all together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.stats import Interval, ratio_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.timings import Timings

    from .goal import Goal
    from .race import Finish

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Speed:
    """How fast a child is beside its parent.

    Args:
        overall: over all cells: the geometric mean of the ratios, or of the best throughput where that is asked for.
        cells: at each cell, by its name.
        p50_s: the median service time at each cell.
        parent_p50_s: the parent's, beside it.
        quantile_s: the quantile that is compared, at each cell.
        steady: whether warm-up ended in a steady state at every cell.
        raced: whether these are the figures of a short race, without intervals: of a child that was not worth timing.
    """

    overall: Interval
    cells: dict[str, Interval]
    p50_s: dict[str, float]
    quantile_s: dict[str, float]
    parent_p50_s: dict[str, float] = field(default_factory=dict)
    steady: bool = True
    raced: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The speed as JSON values, in seconds; a race has no intervals."""
        if self.raced:
            unknown = {"speedup_low": None, "speedup_high": None}
            ratios = {name: {"speedup": each.value, **unknown} for name, each in self.cells.items()}
            return {
                "speedup": self.overall.value, **unknown, "p50_s": self.p50_s, "parent_p50_s": self.parent_p50_s,
                "quantile_s": self.quantile_s, "speedups": ratios, "steady": self.steady, "basis": "raced",
            }  # fmt: skip
        return {
            **self.overall.to_dict("speedup"),
            "p50_s": self.p50_s,
            "parent_p50_s": self.parent_p50_s,
            "quantile_s": self.quantile_s,
            "speedups": {name: each.to_dict("speedup") for name, each in self.cells.items()},
            "steady": self.steady,
        }


def cell_name(batch: int, size: str) -> str:
    """What a cell is called: its batch size, and its size class where there are several.

    Example:
        >>> cell_name(8, ""), cell_name(8, "sequence=32")
        ('8', '8, sequence=32')
    """
    return f"{batch}, {size}" if size else str(batch)


def speed_in_race(pace: Finish, finish: Finish, confidence: float) -> Speed:
    """The speed of a child in a short race beside its parent: figures whose intervals are the whole line."""

    def alone(value: float) -> Interval:
        return Interval(value, 0.0, math.inf, 0, confidence)

    cells = {name: alone(ratio) for name, ratio in finish.ratios.items()}
    return Speed(alone(finish.speedup), cells, finish.p50_s, finish.p50_s, pace.p50_s, raced=True)


def compare_speed(timings: Mapping[str, Timings], parent: str, child: str, goal: Goal, confidence: float) -> Speed:
    """Compare a child's service times with its parent's, paired round by round.

    Args:
        timings: of both, interleaved, by size class.
        parent: its name there.
        child: its name there.
        goal: the batch sizes and the objective.
        confidence: of the intervals.

    Example:
        >>> from windtunnel.timings import Timings
        >>> from windtunnel.optimize.goal import Goal
        >>> fast, slow = (np.full(5, 0.001),) * 8, (np.full(5, 0.002),) * 8
        >>> compare_speed({"": Timings({("a", 1): slow, ("b", 1): fast}, {})}, "a", "b", Goal(), 0.95).overall.value
        2.0
    """
    rounds = min(each.rounds for each in timings.values())
    ratios: dict[str, tuple[Floats, Floats]] = {}
    for size, each in timings.items():
        for batch in goal.batch_sizes:
            pair = (each.quantiles_s(name, batch, goal.quantile)[:rounds] for name in (parent, child))
            ratios[cell_name(batch, size)] = tuple(pair)  # type: ignore[assignment]  # two of them
    cells = {name: ratio_interval(*pair, confidence) for name, pair in ratios.items()}
    names = {cell_name(b, size): (size, b) for size in timings for b in goal.batch_sizes}
    p50_s, parent_p50_s = (
        {name: float(timings[size].medians_s(who, b).mean()) for name, (size, b) in names.items()}
        for who in (child, parent)
    )
    steady = all(timings[size].warm.get((child, b), True) for size, b in names.values())
    quantiles = {name: float(pair[1].mean()) for name, pair in ratios.items()}
    return Speed(_overall(ratios, names, goal, confidence), cells, p50_s, quantiles, parent_p50_s, steady)


def _overall(
    ratios: Mapping[str, tuple[Floats, Floats]], names: Mapping[str, tuple[str, int]], goal: Goal, confidence: float
) -> Interval:
    if goal.objective == "throughput":
        of_parent, of_child = (
            np.max([names[name][1] / pair[which] for name, pair in ratios.items()], axis=0) for which in (0, 1)
        )
        return ratio_interval(of_child, of_parent, confidence)
    logs = [np.log(parent) - np.log(child) for parent, child in ratios.values()]
    mean = np.exp(np.mean(logs, axis=0))
    return ratio_interval(mean, np.ones_like(mean), confidence)
