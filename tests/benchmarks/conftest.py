"""Profiles with planted times on a machine that is nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.hardware import Hardware
from windtunnel.latency_profile import LatencyProfile
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def make_profile() -> Callable[..., LatencyProfile]:
    """A profile of batch sizes 1 and 8: 1 ms and 2 ms, a little noisy."""
    return _profile


def _profile(
    name: str = "fp32", *, samples: int = 3000, cores: float = 2.0, architecture: str = "x86_64", valid: bool = True
) -> LatencyProfile:
    rng = np.random.default_rng(1)
    hardware = Hardware("a processor", architecture, ("AVX2",), cores, 2**32)
    verdict = Verdict("go", ("fine",)) if valid else Verdict("inconclusive", ("batch 1 drifted",), ("measure longer",))
    times = tuple(level * rng.uniform(0.9, 1.1, samples) for level in (1e-3, 2e-3))
    return LatencyProfile(
        name, "a" * 64, hardware, "onnxruntime 1 CPUExecutionProvider", 1, "measured", (1, 8), times, 0.9, verdict
    )
