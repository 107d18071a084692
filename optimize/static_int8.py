"""Static int8: weights and activations quantized ahead, with ranges seen on real rows, in the Q/DQ format."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.onnx_file import save_model

from .calibrator import observe
from .clipping import check_method, clip
from .int8 import HEAVY, default_opset, hushed, quant_type, quantizing, refusing
from .quantized import check_quantized
from .restored import restore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from windtunnel.variant import Variant

    from .observer import Observer

FLOWING = (
    *HEAVY, "Add", "AveragePool", "Clip", "Concat", "ConvTranspose", "Flatten", "GlobalAveragePool", "HardSigmoid", "LeakyRelu", "MaxPool",
    "Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Kinds through which integers flow from one convolution to the next without becoming floats in between."""


@dataclass(frozen=True)
class StaticInt8:
    """How a model is quantized ahead.

    Args:
        activations: `uint8` or `int8`: what x86 and ARM, in this order, multiply fast.
        weights: `int8` or `uint8`.
        per_channel: a scale for each channel of a weight, not one for all of it.
        reduce_range: give up one bit of the weights, where the processor's products would saturate.
        calibrator: how ranges are chosen: one of `clipping.METHODS`.
        percentile: for the calibrator of that name: how much of the values the range keeps, in percent.
        operators: the kinds that are quantized.
        outputs: whether what heavy operators give is quantized too. Integers then flow on to the next, which convolutions
            need; matrix products lose precision by it, and gain nothing.
        exclude: names of nodes that stay as they are.
    """

    activations: str = "uint8"
    weights: str = "int8"
    per_channel: bool = True
    reduce_range: bool = False
    calibrator: str = "minmax"
    percentile: float = 99.999
    operators: tuple[str, ...] = HEAVY
    outputs: bool = False
    exclude: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return {**asdict(self), "operators": list(self.operators), "exclude": list(self.exclude)}


def suited(kinds: set[str], types: Mapping[str, Any]) -> StaticInt8:
    """The settings that are fastest for a kind of model: whether integers flow on between the heavy operators.

    Measured on an AVX512-VNNI processor: ResNet-18 is 1.4 times as fast where they do; a sentence transformer is 1.1 to 1.25
    times as fast, and nearer its parent, where matrix products give floats; an MLP is as fast either way.

    Args:
        kinds: the kinds of the model's operators.
        types: of `int8_settings`.

    Example:
        >>> suited({"Conv", "Relu"}, {}).outputs, suited({"MatMul", "Softmax"}, {}).operators
        (True, ('MatMul', 'Gemm', 'Conv'))
    """
    flows = "Conv" in kinds
    return StaticInt8(**types, operators=FLOWING if flows else HEAVY, outputs=flows)


def static_int8(parent: Variant, path: Path, settings: StaticInt8, rows: Mapping[str, NDArray[Any]]) -> None:
    """Quantize weights and activations ahead, with ranges seen on real rows.

    An operator whose activations have no range (they hold infinities, or are never seen) stays as it is: with integer weights
    alone it would multiply floats, and be slower than before.

    Args:
        parent: what is quantized.
        path: where the file goes.
        settings: how.
        rows: real rows by input name; see `calibrate` for the memory they take.

    Raises:
        ConfigError: there is no such calibrator.
        DataError: there are no rows to calibrate with.
        ModelError: the parent cannot be quantized, or nothing heavy of it was.
    """
    quantize_statically(parent, settings, rows)(path, ())
    check_quantized(path, parent)


def quantize_statically(
    parent: Variant, settings: StaticInt8, rows: Mapping[str, NDArray[Any]]
) -> Callable[[Path, tuple[str, ...]], None]:
    """Look at the rows once; what comes back writes a file in which further nodes, by name, stay floats. See `static_int8`."""
    import onnx

    check_method(settings.calibrator)
    with quantizing(parent) as prepared:
        model = onnx.load(str(prepared))
        chosen = [node for node in model.graph.node if _is_chosen(node, settings)]
        seen = observe(model, list(_activations(model, chosen)), rows)
    _declare(model, seen)
    ranges = {name: clip(each, settings.calibrator, settings.percentile) for name, each in seen.items() if each.bounded}
    unknown = {name for name, each in seen.items() if each.is_float and not each.bounded}
    known = [node.name for node in chosen if not unknown.intersection((*node.input, *node.output))]

    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    with refusing(parent), hushed():
        whole = quantize(whole, settings, ranges, known)

    def write(path: Path, exclude: tuple[str, ...]) -> None:
        copy = onnx.ModelProto()
        copy.CopyFrom(whole)
        restore(copy, model, exclude)
        save_model(copy, path)

    return write


def _is_chosen(node: onnx.NodeProto, settings: StaticInt8) -> bool:
    return node.op_type in settings.operators and default_opset(node) and node.name not in settings.exclude


def _activations(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> Iterator[str]:
    """What goes into and comes out of some nodes, once each, but for weights and what is known not to be float."""
    import onnx

    graph = model.graph
    passed = {each.name for each in graph.initializer} | {""}
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type not in {onnx.TensorProto.FLOAT, onnx.TensorProto.UNDEFINED}:
            passed.add(value.name)
    for node in nodes:
        for name in (*node.input, *node.output):
            if name not in passed:
                passed.add(name)
                yield name


def _declare(model: onnx.ModelProto, seen: Mapping[str, Observer]) -> None:
    """Say of every tensor that was seen to be float that it is.

    Behind operators of a runtime's own, shape inference knows no types, and the quantizer then takes the weights alone.
    """
    import onnx

    known = {value.name for value in (*model.graph.input, *model.graph.output, *model.graph.value_info)}
    for name in (name for name, each in seen.items() if each.is_float and name not in known):
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))


def quantize(
    model: onnx.ModelProto, settings: StaticInt8, ranges: Mapping[str, tuple[float, float]], nodes: list[str]
) -> onnx.ModelProto:
    """Put Q/DQ pairs around some nodes of a model.

    Args:
        model: as `prepared` makes it; it is changed.
        settings: types and kinds.
        ranges: of the activations.
        nodes: names of the nodes that are quantized.
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    told = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}
    # an empty list would mean all nodes
    kinds = settings.operators if nodes else ()
    quantizer = QDQQuantizer(
        model, settings.per_channel, settings.reduce_range, quant_type(settings.weights), quant_type(settings.activations),
        TensorsData(CalibrationMethod.MinMax, told), nodes, [], kinds,
        {"OpTypesToExcludeOutputQuantization": [] if settings.outputs else list(HEAVY)},
    )  # fmt: skip
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized: onnx.ModelProto = quantizer.model.model
    return quantized
