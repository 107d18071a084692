from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats as distributions

from windtunnel.errors import ConfigError
from windtunnel.simulate.arrivals import ServiceLaw

LAWS = (
    ServiceLaw("deterministic", 0.001, 0.0004),
    ServiceLaw("exponential", 0.002, cv=1.0),
    ServiceLaw("gamma", 0.001, 0.001, cv=0.5),
    ServiceLaw("lognormal", 0.001, 0.0004, cv=2.0),
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.kind)
@pytest.mark.parametrize("points", [1, 7, 1024])
def test_means_are_exact_for_any_number_of_points(law: ServiceLaw, points: int) -> None:
    """Each row's mean is that of the law to rounding, its times are above zero and sorted, and no batch takes no time."""
    table = law.table(8, points)

    assert table.shape == (9, points)
    assert table[1:].mean(axis=1) == pytest.approx([law.mean_s(batch) for batch in range(1, 9)], rel=1e-12)
    assert np.all(table[1:] > 0.0)
    assert np.all(np.diff(table, axis=1) >= 0.0)
    assert np.all(table[0] == 0.0)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.kind)
def test_moments_are_approached_from_below(law: ServiceLaw) -> None:
    """The second moment of a row is below the law's own, and comes near it with more points."""
    mean_s, second = law.moments(4)
    rows = [float(np.mean(law.table(4, points)[4] ** 2)) for points in (16, 256, 4096)]

    assert law.table(4, 256)[4].mean() == pytest.approx(mean_s)
    assert rows == sorted(rows) or law.kind == "deterministic"
    assert rows[-1] <= second * (1.0 + 1e-9)
    assert rows[-1] == pytest.approx(second, rel=0.05)


def test_points_are_means_of_equal_shares() -> None:
    """The middle points of an exponential law are its mean between neighbouring quantiles."""
    edges = distributions.expon.ppf(np.linspace(0.0, 1.0, 5))
    between = [distributions.expon.expect(lambda x: x, lb=a, ub=b, conditional=True) for a, b in pairwise(edges)]

    assert ServiceLaw("exponential", 1.0, cv=1.0).table(1, 4)[1] == pytest.approx(between)


@pytest.mark.parametrize(("kind", "cv", "own"), [("exponential", 0.0, "1"), ("deterministic", 0.5, "0")])
def test_laws_that_have_no_choice(kind: str, cv: float, own: str) -> None:
    """A coefficient of variation that the law cannot have is refused: closed forms would take it for true."""
    with pytest.raises(ConfigError, match=rf"`cv` .* is not that of the law; give {own}"):
        ServiceLaw(kind, 0.001, cv=cv)
