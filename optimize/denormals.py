"""Weights too small to be normal numbers, set to zero: a processor takes a hundred times as long over each product of theirs.

Training by weight decay leaves them behind (onnxruntime issue 7448: 2,400 ms with them, 70 ms without). float16 weights are left
alone: its denormals begin at 6e-5, which a model means, and processors widen them to normal numbers at full speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.onnx_file import load_model, save_model, tensors

from .step import NeedlessError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from windtunnel.variant import Variant

BITS: dict[str, tuple[str, int, int]] = {
    "FLOAT": ("<u4", 0x7F800000, 0x007FFFFF),
    "DOUBLE": ("<u8", 0x7FF0000000000000, 0x000FFFFFFFFFFFFF),
    "BFLOAT16": ("<u2", 0x7F80, 0x007F),
}
"""By dtype: how its bits are read, where the exponent is among them, and where the fraction."""


def denormals_scrubbed(parent: Variant, path: Path) -> None:
    """Write the model with its denormal weights set to zero.

    Raises:
        NeedlessError: it has none.
    """
    model = load_model(parent.path)
    if not scrub(model):
        raise NeedlessError("has no denormal weights", file=parent.path, fix="leave it as it is")
    save_model(model, path)


def scrub(model: onnx.ModelProto) -> int:
    """Set denormal float32, float64 and bfloat16 weights to zero of their sign, in place.

    A number that stands alone is left: it is the small one that keeps a division from being one by zero.

    Args:
        model: with its weights loaded.

    Returns:
        How many weights were denormal.

    Example:
        >>> import onnx
        >>> weights = onnx.numpy_helper.from_array(np.array([1.0, 1e-40, -1e-40], np.float32), "w")
        >>> model = onnx.ModelProto(graph=onnx.GraphProto(initializer=[weights]))
        >>> scrub(model), onnx.numpy_helper.to_array(model.graph.initializer[0]).tolist()
        (2, [1.0, 0.0, -0.0])
    """
    return sum(_scrub_tensor(tensor) for tensor in tensors(model))


def _scrub_tensor(tensor: onnx.TensorProto) -> int:
    import onnx

    kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    if kind not in BITS:
        return 0
    array = onnx.numpy_helper.to_array(tensor)
    small = _denormal(array, kind)
    found = int(np.count_nonzero(small))
    if array.size <= 1 or found == 0:
        return 0
    bits = _bits(array, kind).copy()
    bits[small] &= ~np.array(BITS[kind][2], bits.dtype)
    name = tensor.name
    tensor.CopyFrom(onnx.TensorProto(name=name, data_type=tensor.data_type, dims=tensor.dims, raw_data=bits.tobytes()))
    return found


def _bits(array: NDArray[Any], kind: str) -> NDArray[Any]:
    return np.ascontiguousarray(array).reshape(-1).view(BITS[kind][0])


def _denormal(array: NDArray[Any], kind: str) -> NDArray[np.bool_]:
    """Where an exponent of nought stands before a fraction that is none."""
    _, exponent, fraction = BITS[kind]
    bits = _bits(array, kind)
    found: NDArray[np.bool_] = ((bits & exponent) == 0) & ((bits & fraction) != 0)
    return found
