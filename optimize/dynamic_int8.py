"""Dynamic int8: weights are quantized ahead, activations batch by batch as they come."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .draft import DOMAIN, attribute
from .int8 import HEAVY, quant_type, quantizing
from .quantized import check_quantized

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from windtunnel.variant import Variant


@dataclass(frozen=True)
class DynamicInt8:
    """How a model is quantized dynamically.

    Args:
        per_channel: a scale for each column of a weight rather than one for all: nearer, and as fast.
        reduce_range: weights in seven bits, for processors whose sums of products saturate.
        weights: `int8` or `uint8`; `int8_settings` says which this processor is fast at.
        operators: the kinds that are quantized. `Attention` is ONNX Runtime's own, of fused graphs.
    """

    per_channel: bool = True
    reduce_range: bool = False
    weights: str = "int8"
    operators: tuple[str, ...] = (*HEAVY, "Attention")

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return asdict(self) | {"operators": list(self.operators)}


def dynamic_int8(parent: Variant, path: Path, settings: DynamicInt8) -> None:
    """Quantize the weights of a plain or a fused graph; by ONNX Runtime's tool.

    The scale of a batch is taken over all its rows, so a row's answer can change with its neighbours.

    Raises:
        ModelError: the tool refused, or there was nothing heavy that it could quantize.
    """
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    with quantizing(parent) as prepared:
        nodes = onnx.load(str(prepared), load_external_data=False).graph.node
        quantize_dynamic(
            prepared, path, op_types_to_quantize=list(settings.operators), per_channel=settings.per_channel,
            reduce_range=settings.reduce_range, weight_type=quant_type(settings.weights),
            nodes_to_exclude=[node.name for node in nodes if _would_break(node)],
            use_external_data_format=bool(parent.companions),
            # without it a graph whose types were not inferred, such as a fused one, ends in an error half-way
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )  # fmt: skip
    check_quantized(path, parent)


def _would_break(node: onnx.NodeProto) -> bool:
    """Whether the tool would quantize a node into something else than it was.

    Of ONNX's own `Attention` it takes queries for inputs and keys for weights; of ONNX Runtime's it drops the bias of the
    scores, for which `QAttention` has no place (ONNX Runtime 1.32, `operators/attention.py`).
    """
    if node.op_type != "Attention":
        return False
    biased = len(node.input) > 5 and node.input[5] != ""
    return node.domain != DOMAIN or biased or attribute(node, "qkv_hidden_sizes") is not None
