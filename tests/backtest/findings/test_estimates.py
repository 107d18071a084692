from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.backtest.findings import Estimates
from windtunnel.backtest.findings.estimates import last_versions
from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.backtest.findings import Held


def test_what_turned_out_is_the_metric_of_the_day(make_held: Callable[..., Held]) -> None:
    """The estimate stands beside the metric of the day's requests, once all their labels are in."""
    held = make_held(40)
    (estimate,) = [each for each in Estimates.of(held).found if each.model == "new"]
    day = held.rows.time_us - held.looks_us[0]
    of_day = (day >= 0) & (day < held.every_us)

    assert estimate.method == "cbpe"
    assert estimate.of.realised[1] == pytest.approx(held.losses("new")[of_day & held.final].mean(), rel=1e-3)


def test_regression_where_there_is_no_probability(make_held: Callable[..., Held]) -> None:
    """A loss of numbers is estimated by regression, as nobody has said by what; by confidence it is refused."""
    held = make_held(40, metric="squared_error")

    assert {each.method for each in Estimates.of(held, features=("km", "carrier")).found} == {"dle"}
    with pytest.raises(ConfigError, match="needs labels of 0 or 1"):
        Estimates.of(held, methods=("cbpe",))


def test_confidence_is_that_of_probabilities(make_held: Callable[..., Held]) -> None:
    """Scores of which only the order counts say nothing of how sure a model is: refused, with the way out."""
    held = make_held(20, metric="roc_auc")
    held.rows.predictions[1] *= 3.0
    with pytest.raises(ConfigError, match=r"needs probabilities.*log the probability of label 1"):
        Estimates.of(held)


def test_what_is_estimated_is_the_loss_of_a_request(make_held: Callable[..., Held]) -> None:
    """Of a root the square is estimated, and called so; where requests have amounts it is theirs, which confidence knows nothing of."""
    numbers, paid = make_held(40, metric="rmse"), make_held(40)
    paid = replace(paid, rows=replace(paid.rows, amount=np.full(len(paid.rows), 3.0)))

    assert {each.of.metric for each in Estimates.of(numbers).found} == {"squared_error"}
    assert {(each.method, each.of.metric) for each in Estimates.of(paid).found} == {("dle", "log_loss")}


def test_corrected_labels_are_learnt_once(page: Held) -> None:
    """The regression sees every request once, by the version of its label that counts in the end."""
    assert last_versions(page).tolist() == [1, 3, 4]


def test_the_document_is_json(make_held: Callable[..., Held]) -> None:
    """What is not known is null; every look of every model is told."""
    found = Estimates.of(make_held(30))
    told = found.to_dict()["estimates"]

    assert json.dumps(told, allow_nan=False)
    assert [each["name"] for each in told] == ["old", "new"]
    assert len(told[0]["timeline"]) == found.found[0].of.periods.looks
    assert json.dumps(found.draw().to_dict(), allow_nan=False)
