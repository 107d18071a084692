from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch

from windtunnel.errors import ModelError
from windtunnel.optimize.export import SIZES, check_parity, export, relative_difference
from windtunnel.session import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Body = Callable[["_Module", torch.Tensor], object]

INPUTS = {"x": torch.randn(4, 4, generator=torch.Generator().manual_seed(1))}


class _Module(torch.nn.Module):
    """A linear layer, and a body that says what to do with it."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.linear, self.body = torch.nn.Linear(4, 3), body
        self.register_buffer("output", torch.full((3,), 2.0))

    def forward(self, x: torch.Tensor) -> object:
        return self.body(self, x)


def _sigmoid(module: _Module, x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(module.linear(x))


def test_parity_at_several_batch_sizes(tmp_path: Path) -> None:
    """An export answers as its source does for 1, 2, 3 and 17 rows, from examples of 4."""
    module, path = _Module(_sigmoid), tmp_path / "m.onnx"
    worst = export(module, INPUTS, path)

    assert SIZES == (1, 2, 3, 17)
    assert worst < 1e-6
    session = OnnxSession(path)
    for size in SIZES:
        x = torch.randn(size, 4)
        assert np.allclose(module(x).detach().numpy(), session.run({"x": x.numpy()})["output"], atol=1e-6)
    assert [each.name for each in tmp_path.iterdir()] == ["m.onnx"]


def test_exported_in_evaluation_mode(tmp_path: Path) -> None:
    """Dropout does nothing in an export, whatever mode the module was in."""
    module = _Module(lambda m, x: torch.nn.functional.dropout(m.linear(x), 0.5, m.training))
    module.train()

    assert export(module, INPUTS, tmp_path / "m.onnx") < 1e-6


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (_sigmoid, ["output"]),
        (lambda m, x: (m.linear(x), x * 2), ["output", "output_1"]),
        (lambda m, x: {"b": m.linear(x), "a": x * 2}, ["output", "output_1"]),
        (lambda m, x: (m.linear(x),) * 2, ["output", "output_1"]),
        (lambda m, x: m.linear(x) * m.output, ["output"]),
    ],
    ids=["one", "two", "dict", "the same twice", "beside a weight of that name"],
)
def test_names_of_outputs(tmp_path: Path, body: Body, names: list[str]) -> None:
    """Outputs are called `output`, `output_1`, … in their order, whatever the exporter calls them."""
    path = tmp_path / "m.onnx"
    export(_Module(body), INPUTS, path)

    assert names == [value.name for value in onnx.load(str(path)).graph.output]


def test_each_output_has_the_tolerance_of_its_dtype(tmp_path: Path) -> None:
    """Whole numbers beside floats must be equal; the floats keep their own tolerance."""
    export(_Module(lambda m, x: (_sigmoid(m, x), m.linear(x).argmax(1))), INPUTS, tmp_path / "m.onnx")

    assert [each.dtype for each in OnnxSession(tmp_path / "m.onnx").signature.outputs] == ["float32", "int64"]


def test_same_module_same_bytes(tmp_path: Path) -> None:
    """The same module exports to the same bytes, without traces of this machine in them."""
    for name in ("a.onnx", "b.onnx"):
        export(_Module(_sigmoid), INPUTS, tmp_path / name)

    data = (tmp_path / "a.onnx").read_bytes()
    assert data == (tmp_path / "b.onnx").read_bytes()
    assert __file__.encode() not in data


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (lambda m, x: m.linear(x).view(4, 3), "lost its free batch axis in the export; do not use the batch size"),
        (lambda m, x: m.linear(x) * len(x), "lost its free batch axis"),
        (lambda m, x: m.linear(x) + torch.ones(4, 1), "lost its free batch axis"),
        (lambda m, x: m.linear(x) + torch.rand_like(x[:, :3]), "gives other numbers once exported: off by"),
        (lambda _, x: torch.linalg.eigvals(x[:, :, None] * x[:, None]).real, "linalg_eig"),
        (lambda m, x: m.linear(x)[torch.arange(x.shape[0], dtype=torch.int32), (x[:, 0] > 0).int()], "GatherND"),
        (lambda _, x: x, "does not run with 1 rows once exported"),
    ],
    ids=["view", "len", "constant", "random", "unsupported", "int32 index", "identity"],
)
def test_refusals(tmp_path: Path, body: Body, words: str) -> None:
    """What cannot be exported, or is another model once it is, ends in a refusal that names it, and in no file."""
    with pytest.raises(ModelError, match=words) as refusal:
        export(_Module(body), INPUTS, tmp_path / "m.onnx", source="rides.py:make")

    assert str(refusal.value).startswith("`rides.py:make`")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_old_file(tmp_path: Path) -> None:
    """A file that was there before a failed export is there after it."""
    path = tmp_path / "m.onnx"
    export(_Module(_sigmoid), INPUTS, path)
    good = path.read_bytes()
    with pytest.raises(ModelError):
        export(_Module(lambda m, x: m.linear(x).view(4, 3)), INPUTS, path)

    assert good == path.read_bytes()


@pytest.mark.parametrize(
    "inputs",
    [{}, {"x": torch.ones(1, 4)}, {"x": torch.tensor(1.0)}, {"x": torch.ones(3, 4), "z": torch.ones(2)}],
    ids=len,
)
def test_examples_that_say_too_little(tmp_path: Path, inputs: dict[str, torch.Tensor]) -> None:
    """One row cannot show which axis is free, and inputs must have the same number of rows."""
    with pytest.raises(ModelError, match="needs example inputs with the same number of rows, two or more"):
        export(_Module(_sigmoid), inputs, tmp_path / "m.onnx")


def test_parity_of_another_file(tmp_path: Path) -> None:
    """A file that was made of other weights is told from its source."""
    export(_Module(_sigmoid), INPUTS, tmp_path / "m.onnx")
    other = _Module(_sigmoid)
    torch.nn.init.zeros_(other.linear.weight)

    with pytest.raises(
        ModelError, match=r"gives other numbers once exported: off by 0\.\d+ with 1 rows, allowed 0\.0001"
    ):
        check_parity(other, INPUTS, tmp_path / "m.onnx")


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


def test_nan_is_a_difference(tmp_path: Path) -> None:
    """Answers that are not numbers prove no parity."""
    with pytest.raises(ModelError, match="off by nan"), np.errstate(invalid="ignore"):
        export(_Module(lambda m, x: m.linear(x) / (x[:, :1] * 0)), {"x": torch.zeros(2, 4)}, tmp_path / "m.onnx")
