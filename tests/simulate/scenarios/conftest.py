"""A trace and a system of four stations that carries it at six tenths of what it could."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.simulate import arrivals
from windtunnel.simulate.system import System
from windtunnel.trace import Trace


@pytest.fixture
def trace() -> Trace:
    """1,600 requests a second for seven and a half seconds, of two sizes."""
    drawn = arrivals.parse("poisson(rate=1600)").arrivals(requests=12_000, seed=3)  # type: ignore[union-attr]  # not a closed loop
    return Trace("a calm trace", drawn.arrivals_s, {"size": np.arange(12_000) % 2, "key": np.arange(12_000)})


@pytest.fixture
def system() -> System:
    """Four stations; 1.5 ms a request of either size, give or take a third."""
    row = np.linspace(0.001, 0.002, 16)
    return System(np.broadcast_to(row, (2, 2, 16)).copy(), stations=4)
