from __future__ import annotations

import math

import numpy as np

from windtunnel.simulate.arrivals.elementary import cosine_of_turns, e_to, minus_log


def test_logarithm_and_exponential_are_right_to_the_last_place() -> None:
    """Both lie within two units in the last place of the machine's own library, over the whole range that is used."""
    rng = np.random.default_rng(0)
    shares = np.concatenate([rng.random(2000), 2.0 ** -np.arange(1.0, 54.0), 1.0 - 2.0**-53 * np.arange(1.0, 50.0)])
    powers = rng.uniform(-690.0, 690.0, 2000)

    assert max(abs(minus_log(float(x)) / -math.log(x) - 1.0) for x in shares) <= 2.0 * np.finfo(float).eps
    assert max(abs(e_to(float(x)) / math.exp(x) - 1.0) for x in powers) <= 2.0 * np.finfo(float).eps


def test_cosine_of_turns() -> None:
    """It is the cosine of the angle, and exact at quarter turns."""
    turns = np.random.default_rng(0).uniform(-3.0, 3.0, 2000)

    assert max(abs(cosine_of_turns(float(x)) - math.cos(2.0 * math.pi * x)) for x in turns) < 1e-14
    assert [cosine_of_turns(x) for x in (0.0, 0.25, 0.5, 0.75, -2.0)] == [1.0, 0.0, -1.0, 0.0, 1.0]
