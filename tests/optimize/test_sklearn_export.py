from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)  # fmt: skip
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC

from windtunnel.errors import ModelError
from windtunnel.feed import feed_table
from windtunnel.model_names import ModelNames
from windtunnel.optimize.sklearn_export import export_sklearn
from windtunnel.session import OnnxSession

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("skl2onnx")
pd = pytest.importorskip("pandas")
lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4))
TWO = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)
THREE = np.digitize(X[:, 0], [-0.5, 0.5])
NUMBER = X[:, 0] * 3 + X[:, 1]
FRAME = pl.DataFrame({
    "city": RNG.choice(["JFK", "EWR", "Zürich"], 300), "carrier": RNG.choice(["a", "b", "c"], 300),
    "km": np.where(RNG.random(300) < 0.1, np.nan, RNG.normal(1000, 300, 300)), "hour": RNG.integers(0, 24, 300),
})  # fmt: skip


def _fit(model: Any, x: Any, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too few iterations to converge, which is not what is tested
        return model.fit(x, y)


@pytest.mark.parametrize(
    ("model", "target", "outputs"),
    [
        (LogisticRegression(), TWO, [2]), (LogisticRegression(), THREE, [3]), (Ridge(), NUMBER, [1]),
        (MLPClassifier((8,), max_iter=5), TWO, [2]), (MLPRegressor(hidden_layer_sizes=(8,), max_iter=5), NUMBER, [1]),
        (RandomForestClassifier(5), THREE, [3]), (ExtraTreesClassifier(6), TWO, [2]), (RandomForestRegressor(5), NUMBER, [1]),
        (GradientBoostingClassifier(n_estimators=5), TWO, [2]), (GaussianNB(), TWO, [2]), (KNeighborsClassifier(), TWO, [2]),
        (HistGradientBoostingClassifier(max_iter=5), TWO, [2]), (HistGradientBoostingClassifier(max_iter=5), THREE, [3]),
        (HistGradientBoostingRegressor(max_iter=5), NUMBER, [1]),
        (HistGradientBoostingRegressor(loss="poisson", max_iter=5), np.exp(X[:, 0]), [1]),
        (SVC(), TWO, [1]), (SVC(), THREE, [3]), (LinearSVC(), TWO, [1]), (SVR(), NUMBER, [1]),
        (VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], voting="soft"), TWO, [2]),
        (lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1), TWO, [2]),
        (lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1), THREE, [3]),
        (lightgbm.LGBMRegressor(n_estimators=5, verbose=-1, n_jobs=1), NUMBER, [1]),
        (xgboost.XGBClassifier(n_estimators=5, n_jobs=1), TWO, [2]),
        (xgboost.XGBClassifier(n_estimators=5, n_jobs=1), THREE, [3]),
        (xgboost.XGBRegressor(n_estimators=5, n_jobs=1), NUMBER, [1]),
        (make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=5)), TWO, [2]),
        (make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=5)), TWO, [2]),
    ],
)  # fmt: skip
def test_matrix(model: Any, target: Any, outputs: list[int], tmp_path: Path) -> None:
    """Every kind of model answers as its source does, on thresholds and beside them, probabilities before the label."""
    found = export_sklearn(_fit(model, X, target), tmp_path / "m.onnx")
    session = OnnxSession(tmp_path / "m.onnx")
    first = session.signature.outputs[0]

    assert (found.differing, found.label_flip_rate) == (0.0, 0.0)
    assert outputs == list(first.shape[1:])
    assert session.signature.dynamic_batch
    for rows in (1, 2, 17):
        assert (rows, *outputs) == session.run({"x": X[:rows].astype(session.signature.inputs[0].dtype)})[
            first.name
        ].shape


def test_text_classes(tmp_path: Path) -> None:
    """Classes in text leave their names in the file and no label in the answer, for other stages reckon with numbers."""
    names = np.array(["late", "early"])[TWO]
    export_sklearn(RandomForestClassifier(4).fit(X, names), tmp_path / "m.onnx")

    assert ModelNames.read(tmp_path / "m.onnx").classes == ("early", "late")
    assert [each.name for each in OnnxSession(tmp_path / "m.onnx").signature.outputs] == ["probabilities"]


def _columns(numbers: Any, last: Any, text: Any = None, **settings: Any) -> Any:
    encoder = text or OneHotEncoder(handle_unknown="ignore")
    parts = [("numbers", numbers, ["km", "hour"]), ("text", encoder, ["city", "carrier"])]
    return make_pipeline(ColumnTransformer(parts, **settings), last)


