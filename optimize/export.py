"""torch → ONNX, verified: the batch axis really is free, and the numbers are the same."""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.session import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import onnx
    import torch
    from numpy.typing import NDArray

SIZES = (1, 2, 3, 17)
"""Batch sizes at which an export is compared with its source: 1 is where exporters specialise, 17 is no power of two."""

TOLERANCE = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-7}
"""The largest difference to the source, relative to the largest of its answers."""


def export(
    module: torch.nn.Module, inputs: Mapping[str, torch.Tensor], path: Path, *, source: str = "the model"
) -> float:
    """Export a module with a free batch axis and check it against its source.

    Args:
        module: in evaluation mode or not; it is exported in evaluation mode.
        inputs: example tensors by argument name, at least two rows, rows on axis 0.
        path: where the ONNX file goes.
        source: named in messages.

    Returns:
        The largest difference to the source over batch sizes 1, 2, 3 and 17, relative as in `TOLERANCE`.

    Raises:
        ModelError: an operator cannot be exported, the batch axis came out fixed, or the numbers differ.
    """
    import torch

    _check_inputs(inputs, source)
    batch = torch.export.Dim("batch", min=1)
    module.eval()
    with _quietly():
        try:
            program = torch.onnx.export(
                module, args=(), kwargs=dict(inputs), dynamo=True, verbose=False,
                dynamic_shapes={name: {0: batch} for name in inputs},
            )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            raise ModelError(
                f"cannot be exported to ONNX ({first_line(error.__cause__ or error)})",
                field=source,
                fix="rewrite that operation, or register a translation",
            ) from error
    assert program is not None
    partial = path.with_name(f".{path.stem}.unchecked.onnx")
    try:
        _save(_named(program.model_proto), partial)
        worst = check_parity(module, inputs, partial, source=source)
        partial.replace(path)
    except ModelError as error:
        if error.file is None:
            raise
        # the file is gone when this is read, so it is not named
        raise ModelError(
            f"{error.problem} once exported",
            field=source,
            fix="rewrite the operation it names; index with int64, for one",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return worst


def first_line(error: BaseException) -> str:
    """What an error says first; its type's name where it says nothing.

    Example:
        >>> first_line(ValueError("no such axis")), first_line(NotImplementedError())
        ('no such axis', 'NotImplementedError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _check_inputs(inputs: Mapping[str, torch.Tensor], source: str) -> None:
    rows = {name: tensor.shape[0] if tensor.dim() else 0 for name, tensor in inputs.items()}
    if not rows or len(set(rows.values())) != 1 or min(rows.values()) < 2:
        raise ModelError(
            "needs example inputs with the same number of rows, two or more",
            field=source,
            value=rows,
            fix="give a dict of tensors by argument name, rows on axis 0",
        )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the exporter's own news (missing torchvision, its deprecations) from the user's terminal."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.onnx._internal.exporter._registration", "onnxscript")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Call the outputs `output`, `output_1`, …: exporters name them after an inner node.

    Done on the finished graph, because naming outputs through the exporter writes invalid files for some models.
    """
    graph = model.graph
    inputs = {value.name for value in graph.input}
    wanted = {
        value.name: "output" if position == 0 else f"output_{position}" for position, value in enumerate(graph.output)
    }
    wanted = {old: new for old, new in wanted.items() if not {old, new} & inputs}
    # a weight or an inner value that has such a name already makes way
    names = {new: f"{new}_inner" for new in wanted.values()} | wanted
    for node in graph.node:
        node.input[:] = [names.get(each, each) for each in node.input]
        node.output[:] = [names.get(each, each) for each in node.output]
    for each in (*graph.initializer, *graph.value_info, *graph.output):
        each.name = names.get(each.name, each.name)
    return model


def _save(model: onnx.ModelProto, path: Path) -> None:
    import onnx

    # the paths and stack traces of the exporting machine do not belong in the file: equal models are equal bytes
    for node in model.graph.node:
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    for weight in model.graph.initializer:
        del weight.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    onnx.save(model, str(path))


def check_parity(
    module: torch.nn.Module, inputs: Mapping[str, torch.Tensor], path: Path, *, source: str = "the model"
) -> float:
    """Compare an ONNX file with its source at several batch sizes.

    Returns:
        The largest relative difference.

    Raises:
        ModelError: a batch size fails to run, or an output differs by more than its dtype's tolerance.
    """
    session = OnnxSession(path)
    if not session.signature.dynamic_batch:
        shapes = {tensor.name: tensor.shape for tensor in session.signature.inputs}
        raise ModelError(
            "lost its free batch axis in the export",
            field=source,
            value=shapes,
            fix="do not use the batch size as a Python number in `forward`",
        )
    return max(_difference(module, session, _tile(inputs, size), source) for size in SIZES)


def _tile(inputs: Mapping[str, torch.Tensor], rows: int) -> dict[str, torch.Tensor]:
    import torch

    have = next(iter(inputs.values())).shape[0]
    return {name: tensor[torch.arange(rows) % have] for name, tensor in inputs.items()}


def _difference(module: torch.nn.Module, session: OnnxSession, feeds: Mapping[str, torch.Tensor], source: str) -> float:
    import torch

    rows = len(next(iter(feeds.values())))
    with torch.no_grad():
        expected = [tensor.numpy() for tensor in _flat(module(**feeds))]
    try:
        actual = list(session.run({name: tensor.numpy() for name, tensor in feeds.items()}).values())
    except Exception as error:  # the runtime's errors share no base class; each is passed on with its words
        raise ModelError(
            f"does not run with {rows} rows once exported ({first_line(error)})",
            field=source,
            fix="let each input shape at least one output, and look for sizes fixed in `forward`",
        ) from error
    worst = [relative_difference(a, b) for a, b in zip(expected, actual, strict=True)]
    for found, array in zip(worst, expected, strict=True):
        limit = TOLERANCE.get(str(array.dtype), 0.0)
        if not found <= limit:
            raise ModelError(
                f"gives other numbers once exported: off by {found:.2g} with {rows} rows, allowed {limit:g}",
                field=source,
                fix="compare the intermediate outputs; a data-dependent branch is the usual cause",
            )
    return max(worst)


def _flat(outputs: Any) -> list[torch.Tensor]:
    if isinstance(outputs, dict):
        return list(outputs.values())
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def relative_difference(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    """The largest difference, relative to the largest expected value, so that small outputs are held to as much as large.

    Infinite where shapes differ; the difference itself where all that is expected is zero.

    Example:
        >>> relative_difference(np.array([1.0, 200.0]), np.array([1.5, 201.0]))
        0.005
    """
    if expected.shape != actual.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    wide, other = expected.astype(np.float64), actual.astype(np.float64)
    size = float(np.max(np.abs(wide)))
    return float(np.max(np.abs(wide - other))) / (size if size > 0.0 else 1.0)
