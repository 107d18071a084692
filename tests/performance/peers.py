"""What others would run: each peer as its own documentation has it, with its own default threads.

A peer is prepared once (exported, quantized, calibrated) and opened in every process that times it. Nothing of windtunnel's
is used here but the door that keeps OpenVINO from calling home.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.openvino_session import load_openvino

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from tests.performance.peer_models import Example

    Feeds = Mapping[str, NDArray[Any]]
    Run = Callable[[Feeds], NDArray[Any]]

CALIBRATION_ROWS = 128


@dataclass(frozen=True)
class Peer:
    """One way of others to run a model.

    Args:
        name: as the table has it.
        prepare: writes what is opened to a path; the learning rows are given.
        suffix: of the file.
        open: loads it; the example's own model is given too, for those that run it as it is.
    """

    name: str
    suffix: str
    prepare: Callable[[Example, Path, Path], None]
    open: Callable[[Example, Path], Run]


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep the peers' own news from the table."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


# The file that every peer starts from.


def export_torch(found: Example, path: Path) -> None:
    """As torch's documentation exports: the dynamo exporter with named free axes."""
    import torch

    dims: dict[str, Any] = {}
    shapes = {
        name: {axis: dims.setdefault(called, torch.export.Dim(called, min=1)) for axis, called in axes.items()}
        for name, axes in found.axes.items()
    }
    with quietly():
        program = torch.onnx.export(
            found.model, kwargs=found.inputs(), dynamo=True, dynamic_shapes=shapes, verbose=False
        )
    assert program is not None
    program.save(str(path))


def export_trees(found: Example, path: Path) -> None:
    """As skl2onnx's and onnxmltools' documentation converts."""
    from onnxmltools.convert.common.data_types import FloatTensorType as OtherFloats
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    kind, width = type(found.model).__module__.split(".")[0], found.rows["x"].shape[1]
    if kind == "lightgbm":
        from onnxmltools import convert_lightgbm

        # of the booster, for the classifier's boolean classes are more than the converter takes
        model = convert_lightgbm(
            found.model.booster_, initial_types=[("x", OtherFloats([None, width]))], target_opset=15, zipmap=False
        )
    elif kind == "xgboost":
        from onnxmltools import convert_xgboost

        model = convert_xgboost(found.model, initial_types=[("x", OtherFloats([None, width]))], target_opset=15)
    else:
        options, kinds = {id(found.model): {"zipmap": False}}, [("x", FloatTensorType([None, width]))]
        with _whole_numbers():
            model = to_onnx(found.model, initial_types=kinds, options=options, target_opset=18)
    for each in model.opset_import:
        if each.domain == "":  # onnxmltools writes the oldest that would do, which is older than we read
            each.version = max(each.version, 15)
    path.write_bytes(model.SerializeToString())


@contextlib.contextmanager
def _whole_numbers() -> Iterator[None]:
    """What users do about skl2onnx's failing on the newest HistGradientBoosting: its numpy numbers and bools become ints."""
    from skl2onnx.common import tree_ensemble

    add = tree_ensemble.add_node

    def plain(*arguments: Any, **named: Any) -> None:
        add(
            *(each.item() if isinstance(each, np.integer) else each for each in arguments),
            **{name: int(each) if name == "nodes_missing_value_tracks_true" else each for name, each in named.items()},
        )

    tree_ensemble.add_node = plain
    try:
        yield
    finally:
        tree_ensemble.add_node = add


def write_base(found: Example, path: Path) -> None:
    """The float32 file of a model."""
    (export_torch if hasattr(found.model, "state_dict") else export_trees)(found, path)


def write_own(found: Example, folder: Path) -> None:
    """The file that a library of trees keeps its model in."""
    if hasattr(found.model, "get_booster"):
        found.model.get_booster().save_model(folder / "own.ubj")
    else:
        found.model.booster_.save_model(folder / "own.txt")


# torch.


def _nothing(found: Example, base: Path, path: Path) -> None:
    """Run as it is: the file is only a mark."""
    del found, base
    path.touch()


