"""The one loop that is timed, here and in the processes of instances: nothing but the call between two looks at the clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def time_calls(call: Callable[[], object], calls: int) -> NDArray[np.float64]:
    """Time each of some calls, in seconds.

    Example:
        >>> len(time_calls(lambda: None, 3))
        3
    """
    clock = time.perf_counter_ns
    stamps = [0] * calls
    for index in range(calls):
        started = clock()
        call()
        stamps[index] = clock() - started
    return np.array(stamps, dtype=np.float64) * 1e-9
