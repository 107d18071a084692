from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from windtunnel.errors import ModelError
from windtunnel.optimize.parity import check_parity, flat, relative_difference, resize

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.variant import Variant

AXES = {"x": {0: "batch"}}
INPUTS = {"x": torch.randn(4, 16, generator=torch.Generator().manual_seed(1))}


@pytest.fixture
def source(mlp: Variant) -> Callable[..., torch.Tensor]:
    """What `mlp.onnx` computes, in torch."""
    import onnx

    w1, b1, w2 = (torch.tensor(onnx.numpy_helper.to_array(each)) for each in onnx.load(str(mlp.path)).graph.initializer)
    return lambda feeds: torch.sigmoid(torch.relu(feeds["x"] @ w1 + b1) @ w2)


def test_the_same_model(mlp: Variant, source: Callable[..., torch.Tensor]) -> None:
    """A file that computes what its source does is a little off at most, at every batch size."""
    worst, compared = check_parity(source, INPUTS, mlp.path, AXES)

    assert worst < 1e-6
    assert compared == {"batch": (1, 2, 3, 17)}


@pytest.mark.parametrize("rows", [1, 3, 17])
def test_another_model_at_one_size(mlp: Variant, source: Callable[..., torch.Tensor], rows: int) -> None:
    """A file that differs at a single batch size is told from its source, with that size and by how much."""
    with pytest.raises(ModelError, match=rf"off by 1 with {rows} rows? of 16, allowed 0\.0001"):
        check_parity(lambda feeds: source(feeds) * (0.5 if len(feeds["x"]) == rows else 1), INPUTS, mlp.path, AXES)


def test_sizes_that_the_source_refuses(mlp: Variant, source: Callable[..., torch.Tensor]) -> None:
    """Where the source itself does not run, nothing is compared, and the result says where it was."""

    def picky(feeds: Any) -> torch.Tensor:
        if len(feeds["x"]) == 1:
            raise ValueError("too few")
        return source(feeds)

    assert check_parity(picky, INPUTS, mlp.path, AXES)[1] == {"batch": (2, 3, 17)}


def test_a_source_of_one_size(mlp: Variant, source: Callable[..., torch.Tensor]) -> None:
    """A source that runs with the example's rows only proves nothing of others."""
    with pytest.raises(ModelError, match="does not run itself with another batch than the example's 4"):
        check_parity(lambda feeds: source(feeds).view(4, 1), INPUTS, mlp.path, AXES)


def test_a_fixed_axis(mlp: Variant, source: Callable[..., torch.Tensor]) -> None:
    """An axis that was to be free and is fixed in the file is named."""
    with pytest.raises(ModelError, match="lost its free width axis in the export; do not use the width size"):
        check_parity(source, INPUTS, mlp.path, {"x": {0: "batch", 1: "width"}})


def test_outputs_by_number(mlp: Variant, source: Callable[..., torch.Tensor]) -> None:
    """A source with more outputs than the file is refused."""
    with pytest.raises(ModelError, match="gives 1 outputs once exported, and 2 before"):
        check_parity(lambda feeds: (source(feeds), source(feeds)), INPUTS, mlp.path, AXES)


def test_an_input_that_is_left_out(mlp: Variant) -> None:
    """An input that the file does not have cannot have lost its free axes; the file is told what it knows."""
    inputs = {**INPUTS, "unused": torch.ones(3, 5)}
    axes = {**AXES, "unused": {0: "batch", 1: "length"}}

    with pytest.raises(ModelError, match="unused"):
        check_parity(lambda feeds: torch.ones(len(feeds["x"]), 1), inputs, mlp.path, axes)


def test_resize() -> None:
    """Examples are repeated or cut along every axis of a name, in every input that has it; others stay."""
    given = {"x": torch.arange(6).reshape(2, 3), "y": torch.arange(3).reshape(1, 3), "z": torch.ones(2)}
    made = resize(given, {"x": {1: "length"}, "y": {1: "length"}}, {"length": 4})

    assert made["x"].tolist() == [[0, 1, 2, 0], [3, 4, 5, 3]]
    assert made["y"].tolist() == [[0, 1, 2, 0]]
    assert made["z"] is given["z"]


def test_flat() -> None:
    """Nested answers become a flat list; keys are kept where they are names and each is there once."""
    one, two = torch.ones(1), torch.ones(2)

    assert list(flat({"a": one, "b": {"c": two, "d": None}})) == ["a", "b_c"]
    assert list(flat({"a": one, "b": [two]})) == ["output", "output_1"]
    assert list(flat({1: one})) == ["output"]
    assert [each.numel() for each in flat((one, [two])).values()] == [1, 2]


@pytest.mark.parametrize(
    ("expected", "actual", "difference"),
    [
        ([1.0, 200.0], [1.5, 201.0], 0.005),
        ([1e-6, 2e-6], [1e-6, 3e-6], 0.5),
        ([0.0], [0.25], 0.25),
        ([1000.0], [1001.0], 0.001),
        ([1, 2], [1, 2], 0.0),
        ([], [], 0.0),
        ([1.0], [1.0, 1.0], float("inf")),
        ([True], [False], 1.0),
    ],
)
def test_relative_difference(expected: list[float], actual: list[float], difference: float) -> None:
    """Differences are relative for large numbers and absolute for small ones; other shapes are infinitely far."""
    assert difference == pytest.approx(relative_difference(np.array(expected), np.array(actual)))
