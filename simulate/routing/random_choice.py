"""Any accepting station, each as likely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .ask import Ask

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class RandomChoice:
    """An accepting station drawn at random: what kube-proxy's iptables mode does with a service's endpoints."""

    code: ClassVar[int] = 1
    name: ClassVar[str] = "random"

    def settings(self) -> Floats:
        """Nothing to set."""
        return np.zeros(0)

    def memory(self, stations: int) -> Floats:  # noqa: ARG002  # it has nothing in mind of each
        """What it has in mind at first, for so many stations."""
        return np.zeros(0)

    def twin(self) -> SlowRandomChoice:
        """The same, slowly."""
        return SlowRandomChoice()


@njit(nogil=True, cache=True)
def route(accepting: Ints, count: int, draw: tuple[float, float]) -> int:
    """The station that the first number falls on."""
    return int(accepting[int(draw[0] * count)])


class SlowRandomChoice:
    """The same in plain Python."""

    def route(self, _now_s: float, accepting: Sequence[int], _ongoing: Sequence[int], ask: Ask) -> int:
        """The station that the first number falls on."""
        return accepting[int(ask.draw[0] * len(accepting))]
