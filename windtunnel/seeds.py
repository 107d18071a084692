"""One named random stream per source of chance."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

SOURCES = {
    "fit": "the training of a model by the user's own `fit`; changes every figure of quality",
    "distil": "the student's initial weights and the order of its batches; changes the student only",
    "calibration": "which rows the ranges of static int8 are taken from; changes that variant a little",
    "bootstrap": "resampling for intervals; should not change a point estimate",
    "checks": "which rows are disturbed, and how, when a child's robustness and attribution are looked at",
    "order": "the order in which variants and batch sizes are measured; should not change a mean",
    "arrivals": "generated traffic and where in a trace a scenario strikes",
    "payload": "which size, priority and key a request carries whose traffic does not say it",
    "spread": "where within its second, minute or gap a recorded request falls whose time stamp is coarse; changes nothing slower",
    "service": "which measured service time a simulated batch gets; should not change mean load",
    "routing": "which stations a simulated router looks at; should not change mean load",
    "clients": "how long simulated clients back off and stay",
    "labels": "when, and with what, the leak test scrambles labels; should not change its outcome",
    "inputs": "generated inputs where no data was given",
    "adversary": "what an adversary sends on the road, and in which order; what a sound server makes of it should be the same",
}
"""Every source of chance, and what changing its seed may and may not change."""


@dataclass(frozen=True)
class Seeds:
    """The root from which every stream is drawn.

    A stream depends on the root, its source and the *item* it serves, never on the worker that serves it, so results are
    the same with one worker or many.

    Example:
        >>> Seeds(1).stream("service", 7).random() == Seeds(1).stream("service", 7).random()
        True
        >>> Seeds(1).stream("service", 7).random() == Seeds(1).stream("service", 8).random()
        False
    """

    root: int = 1

    def stream(self, source: str, item: int = 0) -> np.random.Generator:
        """Open the stream of one source for one item."""
        if source not in SOURCES:
            raise KeyError(f"{source!r} is not a source of chance: {', '.join(SOURCES)}")
        return np.random.default_rng([self.root, zlib.crc32(source.encode()), item])

    def number(self, source: str, item: int = 0) -> int:
        """Draw one whole number, for code that takes a seed instead of a stream."""
        return int(self.stream(source, item).integers(2**31))
