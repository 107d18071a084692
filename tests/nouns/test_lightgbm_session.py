from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.errors import ModelError
from windtunnel.lightgbm_session import LightgbmSession
from windtunnel.optimize.boosted import export_boosted
from windtunnel.runtime import open_session
from windtunnel.session import OnnxSession

if TYPE_CHECKING:
    from pathlib import Path

lightgbm = pytest.importorskip("lightgbm")

ROWS = 400


def _grow(path: Path, objective: str, **settings: Any) -> np.ndarray[Any, Any]:
    """A booster over two numbers with holes and a category; gives back its rows."""
    rng = np.random.default_rng(3)
    x = np.column_stack([rng.normal(size=(ROWS, 2)), rng.integers(0, 12, ROWS)]).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    x[::9, 1] = 0.0
    signal = np.nan_to_num(x[:, 0]) + (np.nan_to_num(x[:, 2]) % 4 == 1)
    label = {"multi": np.digitize(signal, [-0.3, 0.8]), "binar": signal > 0.3, "poiss": np.exp(signal)}.get(
        objective[:5], signal
    )
    asked = {"objective": objective, "verbose": -1, "num_threads": 1, "num_leaves": 7, "min_data_per_group": 5}
    lightgbm.train(asked | settings, lightgbm.Dataset(x, label, categorical_feature=[2]), 8).save_model(path)
    return x


@pytest.mark.parametrize(
    ("objective", "settings"),
    [
        ("binary", {"sigmoid": 0.7}),
        ("multiclass", {"num_class": 3}),
        ("multiclassova", {"num_class": 3}),
        ("poisson", {}),
        ("regression", {"zero_as_missing": True}),
        ("regression", {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}),
    ],
)
def test_against_the_file_that_is_made_of_it(objective: str, settings: dict[str, Any], tmp_path: Path) -> None:
    """Probabilities, counts, averages, categories, zeros and holes: as the ONNX file answers."""
    path = tmp_path / "m.txt"
    x = _grow(path, objective, **settings)
    export_boosted(path, tmp_path / "m.onnx")
    onnx, own = OnnxSession(tmp_path / "m.onnx"), LightgbmSession(path)
    expected = onnx.run({"x": x.astype(onnx.signature.inputs[0].dtype)})["answer"]

    for rows in (1, 7, ROWS):
        answer = own.run({"x": x[:rows]})["answer"]
        assert (expected[:rows].shape, expected.dtype) == (answer.shape, answer.dtype)
        assert np.allclose(expected[:rows], answer, rtol=1e-5, atol=1e-5)


def test_a_damaged_file(tmp_path: Path) -> None:
    """A file that was cut off is refused in a sentence; LightGBM, which never comes back from it, does not see it."""
    path = tmp_path / "m.txt"
    _grow(path, "binary")
    text = path.read_text()
    path.write_text(text[: text.index("Tree=3")])
    for opens in (LightgbmSession, lambda each: export_boosted(each, tmp_path / "m.onnx")):
        with pytest.raises(ModelError, match=r"m\.txt: is no whole LightGBM model"):
            opens(path)


def test_files_of_another_library(tmp_path: Path) -> None:
    """The runtime that can run it is named."""
    path = tmp_path / "m.txt"
    _grow(path, "binary")
    with pytest.raises(ModelError, match=r"is a model of lightgbm's; run it with the runtime lightgbm"):
        open_session(path, "xgboost")
