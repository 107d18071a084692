from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from windtunnel.optimize.metric import read_metric
from windtunnel.optimize.pair import Pair
from windtunnel.optimize.quality import Holdout, compare
from windtunnel.optimize.slices import cut_rows, drop_by_slice

ROWS = 3000
PORT = np.array(["EWR", "JFK", "LGA"])[np.arange(ROWS) % 3]


def _pair(rng: np.random.Generator, lost: dict[str, float], share: float = 0.05) -> Pair:
    """Decisions of which the child loses so many of each port, and so many everywhere else."""
    chance = np.array([lost.get(port, share) for port in PORT])
    return Pair(np.ones(ROWS), np.full(ROWS, 0.9), np.where(rng.random(ROWS) < chance, 0.1, 0.9))


def test_the_worst_slice_is_found() -> None:
    """The port at which the child loses most comes first, with its own interval; the whole hides it."""
    pair = _pair(np.random.default_rng(1), {"JFK": 0.08}, share=0.0)
    found = compare(
        "accuracy", Holdout({}, pair.label, None, {"port": PORT, "km": np.arange(ROWS)}), pair.parent, pair.child
    )
    worst = found.worst_slice

    assert worst is not None
    assert (worst.name, worst.rows) == ("port = JFK", 1000)
    assert worst.to_dict()["drop"] == pytest.approx(np.mean(pair.child[PORT == "JFK"] < 0.5))
    assert found.drop.high < 0.04 < worst.drop.low
    assert found.judge(0.04) == "worse"
    assert [each.drop.value for each in found.slices] == sorted(
        (each.drop.value for each in found.slices), reverse=True
    )
    assert len(found.slices) == 3 + 4


def test_slices_hold_together() -> None:
    """Of children that lose the same everywhere, at most one of forty is called worse in any of seven slices."""
    rng, draws = np.random.default_rng(2), 150
    slices, metric = {"port": PORT, "km": rng.random(ROWS)}, read_metric("accuracy")
    worse = sum(
        any(each.drop.low > 0.05 for each in drop_by_slice(metric, _pair(rng, {}), slices, 0.95)) for _ in range(draws)
    )

    assert worse <= draws * 0.025 + 3.0 * math.sqrt(draws * 0.025 * 0.975)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array(["b", "a", "b"]), {"= b": 2, "= a": 1}),
        (np.array(["b", None, "b"], dtype=object), {"missing": 1, "= b": 2}),
        (np.array([True, False, True]), {"= True": 2, "= False": 1}),
        (np.array([3, 1, 3]), {"= 3": 2, "= 1": 1}),
        (np.array([0.5, np.nan, 0.5]), {"missing": 1, "= 0.5": 2}),
        (np.arange(41), {"up to 10": 11, "10 to 20": 10, "20 to 30": 10, "above 30": 10}),
        (np.append(np.arange(41.0), np.nan), {"missing": 1, "up to 10": 11, "10 to 20": 10, "20 to 30": 10, "above 30": 10}),
        (np.append(np.zeros(40), np.arange(1, 13)), {"up to 0": 40, "above 0": 12}),
        (np.arange(30).astype(str), {f"= {each}": 1 for each in sorted(map(str, range(30)))[:10]}),
    ],
)  # fmt: skip
def test_cutting(values: Any, expected: dict[str, int]) -> None:
    """Words and few numbers are cut by value, the most frequent first, many numbers at their quartiles; what is missing is a part."""
    assert {name: int(rows.sum()) for name, rows in cut_rows(values)} == expected


def test_slices_that_say_nothing() -> None:
    """Slices of few rows, of one class for a metric that orders two, and a user's metric are not looked at."""
    rng = np.random.default_rng(3)
    pair = Pair((PORT == "JFK").astype(np.float64), rng.random(ROWS), rng.random(ROWS))
    rare = np.where(np.arange(ROWS) < 90, "rare", "usual")

    assert drop_by_slice(read_metric("roc_auc"), pair, {"port": PORT}, 0.95) == ()
    assert [each.value for each in drop_by_slice(read_metric("mae"), pair, {"x": rare}, 0.95)] == ["= usual"]


@pytest.mark.parametrize("metric", ["average_precision", "ndcg@5", "ece", "rmse", "log_loss", "closeness"])
def test_every_kind_of_metric_is_sliced(metric: str) -> None:
    """Metrics of other kinds are compared within slices too, each group within its slice."""
    rng = np.random.default_rng(4)
    label = (rng.random(ROWS) < 0.3).astype(np.float64)
    parent = 0.5 * label + 0.5 * rng.random(ROWS)
    pair = Pair(label, parent, np.clip(parent + 0.1 * rng.normal(size=ROWS), 0.0, 1.0), np.arange(ROWS) // 10)
    found = drop_by_slice(read_metric(metric), pair, {"half": np.arange(ROWS) < ROWS // 2}, 0.95)

    assert sorted(each.rows for each in found) == [ROWS // 2, ROWS // 2]
    assert all(each.drop.low < each.drop.value < each.drop.high for each in found)
