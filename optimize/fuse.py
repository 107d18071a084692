"""Transformers with their attention in one operator, as ONNX Runtime computes it fastest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

from .attention import find_attentions, padding_of
from .draft import DOMAIN, Draft

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.variant import Variant

    from .attention import Attention


@dataclass(frozen=True)
class Fusion:
    """How a transformer is fused.

    Args:
        packed: three projections of one value become one multiplication inside the operator (`Attention`), where the mask
            is a padding mask; else, and where it is not, they stay outside (`MultiHeadAttention`). Which is faster changes
            with the length and the processor.
    """

    packed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return asdict(self)


def fused(parent: Variant, path: Path, settings: Fusion) -> None:
    """Put every attention of a transformer into one operator.

    Residual sums with their normalization, and biases with their Gelu, are fused by ONNX Runtime itself whenever it loads
    a file; to do that here would hide the biases from the kernels of int8, which add them for nothing.

    Attention is recognised by what it computes (`attention.py`), because ONNX Runtime 1.32's own fusion, which looks for
    the way of writing of certain exporters, finds none in what torch's present exporter writes. The number of heads, the
    scale and the padding mask are read off the graph. The operators are ONNX Runtime's own: no other runtime reads them.

    Raises:
        ModelError: there is no attention in it that could be fused.
    """
    draft = Draft(parent)
    attentions = find_attentions(draft)
    if not attentions:
        softmaxes = sum(node.op_type == "Softmax" for node in draft.graph.node)
        raise ModelError(
            f"has no attention to fuse ({softmaxes} softmaxes, none of them between a product of queries with keys and one with values)",
            file=parent.path,
            fix="leave it as it is",
        )
    writing = _Writing(draft)
    for attention in attentions:
        if not (settings.packed and writing.pack(attention)):
            writing.join(attention)
    draft.save(path)


class _Writing:
    """Attentions being written into a draft; masks and biases that several share are made once."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self._masks: dict[str, str] = {}
        self._biases: dict[str, str] = {}
        self._paddings: dict[str, tuple[str, float] | None] = {}

    def join(self, attention: Attention) -> None:
        """Write one `MultiHeadAttention` over queries, keys and values as they are."""
        inputs = [attention.query, attention.key, attention.value]
        if attention.bias:
            inputs += ["", "", self._square(attention)]
        self._put("MultiHeadAttention", attention, inputs)

    def pack(self, attention: Attention) -> bool:
        """Write one `Attention` over the value that queries, keys and values are projections of, if there is one."""
        projections = [_projection(self.draft, name) for name in (attention.query, attention.key, attention.value)]
        sources = {each[0] for each in projections if each is not None}
        padding = self._padding(attention)
        if None in projections or len(sources) != 1 or (attention.bias and padding is None):
            return False
        weights = np.concatenate([each[1] for each in projections if each is not None], axis=1)
        biases = np.concatenate([each[2] for each in projections if each is not None])
        inputs = [sources.pop(), self.draft.weight(weights, "qkv_weight"), self.draft.weight(biases, "qkv_bias")]
        if padding is None:
            self._put("Attention", attention, inputs)
        else:
            self._put("Attention", attention, [*inputs, self._mask(padding[0])], mask_filter_value=padding[1])
        return True

    def _put(self, kind: str, attention: Attention, inputs: list[str], **attributes: Any) -> None:
        """Write the operator in the place of the node that gave the answers; what led to them is swept away later."""
        last = self.draft.maker(attention.output)
        assert last is not None
        self.draft.drop([last])
        self.draft.node(
            kind, inputs, [attention.output], DOMAIN, num_heads=attention.heads, scale=attention.scale, **attributes
        )

    def _padding(self, attention: Attention) -> tuple[str, float] | None:
        if not attention.bias:
            return None
        if attention.bias not in self._paddings:
            self._paddings[attention.bias] = padding_of(self.draft, attention)
        return self._paddings[attention.bias]

    def _mask(self, name: str) -> str:
        """The padding as int32 [batch, length], one where there is something to see."""
        from onnx import TensorProto

        if name not in self._masks:
            seen = self.draft.node("Cast", [name], to=TensorProto.BOOL)
            self._masks[name] = self.draft.node("Cast", [seen], to=TensorProto.INT32)
        return self._masks[name]

    def _square(self, attention: Attention) -> str:
        """The bias with as many axes, queries and keys as the operator wants: it repeats over rows and heads alone."""
        if len(attention.bias_shape) == 4 and 1 not in attention.bias_shape[2:]:
            return attention.bias
        if attention.bias not in self._biases:
            one = self.draft.weight(np.ones(1, np.int64), "one")
            place = self.draft.weight(np.ones(1, np.int64), "place")
            shapes = [self.draft.node("Shape", [name]) for name in (attention.query, attention.key)]
            sizes = [self.draft.node("Gather", [each, place]) for each in shapes]  # before opset 15, `Shape` gives all
            shape = self.draft.node("Concat", [one, one, *sizes], axis=0)
            self._biases[attention.bias] = self.draft.node("Expand", [attention.bias, shape])
        return self._biases[attention.bias]


def _projection(draft: Draft, name: str) -> tuple[str, NDArray[Any], NDArray[Any]] | None:
    """The value that another is a projection of, its weights and bias; None where it is made in another way."""
    product, bias = draft.maker(name), None
    if product is not None and product.op_type == "Add":
        bias = next((each for each in map(draft.constant, product.input) if each is not None), None)
        inner = next((each for each in product.input if draft.constant(each) is None), "")
        product = draft.maker(inner)
        if bias is None:
            return None
    weights = draft.constant(product.input[1]) if product is not None and product.op_type == "MatMul" else None
    if product is None or weights is None or weights.ndim != 2:
        return None
    bias = np.zeros(weights.shape[1], weights.dtype) if bias is None else bias
    return (product.input[0], weights, bias) if bias.shape == weights.shape[1:] else None