def _torch_run(module: Any) -> Run:
    import torch

    def run(feeds: Feeds) -> NDArray[Any]:
        with torch.inference_mode():
            return module(**{name: torch.from_numpy(array) for name, array in feeds.items()}).numpy()  # type: ignore[no-any-return]  # torch modules answer Any

    return run


def open_eager(found: Example, path: Path) -> Run:
    """The module itself."""
    del path
    return _torch_run(found.model)


def open_compiled(found: Example, path: Path) -> Run:
    """torch.compile with its defaults."""
    import torch

    del path
    return _torch_run(torch.compile(found.model))


def open_torch_int8(found: Example, path: Path) -> Run:
    """Dynamic int8 by torch of the dense layers."""
    import torch

    del path
    with quietly():
        module = torch.ao.quantization.quantize_dynamic(copy.deepcopy(found.model), {torch.nn.Linear}, torch.qint8)  # type: ignore[no-untyped-call]  # torch left it untyped
    return _torch_run(module)


# ONNX Runtime.


def _copied(found: Example, base: Path, path: Path) -> None:
    del found
    path.write_bytes(base.read_bytes())


def open_ort(found: Example, path: Path, threads: int = 0) -> Run:
    """ONNX Runtime with its defaults; so many threads, all where zero."""
    import onnxruntime

    del found
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    wanted = ["probabilities"] if "probabilities" in names else names[:1]
    return lambda feeds: session.run(wanted, dict(feeds))[0]


def _fused(found: Example, base: Path, path: Path) -> None:
    """ONNX Runtime's transformer fusion, of the export that it knows best: TorchScript's."""
    import torch
    from onnxruntime.transformers.optimizer import optimize_model

    plain = path.with_suffix(".script.onnx")
    with quietly():
        torch.onnx.export(
            found.model, tuple(found.inputs().values()), str(plain), input_names=list(found.axes),
            dynamic_axes=found.axes, opset_version=17, dynamo=False,
        )  # fmt: skip
        shape = (12, 384) if "input_ids" in found.axes else (3, 192)
        model = optimize_model(
            str(plain), model_type="bert" if shape[0] == 12 else "vit", num_heads=shape[0], hidden_size=shape[1]
        )
        model.save_model_to_file(str(path))
    del base
    plain.unlink()


def _dynamic(found: Example, base: Path, path: Path, *, per_channel: bool, fuse: bool = False) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = base
    if fuse:
        source = path.with_suffix(".fused.onnx")
        _fused(found, base, source)
    with quietly():
        quantize_dynamic(
            str(source), str(path), per_channel=per_channel, weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )  # fmt: skip


def learning_rows(found: Example) -> dict[str, NDArray[Any]]:
    """Every third row, the first so many: what calibration may see."""
    return {name: array[::3][:CALIBRATION_ROWS] for name, array in found.feeds.items()}


def _static(found: Example, base: Path, path: Path, *, activations: str) -> None:
    """ONNX Runtime's static quantization with its documented pre-processing, MinMax, per channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    rows = learning_rows(found)
    count = len(next(iter(rows.values())))
    batches = iter([{name: array[i : i + 16] for name, array in rows.items()} for i in range(0, count, 16)])

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the runtime ships no types
        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(batches, None)

    prepared = path.with_suffix(".prepared.onnx")
    with quietly():
        # its symbolic inference fails on the dynamo export of a transformer; onnx's own remains
        quant_pre_process(str(base), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type={"u8": QuantType.QUInt8, "s8": QuantType.QInt8}[activations], weight_type=QuantType.QInt8,
        )  # fmt: skip
    prepared.unlink()


# OpenVINO.


def open_openvino(found: Example, path: Path, precision: str = "") -> Run:
    """OpenVINO as documented for one caller: the latency hint; bf16 where the processor has it and nobody says otherwise."""
    openvino = load_openvino()
    del found
    settings = {"PERFORMANCE_HINT": "LATENCY"} | ({"INFERENCE_PRECISION_HINT": precision} if precision else {})
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda feeds: request.infer(dict(feeds), share_inputs=True)[0].copy()


def _nncf(found: Example, base: Path, path: Path) -> None:
    """NNCF's post-training quantization of the OpenVINO model, as its documentation has it."""
    openvino = load_openvino()
    with quietly():
        import nncf

        nncf.set_log_level(logging.ERROR)
        rows = learning_rows(found)
        count = len(next(iter(rows.values())))
        data = nncf.Dataset([{name: array[i : i + 1] for name, array in rows.items()} for i in range(count)])
        kind = nncf.ModelType.TRANSFORMER if "input_ids" in rows or "VisionTransformer" in str(found.model) else None
        model = nncf.quantize(openvino.Core().read_model(str(base)), data, subset_size=count, model_type=kind)
        openvino.save_model(model, str(path), compress_to_fp16=False)


