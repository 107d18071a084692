"""Every runtime that can be opened here, over one model that can be worked out by hand; libraries of trees over a forest of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.bound_session import BoundSession
from windtunnel.optimize.boosted import export_boosted
from windtunnel.runtime import RUNTIMES, open_session
from windtunnel.session import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.session import Session

MODULE = """
import torch

class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("w", torch.tensor([0.5, -0.25, 1.0, 2.0]))

    def forward(self, x):
        return torch.sigmoid(x @ self.w)

def make():
    return Tiny(), {"x": torch.zeros(3, 4)}
"""
"""The same model as `tiny_model`, as a user would write it."""

OPENED = [*(name for name in RUNTIMES if name != "torch-compile"), "bound", "bound-in-place"]
"""What the contract is held against; the compiling runtime takes many seconds a shape and has a test of its own."""


@pytest.fixture
def tiny_source(tmp_path: Path) -> str:
    """The tiny model as a function of the user's, `tiny.py:make`, in the test's folder."""
    (tmp_path / "tiny.py").write_text(MODULE)
    return "tiny.py:make"


WEIGHTS = np.array([0.5, -0.25, 1.0, 2.0])


@dataclass(frozen=True)
class Opened:
    """Opens one model in one runtime, and knows what it should answer."""

    opens: Callable[..., Session]
    truth: Callable[[NDArray[Any]], NDArray[Any]]

    def __call__(self, threads: int = 1) -> Session:
        """A session with so many threads."""
        return self.opens(threads=threads)


def _by_hand(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(1 / (1 + np.exp(-x @ WEIGHTS)))


def _forest(library: str, folder: Path) -> Path:
    """A small forest that its library has grown and kept in its own file."""
    x = np.random.default_rng(7).normal(size=(300, 4)).astype(np.float32)
    label = (x @ WEIGHTS > 0).astype(np.float32)
    if library == "xgboost":
        import xgboost

        path, matrix = folder / "forest.ubj", xgboost.DMatrix(x, label)
        xgboost.train({"objective": "binary:logistic", "max_depth": 4, "nthread": 1}, matrix, 12).save_model(path)
        return path
    import lightgbm

    path, data = folder / "forest.txt", lightgbm.Dataset(x, label)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 15, "deterministic": True}
    lightgbm.train(settings, data, 12).save_model(path)
    return path


def _opened_forest(library: str, folder: Path) -> Opened:
    """The forest, and beside it the ONNX file that is made of it."""
    path = _forest(library, folder)
    export_boosted(path, folder / "forest.onnx")
    onnx = OnnxSession(folder / "forest.onnx")
    return Opened(partial(open_session, path, library), lambda x: onnx.run({"x": x})["answer"])


@pytest.fixture(
    params=[pytest.param(n, marks=pytest.mark.gpu if "cuda" in n or "tensorrt" in n else ()) for n in OPENED]
)
def opened(request: pytest.FixtureRequest, tiny_model: Path, tiny_source: str, tmp_path: Path) -> Opened:
    """Opens a model in one runtime; skipped, with the reason, where that cannot run here."""
    name: str = request.param
    if name.startswith("bound"):
        in_place = name == "bound-in-place"
        opens = partial(BoundSession, tiny_model, provider="CPUExecutionProvider", device="cpu", graphs=in_place)
        return Opened(opens, _by_hand)
    if reason := RUNTIMES[name].missing():
        pytest.skip(reason)
    if RUNTIMES[name].takes == "forest":
        return _opened_forest(name, tmp_path)
    source = tiny_source if RUNTIMES[name].takes == "torch" else tiny_model
    return Opened(partial(open_session, source, name, home=tmp_path), _by_hand)
