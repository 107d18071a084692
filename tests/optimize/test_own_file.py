from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import windtunnel
from windtunnel.bundle import read_bundle
from windtunnel.check_script import run_check
from windtunnel.errors import ConfigError, ModelError
from windtunnel.execution import Execution
from windtunnel.optimize.boosted import export_boosted
from windtunnel.optimize.goal import Goal
from windtunnel.optimize.own_file import own_file, ways_of_own
from windtunnel.runtime import RUNTIMES, Runtime, open_session
from windtunnel.variant import Variant
from windtunnel.verbs.optimize import Search, optimize

if TYPE_CHECKING:
    from pathlib import Path

xgboost = pytest.importorskip("xgboost")


@pytest.fixture
def forest(tmp_path: Path) -> Path:
    """A booster's own file, and 900 rows beside it."""
    x = np.random.default_rng(0).normal(size=(900, 5)).astype(np.float32)
    label = (x[:, 0] * x[:, 1] > 0).astype(np.float32)
    settings = {"objective": "binary:logistic", "max_depth": 5, "nthread": 1}
    path = tmp_path / "m.json"
    xgboost.train(settings, xgboost.DMatrix(x, label), 40).save_model(path)
    np.savez(tmp_path / "rows.npz", x=x)
    return path


def _parent(forest: Path) -> Variant:
    export_boosted(forest, forest.parent / "fp32.onnx")
    return Variant.from_file(forest.parent / "fp32.onnx")


def test_the_source_as_a_variant(forest: Path, tmp_path: Path) -> None:
    """It is a copy of the file, byte for byte, takes and gives what the parent does, and is run by its own library."""
    parent, folder = _parent(forest), tmp_path / "kept"
    folder.mkdir()
    own = own_file(forest, folder, parent)

    assert (own.path, own.path.read_bytes()) == (folder / "source.json", forest.read_bytes())
    assert (own.signature, own.execution) == (parent.signature, Execution("xgboost"))
    assert Variant.from_dict(own.to_dict(folder), folder) == own
    assert own.run_by(Execution("xgboost", 2)).name == "source-on-xgboost-2t"
    rows = {"x": np.zeros((2, 5), np.float32)}
    assert np.allclose(open_session(parent).run(rows)["answer"], open_session(own).run(rows)["answer"], atol=1e-6)


def test_another_source(forest: Path, tiny_model: Path, tmp_path: Path) -> None:
    """A file that the parent was not made from is refused."""
    with pytest.raises(ModelError, match="takes 5 features"):
        own_file(forest, tmp_path, Variant.from_file(tiny_model))


def test_ways(forest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every number of threads is tried; where the library is not here, it is said, and nothing is tried."""
    folder = tmp_path / "kept"
    folder.mkdir()
    own = own_file(forest, folder, _parent(forest))
    ways, skipped = ways_of_own(own, Goal(threads=(2, 1)))
    assert ([each.label for each in ways], skipped) == (["xgboost", "xgboost-2t"], [])

    away = Runtime("xgboost", "forest", "cpu", lambda: "xgboost is not installed; pip install it", lambda: "")
    monkeypatch.setitem(RUNTIMES, "xgboost", away)
    ways, (left,) = ways_of_own(own, Goal())
    assert (ways, left.name, left.reason) == ([], "everything on xgboost", "xgboost is not installed; pip install it")


def test_from_end_to_end(forest: Path, tmp_path: Path) -> None:
    """A library's own predictor is raced, and in the frontier, of its own file alone; a bundle of it runs by itself."""
    search = Search(budget_s=3.0, students=False, threads=(1,))
    done = optimize(
        str(forest), tmp_path / "rows.npz", batch=(4096,), search=search, out=tmp_path / "run", bundle=tmp_path / "b"
    )
    found = {each["name"]: each for each in done.stage.result["frontier"]}

    assert {"fp32", "source-on-xgboost"} <= set(found)
    own = found["source-on-xgboost"]
    assert own["status"] in {"chosen", "on-frontier", "dominated", "slower", "not-proven"}
    assert own["runtime"] == "xgboost"
    assert (done.stage.folder / own["path"]).read_bytes() == forest.read_bytes()
    assert read_bundle(tmp_path / "b").name == done.stage.result["chosen"]["name"]
    assert "off by" in run_check(tmp_path / "b")
    assert windtunnel.load(tmp_path / "run").run({"x": np.zeros((3, 5), np.float32)})["answer"].shape == (3, 1)


def test_an_onnx_file_stays_as_it_is(tiny_model: Path, tmp_path: Path) -> None:
    """A library is asked for where there is no file of its own: refused, before any work."""
    np.savez(tmp_path / "rows.npz", x=np.zeros((90, 4), np.float32))
    with pytest.raises(ConfigError, match=r"`--runtime` .*runs its own library's files only"):
        optimize(str(tiny_model), tmp_path / "rows.npz", search=Search(runtimes=("xgboost",)))


def test_another_library_is_refused(forest: Path, tmp_path: Path) -> None:
    """XGBoost's file is not LightGBM's."""
    with pytest.raises(ConfigError, match=r"'lightgbm'.*runs its own library's files only"):
        optimize(str(forest), tmp_path / "rows.npz", search=Search(runtimes=("lightgbm",)), out=tmp_path / "run")