# Trees.


def open_own(found: Example, path: Path) -> Run:
    """The library's own prediction."""
    del path
    predict = found.model.predict_proba
    return lambda feeds: predict(feeds["x"])


EAGER = Peer("torch eager", "mark", _nothing, open_eager)
COMPILED = Peer("torch.compile", "mark", _nothing, open_compiled)
ORT = Peer("ORT fp32", "onnx", _copied, open_ort)
ORT_ONE = Peer("ORT fp32, one thread", "onnx", _copied, partial(open_ort, threads=1))
FUSED = Peer("ORT fused fp32", "onnx", _fused, open_ort)
FUSED_INT8 = Peer("ORT fused dynamic int8", "onnx", partial(_dynamic, per_channel=True, fuse=True), open_ort)
FUSED_TENSOR = Peer(
    "ORT fused dynamic int8, per tensor", "onnx", partial(_dynamic, per_channel=False, fuse=True), open_ort
)
DYNAMIC = Peer("ORT dynamic int8", "onnx", partial(_dynamic, per_channel=True), open_ort)
STATIC_U8 = Peer("ORT static U8S8", "onnx", partial(_static, activations="u8"), open_ort)
STATIC_U8_ONE = Peer(
    "ORT static U8S8, one thread", "onnx", partial(_static, activations="u8"), partial(open_ort, threads=1)
)
STATIC_S8 = Peer("ORT static S8S8", "onnx", partial(_static, activations="s8"), open_ort)
OPENVINO = Peer("OpenVINO f32", "onnx", _copied, partial(open_openvino, precision="f32"))
OPENVINO_BF16 = Peer("OpenVINO default (bf16 where it has it)", "onnx", _copied, open_openvino)
OPENVINO_QDQ = Peer("ORT static U8S8 in OpenVINO", "onnx", partial(_static, activations="u8"), open_openvino)
NNCF = Peer("OpenVINO NNCF int8", "xml", _nncf, open_openvino)
OWN = Peer("own predict", "mark", _nothing, open_own)
TORCH_INT8 = Peer("torch dynamic int8", "mark", _nothing, open_torch_int8)

FLOATS = (EAGER, COMPILED, ORT, ORT_ONE, OPENVINO, OPENVINO_BF16)
QUANTIZED = (DYNAMIC, STATIC_U8, STATIC_S8, OPENVINO_QDQ, NNCF)
PEERS: dict[str, tuple[Peer, ...]] = {
    "minilm": (*FLOATS, FUSED, FUSED_INT8, FUSED_TENSOR, *QUANTIZED),
    "resnet18": (*FLOATS, *QUANTIZED),
    "mobile": (*FLOATS, *QUANTIZED),
    "vit": (*FLOATS, *QUANTIZED),
    "mlp": (*FLOATS, TORCH_INT8, STATIC_U8_ONE, *QUANTIZED),
    "wide": (*FLOATS, TORCH_INT8, STATIC_U8_ONE, *QUANTIZED),
    "gru": (*FLOATS, TORCH_INT8, DYNAMIC),
    "trees": (OWN, ORT, ORT_ONE),
}
"""Who is measured on which model; trees of every library have the same peers."""
