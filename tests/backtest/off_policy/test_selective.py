from __future__ import annotations

import math

import numpy as np
import pytest

from windtunnel.backtest.off_policy import SelectiveLabels

NEVER = np.iinfo(np.int64).max


def found(acted_share: float, passed_share: float, *, seed: int = 0, rows: int = 2000) -> SelectiveLabels:
    """Labels that come for a share of those acted on and a share of the others."""
    rng = np.random.default_rng([61, seed])
    time = rng.integers(0, 100, rows)
    acted = rng.random(rows) < 0.4
    came = rng.random(rows) < np.where(acted, acted_share, passed_share)
    known = np.where(came, time + 5, NEVER)
    return SelectiveLabels.of(time, known, acted, as_of_us=200, horizon_us=10)


@pytest.mark.parametrize(
    ("acted_share", "passed_share", "kind", "says"),
    [
        (0.9, 0.0, "only-acted", "speak of those alone|speaks of those alone"),
        (0.9, 0.5, "depends", "stratum of the weighting"),
        (0.0, 0.9, "depends", "stratum of the weighting"),
        (0.9, 0.9, "none", ""),
    ],
)
def test_what_is_found_and_what_follows(acted_share: float, passed_share: float, kind: str, says: str) -> None:
    """Labels for the acted-on alone, labels that hang on the decision, and labels that do not are told apart."""
    selective = found(acted_share, passed_share)
    told = " ".join(selective.what_follows(propensities=False))

    assert selective.kind == kind
    assert any(each in told for each in says.split("|"))


def test_propensities_open_a_way() -> None:
    """Where propensities are logged the advice is to weigh, else to bound and to act on a random share."""
    selective = found(0.9, 0.0)

    assert "weigh each acted-on row" in selective.what_follows(propensities=True)[-1]
    assert "best/worst bounds" in selective.what_follows(propensities=False)[-1]


def test_no_false_warning() -> None:
    """Where labels come for both sides alike, a warning is raised no more often than the level allows."""
    warned = [found(0.8, 0.8, seed=seed, rows=500).kind != "none" for seed in range(200)]

    assert np.mean(warned) <= 0.01 + 3.0 * (0.01 * 0.99 / 200) ** 0.5


def test_interval_covers_the_difference() -> None:
    """Newcombe's interval holds the true difference of coverage at least as often as it says, near the ends too."""
    for acted_share, passed_share in ((0.9, 0.7), (0.99, 0.97)):
        intervals = [found(acted_share, passed_share, seed=seed, rows=300).difference for seed in range(300)]
        covered = np.mean([each.low <= acted_share - passed_share <= each.high for each in intervals])

        assert covered >= 0.99 - 3.0 * (0.01 * 0.99 / 300) ** 0.5


def test_pending_labels_are_no_sign() -> None:
    """Only requests whose fate is known are looked at; where none is, or all were decided alike, nothing is said."""
    time = np.arange(100)
    acted = time % 2 == 0
    young = SelectiveLabels.of(time, np.where(acted, time, NEVER), acted, as_of_us=100, horizon_us=200)
    alike = SelectiveLabels.of(time, time, acted | True, as_of_us=1000, horizon_us=10)

    assert [young.kind, young.acted, alike.kind] == ["unknown", 0, "unknown"]
    assert math.isnan(alike.passed_coverage)
    assert alike.to_dict()["passed_coverage"] is None
    assert alike.what_follows(propensities=True) == ()


def test_a_handful_shows_nothing() -> None:
    """Three labelled and one unlabelled request are no ground to call labels selective."""
    time = np.zeros(4, dtype=np.int64)
    few = SelectiveLabels.of(
        time, np.array([1, 1, 1, NEVER]), np.array([True, True, True, False]), as_of_us=9, horizon_us=2
    )

    assert (few.kind, few.difference.value) == ("none", 1.0)


def test_a_horizon_without_end_forgets_no_label() -> None:
    """With a horizon beyond all times nothing is settled, and no sum goes round to say otherwise."""
    time = np.ones(4, dtype=np.int64)
    young = SelectiveLabels.of(time, time, np.arange(4) < 2, as_of_us=9, horizon_us=NEVER)

    assert (young.kind, young.acted) == ("unknown", 0)
