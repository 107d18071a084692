from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.errors import MissingError, ModelError
from windtunnel.optimize.boosted import export_boosted
from windtunnel.runtime import RUNTIMES, open_session
from windtunnel.session import OnnxSession
from windtunnel.xgboost_session import XgboostSession

if TYPE_CHECKING:
    from pathlib import Path

xgboost = pytest.importorskip("xgboost")

ROWS = 400


def _grow(path: Path, objective: str, **settings: Any) -> np.ndarray[Any, Any]:
    """A booster over two numbers with holes and a category; gives back rows that it has not seen."""
    rng = np.random.default_rng(3)
    x = np.column_stack([rng.normal(size=(ROWS, 2)), rng.integers(0, 12, ROWS)]).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    signal = np.nan_to_num(x[:, 0]) + (np.nan_to_num(x[:, 2]) % 4 == 1)
    label = {"multi": np.digitize(signal, [-0.3, 0.8]), "binar": signal > 0.3, "count": np.exp(signal)}.get(
        objective[:5], signal
    )
    matrix = xgboost.DMatrix(
        x[::2], label[::2], feature_types=["q", "q", "c"], enable_categorical=True, feature_names=["a", "b", "port"]
    )
    asked = {"objective": objective, "max_depth": 4, "nthread": 1, **settings}
    rounds = asked.pop("rounds", 9)
    booster = xgboost.train(asked, matrix, rounds, evals=[(matrix, "seen")], verbose_eval=False)
    if "stop" in path.stem:
        booster.set_attr(best_iteration="3", best_score="0.1")
    booster.save_model(path)
    return x


@pytest.mark.parametrize(
    ("name", "objective", "settings"),
    [
        ("binary.json", "binary:logistic", {"base_score": 0.2}),
        ("margin.ubj", "binary:logitraw", {}),
        ("classes.ubj", "multi:softprob", {"num_class": 3}),
        ("likeliest.json", "multi:softmax", {"num_class": 3}),
        ("counts.ubj", "count:poisson", {}),
        ("numbers.json", "reg:squarederror", {"base_score": 3.5}),
        ("dart.json", "binary:logistic", {"booster": "dart", "rate_drop": 0.5, "seed": 1}),
        ("stopped.ubj", "reg:squarederror", {}),
        ("stopped.json", "multi:softmax", {"num_class": 3}),
    ],
)
def test_against_the_file_that_is_made_of_it(
    name: str, objective: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Margins, probabilities, counts, base scores, dropped and stopped trees, categories and holes: as the ONNX file answers."""
    path = tmp_path / name
    x = _grow(path, objective, **settings)
    export_boosted(path, tmp_path / "m.onnx")
    onnx, own = OnnxSession(tmp_path / "m.onnx"), XgboostSession(path)
    expected = onnx.run({"x": x})["answer"]

    assert onnx.signature == own.signature
    assert np.isnan(x).any()
    for rows in (1, 7, ROWS):
        answer = own.run({"x": x[:rows]})["answer"]
        assert (expected[:rows].shape, expected.dtype) == (answer.shape, answer.dtype)
        assert np.allclose(expected[:rows], answer, rtol=1e-5, atol=1e-5)


def test_a_damaged_file(tmp_path: Path) -> None:
    """A file that was cut off is refused in a sentence, also where its signature is known already."""
    path = tmp_path / "m.ubj"
    _grow(path, "binary:logistic", rounds=2)
    signature = XgboostSession(path).signature
    path.write_bytes(path.read_bytes()[:-30])
    for known in (None, signature):
        with pytest.raises(ModelError, match=r"m\.ubj: is no whole XGBoost model \(.*\); save it again") as refused:
            XgboostSession(path, known)
        assert "\n" not in str(refused.value)


def test_what_the_library_refuses(tmp_path: Path) -> None:
    """What only XGBoost itself finds wrong is told in its words, without the place in its source."""
    path = tmp_path / "m.json"
    _grow(path, "binary:logistic", rounds=2)
    path.write_text(path.read_text().replace('"name":"binary:logistic"', '"name":"binary:nothing"'))
    with pytest.raises(ModelError, match=r"m\.json: cannot be read by XGBoost \(Unknown objective function"):
        XgboostSession(path)


def test_files_of_others(tiny_model: Path, tmp_path: Path) -> None:
    """An ONNX file and a function are refused with the way out."""
    with pytest.raises(ModelError, match="is neither LightGBM's text"):
        open_session(tiny_model, "xgboost")
    with pytest.raises(ModelError, match=r"is a function, and xgboost runs its own library's files"):
        open_session("model.py:make", "xgboost")
    text = tmp_path / "m.txt"
    text.write_text("tree\n")
    with pytest.raises(ModelError, match="is no whole LightGBM model"):
        open_session(text, "xgboost")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where XGBoost is not installed the message says the command that installs it."""
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(MissingError, match=r"xgboost is not installed; pip install 'windtunnel\[sklearn\]'"):
        XgboostSession(tmp_path / "m.json")


def test_described() -> None:
    """A profile is told by which package and version it was measured."""
    assert RUNTIMES["xgboost"].describe().endswith(f"{xgboost.__version__} CPU")
