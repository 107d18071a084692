"""Batchers: when a station closes a batch, one file each, named after the server whose way it is.

`BATCHERS` has them by name. `close` and `learn` are what the compiled loop calls: a chain over the batcher's code, the one place
that changes when a file is added. The contract stands in `batcher.py`; `timetable` runs one station by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import njit

from . import cork, ideal, ray_serve, tf_serving, triton
from .batcher import Batcher, Decision, Twin
from .cork import CorkBatching
from .fixed import FixedBatching
from .ideal import IdealBatching
from .ray_serve import RayServeBatching
from .tf_serving import TFServingBatching
from .timetable import Batch, timetable
from .triton import TritonBatching

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .batcher import Floats

__all__ = [
    "BATCHERS", "MEMO", "Batch", "Batcher", "CorkBatching", "Decision", "FixedBatching", "IdealBatching",
    "RayServeBatching", "TFServingBatching", "TritonBatching", "Twin", "close", "learn", "timetable",
]  # fmt: skip

BATCHERS: Mapping[str, type[Batcher]] = {
    "ideal": IdealBatching,
    "ray-serve": RayServeBatching,
    "triton": TritonBatching,
    "tf-serving": TFServingBatching,
    "cork": CorkBatching,
    "fixed": FixedBatching,
}
"""Every batcher by the name that the command line knows it by."""

MEMO = max(batcher.memo for batcher in BATCHERS.values())
"""Floats of memo that are enough for any of them."""

_IDEAL, _RAY_SERVE, _TRITON, _TF_SERVING, _CORK = (
    IdealBatching.code, RayServeBatching.code, TritonBatching.code, TFServingBatching.code, CorkBatching.code
)  # fmt: skip


@njit(nogil=True, cache=True)
def close(
    code: int, now_s: float, idle: int, waiting: int, oldest_s: float, newest_s: float, settings: Floats, memo: Floats
) -> tuple[int, int, float]:
    """Ask the batcher of that code: how many leave now, whether the head is dropped, when to ask again.

    Args:
        code: of the batcher.
        now_s: the instant, at its end.
        idle: executors that could start a batch now.
        waiting: requests in the queue and in no closed batch.
        oldest_s: when the first of them came; inf where none waits.
        newest_s: when the last of them came; -inf where none waits.
        settings: float64 `[16]`, the batcher's.
        memo: float64 `[batcher.memo or more]`, the batcher's own at this station; written.

    Example:
        >>> import numpy as np
        >>> batching = IdealBatching(max_batch=8, max_wait_s=0.5)
        >>> close(batching.code, 1.0, 1, 3, 0.75, 1.0, batching.settings(), np.zeros(MEMO))
        (0, 0, 1.25)
    """
    if code == _IDEAL:
        return ideal.close(now_s, idle, waiting, oldest_s, settings)
    if code == _RAY_SERVE:
        return ray_serve.close(now_s, idle, waiting, settings, memo)
    if code == _TRITON:
        return triton.close(now_s, idle, waiting, oldest_s, settings, memo)
    if code == _TF_SERVING:
        return tf_serving.close(now_s, idle, waiting, oldest_s, settings, memo)
    return cork.close(now_s, idle, waiting, oldest_s, newest_s, settings, memo)


@njit(nogil=True, cache=True)
def learn(code: int, now_s: float, batch: int, service_s: float, wait_s: float, settings: Floats, memo: Floats) -> None:
    """Tell the batcher of that code that a batch ended; most take no notice.

    Args:
        code: of the batcher.
        now_s: when it ended.
        batch: its size; 0 where nobody was left to be served when its turn came.
        service_s: how long it took.
        wait_s: how long its oldest request had waited when it started.
        settings: float64 `[16]`, the batcher's.
        memo: as in `close`.
    """
    if code == _RAY_SERVE:
        ray_serve.learn(now_s, settings, memo)
    elif code == _TF_SERVING:
        tf_serving.learn(now_s, memo)
    elif code == _CORK and batch > 0:
        cork.learn(now_s, batch, service_s, wait_s, memo)
