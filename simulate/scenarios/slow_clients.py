"""Slow clients: they read their answers so slowly that a replica cannot let go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .heavy import with_heavy
from .scenario import Episode, check, full_batch_s

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds

    from .day import Day

HELD = 20.0
"""Full batches for which a replica is held where nobody says how long."""


@dataclass(frozen=True, kw_only=True)
class SlowClients(Episode):
    """In one window clients come on top that hold whoever serves them for longer, as on a bad connection or on purpose.

    It is what happens to servers that send an answer from the thread that worked it out, without a proxy that buffers it:
    the whole batch waits until the slowest in it has read. Where a proxy buffers, nothing of this happens.

    Source: the slow read of *Slowloris* (2009), and why nginx buffers what its upstreams say (`proxy_buffering`).

    Args:
        share: slow clients for each request of the window.
        hold_s: how much longer a batch takes that one of them is in; where zero, `HELD` full batches.

    Raises:
        ConfigError: no share, or a negative time.
    """

    share: float = 0.05
    hold_s: float = 0.0

    name: ClassVar[str] = "slow-clients"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "share", least=0.0, above=True)
        check(self, "hold_s", least=0.0)

    def strike(self, day: Day, seeds: Seeds) -> Day:
        """The day with the slow among the others."""
        hold_s = self.hold_s or HELD * full_batch_s(day.system)

        def held(table: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(table + hold_s)

        window = self.window(day)
        return with_heavy(day, "slow clients", self.share, window, held, self.chance(seeds)).during(*window)
