"""What all the ways to int8 share: the types that this processor is fast at, the graph made ready, the rows to learn from."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError, WindtunnelError
from windtunnel.session import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from windtunnel.hardware import Hardware
    from windtunnel.variant import Variant

VNNI = ("AVX-VNNI", "AVX512-VNNI", "AMX-INT8")
HEAVY = ("MatMul", "Gemm", "Conv")
"""The operators worth quantizing: where the multiplications are. Look-ups and scaling keep their precision."""

LEAST_OPSET = 13
"""The first in which `DequantizeLinear` takes a scale for each channel."""


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


def quant_type(name: str) -> Any:
    """ONNX Runtime's own name for `uint8` or `int8`."""
    from onnxruntime.quantization import QuantType

    return {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}[name]


@contextlib.contextmanager
def quantizing(parent: Variant) -> Iterator[Path]:
    """The graph as the quantizer wants it; what the quantizer then raises becomes a refusal of the parent.

    Raises:
        ModelError: the quantizer or the runtime refused, with its words.
    """
    with refusing(parent), prepared(parent) as path:
        yield path


@contextlib.contextmanager
def refusing(parent: Variant) -> Iterator[None]:
    """Turn what a quantizer raises into a refusal of the parent."""
    try:
        yield
    except WindtunnelError:
        raise
    except Exception as error:  # the quantizer's and the runtime's errors share no base class
        raise ModelError(
            f"cannot be quantized ({first_line(error)})", file=parent.path, fix="leave it as it is, or export it again"
        ) from error


@contextlib.contextmanager
def prepared(parent: Variant) -> Iterator[Path]:
    """The graph with shapes inferred, constants folded and every node named, for a while."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    beside = bool(parent.companions)
    with hushed(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prepared.onnx"
        quant_pre_process(
            str(parent.path), str(path), skip_symbolic_shape=True, save_as_external_data=beside,
            all_tensors_to_one_file=beside, external_data_location="prepared.onnx.data" if beside else None,
        )  # fmt: skip
        model = raised(onnx.load(str(path), load_external_data=False))
        name_nodes(model.graph)
        onnx.save(model, str(path))
        yield path


def default_opset(node: Any) -> bool:
    """Whether a node is of ONNX's own kinds, not of a runtime's or scikit-learn's."""
    return node.domain in {"", "ai.onnx"}


def raised(model: Any) -> Any:
    """The model in an opset that knows of scales by channel; as it is where it is new enough.

    The bytes depend on the model alone.
    """
    from onnx import version_converter

    old = any(each.domain in {"", "ai.onnx"} and each.version < LEAST_OPSET for each in model.opset_import)
    return version_converter.convert_version(model, LEAST_OPSET) if old else model


def name_nodes(graph: Any) -> None:
    """Give every node a name of its own, after its place: nodes are told apart by name when some are left as floats."""
    taken: set[str] = set()
    for position, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{position}"
        taken.add(node.name)


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep the quantizers' advice, on the root logger and on stderr, from the user's terminal."""
    import onnxruntime

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the quantizer advises, on the root logger, to do what was just done
    onnxruntime.set_default_logger_severity(4)  # and its session says on stderr which weights folding left over
    _HUSHED.append(level)
    try:
        yield
    finally:
        _HUSHED.pop()
        root.setLevel(level)
        if not _HUSHED:
            onnxruntime.set_default_logger_severity(WARNING)


WARNING = 2
"""ONNX Runtime's severity where nobody has set another; it cannot be asked which one was."""

_HUSHED: list[int] = []
"""One entry for each `hushed` that is under way: the severity is the whole process's, and the last one puts it back."""


def sample_rows(feeds: Mapping[str, NDArray[Any]], rows: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Some rows of a data set, without repetition, in their own order."""
    have = len(next(iter(feeds.values())))
    index = np.sort(rng.choice(have, size=min(rows, have), replace=False))
    return {name: array[index] for name, array in feeds.items()}
