from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch

from windtunnel.errors import ModelError, UserCodeError
from windtunnel.optimize.export import export
from windtunnel.optimize.parity import SIZES
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


@dataclass
class _Answer:
    """What some modules answer: outputs by name, some of them absent."""

    scores: torch.Tensor
    hidden: torch.Tensor | None = None
    inner: tuple[torch.Tensor, ...] | None = None


def _sigmoid(module: _Module, x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(module.linear(x))


def test_parity_at_several_batch_sizes(tmp_path: Path) -> None:
    """An export answers as its source does for 1, 2, 3 and 17 rows, from examples of 4."""
    module, path = _Module(_sigmoid), tmp_path / "m.onnx"
    made = export(module, INPUTS, path)

    assert SIZES == (1, 2, 3, 17)
    assert made.compared == {"batch": SIZES}
    assert (made.way, made.failed, made.scrubbed) == ("torch.export", (), 0)
    assert made.worst < 1e-6
    session = OnnxSession(path)
    for size in SIZES:
        x = torch.randn(size, 4)
        assert np.allclose(module(x).detach().numpy(), session.run({"x": x.numpy()})["output"], atol=1e-6)
    assert [each.name for each in tmp_path.iterdir()] == ["m.onnx"]


def test_exported_in_evaluation_mode(tmp_path: Path) -> None:
    """Dropout does nothing in an export, whatever mode the module was in."""
    module = _Module(lambda m, x: torch.nn.functional.dropout(m.linear(x), 0.5, m.training))
    module.train()

    assert export(module, INPUTS, tmp_path / "m.onnx").worst < 1e-6


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (lambda m, x: {"b": m.linear(x), "a": x * 2}, ["b", "a"]),
        (lambda m, x: {"x": m.linear(x), "a b": x * 2}, ["output", "output_1"]),
        (lambda m, x: _Answer(m.linear(x), None, (x * 2, x + 1)), ["output", "output_1", "output_2"]),
        (lambda m, x: _Answer(m.linear(x), x * 2), ["scores", "hidden"]),
        (lambda m, x: (m.linear(x),) * 2, ["output", "output_1"]),
        (lambda m, x: m.linear(x) * m.output, ["output"]),
    ],
    ids=["dict", "no names", "nested", "dataclass", "the same twice", "beside a weight of that name"],
)
def test_names_of_outputs(tmp_path: Path, body: Body, names: list[str]) -> None:
    """Outputs are called after the keys of a dict or the fields of a dataclass; others `output`, `output_1`, … in their order."""
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


