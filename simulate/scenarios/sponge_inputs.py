"""Sponge inputs: as small as any request, and made to cost as much as they can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from windtunnel.errors import ConfigError

from .heavy import with_heavy
from .scenario import Episode, check

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds

    from .day import Day


@dataclass(frozen=True, kw_only=True)
class SpongeInputs(Episode):
    """In one window inputs come on top that were searched for what they cost: each batch with one takes `least` to `most` times.

    Nobody can tell them by their size, so no limit at the door keeps them out. The factor is spread evenly on the scale of
    logarithms between its ends, another for every batch. The source measured energy; here the time of a batch is taken to
    grow as its energy does, as on a processor that draws the same power while it is busy.

    Source: Shumailov et al., *Sponge examples: energy-latency attacks on neural networks*, arXiv 2006.03463: 10 to 200
    times the energy.

    Args:
        share: sponges for each request of the window.
        least: the smallest factor.
        most: the largest.

    Raises:
        ConfigError: no share, or factors below 1, none above 1, or in the wrong order.
    """

    share: float = 0.01
    least: float = 10.0
    most: float = 200.0

    name: ClassVar[str] = "sponge-inputs"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "share", least=0.0, above=True)
        check(self, "least", least=1.0)
        check(self, "most", least=1.0, above=True)
        if self.most < self.least:
            raise ConfigError("cross", field="least, most", value=(self.least, self.most))

    def strike(self, day: Day, seeds: Seeds) -> Day:
        """The day with the sponges among the others."""
        rng = self.chance(seeds)
        points = day.system.by_group.shape[3]
        middles = (rng.permutation(points) + 0.5) / points
        factors = self.least * (self.most / self.least) ** middles

        def soaked(table: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(table * factors)

        window = self.window(day)
        return with_heavy(day, "sponge inputs", self.share, window, soaked, rng).during(*window)
