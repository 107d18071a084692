from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from windtunnel.backtest.findings.measures import MOST_GROUPS, Measures
from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.backtest.findings import Held


def test_every_metric_of_every_model_in_every_window(make_held: Callable[..., Held]) -> None:
    """The last look of all requests is scikit-learn's figure; windows of the last days and fading ones stand beside it."""
    held = make_held(40)
    found = Measures.of(held, ["roc_auc", "brier"], last_s=7 * 86400.0, half_life_s=14 * 86400.0)
    told = found.to_dict()["measures"]
    (auc,) = (
        each for each in told if (each["name"], each["metric"], each["window"]) == ("new", "roc_auc", "cumulative")
    )

    assert {(each["name"], each["metric"], each["window"], each["span_s"]) for each in told} == {
        (model, metric, *window)
        for model in ("old", "new")
        for metric in ("roc_auc", "brier")
        for window in (("cumulative", None), ("last", 604800.0), ("decayed", 1209600.0))
    }
    assert auc["value"] == pytest.approx(roc_auc_score(held.rows.label[held.final], held.prediction("new")[held.final]))
    assert auc["rows"] == held.final.sum() == auc["timeline"][-1]["rows"]
    assert json.dumps(found.draw().to_dict(), allow_nan=False)


def test_mornings_show_the_first_metric(make_held: Callable[..., Held]) -> None:
    """Where there is a window of the last days, every morning of each model stands beside what turned out true."""
    told = Measures.of(make_held(40), ["brier", "roc_auc"], last_s=7 * 86400.0).to_dict()["mornings"]

    assert [(each["name"], each["metric"]) for each in told] == [("old", "brier"), ("new", "brier")]
    assert told[0]["timeline"][20]["as_of"].startswith("2024-01-2")
    assert told[0]["timeline"][20]["coverage_then"] < told[0]["timeline"][20]["coverage_now"] <= 1.0


def test_groups_are_the_commonest_values(make_held: Callable[..., Held]) -> None:
    """Each value of a column is told of by itself; their rows add up to all, and no more values than a page holds are told."""
    held = make_held(40, gate=lambda rng, n: rng.integers(100, size=n))
    carriers = Measures.of(held, ["brier"], by="carrier").to_dict()["measures"]
    gates = {each.group for each in Measures.of(held, ["brier"], by="gate").measures if each.group}

    assert sum(each["rows"] for each in carriers if each["group"] and each["name"] == "old") == held.final.sum()
    assert {each["group"] for each in carriers} == {None, "AA", "DL", "UA"}
    assert len(gates) == MOST_GROUPS


def test_a_page_checked_by_hand(page: Held) -> None:
    """The first label stands corrected to 0 at the end, the second is 0, the third never came; an empty carrier is a group."""
    found = Measures.of(page, ["brier"], by="carrier")
    at_the_end = {(each.model, each.group): each.followed.value[-1] for each in found.measures}

    assert at_the_end[("new", "")] == pytest.approx((0.9**2 + 0.2**2) / 2)
    assert at_the_end[("new", "UA")] == pytest.approx(0.9**2)
    assert at_the_end[("new", "(empty)")] == pytest.approx(0.2**2)
    assert np.isnan(at_the_end[("new", "AA")])


def test_what_was_said_hangs_on_nothing_known_later(make_held: Callable[..., Held]) -> None:
    """With every label that became known after a look turned round, all that was said up to it is the same to the bit."""
    held = make_held(40)
    asked: dict[str, Any] = {"last_s": 7 * 86400.0, "half_life_s": 86400.0, "by": "carrier"}
    cut = 25
    looks_us, before = Measures.of(held, ["brier", "roc_auc"], **asked).series()
    late = held.rows.known_us > looks_us[cut]
    label = np.where(late, 1.0 - held.rows.label, held.rows.label)
    after = Measures.of(replace(held, rows=replace(held.rows, label=label)), ["brier", "roc_auc"], **asked).series()[1]

    assert late.any()
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert values[: cut + 1].tobytes() == after[name][: cut + 1].tobytes(), name
    assert any(values[cut + 1 :].tobytes() != after[name][cut + 1 :].tobytes() for name, values in before.items())


def test_refusals(make_held: Callable[..., Held]) -> None:
    """A metric that there is not, one that cannot fade, a query column for nothing, a column that is not there."""
    held = make_held(20)
    with pytest.raises(ConfigError, match="is not a metric"):
        Measures.of(held, ["rocauc"])
    with pytest.raises(ConfigError, match="cannot fade"):
        Measures.of(held, ["spearman"], half_life_s=86400.0)
    with pytest.raises(ConfigError, match="asked for by none of the metrics"):
        Measures.of(held, ["brier"], query="carrier")
    with pytest.raises(DataError, match="gate"):
        Measures.of(held, ["brier"], by="gate")


def test_what_answers_cannot_be_judged_by(make_held: Callable[..., Held]) -> None:
    """Refused is named by its model, with the metric's name for answers of the other shape, or by the key that is missing."""
    held = make_held(20)
    said = held.rows.predictions
    wide = replace(held, rows=replace(held.rows, predictions=np.stack([1.0 - said, said], axis=-1)))
    with pytest.raises(DataError, match=r"`old` is several numbers a row.*it is called class_log_loss"):
        Measures.of(wide, ["log_loss"])
    with pytest.raises(DataError, match=r"`old` is one number a row.*it is called roc_auc"):
        Measures.of(held, ["class_auc"])
    with pytest.raises(ConfigError, match=r"`measures\.query` is needed for ndcg"):
        Measures.of(held, ["ndcg"])
