from __future__ import annotations

import json
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from windtunnel.errors import ModelError
from windtunnel.optimize.fitted import load_fitted

if TYPE_CHECKING:
    from pathlib import Path

skops = pytest.importorskip("skops.io")
X = np.random.default_rng(0).normal(size=(100, 3))
Y = (X[:, 0] > 0).astype(int)


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), LogisticRegression()), RandomForestClassifier(3),
        HistGradientBoostingClassifier(max_iter=3), HistGradientBoostingClassifier(max_iter=3, categorical_features=[2]),
    ],
)  # fmt: skip
def test_skops(model: Any, tmp_path: Path) -> None:
    """A pipeline in skops comes back as it was, trees and all."""
    x = X if getattr(model, "categorical_features", None) is None else np.abs(np.rint(X))
    x = np.abs(np.rint(X)) if isinstance(getattr(model, "categorical_features", None), list) else x
    skops.dump(model.fit(x, Y), tmp_path / "m.skops")

    assert np.array_equal(model.predict_proba(x), load_fitted(tmp_path / "m.skops").predict_proba(x))


def _shout(x: Any) -> Any:
    return x


def test_functions_are_refused(tmp_path: Path) -> None:
    """A function of the user's in a skops file is named and not built."""
    skops.dump(make_pipeline(FunctionTransformer(_shout), LogisticRegression()).fit(X, Y), tmp_path / "m.skops")

    with pytest.raises(ModelError, match=r"m\.skops: \(='.*_shout'\) holds types that are more than fitted numbers"):
        load_fitted(tmp_path / "m.skops")


def test_a_smuggled_type(tmp_path: Path) -> None:
    """A type that runs commands when it is built is named and not built."""
    skops.dump(LogisticRegression().fit(X, Y), tmp_path / "m.skops")
    with zipfile.ZipFile(tmp_path / "m.skops") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(parts["schema.json"])
    schema["__class__"], schema["__module__"] = "Popen", "subprocess"
    parts["schema.json"] = json.dumps(schema).encode()
    with zipfile.ZipFile(tmp_path / "bad.skops", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)

    with pytest.raises(ModelError, match=r"\(='subprocess.Popen'\) holds types"):
        load_fitted(tmp_path / "bad.skops")


def test_trees_astray(tmp_path: Path) -> None:
    """A tree whose nodes point outside it would crash the process that asks it: it is refused when it is read."""
    model = RandomForestClassifier(2).fit(X, Y)
    tree = model.estimators_[0].tree_
    state = tree.__getstate__()
    state["nodes"]["left_child"][0] = 10**6
    tree.__setstate__(state)
    skops.dump(model, tmp_path / "m.skops")

    with pytest.raises(ModelError, match="has a tree whose nodes point outside it or back"):
        load_fitted(tmp_path / "m.skops")


def test_a_bomb(tmp_path: Path) -> None:
    """A small file that claims to unpack to more than may be held is refused before anything of it is unpacked."""
    skops.dump(LogisticRegression().fit(X, Y), tmp_path / "m.skops")
    data = bytearray((tmp_path / "m.skops").read_bytes())
    listed = data.index(b"PK\x01\x02")
    data[listed + 24 : listed + 28] = (2**32 - 2).to_bytes(4, "little")
    (tmp_path / "m.skops").write_bytes(data)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("windtunnel.optimize.fitted.allowed_memory_bytes", lambda: 2**30)
        with pytest.raises(ModelError, match=r"m\.skops: unpacks to 4 GiB where 512 MiB may be held"):
            load_fitted(tmp_path / "m.skops")


class _Evil:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was read without leave",))


def test_pickles_need_leave(tmp_path: Path) -> None:
    """A pickle is not so much as opened without leave, and the refusal says the way out."""
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(_Evil()))

    with pytest.raises(
        ModelError,
        match=r"m\.pkl: is a pickle, which runs whatever it holds .* skops\.io\.dump, or allow it with --allow",
    ):
        load_fitted(tmp_path / "m.pkl")


def test_pickles_with_leave(tmp_path: Path) -> None:
    """With leave, a pickle is read."""
    model = LogisticRegression().fit(X, Y)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model))

    assert np.array_equal(model.predict(X), load_fitted(tmp_path / "m.pkl", allow_pickle=True).predict(X))


@pytest.mark.parametrize("name", ["m.skops", "m.pkl"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_cut_off(name: str, share: float, tmp_path: Path) -> None:
    """A file that was cut off is refused by name."""
    model, path = LogisticRegression().fit(X, Y), tmp_path / name
    content = pickle.dumps(model) if name == "m.pkl" else skops.dumps(model)
    path.write_bytes(content[: int(len(content) * share)])

    with pytest.raises(ModelError, match=rf"{name[-5:]}: (is no whole skops file|cannot be read)"):
        load_fitted(path, allow_pickle=True)


def test_missing(tmp_path: Path) -> None:
    """A file that is not there is refused by name."""
    with pytest.raises(ModelError, match=r"m\.skops: does not exist"):
        load_fitted(tmp_path / "m.skops")
