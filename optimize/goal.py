"""What is asked of an optimization: how good, how fast, where, and for how long it may look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .metric import Metric, read_metric

Objective = Literal["p50", "p99", "throughput", "size", "memory"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
QUANTILE = {"p50": 0.5, "p99": 0.99}
"""The quantile of service times that is compared; the median where the objective is not a quantile."""


@dataclass(frozen=True)
class Goal:
    """What is asked for.

    Args:
        metric: the measure of quality, as users write it or as it was read.
        max_drop: how much worse a child may be, in units of the metric.
        batch_sizes: where speed is compared.
        batching: whether requests will share batches: a child that depends on its neighbours is then kept out.
        confidence: of all intervals together: choosing among many children must not give chance many chances.
        objective: what the best is best in: the quantile of service times, rows a second, bytes of the file, or bytes of
            a process that serves it. Whatever it is, nothing slower than the parent is chosen.
        threads: numbers of intra-op threads to try.
        runtimes: names of the runtimes to try; those that are missing here are left out, and said so.
        budget_s: how long the whole search may take, about.
        output: which of the model's outputs is judged; the first where empty.
        attack: whether parent and child are attacked (needs the extra `robustness`).
        exhaustive: whether every variant is made, judged and timed, also those that a race has shown to be hopeless.
    """

    metric: Metric | str = "agreement"
    max_drop: float = 0.01
    batch_sizes: tuple[int, ...] = (1,)
    batching: bool = True
    confidence: float = 0.95
    objective: Objective = "p50"
    threads: tuple[int, ...] = (1,)
    runtimes: tuple[str, ...] = ("onnxruntime-cpu", "openvino", "openvino-bf16")
    budget_s: float = 60.0
    output: str = ""
    attack: bool = False
    exhaustive: bool = False

    @property
    def judge(self) -> Metric:
        """The metric, read."""
        return read_metric(self.metric) if isinstance(self.metric, str) else self.metric

    @property
    def quantile(self) -> float:
        """The quantile of service times that is compared."""
        return QUANTILE.get(self.objective, 0.5)

    def confidence_each(self, wave: int, children: int) -> float:
        """What each interval of a wave of children must hold at, so that all intervals of all waves hold together.

        Waves are proven one after the other, a later one only where the earlier ones proved nothing: each spends half of
        what is left (1/2, 1/4, …), and its children share alike (Bonferroni).

        Args:
            wave: its number, from 0.
            children: in it.

        Example:
            >>> round(Goal(confidence=0.95).confidence_each(0, 5), 6), round(Goal(confidence=0.95).confidence_each(1, 1), 6)
            (0.995, 0.9875)
        """
        return 1.0 - (1.0 - self.confidence) * 0.5 ** (wave + 1) / max(1, children)
