from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from windtunnel.errors import DataError
from windtunnel.onnx_file import save_model
from windtunnel.optimize.draft import Draft
from windtunnel.optimize.tap import watch
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NAMES = ["a", "c", "y"]


def _fixed(mlp: Variant, path: Path) -> Variant:
    model = onnx.load(str(mlp.path))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 8
    onnx.save(model, str(path))
    return Variant.from_file(path)


def _seen(draft: Draft, rows: dict[str, NDArray[Any]], **budget: int) -> dict[str, NDArray[Any]]:
    found: dict[str, list[NDArray[Any]]] = {}
    for values in watch(draft, NAMES, rows, **budget):
        for name, array in values.items():
            found.setdefault(name, []).append(array)
    return {name: np.concatenate(arrays) for name, arrays in found.items()}


@pytest.mark.parametrize("budget", [100, 600, 2000])
def test_values_take_turns(mlp: Variant, rows: dict[str, NDArray[Any]], budget: int) -> None:
    """However little may be held at once, every value of every row is shown once, and is what it was."""
    some = {"x": rows["x"][:40]}
    held = [
        sum(array.nbytes for array in values.values()) for values in watch(Draft(mlp), NAMES, some, budget_bytes=budget)
    ]
    plain, bounded = _seen(Draft(mlp), some), _seen(Draft(mlp), some, budget_bytes=budget)

    assert max(held) <= max(budget, 64 * 4)
    assert list(bounded) == NAMES
    assert all(np.allclose(plain[name], bounded[name], atol=1e-6) for name in NAMES)


def test_weights_too_large_for_one_file(
    mlp: Variant, rows: dict[str, NDArray[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one file cannot hold the weights they lie beside it, and the same is seen."""
    some = {"x": rows["x"][:20]}
    plain = _seen(Draft(mlp), some)
    monkeypatch.setattr("windtunnel.onnx_file.save_model", partial(save_model, largest_bytes=1000))
    beside = _seen(Draft(mlp), some)

    assert all(np.array_equal(plain[name], beside[name]) for name in NAMES)


def test_a_fixed_batch(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    """A model that takes eight rows at once is fed eight, and a rest too few is left out; fewer than eight are refused."""
    draft = Draft(_fixed(mlp, tmp_path / "eight.onnx"))

    assert [len(values["y"]) for values in watch(draft, NAMES, {"x": rows["x"][:21]})] == [8, 8]
    with pytest.raises(DataError, match="has 7 rows where the model takes 8 at once; give 8 or more"):
        next(watch(draft, NAMES, {"x": rows["x"][:7]}))
