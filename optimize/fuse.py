"""Transformers with their attention in one operator, as ONNX Runtime computes it fastest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

from .attention import find_attentions, mask_of
from .draft import DOMAIN, Draft

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from windtunnel.variant import Variant

    from .attention import Attention, Lane, Mask


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
    scale and the mask are read off the graph, and projections that were packed are written one by one: in ONNX Runtime 1.32
    three products are no slower than one that is split. A row that sees nothing answers as before: NaN where the mask is −∞,
    else the average of all values. The operators are ONNX Runtime's own: no other runtime reads them.

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
    writing = _Writing(draft, attentions)
    for attention in attentions:
        if not (settings.packed and writing.pack(attention)):
            writing.join(attention)
    draft.save(path)


class _Writing:
    """Attentions being written into a draft; masks and biases that several share are made once."""

    def __init__(self, draft: Draft, attentions: Sequence[Attention]) -> None:
        self.draft = draft
        # seen before anything is written: a mask is run, and what it hangs on must still be there
        self._masks = {bias: mask_of(draft, each) for bias, each in {each.bias: each for each in attentions}.items()}
        self._turned: dict[str, str] = {}
        self._biases: dict[str, str] = {}
        self._paddings: dict[tuple[str, bool], str] = {}

    def join(self, attention: Attention) -> None:
        """Write one `MultiHeadAttention` over queries, keys and values, each by itself."""
        inputs = [self._alone(lane) for lane in attention.lanes]
        mask = self._masks[attention.bias]
        if mask is not None:
            self._put("MultiHeadAttention", attention, inputs, mask)
        elif attention.bias:
            self._put("MultiHeadAttention", attention, [*inputs, "", "", self._square(attention, inputs)])
        else:
            self._put("MultiHeadAttention", attention, inputs)

    def pack(self, attention: Attention) -> bool:
        """Write one `Attention` over the value that queries, keys and values are projections of, if there is one."""
        projections = [lane.projection for lane in attention.lanes if lane.projection is not None]
        sources = {(each.source, each.turned) for each in projections}
        mask = self._masks[attention.bias]
        widths = {len(each.bias) for each in projections}
        if len(projections) < 3 or len(sources) != 1 or len(widths) != 1 or (attention.bias and mask is None):
            return False
        weights = np.concatenate([each.weights for each in projections], axis=1)
        biases = np.concatenate([each.bias for each in projections])
        source = self._rows_first(*sources.pop())
        inputs = [source, self.draft.weight(weights, "qkv_weight"), self.draft.weight(biases, "qkv_bias")]
        self._put("Attention", attention, inputs, mask)
        return True

    def _alone(self, lane: Lane) -> str:
        """Queries, keys or values as [batch, length, width], with nothing else in the value."""
        if lane.whole or lane.projection is None:
            return self._rows_first(lane.value, lane.turned)
        made = lane.projection
        product = self.draft.node(
            "MatMul", [self._rows_first(made.source, made.turned), self.draft.weight(made.weights, "weight")]
        )
        return self.draft.node("Add", [product, self.draft.weight(made.bias, "bias")])

    def _rows_first(self, name: str, turned: bool) -> str:
        """A value with its first two axes in the order batch, length."""
        if not turned:
            return name
        if name not in self._turned:
            self._turned[name] = self.draft.node("Transpose", [name], perm=[1, 0, 2])
        return self._turned[name]

    def _put(self, kind: str, attention: Attention, inputs: list[str], mask: Mask | None = None) -> None:
        """Write the operator in the place of the node that gave the answers; what led to them is swept away later."""
        last = self.draft.maker(attention.output)
        assert last is not None
        self.draft.drop([last])
        attributes: dict[str, Any] = {"num_heads": attention.heads, "scale": attention.scale}
        if mask is not None:
            attributes["mask_filter_value"] = mask.lowest
            if mask.padding:
                # before its mask `MultiHeadAttention` takes the biases of the projections, which stay outside
                inputs = [*inputs, *([""] if kind == "MultiHeadAttention" else []), self._seen(mask)]
            else:
                attributes["unidirectional"] = 1
        ends = [] if attention.turned or attention.flat else [attention.output]
        made = self.draft.node(kind, inputs, ends, DOMAIN, **attributes)
        if attention.turned:
            made = self.draft.node("Transpose", [made], [] if attention.flat else [attention.output], perm=[1, 0, 2])
        if attention.flat:
            shape = self.draft.weight(np.array([-1, attention.value.columns.size]), "rows")
            self.draft.node("Reshape", [made, shape], [attention.output])

    def _seen(self, mask: Mask) -> str:
        """The padding as int32 [batch, length], one where there is something to see."""
        from onnx import TensorProto

        name = mask.padding, mask.hides
        if name not in self._paddings:
            said = self.draft.node("Cast", [mask.padding], to=TensorProto.BOOL)
            seen = self.draft.node("Not", [said]) if mask.hides else said
            self._paddings[name] = self.draft.node("Cast", [seen], to=TensorProto.INT32)
        return self._paddings[name]

    def _square(self, attention: Attention, inputs: Sequence[str]) -> str:
        """The bias with as many axes, queries and keys as the operator wants: it repeats over rows and heads alone."""
        if len(attention.bias_shape) == 4 and 1 not in attention.bias_shape[2:]:
            return attention.bias
        if attention.bias not in self._biases:
            one = self.draft.weight(np.ones(1, np.int64), "one")
            place = self.draft.weight(np.ones(1, np.int64), "place")
            shapes = [self.draft.node("Shape", [name]) for name in inputs[:2]]
            sizes = [self.draft.node("Gather", [each, place]) for each in shapes]  # before opset 15, `Shape` gives all
            shape = self.draft.node("Concat", [one, one, *sizes], axis=0)
            self._biases[attention.bias] = self.draft.node("Expand", [attention.bias, shape])
        return self._biases[attention.bias]