@pytest.mark.parametrize(
    "model",
    [
        _columns(make_pipeline(SimpleImputer(), StandardScaler()), LogisticRegression()),
        _columns(SimpleImputer(strategy="median"), RandomForestClassifier(5)),
        _columns("passthrough", HistGradientBoostingClassifier(max_iter=5)),
        _columns("passthrough", HistGradientBoostingClassifier(max_iter=5, categorical_features=[2, 3]), OrdinalEncoder()),
        _columns("passthrough", lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1), OrdinalEncoder()),
        _columns("passthrough", xgboost.XGBClassifier(n_estimators=5, n_jobs=1), OrdinalEncoder()),
        _columns(
            SimpleImputer(), LogisticRegression(),
            make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
        ),
        make_pipeline(
            ColumnTransformer([
                ("n", SimpleImputer(), ["km"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["hour", "city"]),
            ]),
            LogisticRegression(),
        ),
    ],
)  # fmt: skip
def test_frame(model: Any, tmp_path: Path) -> None:
    """Preprocessing goes into the graph: raw columns go in, text as strings, missing and unseen values as the source takes them."""
    label = ((FRAME["km"].fill_nan(1000.0) > 1000) ^ (FRAME["city"] == "JFK")).to_numpy().astype(int)
    frame = pd.DataFrame({name: FRAME[name].to_list() for name in FRAME.columns})
    found = export_sklearn(_fit(model, frame, label), tmp_path / "m.onnx")
    session = OnnxSession(tmp_path / "m.onnx")
    feeds = feed_table(FRAME, session.signature)
    answer = next(iter(session.run(feeds).values()))

    assert (found.differing, found.label_flip_rate) == (0.0, 0.0)
    assert {"object"} == {each.dtype for each in session.signature.inputs if each.name in {"city", "carrier"}}
    assert np.allclose(model.predict_proba(frame), answer, atol=1e-5)


def test_named_matrix(tmp_path: Path) -> None:
    """A pipeline of numbers only takes one matrix, fitted on a frame or not, and the file keeps its columns' names."""
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    found = export_sklearn(make_pipeline(StandardScaler(), Ridge()).fit(frame, NUMBER), tmp_path / "m.onnx")

    assert ("a", "b", "c", "d") == found.features == ModelNames.read(tmp_path / "m.onnx").features
    assert [(each.name, each.shape) for each in OnnxSession(tmp_path / "m.onnx").signature.inputs] == [
        ("x", ("batch", 4))
    ]


def test_categories_by_place(tmp_path: Path) -> None:
    """Histogram boosting encodes categories of its own; unknown ones go where missing ones go, and so do ours."""
    x = np.column_stack([X[:, 0], RNG.choice([1.0, 5.0, 40.0, 77.0], 300)])
    model = HistGradientBoostingClassifier(max_iter=10, categorical_features=[1]).fit(x, (x[:, 1] > 4) ^ (X[:, 0] > 0))
    found = export_sklearn(model, tmp_path / "m.onnx")
    odd = np.array([[0.1, 2.0], [0.1, np.nan], [-0.1, -3.0], [0.1, 40.0], [0.1, 1.0]])

    assert found.differing == 0.0
    answer = OnnxSession(tmp_path / "m.onnx").run({"x": odd.astype(np.float32)})["probabilities"]
    assert np.allclose(model.predict_proba(odd), answer, atol=1e-6)


def test_large_numbers(tmp_path: Path) -> None:
    """Where float32 cannot part the rows, such as seconds since 1970 behind a scaler, the model is made in float64."""
    seconds = RNG.integers(1_700_000_000, 1_700_000_900, (300, 1)).astype(float)
    model = make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=5)).fit(
        seconds, seconds[:, 0] % 60 < 30
    )
    found = export_sklearn(model, tmp_path / "m.onnx")
    session = OnnxSession(tmp_path / "m.onnx")
    answer = next(iter(session.run({"x": seconds.astype(session.signature.inputs[0].dtype)}).values()))

    assert (found.width, session.signature.inputs[0].dtype) == ("float64", "float64")
    assert np.allclose(model.predict_proba(seconds), answer, atol=1e-5)


def test_same_bytes(tmp_path: Path) -> None:
    """The same model makes the same file."""
    model = RandomForestClassifier(3, random_state=0).fit(X, TWO)
    digests = set()
    for name in ("a", "b"):
        export_sklearn(model, tmp_path / f"{name}.onnx")
        digests.add(hashlib.sha256((tmp_path / f"{name}.onnx").read_bytes()).hexdigest())

    assert len(digests) == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LogisticRegression(), "`m` is a LogisticRegression that was not fitted; fit it before it is saved"),
        ({"a": 1}, "`m` is a dict, which cannot predict; save the pipeline"),
        (
            make_pipeline(FunctionTransformer(np.sin), Ridge()).fit(X, NUMBER),
            r"`m` cannot be expressed in ONNX \(.*FunctionTransf",
        ),
    ],
)
def test_refused(model: Any, message: str, tmp_path: Path) -> None:
    """What cannot be converted is refused by name, and leaves no file."""
    with pytest.raises(ModelError, match=message):
        export_sklearn(model, tmp_path / "m.onnx", source="m")

    assert not (tmp_path / "m.onnx").exists()
