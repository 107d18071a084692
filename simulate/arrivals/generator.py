"""What every generator of arrivals is: frozen settings, a state that is a vector, and a compiled loop that fills a chunk.

The state of a stream is float64 `[STATE]`: 0 and 1 are the halves of the 64 bits where its chance begins, 2 is how many
numbers were drawn, 3 the time of the last arrival, and the rest is the generator's own. All that a stream knows is in it, so a
stream may be filled in chunks of any size and gives the same bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
from numba import njit

from windtunnel.errors import ConfigError, DataError
from windtunnel.simulate.chance import origin
from windtunnel.trace import Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STATE = 16
"""How long the state of any stream is."""

HIGH, LOW, COUNTER, NOW, OWN = 0, 1, 2, 3, 4
"""Where things lie in the state; from `OWN` on it is the generator's."""

CHUNK = 1 << 16


@njit(nogil=True, cache=True, inline="always")
def chance_of(state: Floats) -> np.uint64:
    """Where the stream's chance begins."""
    return (np.uint64(state[0]) << np.uint64(32)) | np.uint64(state[1])


class Generator(ABC):
    """A process of arrivals on the seconds from zero on, without an end unless its rate falls to zero for ever.

    The first arrival comes after the first gap, not at zero.
    """

    code: ClassVar[int]
    compiled: ClassVar[staticmethod[[Floats, Floats, Floats], None]]

    @abstractmethod
    def settings(self) -> Floats:
        """The settings as the compiled loop reads them."""

    @property
    @abstractmethod
    def mean_rate_per_s(self) -> float:
        """The rate in the long run."""

    def begin(self, state: Floats) -> None:  # noqa: B027 - most have nothing of their own to write
        """Write the generator's own part of a fresh state."""

    @final
    def start(self, seed: int) -> Floats:
        """A fresh state.

        Args:
            seed: 0 to 2⁶⁴ − 1.
        """
        begin = int(origin(np.uint64(seed)))
        state = np.zeros(STATE)
        state[HIGH], state[LOW] = begin >> 32, begin & 0xFFFFFFFF
        self.begin(state)
        return state

    @final
    def fill(self, state: Floats, out: Floats) -> None:
        """Write the next `len(out)` arrivals, in seconds; `inf` where there are none any more."""
        type(self).compiled(state, self.settings(), out)

    @final
    def arrivals(self, *, requests: int = 0, seconds: float = 0.0, seed: int = 0) -> Trace:
        """So many requests, or those of so many seconds.

        Args:
            requests: how many.
            seconds: or from zero up to when.
            seed: of the stream.

        Raises:
            ConfigError: neither or both were given.
            DataError: fewer than two requests came, or the process ended before `requests` of them did.
        """
        if (requests > 0) == (seconds > 0.0):
            raise ConfigError("need exactly one", field="requests and seconds", value=(requests, seconds))
        times_s = self._first(requests, seed) if requests else self.until(seconds, seed)
        if requests and np.isinf(times_s[-1]):
            raise DataError(
                f"ends after {int(np.sum(np.isfinite(times_s))):,} requests",
                field=str(self),
                fix="ask for fewer, or let its last rate be above zero",
            )
        return Trace(str(self), times_s)

    def _first(self, requests: int, seed: int) -> Floats:
        times_s = np.empty(requests)
        self.fill(self.start(seed), times_s)
        return times_s

    @final
    def until(self, end_s: float, seed: int) -> Floats:
        """The arrivals before a time, in seconds, however few."""
        state, chunks = self.start(seed), [np.empty(0)]
        while not len(chunks[-1]) or chunks[-1][-1] < end_s:
            chunks.append(np.empty(CHUNK))
            self.fill(state, chunks[-1])
        times_s = np.concatenate(chunks)
        return times_s[: np.searchsorted(times_s, end_s)]


def above_zero(**fields: float) -> None:
    """Refuse settings that are not above zero and finite.

    Raises:
        ConfigError: the first that is not.
    """
    for field, value in fields.items():
        if not 0.0 < value < float("inf"):
            raise ConfigError("must be above zero", field=field, value=value)
