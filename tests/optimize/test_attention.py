from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from windtunnel.optimize.attention import find_attentions, mask_of
from windtunnel.optimize.draft import Draft
from windtunnel.optimize.dynamic_int8 import DynamicInt8, dynamic_int8
from windtunnel.optimize.export import export, relative_difference
from windtunnel.optimize.fuse import Fusion, fused
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Feeds = dict[str, NDArray[Any]]

WIDTH, HEADS = 32, 4
KINDS = ("Attention", "MultiHeadAttention", "Softmax")


class Zoo(nn.Module):
    """Attention in the ways that torch has it: an answer for each."""

    def __init__(self) -> None:
        super().__init__()

        def layer(batch_first: bool) -> nn.TransformerEncoderLayer:
            return nn.TransformerEncoderLayer(WIDTH, HEADS, WIDTH, batch_first=batch_first)

        self.encoder = nn.TransformerEncoder(layer(True), 1, enable_nested_tensor=False)
        self.layer = layer(False)
        self.self_attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, memory: torch.Tensor) -> dict[str, torch.Tensor]:
        """What each answers."""
        hidden = mask == 0
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        infinite = torch.zeros_like(x[..., 0]).masked_fill(hidden, -math.inf)[:, None, None, :]
        chunks = [each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in self.qkv(x).chunk(3, -1)]
        stacked = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4).unbind(0)

        def attend(parts: Sequence[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
            query, key, value = parts
            answer = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            return answer.transpose(1, 2).flatten(2)

        return {
            "padded_encoder": self.encoder(x, src_key_padding_mask=hidden),
            "causal_layer": self.layer(x.transpose(0, 1), causal, is_causal=True).transpose(0, 1),
            "both_masks": self.self_attention(x, x, x, attn_mask=causal, key_padding_mask=hidden, need_weights=False)[
                0
            ],
            "cross": self.cross_attention(x, memory, memory, need_weights=False)[0],
            "boolean": attend(chunks, ~hidden[:, None, None, :]),
            "infinite": attend(stacked, infinite),
        }


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """The zoo as our own export writes it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("zoo") / "m.onnx"
    mask = torch.ones(2, 6, dtype=torch.int64)
    mask[0, 4:] = 0
    inputs = {"x": torch.randn(2, 6, WIDTH), "mask": mask, "memory": torch.randn(2, 4, WIDTH)}
    export(Zoo(), inputs, path, {"x": {1: "length"}, "mask": {1: "length"}, "memory": {1: "remembered"}})
    return Variant.from_file(path)


def zoo_rows(rows: int, length: int, remembered: int = 3) -> Feeds:
    rng = np.random.default_rng(rows)
    mask = np.ones((rows, length), np.int64)
    mask[0, (length + 1) // 2 :] = 0
    x, memory = (rng.normal(size=(rows, size, WIDTH)).astype(np.float32) for size in (length, remembered))
    return {"x": x, "mask": mask, "memory": memory}


def counted(path: Path) -> tuple[int, ...]:
    nodes = onnx.load(str(path)).graph.node
    return tuple(sum(node.op_type == kind for node in nodes) for kind in KINDS)


def answers(path: Path, feeds: Feeds) -> dict[str, NDArray[Any]]:
    return dict(OnnxSession(path).run(feeds))


# cross-attention has two sources, and both masks at once are a bias: neither has a place in the packed operator
@pytest.mark.parametrize(("packed", "expected"), [(False, (0, 6, 0)), (True, (4, 2, 0))])
def test_torch_writes_it_we_read_it(zoo: Variant, tmp_path: Path, packed: bool, expected: tuple[int, ...]) -> None:
    """Packed projections, either order of the axes, masks of every kind: all are fused, and answer the same at all sizes."""
    fused(zoo, tmp_path / "f.onnx", Fusion(packed))

    assert expected == counted(tmp_path / "f.onnx")
    for rows, length, remembered in ((1, 1, 1), (1, 16, 3), (3, 7, 11), (3, 40, 1)):
        feeds = zoo_rows(rows, length, remembered)
        wanted, given = answers(zoo.path, feeds), answers(tmp_path / "f.onnx", feeds)
        for name in wanted:
            assert relative_difference(wanted[name], given[name]) < 1e-5, name


@pytest.mark.parametrize("packed", [False, True])
def test_rows_that_see_nothing(zoo: Variant, tmp_path: Path, packed: bool) -> None:
    """A row that is all padding answers NaN where its mask is −∞, and an average where it is the lowest float, fused or not."""
    fused(zoo, tmp_path / "f.onnx", Fusion(packed))
    feeds = zoo_rows(3, 7)
    feeds["mask"][1] = 0
    wanted, given = answers(zoo.path, feeds), answers(tmp_path / "f.onnx", feeds)

    for name in ("padded_encoder", "both_masks", "infinite"):
        assert np.isnan(given[name]).any((1, 2)).tolist() == [False, True, False], name
    assert not np.isnan(given["boolean"]).any()
    for name in wanted:
        np.testing.assert_allclose(given[name], wanted[name], atol=1e-5, err_msg=name)


def test_what_lies_where(zoo: Variant) -> None:
    """Masks are known for what they hide; a packed value is read by columns, and length-first ones are turned."""
    draft = Draft(zoo)
    found = find_attentions(draft)
    masks = [mask_of(draft, each) for each in found]

    assert {HEADS} == {each.heads for each in found}
    assert sum(mask is not None and mask.padding == "mask" and not mask.hides for mask in masks) == 3
    assert sum(mask is not None and not mask.padding for mask in masks) == 1
    assert sum(not each.bias for each in found) == 1
    assert {True, False} == {each.query.turned for each in found}
    for each in found:
        if each.query.value == each.value.value:
            columns = np.concatenate([lane.columns.reshape(-1) for lane in each.lanes])
            assert np.array_equal(np.arange(3 * WIDTH), columns)


@pytest.mark.parametrize("packed", [False, True])
def test_then_int8(zoo: Variant, tmp_path: Path, packed: bool) -> None:
    """A fused file of packed projections and masks is quantized like any other, and its answers stay near."""
    fused(zoo, tmp_path / "f.onnx", Fusion(packed))
    dynamic_int8(Variant.from_file(tmp_path / "f.onnx"), tmp_path / "i.onnx", DynamicInt8())

    quantized = sum(node.op_type == "QAttention" for node in onnx.load(str(tmp_path / "i.onnx")).graph.node)
    assert (4 if packed else 0) == quantized
    wanted, given = (answers(path, zoo_rows(3, 7)) for path in (zoo.path, tmp_path / "i.onnx"))
    for name in wanted:
        assert relative_difference(wanted[name], given[name]) < 0.1, name


PLAIN = "scores = Mul(products, scale)"
HIDE = "none = Equal(mask, zero) hidden = Unsqueeze(none, axes) "
GUARD = "bad = IsNaN(raw) weights = Where(bad, nothing, raw)"


def written(path: Path, scores: str = PLAIN, *, lowest: float = -1e9, weights: str = "", cut: str = "heads") -> Variant:
    """One attention written by hand, its queries, keys and values side by side in each head: `x` and `mask` → `y`."""
    text = f"""
    <ir_version: 10, opset_import: ["": 18]> g (float[b, l, {WIDTH}] x, int64[b, l] mask) => (float[b, l, {WIDTH}] y) {{
        packed = MatMul(x, w)
        apart = Reshape(packed, {cut})
        q, k, v = Split <axis = 3, num_outputs = 3> (apart)
        q3 = Squeeze(q, three) k3 = Squeeze(k, three) v3 = Squeeze(v, three)
        q4 = Transpose <perm = [0, 2, 1, 3]> (q3)
        k4 = Transpose <perm = [0, 2, 3, 1]> (k3)
        v4 = Transpose <perm = [0, 2, 1, 3]> (v3)
        products = MatMul(q4, k4)
        {scores}
        raw = Softmax <axis = -1> (scores)
        {weights or "weights = Identity(raw)"}
        weighted = MatMul(weights, v4)
        back = Transpose <perm = [0, 2, 1, 3]> (weighted)
        y = Reshape(back, join)
    }}"""
    model = onnx.parser.parse_model(text)
    head = WIDTH // HEADS
    constants: dict[str, NDArray[Any]] = {
        "w": np.random.default_rng(1).normal(size=(WIDTH, 3 * WIDTH)).astype(np.float32) / 3,
        "heads": np.array([0, 0, HEADS, 3, head]), "wrong": np.array([0, 0, head, 3, HEADS]),
        "three": np.array([3]), "join": np.array([0, 0, WIDTH]), "axes": np.array([1, 2]), "zero": np.array(0),
        "one": np.array([1]), "first": np.array([0]), "scale": np.array(0.35, np.float32), "lowest": np.array(lowest, np.float32),
        "nothing": np.array(0, np.float32), "long": np.array(64),
    }  # fmt: skip
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.save(model, str(path))
    return Variant.from_file(path)


DISTANCE = (
    "shape = Shape(mask) l0 = Gather(shape, one) length = Squeeze(l0) step = Squeeze(one) "
    "at = Range(zero, length, step) up = Unsqueeze(at, one) across = Unsqueeze(at, first) away = Sub(up, across) "
)


@pytest.mark.parametrize("lowest", [-1e9, -np.inf])
@pytest.mark.parametrize("packed", [False, True])
def test_masks_in_the_place_of_scores(tmp_path: Path, lowest: float, packed: bool) -> None:
    """A mask that takes the place of scores is as good as one that is added, in a row that sees nothing too."""
    parent = written(tmp_path / "m.onnx", HIDE + "scores = Where(hidden, lowest, products)", lowest=lowest)
    fused(parent, tmp_path / "f.onnx", Fusion(packed))
    feeds = {name: array for name, array in zoo_rows(3, 7).items() if name != "memory"}
    feeds["mask"][1] = 0

    assert ((1, 0, 0) if packed else (0, 1, 0)) == counted(tmp_path / "f.onnx")
    wanted, given = (answers(path, feeds)["y"] for path in (parent.path, tmp_path / "f.onnx"))
    assert np.isinf(lowest) == np.isnan(wanted[1]).any()
    np.testing.assert_allclose(given, wanted, atol=1e-5)


def test_a_window_is_no_padding(tmp_path: Path) -> None:
    """A mask that also hides what is more than 64 places away stays what it is, though short texts do not show it."""
    beyond = DISTANCE + "far = Abs(away) beyond = Greater(far, long) both = Or(hidden, beyond) "
    parent = written(tmp_path / "m.onnx", HIDE + beyond + "scores = Where(both, lowest, products)")
    fused(parent, tmp_path / "f.onnx", Fusion(packed=True))
    feeds = {name: array for name, array in zoo_rows(2, 90).items() if name != "memory"}

    assert counted(tmp_path / "f.onnx") == (0, 1, 0)
    wanted, given = (answers(path, feeds)["y"] for path in (parent.path, tmp_path / "f.onnx"))
    np.testing.assert_allclose(given, wanted, atol=1e-5)


LOG_LENGTH = (
    "shape = Shape(mask) l0 = Gather(shape, one) length = Cast <to = 1> (l0) log = Log(length) "
    "scores = Mul(products, log)"
)


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        (
            "a hidden key keeps some weight",
            {"scores": HIDE + "scores = Where(hidden, lowest, products)", "lowest": -50.0},
        ),
        # the operators answer NaN where the guard answers zero
        ("guarded", {"scores": HIDE + "scores = Where(hidden, lowest, products)", "lowest": -np.inf, "weights": GUARD}),
        ("the scale hangs on the length", {"scores": LOG_LENGTH}),
        ("its scores are capped", {"scores": "scores = Tanh(products)"}),
        ("its weights are looked at", {"weights": "weights = Identity(raw) top = ReduceMax(raw)"}),
    ],
)
def test_what_is_not_fused(tmp_path: Path, why: str, changes: dict[str, Any]) -> None:
    """What would answer otherwise, for one row or at one length, is left alone."""
    draft = Draft(written(tmp_path / "m.onnx", **changes))

    assert find_attentions(draft) == [], why
    assert len(find_attentions(Draft(written(tmp_path / "plain.onnx")))) == 1


def test_heads_cut_otherwise(tmp_path: Path) -> None:
    """Eight heads of four are found where four of eight were expected: heads are counted, not assumed."""
    wide = written(tmp_path / "m.onnx", cut="wrong")
    found = find_attentions(Draft(wide))

    assert [each.heads for each in found] == [WIDTH // HEADS]
    assert found[0].query.columns.shape == (WIDTH // HEADS, HEADS)
