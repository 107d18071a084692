"""int8, dynamic and static, by ONNX Runtime's own tools with the types that this processor is fast at."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

from .export import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from windtunnel.hardware import Hardware
    from windtunnel.variant import Variant

VNNI = ("AVX-VNNI", "AVX512-VNNI", "AMX-INT8")
QUANTIZED = ("MatMulInteger", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm", "ConvInteger", "QLinearConv")
HEAVY = ("MatMul", "Gemm", "Conv")
"""The operators worth quantizing: where the multiplications are. Look-ups and scaling keep their precision."""


def int8_settings(hardware: Hardware) -> dict[str, Any]:
    """The integer types for this processor.

    x86 multiplies unsigned activations with signed weights; without VNNI that instruction saturates, so the weights give
    one bit up (`reduce_range`). ARM multiplies signed with signed. (ONNX Runtime 1.32, `quantize_static` docstring.)

    Example:
        >>> from windtunnel.hardware import Hardware
        >>> int8_settings(Hardware("old", "x86_64", ("AVX2",), 2, 2**30))
        {'activations': 'uint8', 'weights': 'int8', 'reduce_range': True, 'per_channel': True}
    """
    x86 = hardware.architecture in {"x86_64", "AMD64"}
    saturates = x86 and not any(isa in hardware.isa for isa in VNNI)
    return {
        "activations": "uint8" if x86 else "int8",
        "weights": "int8",
        "reduce_range": saturates,
        "per_channel": True,
    }


def _quant_type(name: str) -> Any:
    from onnxruntime.quantization import QuantType

    return {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}[name]


def dynamic_int8(parent: Variant, path: Path, settings: Mapping[str, Any]) -> None:
    """Quantize weights ahead and activations per batch, as they come.

    The scale of a batch is taken over all its rows, so a row's answer can change with its neighbours.
    """
    from onnxruntime.quantization import quantize_dynamic

    with _quantizing(parent) as prepared:
        quantize_dynamic(
            prepared, path, op_types_to_quantize=list(HEAVY), per_channel=settings["per_channel"],
            reduce_range=settings["reduce_range"], weight_type=_quant_type(settings["weights"]),
            # without it a graph whose types were not inferred ends in an error half-way
            extra_options={"DefaultTensorType": 1},
        )  # fmt: skip
    _check_quantized(path, parent)


def static_int8(
    parent: Variant, path: Path, settings: Mapping[str, Any], calibration: Mapping[str, NDArray[Any]]
) -> None:
    """Quantize weights and activations ahead, with ranges seen on real rows (Q/DQ format, min–max).

    Args:
        parent: what is quantized.
        path: where the file goes.
        settings: of `int8_settings`.
        calibration: real rows by input name; fed in batches of 256, so memory stays bounded.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, quantize_static

    with _quantizing(parent) as prepared:
        quantize_static(
            prepared, path, _reader(calibration), quant_format=QuantFormat.QDQ, op_types_to_quantize=list(HEAVY),
            per_channel=settings["per_channel"], reduce_range=settings["reduce_range"],
            activation_type=_quant_type(settings["activations"]), weight_type=_quant_type(settings["weights"]),
            calibrate_method=CalibrationMethod.MinMax,
        )  # fmt: skip
    _check_quantized(path, parent)


def _reader(calibration: Mapping[str, NDArray[Any]], batch: int = 256) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    rows = len(next(iter(calibration.values())))

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the runtime ships no types
        def __init__(self) -> None:
            self.starts = iter(range(0, rows, batch))

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            start = next(self.starts, None)
            return (
                None if start is None else {name: array[start : start + batch] for name, array in calibration.items()}
            )

    return Reader()


@contextlib.contextmanager
def _quantizing(parent: Variant) -> Iterator[Path]:
    """The graph as the quantizer wants it; what the quantizer then raises becomes a refusal of the parent."""
    try:
        with _prepared(parent) as prepared:
            yield prepared
    except Exception as error:  # the quantizer's and the runtime's errors share no base class
        raise ModelError(
            f"cannot be quantized ({first_line(error)})", file=parent.path, fix="leave it as it is, or export it again"
        ) from error


@contextlib.contextmanager
def _prepared(parent: Variant) -> Iterator[Path]:
    """The graph with shapes inferred and constants folded, for a while."""
    import onnxruntime
    from onnxruntime.quantization.shape_inference import quant_pre_process

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the quantizer advises, on the root logger, to do what was just done
    onnxruntime.set_default_logger_severity(4)  # and its session says on stderr which weights folding left over
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "prepared.onnx"
            quant_pre_process(str(parent.path), str(path), skip_symbolic_shape=True)
            yield path
    finally:
        root.setLevel(level)


def count_quantized(path: Path) -> tuple[int, int]:
    """How many of the heavy operators are integer ones, and how many heavy ones there are.

    In the Q/DQ format a heavy operator counts when all it multiplies comes from a `DequantizeLinear`.
    """
    import onnx

    graph = onnx.load(str(path)).graph
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    integer = sum(node.op_type in QUANTIZED for node in graph.node)
    heavy = [node for node in graph.node if node.op_type in HEAVY]
    return integer + sum(all(name in dequantized for name in node.input[:2]) for node in heavy), integer + len(heavy)


def _check_quantized(path: Path, parent: Variant) -> None:
    quantized, heavy = count_quantized(path)
    if quantized == 0:
        raise ModelError(
            f"has {heavy} heavy operators and none of them was quantized",
            file=parent.path,
            fix="its weights may be computed in the graph; fold constants before",
        )


def sample_rows(feeds: Mapping[str, NDArray[Any]], rows: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Some rows of a data set, without repetition, in their own order."""
    have = len(next(iter(feeds.values())))
    index = np.sort(rng.choice(have, size=min(rows, have), replace=False))
    return {name: array[index] for name, array in feeds.items()}
