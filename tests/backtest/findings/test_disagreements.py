from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.backtest.findings import Disagreements

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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


def test_models_that_answer_alike(make_held: Callable[..., Held]) -> None:
    """Of models that answer alike there is nothing to explain, and ranks have no costliest request."""
    held = make_held(20, metric="roc_auc")
    held.rows.predictions[1] = held.rows.predictions[0]
    (told,) = Disagreements.of(held, rng=np.random.default_rng(0)).to_dict()["disagreement"]

    assert (told["flips"], told["costliest"], told["explanation"]) == (0, None, None)
