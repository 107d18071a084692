"""Static int8 by NNCF, OpenVINO's own quantizer: its placement of Q/DQ pairs, its smoothing, its correction of biases."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from windtunnel.errors import MissingError
from windtunnel.onnx_file import save_model
from windtunnel.openvino_session import INSTALL

from .calibrator import fed
from .int8 import quantizing
from .quantized import check_quantized
from .restored import drop_unread, restore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from windtunnel.variant import Variant


@dataclass(frozen=True)
class NncfInt8:
    """How NNCF quantizes a model.

    Args:
        preset: `performance`: ranges symmetric about zero; `mixed`: those of activations need not be.
        model_type: `transformer` for models with attention, which NNCF then smooths and quantizes by other patterns.
        smooth_quant: how much of the difficulty of outliers is moved from activations into weights, 0 to 1; below 0: none.
            NNCF smooths only where `model_type` is `transformer`.
        fast_bias_correction: correct biases by one pass; otherwise layer by layer, which takes longer.
        subset_size: how many rows are used, at most.
        ranges: of activations: the average of each row's extremes, as is NNCF's own choice where rows hold many values, or the extremes of
            all rows: the average cuts off half of the largest where a row holds few.
        exclude: names of nodes that stay as they are.
    """

    preset: Literal["performance", "mixed"] = "mixed"
    model_type: Literal["", "transformer"] = ""
    smooth_quant: float = 0.95
    fast_bias_correction: bool = True
    subset_size: int = 300
    ranges: Literal["average", "extremes"] = "extremes"
    exclude: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return {**asdict(self), "exclude": list(self.exclude)}


def nncf_int8(parent: Variant, path: Path, settings: NncfInt8, rows: Mapping[str, NDArray[Any]]) -> None:
    """Quantize weights and activations ahead by NNCF's ONNX backend (nncf 3.4), one row at a time.

    Args:
        parent: what is quantized.
        path: where the file goes.
        settings: how.
        rows: real rows by input name; the first `subset_size` are used.

    Raises:
        DataError: there are no rows to calibrate with.
        MissingError: NNCF is not installed.
        ModelError: the parent cannot be quantized, or nothing heavy of it was.
    """
    quantize_by_nncf(parent, settings, rows)(path, ())
    check_quantized(path, parent)


def quantize_by_nncf(
    parent: Variant, settings: NncfInt8, rows: Mapping[str, NDArray[Any]]
) -> Callable[[Path, tuple[str, ...]], None]:
    """Quantize once; what comes back writes a file in which some nodes, by name, are floats again. See `nncf_int8`."""
    import onnx

    nncf = load_nncf()
    with quantizing(parent) as prepared, _quietly():
        model = onnx.load(str(prepared))
        data = nncf.Dataset(list(fed(model, rows, 1)))
        quantized = nncf.quantize(model, data, **_told(nncf, settings))
    make_unsigned(quantized)

    def write(path: Path, exclude: tuple[str, ...]) -> None:
        copy = onnx.ModelProto()
        copy.CopyFrom(quantized)
        restore(copy, model, exclude)
        save_model(copy, path)

    return write


def make_unsigned(model: onnx.ModelProto) -> None:
    """Shift quantized activations from −128…127 to 0…255, their zero points with them: not one answer changes.

    x86 multiplies unsigned activations with signed weights; ONNX Runtime takes many times as long for two signed ones.
    """
    import numpy as np
    from onnx import numpy_helper

    constants = {each.name: each for each in model.graph.initializer}
    quantizes = [
        node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] not in constants
    ]
    given = {node.output[0] for node in quantizes}
    reads = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in given]
    for node in (*quantizes, *reads):
        zero = numpy_helper.to_array(constants[node.input[2]])
        if zero.dtype == np.int8:
            name = f"{node.input[2]}_unsigned"
            if name not in constants:
                shifted = numpy_helper.from_array((zero.astype(np.int16) + 128).astype(np.uint8), name)
                model.graph.initializer.append(shifted)
                constants[name] = shifted
            node.input[2] = name
    untold = [value for value in model.graph.value_info if value.name not in given]
    del model.graph.value_info[:]
    model.graph.value_info.extend(untold)
    drop_unread(model)


def _told(nncf: Any, settings: NncfInt8) -> dict[str, Any]:
    """The settings in NNCF's words."""
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    extremes = settings.ranges == "extremes"
    smoothing = nncf.AdvancedSmoothQuantParameters(matmul=settings.smooth_quant)
    return {
        "preset": nncf.QuantizationPreset(settings.preset),
        "model_type": nncf.ModelType(settings.model_type) if settings.model_type else None,
        "subset_size": settings.subset_size,
        "fast_bias_correction": settings.fast_bias_correction,
        "ignored_scope": nncf.IgnoredScope(names=list(settings.exclude)) if settings.exclude else None,
        "advanced_parameters": nncf.AdvancedQuantizationParameters(
            smooth_quant_alphas=smoothing,
            **({"activations_range_estimator_params": RangeEstimatorParametersSet.MINMAX} if extremes else {}),
        ),
    }


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep NNCF's log lines, progress bars and warnings from the user's terminal."""
    logger = logging.getLogger("nncf")
    was, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = was


def load_nncf() -> Any:
    """Import NNCF without its telemetry, and without the class of loggers that it would give everybody.

    Raises:
        MissingError: NNCF is not installed.
    """
    blocked, loggers = "openvino_telemetry", logging.getLoggerClass()
    hidden = blocked not in sys.modules
    if hidden:
        sys.modules[blocked] = None  # type: ignore[assignment]  # the import system's own way to say "not there"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nncf
    except ModuleNotFoundError as error:
        raise MissingError(f"NNCF is not installed; {INSTALL}") from error
    finally:
        logging.setLoggerClass(loggers)
        if hidden:
            del sys.modules[blocked]
    return nncf
