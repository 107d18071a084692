from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.findings import Asked, Disagreements
from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.backtest.findings import Held


def test_flips_and_the_costliest(make_held: Callable[..., Held], tmp_path: Path) -> None:
    """Decisions that differ at the threshold are counted, and the costliest requests are those that cost most more."""
    held = make_held(30)
    found = Disagreements.of(held, threshold=0.6, most=5, rng=np.random.default_rng(0))
    (told,) = found.to_dict()["disagreement"]
    flips = (held.prediction("old") >= 0.6) != (held.prediction("new") >= 0.6)
    extra = np.sort((held.losses("new") - held.losses("old"))[held.final])[::-1]
    found.write(tmp_path)

    assert told["flips"] == int(flips.sum()) > 0
    assert [each["extra_cost"] for each in told["costliest"]["requests"]] == extra[:5].tolist()
    assert pl.read_parquet(tmp_path / "costliest-1.parquet")["km"].len() == 5
    assert json.dumps(told, allow_nan=False)
    assert told["explanation"]["rules"]


def _logistic(**weights: float) -> Asked:
    """A logistic regression of some columns."""

    def ask(rows: pl.DataFrame) -> NDArray[np.float64]:
        evidence = sum(weight * rows[name].to_numpy() for name, weight in weights.items())
        told: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.asarray(evidence)))
        return told

    return Asked(tuple(weights), ask)


def test_models_at_hand_are_asked_what_drives_their_flips(make_held: Callable[..., Held]) -> None:
    """Of two models that share `km` and differ in `wind`, the wind is named alone, in the document, in words and in a table."""
    held = make_held(40, wind=lambda rng, n: rng.normal(size=n))
    old, new = _logistic(km=1.0), _logistic(km=1.0, wind=0.7)
    for place, each in enumerate((old, new)):
        held.rows.predictions[place] = each.ask(held.columns)
    found = Disagreements.of(held, rng=np.random.default_rng(0), asked={"old": old, "new": new})
    (told,) = found.to_dict()["disagreement"]
    section = found.draw()

    assert [each["feature"] for each in told["drivers"]["features"] if each["named"]] == ["wind"]
    assert (told["drivers"]["scale"], told["drivers"]["answers"]) == (
        "log-odds",
        told["drivers"]["flips_asked"] * 4 * 2,
    )
    assert any("they are driven by `wind` (" in sentence for sentence in section.sentences)
    assert any("drives the flips" in each.caption for each in section.tables)


def test_logged_answers_alone_tell_what_flips_go_with(make_held: Callable[..., Held]) -> None:
    """Where a model's answers were only logged, it is said that none was asked, and which features flips go with."""
    held = make_held(40)
    found = Disagreements.of(held, rng=np.random.default_rng(0), asked={"new": _logistic(km=1.0)}, threshold=0.6)
    (told,) = found.to_dict()["disagreement"]

    assert [each["feature"] for each in told["drivers"]["features"] if each["named"]] == ["km"]
    assert any(
        "no model was asked; in the log of 2,000 requests flips go with `km`" in each for each in found.draw().sentences
    )


def test_numbers_flip_at_a_threshold_that_is_named(make_held: Callable[..., Held]) -> None:
    """Labels that are numbers have no threshold of themselves: one is asked for, and parts the labels as it parts the answers."""
    held = make_held(20, metric="rmse")
    rows = replace(held.rows, label=100.0 * held.rows.label, predictions=100.0 * held.rows.predictions)
    held = replace(held, rows=rows)
    with pytest.raises(ConfigError, match=r"threshold` is not named, and labels are numbers.*threshold = 100\.0"):
        Disagreements.of(held, rng=np.random.default_rng(0))
    (told,) = Disagreements.of(held, threshold=60.0, rng=np.random.default_rng(0)).to_dict()["disagreement"]
    flips = ((held.prediction("old") >= 60.0) != (held.prediction("new") >= 60.0))[held.final]
    right = ((held.prediction("new") >= 60.0) == (held.rows.label >= 60.0))[held.final]

    assert told["wrong_to_right"] == int((flips & right).sum()) > 0
    assert told["wrong_to_wrong"] == 0


def test_scores_that_are_no_probabilities_need_a_threshold(make_held: Callable[..., Held]) -> None:
    """Where only the order of answers counts, 0.5 parts nothing unless they are probabilities."""
    held = make_held(20, metric="roc_auc")
    assert Disagreements.of(held, rng=np.random.default_rng(0)).found["new"].flips
    held.rows.predictions[1] *= 10.0
    with pytest.raises(ConfigError, match="answers are no probabilities"):
        Disagreements.of(held, rng=np.random.default_rng(0))
    assert Disagreements.of(held, threshold=2.0, rng=np.random.default_rng(0)).found["new"].flips


def test_models_that_answer_alike(make_held: Callable[..., Held]) -> None:
    """Of models that answer alike there is nothing to explain, and ranks have no costliest request."""
    held = make_held(20, metric="roc_auc")
    held.rows.predictions[1] = held.rows.predictions[0]
    (told,) = Disagreements.of(held, rng=np.random.default_rng(0)).to_dict()["disagreement"]

    assert (told["flips"], told["costliest"], told["explanation"]) == (0, None, None)
    assert told["drivers"] is None
