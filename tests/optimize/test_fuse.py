from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import ModelError
from windtunnel.optimize.dynamic_int8 import DynamicInt8, dynamic_int8
from windtunnel.optimize.export import relative_difference
from windtunnel.optimize.fuse import Fusion, fused
from windtunnel.optimize.quantized import count_quantized
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WIDTH, HEADS = 32, 4


def encoder(path: Path, *, mask: str = "padding", lowest: float = -1e9, broken: bool = False) -> Variant:
    """One attention over tokens, written as an eager exporter does: `ids`, `mask` int64 [batch, length] → [batch, length, 32]."""
    rng = np.random.default_rng(1)
    head = WIDTH // HEADS
    weights: dict[str, Any] = {
        name: rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 6 for name in ("wq", "wk", "wv", "wo")
    }
    weights |= {name: rng.normal(size=WIDTH).astype(np.float32) for name in ("bq", "bk", "bv")}
    weights |= {
        "table": rng.normal(size=(50, WIDTH)).astype(np.float32), "split": np.array([0, 0, HEADS, head]),
        "join": np.array([0, 0, WIDTH]), "scale": np.float32(0.7), "lowest": np.float32(lowest), "one": np.float32(1),
        "axes": np.array([1, 2]), "wrong": np.array([0, 0, head, HEADS]),
    }  # fmt: skip
    nodes = [helper.make_node("Gather", ["table", "ids"], ["x"])]
    for each in "qkv":
        nodes += [
            helper.make_node("MatMul", ["x", f"w{each}"], [f"{each}m"]),
            helper.make_node("Add", [f"b{each}", f"{each}m"], [f"{each}a"]),
            helper.make_node("Reshape", [f"{each}a", "wrong" if broken and each == "k" else "split"], [f"{each}r"]),
            helper.make_node(
                "Transpose", [f"{each}r"], [f"{each}t"], perm=[0, 2, 3, 1] if each == "k" else [0, 2, 1, 3]
            ),
        ]
    source = "ids" if mask == "of ids" else "mask"
    nodes += [
        helper.make_node("Cast", [source], ["seen"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["seen", "axes"], ["wide"]),
        helper.make_node("Sub", ["one", "wide"], ["hidden"]),
        helper.make_node("Mul", ["hidden", "lowest"], ["bias"]),
        helper.make_node("MatMul", ["qt", "kt"], ["products"]),
        helper.make_node("Mul", ["products", "scale"], ["scaled"]),
        *([] if mask == "none" else [helper.make_node("Add", ["scaled", "bias"], ["scores"])]),
        helper.make_node("Softmax", ["scaled" if mask == "none" else "scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "vt"], ["weighted"]),
        helper.make_node("Transpose", ["weighted"], ["back"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["back", "join"], ["heads"]),
        helper.make_node("MatMul", ["heads", "wo"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in ("ids", "mask")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "length", WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return Variant.from_file(path)


def fusions(path: Path) -> dict[str, int]:
    """How many of each fused operator a file has."""
    nodes = onnx.load(str(path)).graph.node
    return {kind: sum(node.op_type == kind for node in nodes) for kind in ("Attention", "MultiHeadAttention")}


def tokens(rows: int = 3, length: int = 7) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(rows)
    mask = np.ones((rows, length), np.int64)
    mask[0, length // 2 :] = 0
    return {"ids": rng.integers(0, 50, (rows, length)), "mask": mask}


def answer(path: Path, feeds: dict[str, NDArray[Any]]) -> NDArray[Any]:
    return next(iter(OnnxSession(path).run(feeds).values()))


@pytest.mark.parametrize(
    ("mask", "packed", "kind"),
    [
        ("padding", True, "Attention"),
        ("padding", False, "MultiHeadAttention"),
        ("none", True, "Attention"),
        ("none", False, "MultiHeadAttention"),
        # a bias that is no padding mask has no place in the packed operator's quantized form
        ("of ids", True, "MultiHeadAttention"),
    ],
)
def test_fused_and_the_same(tmp_path: Path, mask: str, packed: bool, kind: str) -> None:
    """Heads, scale and mask are found in the graph; the answers are the same at sizes that no probe had."""
    parent = encoder(tmp_path / "m.onnx", mask=mask)
    fused(parent, tmp_path / "f.onnx", Fusion(packed))

    assert fusions(tmp_path / "f.onnx") == {"Attention": 0, "MultiHeadAttention": 0} | {kind: 1}
    for rows, length in ((1, 1), (1, 16), (3, 7)):
        feeds = tokens(rows, length)
        assert relative_difference(answer(parent.path, feeds), answer(tmp_path / "f.onnx", feeds)) < 1e-5


@pytest.mark.parametrize("opset", [13, 14])
def test_old_opsets(tmp_path: Path, opset: int) -> None:
    """Below opset 15, where `Shape` gives all sizes at once, a fused file is as valid, and answers the same."""
    path = tmp_path / "m.onnx"
    model = onnx.load(str(encoder(path).path))
    model.opset_import[0].version = opset
    onnx.save(model, str(path))
    fused(Variant.from_file(path), tmp_path / "f.onnx", Fusion(packed=False))

    onnx.checker.check_model(onnx.load(str(tmp_path / "f.onnx")))
    assert relative_difference(answer(path, tokens()), answer(tmp_path / "f.onnx", tokens())) < 1e-5


def test_signature_and_bytes(tmp_path: Path) -> None:
    """A fused file takes and gives what its parent does, and is the same bytes each time."""
    parent = encoder(tmp_path / "m.onnx")
    before = parent.path.read_bytes()
    for name in ("a.onnx", "b.onnx"):
        fused(parent, tmp_path / name, Fusion(packed=True))

    assert Variant.from_file(tmp_path / "a.onnx").signature == parent.signature
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert parent.path.read_bytes() == before


def test_what_is_written_like_attention_and_is_none(tmp_path: Path) -> None:
    """Keys whose heads are cut otherwise are no attention: looks do not count, numbers do."""
    parent = encoder(tmp_path / "m.onnx", broken=True)

    with pytest.raises(ModelError, match=r"m\.onnx: has no attention to fuse \(1 softmaxes"):
        fused(parent, tmp_path / "f.onnx", Fusion())


def test_no_transformer(mlp: Variant, tmp_path: Path) -> None:
    """A model without a softmax is refused in plain words."""
    with pytest.raises(ModelError, match="has no attention to fuse"):
        fused(mlp, tmp_path / "f.onnx", Fusion())


class Torch(torch.nn.Module):
    """Scaled dot-product attention with a mask of booleans, as torch's own modules call it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(50, WIDTH)
        self.projections = torch.nn.ModuleList(torch.nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.norm = torch.nn.LayerNorm(WIDTH)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Each token with what it attends to."""
        x = self.table(ids)
        query, key, value = (each(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in self.projections)
        seen = mask.bool()[:, None, None, :]
        answer = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self.norm(x + answer.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]  # torch's modules answer Any


def test_export_of_torch(tmp_path: Path) -> None:
    """What torch's present exporter writes, with its keys turned twice and a guard against NaN, is fused too."""
    torch.manual_seed(1)
    feeds = tokens(2, 6)
    batch, length = torch.export.Dim("batch", min=1), torch.export.Dim("length", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's news of itself
        program = torch.onnx.export(
            Torch().eval(), args=(), kwargs={name: torch.from_numpy(array) for name, array in feeds.items()}, dynamo=True,
            verbose=False, dynamic_shapes={name: {0: batch, 1: length} for name in feeds},
        )  # fmt: skip
    assert program is not None
    onnx.save(program.model_proto, str(tmp_path / "m.onnx"))
    parent = Variant.from_file(tmp_path / "m.onnx")
    fused(parent, tmp_path / "f.onnx", Fusion(packed=True))

    assert fusions(tmp_path / "f.onnx")["Attention"] == 1
    assert relative_difference(answer(parent.path, tokens()), answer(tmp_path / "f.onnx", tokens())) < 1e-5


@pytest.mark.parametrize("packed", [True, False])
def test_fused_then_dynamic_int8(tmp_path: Path, packed: bool) -> None:
    """Fused attention is quantized with its projections: one operator packed, three multiplications joined, and the last."""
    parent = encoder(tmp_path / "m.onnx")
    fused(parent, tmp_path / "f.onnx", Fusion(packed))
    dynamic_int8(Variant.from_file(tmp_path / "f.onnx"), tmp_path / "i.onnx", DynamicInt8())

    assert count_quantized(tmp_path / "i.onnx")[0] == (2 if packed else 4)
    assert relative_difference(answer(parent.path, tokens()), answer(tmp_path / "i.onnx", tokens())) < 0.1


def test_a_bias_survives_dynamic_int8(tmp_path: Path) -> None:
    """ONNX Runtime's tool drops the bias of an `Attention`; such a one stays float, and the answers stay right."""
    parent = encoder(tmp_path / "m.onnx")
    fused(parent, tmp_path / "f.onnx", Fusion(packed=True))
    model = onnx.load(str(tmp_path / "f.onnx"))
    node = next(each for each in model.graph.node if each.op_type == "Attention")
    bias = np.zeros((1, 1, 7, 7), np.float32)
    bias[..., 3:] = -1e9
    model.graph.initializer.append(numpy_helper.from_array(bias, "only_the_first_three"))
    node.input.extend(["", "only_the_first_three"])
    onnx.save(model, str(tmp_path / "biased.onnx"))
    dynamic_int8(Variant.from_file(tmp_path / "biased.onnx"), tmp_path / "i.onnx", DynamicInt8())

    assert fusions(tmp_path / "i.onnx")["Attention"] == 1
    expected, found = (answer(tmp_path / name, tokens()) for name in ("biased.onnx", "i.onnx"))
    assert relative_difference(expected, found) < 0.1
