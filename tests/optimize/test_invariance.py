from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.optimize.invariance import TOLERANCE, batch_dependence
from windtunnel.optimize.quantize import dynamic_int8
from windtunnel.session import OnnxSession, Session
from windtunnel.variant import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from windtunnel.variant import Variant

    Formula = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class _Formula(Session):
    """Answers with a formula, and remembers how many rows it was asked."""

    def __init__(self, formula: Formula) -> None:
        self.signature, self.formula, self.asked = Signature((), ()), formula, list[int]()

    def run(self, feeds: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        self.asked.append(len(feeds["x"]))
        return {"fixed": feeds["x"] * 0, "output": self.formula(feeds["x"])}


def _per_batch_int8(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What dynamic int8 does: one scale for all rows of a batch."""
    scale = np.abs(x).max() / 127
    rounded: NDArray[np.float64] = np.round(x / scale) * scale
    return rounded


X = np.random.default_rng(1).normal(size=(200, 1))


@pytest.mark.parametrize(
    ("formula", "depends"),
    [
        (lambda x: x * 2, False),
        (lambda x: x * (1 + 1e-7 * len(x)), False),
        (_per_batch_int8, True),
        (lambda x: x - x.mean(), True),
        (lambda x: x * (1.01 if len(x) == 1 else 1.0), True),
    ],
    ids=["a row at a time", "rounding", "a scale a batch", "centred", "alone"],
)
def test_dependence(formula: Formula, depends: bool) -> None:
    """A row's answer that moves with its neighbours is found, in any output; the last digits may move."""
    assert (batch_dependence(_Formula(formula), {"x": X}) > TOLERANCE) == depends


def test_strangers_are_met() -> None:
    """Subjects that are all alike still meet strangers, who can move them."""
    alike = np.concatenate([np.full((48, 1), 0.013), np.full((152, 1), 50.0)])

    assert batch_dependence(_Formula(_per_batch_int8), {"x": alike}) > TOLERANCE


@pytest.mark.parametrize("rows", [1, 2, 48, 100])
def test_few_rows(rows: int) -> None:
    """As many subjects as there are rows, up to 48; each is asked alone."""
    session = _Formula(lambda x: x)

    assert batch_dependence(session, {"x": X[:rows]}) == 0.0
    assert session.asked.count(1) >= min(rows, 48)


def test_dynamic_int8_depends_on_its_batch(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    """A real model answers a row at a time; its dynamic int8 child does not."""
    settings = {"weights": "int8", "reduce_range": False, "per_channel": True}
    dynamic_int8(mlp, tmp_path / "int8.onnx", settings)

    assert batch_dependence(OnnxSession(mlp.path), rows) <= TOLERANCE
    assert batch_dependence(OnnxSession(tmp_path / "int8.onnx"), rows) > TOLERANCE
