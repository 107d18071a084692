"""What every batcher is: settings for the compiled loop, and a twin in plain Python.

A batcher decides, for one station, how many of the waiting requests make the next batch, and when. It is asked at the end of
every instant in which the station changed, and again as long as it says something:

    close(now_s, idle, waiting, oldest_s, newest_s, settings, memo) -> (count, drop, wake_s)

`idle` executors could start a batch now; `waiting` requests are in the queue and in no closed batch; the first of them came
at `oldest_s` (inf where none waits), the last at `newest_s` (-inf). The first `count` make a batch; or (`drop` = 1) the first is
answered without being served; or neither, and the batcher wants to be asked again at `wake_s` if nothing changes before.
A batch that is closed while nothing is idle waits for an executor, and nobody joins it any more.

    learn(now_s, batch, service_s, wait_s, settings, memo) -> None

is told when a batch ends: its size, how long it took, and how long its oldest had waited when it started. A closed batch of
which nobody is left when its turn comes ends at once, with a size of 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import numpy as np

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Decision = tuple[int, int, float]
"""count, drop, wake_s"""

WIDTH = 16
"""Floats of a settings vector."""


class Twin(Protocol):
    """A batcher of one station in plain Python, which keeps its own state: what the compiled one is checked against."""

    def close(self, now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float) -> Decision:
        """Decide, as the compiled function does."""

    def learn(self, now_s: float, batch: int, service_s: float, wait_s: float) -> None:
        """Take note of a batch that ended."""


@runtime_checkable
class Batcher(Protocol):
    """Settings of a batcher: frozen, named after the real thing, with its defaults.

    Attributes:
        code: which compiled function decides.
        memo: how many floats that function keeps for a station, all zero at first.
    """

    code: ClassVar[int]
    memo: ClassVar[int]

    @property
    def max_batch(self) -> int:
        """The largest batch."""

    @property
    def max_waiting(self) -> int:
        """How many may be at a station without being served yet, closed batches included; -1: as many as come."""

    @property
    def executors(self) -> int | None:
        """How many batches a station serves at once; None: the deployment decides."""

    def settings(self) -> Floats:
        """The settings as the compiled function reads them: float64 `[16]`."""

    def padded(self, max_batch: int) -> NDArray[np.int64]:
        """The size that is run for each size of batch: int64 `[max_batch + 1]`."""

    def twin(self) -> Twin:
        """A new twin for one station."""


def vector(*values: float) -> Floats:
    """Settings as a vector, filled up with zeros."""
    filled = np.zeros(WIDTH)
    filled[: len(values)] = values
    return filled


def as_they_are(max_batch: int) -> NDArray[np.int64]:
    """No padding: what is closed is what is run.

    Example:
        >>> as_they_are(3)
        array([0, 1, 2, 3])
    """
    return np.arange(max_batch + 1, dtype=np.int64)


def check_count(field: str, value: int, least: int = 1) -> None:
    """Refuse a count below `least`.

    Raises:
        ConfigError: it is; the message names the field.
    """
    if value < least:
        raise ConfigError(f"must be at least {least}", field=field, value=value)


def check_duration(field: str, value: float) -> None:
    """Refuse what is no duration: negative, infinite or no number.

    Raises:
        ConfigError: it is none; the message names the field.
    """
    if not (0.0 <= value < math.inf):
        raise ConfigError("must be zero or more, and finite", field=field, value=value)
