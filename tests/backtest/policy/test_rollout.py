from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from windtunnel.backtest.policy import Alert, Guardrails, Prices, Rollout, Step
from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Rollout("x", ()), "steps of x"),
        (lambda: Rollout("x", (Step(0.5), Step(0.5))), "steps of x"),
        (lambda: Rollout("x", (Step(1.5),)), "steps of x"),
        (lambda: Rollout("x", (Step(1.0, math.inf),)), "steps of x"),
        (lambda: Rollout("x", (Step(1.0),), level=1.0), "level of x"),
        (lambda: Guardrails(least_coverage=50.0), "least_coverage"),
        (lambda: Guardrails(coverage_s=0.0), "coverage_s"),
        (lambda: Alert(0.0, 0.1), "window_s"),
        (lambda: Alert(1.0, math.nan), "above"),
        (lambda: Alert(1.0, 0.1, 0), "looks"),
        (lambda: Alert(1.0, 0.1, 1, 0), "least_rows"),
        (lambda: Prices(usd_per_loss=-1.0), "usd_per_loss"),
        (lambda: Prices(usd_per_wrong=1.0, usd_per_rollback=math.inf), "usd_per_rollback"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_name(make: Callable[[], object], field: str) -> None:
    """Each number of a policy or a price list is checked where it is given, and named."""
    with pytest.raises(ConfigError, match=f"`{field}`"):
        make()
