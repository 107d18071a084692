from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.backtest.exact import means
from windtunnel.backtest.kernel import LIMBS, STEPS, add, look_of, losses_of, step_of
from windtunnel.backtest.question import CODES
from windtunnel.loss import LOSSES, cost_loss, loss_named

VALUES = st.floats(-1e40, 1e40, allow_nan=False).filter(lambda x: x == 0.0 or abs(x) > 1e-40)


@given(values=st.lists(VALUES, min_size=1, max_size=30))
@settings(max_examples=300, deadline=None)
def test_a_mean_is_the_float_nearest_to_the_truth(values: list[float]) -> None:
    """Values of any size and sign are summed without error, and the mean is rounded once."""
    sums = np.zeros((1, LIMBS), np.int64)
    for value in values:
        add(sums[0], value, 1)
    expected = float(sum(map(Fraction, values), Fraction()) / len(values))

    assert expected == float(means(sums, np.array([len(values)]))[0])


@pytest.mark.parametrize("name", [*LOSSES, "pinball@0.9", "cost"])
def test_compiled_losses_are_those_of_the_noun(name: str) -> None:
    """The loss of each row is what `windtunnel.loss` says it is."""
    rng = np.random.default_rng(3)
    loss = cost_loss([[0.0, 1.0], [5.0, -0.3]], 0.4) if name == "cost" else loss_named(name)
    label, said = (rng.random(1000) < 0.5).astype(np.float64), np.append(rng.random(996), [0.0, 1.0, 0.5, 0.4])
    found = losses_of(label, said, CODES[loss.family], np.array([*loss.parameters, 0.0]))

    np.testing.assert_allclose(found, loss.of(label, said), rtol=1e-14)


@given(delay=st.integers(0, 2**62))
@settings(max_examples=300, deadline=None)
def test_a_step_is_a_128th_wide(delay: int) -> None:
    """A longer delay never falls into an earlier step, and delays of one step differ by less than 1/128."""
    step = step_of(delay)

    assert 0 <= step < STEPS
    assert step_of(delay + 1) in (step, step + 1)
    assert step_of(delay + delay // 127 + 1) > step


@given(seen=st.integers(-50, 50), first=st.integers(-20, 20), every=st.integers(1, 7))
def test_the_first_look_is_the_first_at_or_after(seen: int, first: int, every: int) -> None:
    """The look is the least whose time does not lie before the moment."""
    assert next(k for k in range(200) if first + k * every >= seen) == look_of(seen, first, every)
