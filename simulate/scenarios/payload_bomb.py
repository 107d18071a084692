"""Payload bomb: a few requests that are many times as large as any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .heavy import with_heavy
from .scenario import Episode, check

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds

    from .day import Day


@dataclass(frozen=True, kw_only=True)
class PayloadBomb(Episode):
    """In one window requests come on top that take many times as long, and so does every batch that one of them is in.

    What a limit on the size of a request at the door would have kept out; without one a document of a thousand pages is
    read to its end.

    Args:
        share: bombs for each request of the window.
        times: how many times as long a batch takes with one of them in it.

    Raises:
        ConfigError: no share, or `times` not above 1.
    """

    share: float = 0.01
    times: float = 50.0

    name: ClassVar[str] = "payload-bomb"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "share", least=0.0, above=True)
        check(self, "times", least=1.0, above=True)

    def strike(self, day: Day, seeds: Seeds) -> Day:
        """The day with the bombs among the others."""

        def larger(table: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(table * self.times)

        window = self.window(day)
        return with_heavy(day, "payload bombs", self.share, window, larger, self.chance(seeds)).during(*window)
