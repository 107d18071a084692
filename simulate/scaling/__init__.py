"""How many replicas there should be: one file a policy, found by its name, dispatched by its code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import njit

from . import hpa, knative, ray_serve
from .hpa import HPAScaling
from .knative import KnativeScaling
from .ray_serve import RayServeScaling

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Scaler = RayServeScaling | HPAScaling | KnativeScaling
"""Decides how many replicas there should be."""

SCALERS: Mapping[str, type[Scaler]] = {each.name: each for each in (RayServeScaling, HPAScaling, KnativeScaling)}
"""The scalers, by the name they have on the command line."""

_RAY_SERVE, _HPA = RayServeScaling.code, HPAScaling.code


@njit(nogil=True, cache=True)
def desired(code: int, now_s: float, running: int, ongoing_mean: float, settings: Floats, memo: Floats) -> int:
    """How many replicas there should be.

    Args:
        code: of the policy.
        now_s: the time.
        running: those that are up or starting.
        ongoing_mean: attempts at the router, in queues and being served, averaged over the time since the last look.
        settings: the policy's.
        memo: the policy's own to write, zero at first.
    """
    if code == _RAY_SERVE:
        return ray_serve.desired(now_s, running, ongoing_mean, settings, memo)
    if code == _HPA:
        return hpa.desired(now_s, running, ongoing_mean, settings, memo)
    return knative.desired(now_s, running, ongoing_mean, settings, memo)


__all__ = ["SCALERS", "HPAScaling", "KnativeScaling", "RayServeScaling", "Scaler", "desired"]
