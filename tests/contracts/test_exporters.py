"""What every exporter promises, walked through by each: torch, scikit-learn, LightGBM, XGBoost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch

from windtunnel.optimize.boosted import export_boosted
from windtunnel.optimize.export import export
from windtunnel.optimize.sklearn_export import export_sklearn
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Source = tuple[Callable[[Path], Any], Callable[[NDArray[np.float32]], NDArray[Any]]]

X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)


class _Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.layer(x))


def _torch(_folder: Path) -> Source:
    torch.manual_seed(0)
    net = _Net()
    return (
        lambda path: export(net, {"x": torch.from_numpy(X[:2])}, path),
        lambda rows: net(torch.from_numpy(rows)).detach().numpy(),
    )


def _sklearn(_folder: Path) -> Source:
    pytest.importorskip("skl2onnx")
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(max_iter=5).fit(X, Y)
    return lambda path: export_sklearn(model, path), model.predict_proba


def _lightgbm(folder: Path) -> Source:
    lightgbm = pytest.importorskip("lightgbm")
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(X, Y), 5)
    booster.save_model(str(folder / "m.txt"))
    return lambda path: export_boosted(folder / "m.txt", path), lambda rows: booster.predict(rows)[:, None]


def _xgboost(folder: Path) -> Source:
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(X, Y), 5)
    booster.save_model(str(folder / "m.ubj"))
    return lambda path: export_boosted(folder / "m.ubj", path), lambda rows: booster.inplace_predict(rows)[:, None]


@pytest.fixture(params=[_torch, _sklearn, _lightgbm, _xgboost], ids=["torch", "sklearn", "lightgbm", "xgboost"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """What writes the ONNX file, and what it must answer."""
    made: Source = request.param(tmp_path)
    return made


def test_answers(source: Source, tmp_path: Path) -> None:
    """An export answers as its source, at any number of rows."""
    write, ask = source
    write(tmp_path / "m.onnx")
    session = OnnxSession(tmp_path / "m.onnx")
    for rows in (1, 2, 3, 17, 200):
        answer = next(iter(session.run({"x": X[:rows]}).values()))

        assert answer.shape == ask(X[:rows]).shape
        assert np.allclose(ask(X[:rows]), answer, atol=1e-5)


def test_signature(source: Source, tmp_path: Path) -> None:
    """An export is a whole model that passes the checker, with a free batch axis."""
    source[0](tmp_path / "m.onnx")
    variant = Variant.from_file(tmp_path / "m.onnx")

    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
    assert variant.signature.dynamic_batch
    assert [(each.name, each.dtype) for each in variant.signature.inputs] == [("x", "float32")]


def test_same_bytes(source: Source, tmp_path: Path) -> None:
    """The same source makes the same bytes, with no path of this machine in them."""
    contents = []
    for name in ("a.onnx", "b.onnx"):
        source[0](tmp_path / name)
        contents.append((tmp_path / name).read_bytes())

    assert contents[0] == contents[1]
    assert str(tmp_path).encode() not in contents[0]


def test_what_came_of_it(source: Source, tmp_path: Path) -> None:
    """An exporter says how near it came, within the tolerance that it holds itself to, as JSON values."""
    found = source[0](tmp_path / "m.onnx")

    assert 0.0 <= found.worst < 1e-4
    assert isinstance(found.to_dict(), dict)


def test_nothing_else_is_written(source: Source, tmp_path: Path) -> None:
    """An exporter leaves its file and nothing beside it."""
    before = {each.name for each in tmp_path.iterdir()}
    source[0](tmp_path / "m.onnx")

    assert {"m.onnx"} == {each.name for each in tmp_path.iterdir()} - before
