from __future__ import annotations

import math

import numpy as np
import pytest

from windtunnel.benchmarks.projection_error import HeldOut, ProjectionError
from windtunnel.errors import DataError

REPETITIONS = 2000


def _seen(errors: list[list[float]]) -> ProjectionError:
    """Log errors, a list a change, as projections of one second."""
    return ProjectionError(
        tuple(HeldOut(f"change {i}", f"case {j}", math.exp(e), 1.0) for i, case in enumerate(errors) for j, e in enumerate(case))
    )  # fmt: skip


def _coverage(
    changes: int, *, within: float, between: float, bias: float = 0.0, unseen: float = 0.0, band: float = 0.0
) -> float:
    """How often the band covers a new configuration, errors being normal between changes and within them."""
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(REPETITIONS):
        errors = bias + rng.normal(0.0, between, (changes, 1)) + rng.normal(0.0, within, (changes, 4))
        following = bias + rng.normal(0.0, math.sqrt(between**2 + within**2 + unseen**2))
        hits += abs(following) <= math.log(band or _seen(errors.tolist()).band(unseen=unseen))
    return hits / REPETITIONS


@pytest.mark.parametrize("changes", [1, 2, 3, 6])
def test_covers_at_its_rate(changes: int) -> None:
    """Where all cases of a change err alike the band covers the next configuration in 95 of 100, however few were seen."""
    assert _coverage(changes, within=0.0, between=0.3) == pytest.approx(0.95, abs=0.015)


def test_covers_more_where_cases_differ() -> None:
    """Cases that err each in their own way make the band wider than need be, never narrower."""
    assert _coverage(3, within=0.3, between=0.0) >= 0.95
    assert _coverage(3, within=0.2, between=0.2) >= 0.945


def test_covers_a_bias() -> None:
    """Projections that are all too short are covered too."""
    assert _coverage(3, within=0.0, between=0.1, bias=0.3) >= 0.94


def test_covers_what_was_never_seen() -> None:
    """The spread of what no configuration could show is in the band as well."""
    assert _coverage(3, within=0.0, between=0.2, unseen=0.5) == pytest.approx(0.95, abs=0.02)


def test_too_confident_a_band_fails() -> None:
    """The same count, made with a band of 1, covers nothing: the check has teeth."""
    assert _coverage(3, within=0.0, between=0.3, band=1.0) == 0.0


def test_by_hand() -> None:
    """Two changes, errors of 10% and 20%: t with 2 degrees of freedom times their root mean square."""
    seen = _seen([[math.log(1.1)], [math.log(1.2), -math.log(1.2)]])

    deviation = math.sqrt((math.log(1.1) ** 2 + math.log(1.2) ** 2) / 2.0)
    assert seen.deviation == pytest.approx(deviation)
    assert seen.band() == pytest.approx(math.exp(4.302652729911275 * deviation))


def test_fewer_changes_promise_less() -> None:
    """What is known of fewer configurations is known worse: the same errors give a wider band."""
    assert _seen([[0.2]]).band() > _seen([[0.2], [0.2]]).band() > _seen([[0.2]] * 6).band()


def test_without() -> None:
    """A change that is taken away leaves the others."""
    seen = _seen([[0.1], [0.2], [0.3]])

    assert list(seen.without("change 1").by_change()) == ["change 0", "change 2"]
    with pytest.raises(DataError, match="holds no projection"):
        _seen([[0.1]]).without("change 0")


def test_sentence() -> None:
    """The sentence says each change with its errors."""
    assert str(_seen([[math.log(1.5)], [0.0, -math.log(2.0)]])) == (
        "projections between configurations measured here were off by (change 0: 1.50 × at the median, 1.50 × at worst; "
        "change 1: 1.41 × at the median, 2.00 × at worst)"
    )
