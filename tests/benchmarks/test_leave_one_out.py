from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.benchmarks.instruction_sets import SETTINGS
from windtunnel.benchmarks.leave_one_out import leave_one_out
from windtunnel.hardware import Hardware, allowed_cores

if TYPE_CHECKING:
    from windtunnel.benchmarks.projection_error import ProjectionError


@pytest.fixture(scope="module")
def seen() -> ProjectionError:
    """This very machine, in all configurations that it has."""
    return leave_one_out(batches=(4,))


def test_changes(seen: ProjectionError) -> None:
    """Every change that this machine can show is there, both ways, for every model it applies to."""
    expected = {"float32 against int8": 4}
    if allowed_cores() >= 2:
        expected["1 against 2 threads"] = 8
    if set(SETTINGS) <= set(Hardware.detect().isa):
        expected["AVX2 against AVX-512"] = 8

    assert expected == {change: len(errors) for change, errors in seen.by_change().items()}


def _covered(seen: ProjectionError, *, forced: float = 0.0) -> float:
    """The share of projections within the band that the other changes promised before."""
    hits = []
    for change, errors in seen.by_change().items():
        band = forced or seen.without(change).band()
        hits += [abs(error) <= math.log(band) for error in errors]
    return float(np.mean(hits))


def test_band_covers_what_was_left_out(seen: ProjectionError) -> None:
    """What each change did lies within the band that the others had promised, on this machine as it is."""
    if len(seen.by_change()) < 2:
        pytest.skip("one core, and no two instruction sets: nothing is left to promise by")

    assert _covered(seen) >= 0.85


def test_too_confident_a_band_fails_here(seen: ProjectionError) -> None:
    """The same check fails a band of 1."""
    assert _covered(seen, forced=1.0) < 0.85
