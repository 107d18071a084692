from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.backtest.findings import Lateness

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.backtest.findings import Held


def test_the_plain_mean_is_the_metric_of_the_timeline(make_held: Callable[..., Held]) -> None:
    """Of the matured alone, the weighted table says what the timeline says, look by look."""
    held = make_held(20)
    found = Lateness.of(held)
    matured = held.rows.known_us <= found.as_of_us[9]
    asked = held.rows.time_us < found.as_of_us[9]

    assert found.as_of_us.tolist() == held.looks_us.tolist()
    assert found.weighted["new"].plain[9] == np.mean(held.losses("new")[asked & matured]).round(15) or np.isclose(
        found.weighted["new"].plain[9], held.losses("new")[asked & matured].mean(), rtol=1e-12
    )


def test_the_bounds_hold_what_turned_out(make_held: Callable[..., Held]) -> None:
    """Whatever the missing labels say, the mean over all that was asked lies between the bounds, and both weightings do."""
    held = make_held(20)
    found = Lateness.of(held).weighted["new"]
    look = 9
    asked = held.rows.time_us < held.looks_us[look]
    true = held.losses("new")[asked].mean()

    assert found.bounds is not None
    assert found.bounds[0][look] <= true <= found.bounds[1][look]
    assert found.bounds[0][look] <= found.by_age.mean[look] <= found.bounds[1][look]


def test_no_bounds_without_an_end(make_held: Callable[..., Held]) -> None:
    """A squared error of any number has no greatest value, so nothing bounds it; its root has no lower end below zero."""
    found = Lateness.of(make_held(20, metric="rmse")).weighted["new"]

    assert found.bounds is None
    assert np.nanmin(found.by_age.low) >= 0.0
    assert found.at(-1)["least"] is None


def test_ranks_have_no_weighted_mean(make_held: Callable[..., Held]) -> None:
    """A metric of ranks is no mean over requests: the delays are told, the weighted means are not."""
    found = Lateness.of(make_held(20, metric="roc_auc"))

    assert found.to_dict()["weighted"] == []
    assert found.to_dict()["delays"]["requests"] == 1000
    assert found.draw().tables == ()


def test_the_document_is_json(make_held: Callable[..., Held]) -> None:
    """What is not known is null, never NaN; the curve has few steps and falls."""
    told = Lateness.of(make_held(20)).to_dict()
    waiting = [step["waiting"] for step in told["delays"]["curve"]]

    assert json.dumps(told, allow_nan=False)
    assert len(waiting) <= 200
    assert waiting == sorted(waiting, reverse=True)
