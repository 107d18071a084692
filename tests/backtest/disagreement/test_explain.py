"""Explanations from logged answers: true where there is something to tell, and doubted where there is not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.disagreement import Explanation, Flips, draw, explain_difference
from windtunnel.errors import ConfigError, DataError

DAY = 86_400_000_000


def traffic(rng: np.random.Generator, rows: int = 2500) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """A number with gaps, a text, 50 days, and the incumbent's answers."""
    km = np.where(rng.random(rows) < 0.1, np.nan, rng.uniform(0.0, 100.0, size=rows))
    port = rng.choice(["AMS", "JFK", "LHR"], size=rows)
    return pl.DataFrame({"km": km, "port": port}), np.sort(rng.integers(0, 50 * DAY, size=rows)), rng.random(rows) / 2.0


def explained(rng: np.random.Generator, effect: float, noise: float) -> Explanation:
    """The candidate parts from the incumbent at JFK, and a little everywhere."""
    features, time, ours = traffic(rng)
    theirs = ours + effect * (features["port"] == "JFK").to_numpy() + noise * rng.random(len(ours))
    return explain_difference(features, ours, theirs, time, rng)


def test_the_rule_and_its_feature_are_told_with_fidelity() -> None:
    """They part at JFK: that is the first rule, held on later days, and the fidelity is the share of variance it makes."""
    found = explained(np.random.default_rng(0), 0.3, 0.1)
    part = 0.3**2 * 2 / 9
    expected = part / (part + 0.1**2 / 12)

    assert found.rules[0].conditions[0] == "port = JFK"
    assert found.importance[0][0] == "port"
    assert found.trusted
    assert found.low < expected < found.high
    assert sum(rule.rows for rule in found.rules) == found.rows


def test_where_there_is_nothing_to_tell_it_is_not_trusted() -> None:
    """If nothing logged tells where they part, the interval of the fidelity is above zero in at most 5% of 50 recordings."""
    trusted = [explained(np.random.default_rng(seed), 0.0, 0.2).trusted for seed in range(50)]

    assert np.mean(trusted) <= 0.05


def test_intervals_of_the_fidelity_hold_it() -> None:
    """Of 50 recordings, about 95% of intervals hold the share of variance that is there to be explained."""
    part = 0.1**2 * 2 / 9
    truth = part / (part + 0.2**2 / 12)
    found = [explained(np.random.default_rng(seed), 0.1, 0.2) for seed in range(50)]

    assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.88


def test_a_missing_number_is_named_in_the_rule() -> None:
    """Where they part on requests without `km`, or on those and the long ones alike, the rules say so."""
    rng = np.random.default_rng(1)
    features, time, ours = traffic(rng)
    missing, long = features["km"].is_nan().to_numpy(), (features["km"] > 80.0).to_numpy()
    long &= ~missing
    alone = explain_difference(features, ours, ours + 0.3 * missing, time, rng, depth=1)
    both = explain_difference(features, ours, ours + 0.3 * (missing | long), time, rng, depth=1)

    assert {rule.conditions for rule in alone.rules} == {("km is missing",), ("km is known",)}
    assert [rule.conditions for rule in both.rules] == [("km > 80 or missing",), ("km ≤ 80",)]
    assert both.fidelity > 0.99


def test_the_section_says_whether_it_explains_anything() -> None:
    """One sentence with the fidelity, whichever way it went."""
    flips = Flips.of(np.full(3, np.nan), np.array([0.1, 0.6, 0.7]), np.array([0.9, 0.6, 0.7]))
    told = [
        draw("challenger", flips, explanation=explained(np.random.default_rng(2), effect, 0.2)).sentences[-1]
        for effect in (0.3, 0.0)
    ]

    assert told[0].startswith("a small tree over the logged features explains")
    assert told[1].startswith("what was logged does not explain where they part")


def test_what_cannot_be_explained_is_refused() -> None:
    """Answers that are everywhere the same distance apart, no usable column, and a share that is none."""
    features, time, ours = traffic(np.random.default_rng(3))
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="nothing to explain"):
        explain_difference(features, ours, ours, time, rng)
    with pytest.raises(DataError, match="nothing to explain"):
        explain_difference(features[:0], ours[:0], ours[:0], time[:0], rng)
    with pytest.raises(DataError, match="has no column"):
        explain_difference(features.select(pl.lit(0).cast(pl.Date)), ours, ours**2, time, rng, columns=[])
    with pytest.raises(ConfigError, match="must lie between 0 and 1"):
        explain_difference(features, ours, ours**2, time, rng, learnt=1.0)