class _Tokens(torch.nn.Module):
    """Embedded tokens, and a body that says what to do with them."""

    def __init__(self, body: Callable[[_Tokens, torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embedding, self.places = torch.nn.Embedding(20, 4), torch.nn.Embedding(12, 4)
        self.lstm = torch.nn.LSTM(4, 4, batch_first=True)
        self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)
        self.flat, self.body = torch.nn.Linear(8 * 4, 2), body

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.body(self, self.embedding(ids), mask)


def _attend(module: _Tokens, inside: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    answer, _ = module.attention(inside, inside, inside, key_padding_mask=mask == 0, need_weights=False)
    pooled: torch.Tensor = (answer * mask[:, :, None]).sum(1)
    return pooled


def _recur(module: _Tokens, inside: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    answer: torch.Tensor = module.lstm(inside * mask[:, :, None])[0][:, -1]
    return answer


def _placed(module: _Tokens, inside: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    pooled: torch.Tensor = ((inside + module.places(torch.arange(inside.shape[1]))) * mask[:, :, None]).mean(1)
    return pooled


def _flatten(module: _Tokens, inside: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    answer: torch.Tensor = module.flat((inside * mask[:, :, None]).flatten(1))
    return answer


IDS = {"ids": torch.arange(24).reshape(3, 8) % 20, "mask": torch.ones(3, 8, dtype=torch.int64)}
ALL = (1, 2, 8, 13)


@pytest.mark.parametrize(
    ("body", "lengths"), [(_attend, ALL), (_placed, ALL[:3]), (_flatten, None)], ids=["attention", "twelve places", "one length only"],
)  # fmt: skip
def test_sequences_are_free(tmp_path: Path, body: Any, lengths: tuple[int, ...] | None) -> None:
    """The length of tokens is freed where the source runs at others, and compared wherever it does."""
    made = export(_Tokens(body), IDS, tmp_path / "m.onnx")

    assert made.compared.get("sequence") == lengths
    shapes = {each.name: each.shape for each in OnnxSession(tmp_path / "m.onnx").signature.inputs}
    length = "sequence" if lengths else 8
    assert shapes == {"ids": ("batch", length), "mask": ("batch", length)}


def test_recurrences_are_free_each_time(tmp_path: Path) -> None:
    """An LSTM's length is free, and no kernel of this export is left for the next one: torch forgets to drop them."""
    operator = torch.ops.aten.lstm.input
    operator._dispatch_cache[torch._C.DispatchKey.CompositeImplicitAutograd] = torch.ops.aten.gru.input
    made = export(_Tokens(_recur), IDS, tmp_path / "m.onnx")

    assert made.compared["sequence"] == ALL
    assert dict(operator._dispatch_cache) == {}


def test_axes_of_the_users(tmp_path: Path) -> None:
    """Axes that the user names are free under those names; those of one name have one size."""

    class Image(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return (x * y).mean((2, 3))

    inputs = {name: torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(1)) for name in "xy"}
    made = export(Image(), inputs, tmp_path / "m.onnx", {key: {2: "height", 3: "width"} for key in "xy"})

    assert made.compared == {"batch": SIZES, "height": (1, 2, 4, 8, 9), "width": (1, 2, 6, 8, 11)}
    assert OnnxSession(tmp_path / "m.onnx").signature.inputs[1].shape == ("batch", 3, "height", "width")


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"x": {2: "length"}}, "frees axis 2 of `x` under the name 'length'"),
        ({"x": {0: "rows"}}, "frees axis 0 of `x`"),
        ({"z": {1: "length"}}, "frees axis 1 of `z`"),
        ({"x": {1: "batch"}}, "under the name 'batch'"),
        ({"x": {1: "n"}, "y": {1: "n"}}, r"\(=\{'n': \[4, 5\]\}\) gives axes of one name different sizes"),
    ],
)
def test_axes_that_are_none(tmp_path: Path, axes: dict[str, dict[int, str]], words: str) -> None:
    """An axis that an input has not, and one name for two sizes, are refused before anything is exported."""
    inputs = {"x": torch.ones(2, 4), "y": torch.ones(2, 5)}
    with pytest.raises(ModelError, match=words):
        export(_Module(_sigmoid), inputs, tmp_path / "m.onnx", axes)


def test_the_second_way(tmp_path: Path) -> None:
    """Where torch.export writes a file that is none, TorchScript is tried, and the result says what failed before."""
    body = lambda m, x: m.linear(x)[torch.arange(x.shape[0], dtype=torch.int32), (x[:, 0] > 0).int()]  # noqa: E731  # as others
    made = export(_Module(body), INPUTS, tmp_path / "m.onnx")

    assert made.way == "TorchScript"
    assert [each.partition(":")[0] for each in made.failed] == ["torch.export (batch)"]
    assert "was exported to an invalid file" in made.failed[0]
    assert "GatherND" in made.failed[0]


def test_branches_on_data(tmp_path: Path) -> None:
    """torch.cond becomes a branch of the graph, with both sides in it."""
    body = lambda m, x: torch.cond(x.sum() > 0, m.linear, lambda y: -m.linear(y), (x,))  # noqa: E731  # as others
    export(_Module(body), INPUTS, tmp_path / "m.onnx")
    session = OnnxSession(tmp_path / "m.onnx")
    plus, minus = (session.run({"x": np.full((2, 4), sign, np.float32)})["output"] for sign in (1, -1))

    linear = _Module(body).linear
    assert np.allclose(plus, linear(torch.ones(2, 4)).detach(), atol=1e-6)
    assert np.allclose(minus, -linear(-torch.ones(2, 4)).detach(), atol=1e-6)


def test_denormals_are_scrubbed(tmp_path: Path) -> None:
    """Denormal weights are set to zero on the way, counted, and the result is compared all the same."""
    module = _Module(_sigmoid)
    with torch.no_grad():
        module.linear.weight[0] = 1e-40
    made = export(module, INPUTS, tmp_path / "m.onnx")

    assert made.scrubbed == 4
    assert made.worst < 1e-6


def _branch_on_data(module: _Module, x: torch.Tensor) -> torch.Tensor:
    return _sigmoid(module, x) if x.sum() > 0 else x[:, :3]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (lambda m, x: m.linear(x).view(4, 3), "lost its free batch axis .* does not run itself with another batch than the example's 4"),
        (lambda m, x: m.linear(x) + torch.rand_like(x[:, :3]), "gives other numbers once exported: off by"),
        (_branch_on_data, "TorchScript .batch.: bakes a value of the example into the graph"),
    ],
    ids=["view", "random", "branch"],
)  # fmt: skip
def test_refusals(tmp_path: Path, body: Body, words: str) -> None:
    """What cannot be exported, or is another model once it is, ends in a refusal that names it; a file that was there stays."""
    path = tmp_path / "m.onnx"
    path.write_bytes(b"as it was")
    with pytest.raises(ModelError, match=words) as refusal:
        export(_Module(body), INPUTS, path, source="rides.py:make")

    assert str(refusal.value).startswith("`rides.py:make`")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"as it was"]


