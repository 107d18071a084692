from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.backtest.policy import Order, Trainer, train
from windtunnel.errors import DataError, ModelError
from windtunnel.recording import LABEL_TIME, TIME
from windtunnel.source import load_function

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.backtest.policy.retraining import Bench
    from windtunnel.recording import Recording

DAY_US = 86_400_000_000

TORCH = """
import torch

class Slope(torch.nn.Module):
    def forward(self, x):
        return torch.sigmoid(x)

def fit(rows, seed):
    return Slope(), {"x": torch.zeros(2)}

def broken(rows, seed):
    return 3

def local(rows, seed):
    class Hidden:
        def predict(self, rows):
            return rows["x"].to_numpy() * 0.0
    return Hidden()
"""


def test_fit_is_given_what_was_known_before_and_nothing_else(
    make_stream: Callable[..., Recording], make_bench: Callable[..., Bench], fit_home: Path
) -> None:
    """Every row's label was known before the training, none asked before the window; the seed is the trainer's."""
    shop = make_bench(make_stream(60)).shop
    saw = load_function("fits.py:fit", fit_home).__globals__["SAW"]

    trained = train(shop, (Order(40 * DAY_US, 10 * DAY_US), None))
    rows, seed, before = saw[-1]

    assert rows[LABEL_TIME].dt.timestamp("us").max() < 40 * DAY_US
    assert rows[TIME].dt.timestamp("us").min() >= 30 * DAY_US
    assert (len(rows), seed, before) == (trained.rows, 7, None)
    assert len(trained.predictions) == int((shop.time_us >= 40 * DAY_US).sum())


def test_one_snapshot_has_one_digest_and_one_answer(
    make_stream: Callable[..., Recording], make_bench: Callable[..., Bench]
) -> None:
    """Trained twice, everything but the time it took is the same; other rows, another seed or a warm start are another snapshot."""
    shop = make_bench(make_stream(60), keep=True).shop
    first, again = (train(shop, (Order(40 * DAY_US), None)) for _ in range(2))
    other_seed = replace(shop, trainer=replace(shop.trainer, seed=8))
    others = (
        train(shop, (Order(41 * DAY_US), None)),
        train(other_seed, (Order(40 * DAY_US), None)),
        train(shop, (Order(40 * DAY_US, None, Order(30 * DAY_US)), first)),
    )

    assert (first.snapshot, first.answers) == (again.snapshot, again.answers)
    assert len({each.snapshot for each in (first, *others)}) == 4


def test_a_torch_module_is_fed_from_the_columns_of_its_inputs(
    make_stream: Callable[..., Recording], make_bench: Callable[..., Bench], tmp_path: Path
) -> None:
    """What `[model] fit` gives will do here: the module is asked with the columns that its example inputs are named after."""
    (tmp_path / "nets.py").write_text(TORCH)
    shop = replace(make_bench(make_stream(40)).shop, trainer=Trainer("nets.py:fit", tmp_path, 1))

    trained = train(shop, (Order(35 * DAY_US), None))
    x = shop.recording.frame["x"].to_numpy()[trained.first :]

    np.testing.assert_allclose(trained.predictions, 1.0 / (1.0 + np.exp(-x)), rtol=1e-5)


def test_what_cannot_be_used_is_refused(
    make_stream: Callable[..., Recording], make_bench: Callable[..., Bench], tmp_path: Path
) -> None:
    """No label yet, no model, and a model that cannot be kept for a warm start, each say the way out."""
    (tmp_path / "bad.py").write_text(TORCH)
    shop = replace(make_bench(make_stream(40), keep=True).shop, trainer=Trainer("bad.py:broken", tmp_path, 1))
    first = int(shop.time_us[0])

    with pytest.raises(DataError, match="`label` has no row whose label was known before 1970-01-01"):
        train(shop, (Order(first), None))
    with pytest.raises(ModelError, match=r"return an object with predict\(rows\)"):
        train(shop, (Order(35 * DAY_US), None))
    with pytest.raises(ModelError, match="return one that can be pickled, or start cold"):
        train(replace(shop, trainer=Trainer("bad.py:local", tmp_path, 1)), (Order(35 * DAY_US), None))
