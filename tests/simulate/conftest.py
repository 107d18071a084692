"""A profile and a price that the tests of this stage share."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.hardware import Hardware
from windtunnel.latency_profile import LatencyProfile
from windtunnel.price import Price
from windtunnel.verdict import Verdict


@pytest.fixture
def profile() -> LatencyProfile:
    """A millisecond a batch and half a millisecond an item, give or take a tenth."""
    rng = np.random.default_rng(7)
    sizes = (1, 2, 4, 8)
    samples = tuple((0.001 + 0.0005 * size) * rng.lognormal(0.0, 0.1, size=300) for size in sizes)
    hardware = Hardware("a CPU", "x86_64", ("AVX2",), 2.0, 2**33)
    return LatencyProfile("m", "0" * 64, hardware, "rt", 1, "measured", sizes, samples, 0.8, Verdict("go", ("steady",)))


@pytest.fixture
def price() -> Price:
    """A machine of two cores at a tenth of a dollar an hour."""
    return Price("here:small", "nowhere", "x86_64", 2, 8.0, "", 0, 0.1, "2026-11-22", "a test")