def test_where_it_comes_from(tmp_path: Path) -> None:
    """An operator without translation is named with the line of the user's code that it stands on."""

    class Spectrum(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            square = x[:, :, None] * x[:, None]
            roots: torch.Tensor = torch.linalg.eigvals(square).real
            return roots

    with pytest.raises(
        ModelError,
        match=r"the operator aten\.linalg_eig has no translation\), at test_export\.py:\d+ in forward: roots: torch\.Tensor = torch\.linalg\.eigvals\(square\)\.real;",
    ):
        export(Spectrum(), INPUTS, tmp_path / "m.onnx")


def test_a_module_that_raises(tmp_path: Path) -> None:
    """A module that does not run on its own example shows the user's traceback, not ours."""
    with pytest.raises(UserCodeError, match="raised AttributeError") as refusal:
        export(_Module(lambda m, _: m.nothing), INPUTS, tmp_path / "m.onnx", source="rides.py:make")

    assert "test_export.py" in str(refusal.value)
    assert "optimize/export.py" not in str(refusal.value)


def test_bfloat16(tmp_path: Path) -> None:
    """bfloat16 has no place in numpy: it is refused with the way out."""
    with pytest.raises(ModelError, match=r"computes in bfloat16, .*; return module\.float\(\)"):
        export(_Module(_sigmoid).bfloat16(), {"x": INPUTS["x"].bfloat16()}, tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "inputs",
    [{}, {"x": torch.ones(1, 4)}, {"x": torch.tensor(1.0)}, {"x": torch.ones(3, 4), "z": torch.ones(2)}],
    ids=len,
)
def test_examples_that_say_too_little(tmp_path: Path, inputs: dict[str, torch.Tensor]) -> None:
    """One row cannot show which axis is free, and inputs must have the same number of rows."""
    with pytest.raises(ModelError, match="needs example inputs with the same number of rows, two or more"):
        export(_Module(_sigmoid), inputs, tmp_path / "m.onnx")


def test_nan_is_a_difference(tmp_path: Path) -> None:
    """Answers that are not numbers prove no parity."""
    with pytest.raises(ModelError, match="off by nan"), np.errstate(invalid="ignore"):
        export(_Module(lambda m, x: m.linear(x) / (x[:, :1] * 0)), {"x": torch.zeros(2, 4)}, tmp_path / "m.onnx")
