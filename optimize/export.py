"""torch → ONNX, verified: its free axes really are free, and the numbers are the same.

torch's two exporters are tried in turn, each result checked before it is believed: `torch.export` (which captures without and
then with Python bytecode analysis; torch 2.13, `exporter/_capture_strategies.py`), then `TorchScript`, which traces. A trace
that warns of anything baked in is refused.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import tempfile
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from windtunnel.errors import ModelError, UserCodeError
from windtunnel.onnx_file import graphs, move_model, nodes, read_model, save_model
from windtunnel.session import first_line

from .denormals import scrub
from .origin_of_error import where
from .parity import BATCH, answers, axis_names, check_parity, flat, relative_difference, resize, sizes_to_try

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import onnx
    import torch

    from .parity import Axes, Feeds

    Convert = Callable[[Path, Axes], onnx.ModelProto]

__all__ = ["Export", "export", "first_line", "relative_difference"]

SEQUENCE = "sequence"
"""What the second axis of tokens is called where the user gives it no name."""

OPSET = 18
"""The opset that both exporters write without converting."""


@dataclass(frozen=True)
class Export:
    """What came of an export.

    Args:
        worst: the largest difference to the source at any size, relative to its largest answer.
        way: the exporter that made the file.
        compared: by name of each free axis, the sizes at which the file was run beside its source.
        failed: what was tried before and why it failed, one line each.
        scrubbed: how many denormal weights were set to zero.
    """

    worst: float
    way: str
    compared: Mapping[str, tuple[int, ...]]
    failed: tuple[str, ...] = ()
    scrubbed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The export as JSON values."""
        return {
            "largest_difference": self.worst, "exporter": self.way, "failed": list(self.failed), "scrubbed": self.scrubbed,
            "free_axes": {name: list(sizes) for name, sizes in self.compared.items()},
        }  # fmt: skip


def export(
    module: torch.nn.Module, inputs: Feeds, path: Path, axes: Axes | None = None, *, source: str = "the model"
) -> Export:
    """Export a module with a free batch axis and check it against its source.

    Args:
        module: in evaluation mode or not; it is exported in evaluation mode.
        inputs: example tensors by argument name, at least two rows, rows on axis 0.
        path: where the ONNX file goes; weights beyond 2 GiB go to `<name>.data` beside it.
        axes: by input, which further axes are free and what they are called; axes of one name have one size. Where None,
            the second axis of whole numbers `[batch, length]` is freed if it can be.
        source: named in messages.

    Raises:
        ModelError: an operator cannot be exported, an axis came out fixed, or the numbers differ.
        UserCodeError: the module does not run on its own example.
    """
    _check_inputs(module, inputs, axes, source)
    module.eval()
    answer = partial(_answer, module)
    _check_runs(module, inputs, source)
    ways = {
        "torch.export": partial(_by_torch_export, module, inputs),
        "TorchScript": partial(_by_torchscript, module, inputs),
    }
    further = [axes] if axes is not None else [*_token_axes(answer, inputs), {}]
    plans = [{name: {0: BATCH, **each.get(name, {})} for name in inputs} for each in further]
    failures: list[tuple[str, ModelError]] = []
    for plan in plans:
        for way, convert in ways.items():
            try:
                return _attempt(way, convert, _Subject(answer, inputs, plan, source), path, failures)
            except ModelError as error:
                failures.append((f"{way} ({', '.join(sorted(axis_names(plan)))})", error))
    raise _refusal(failures, plans)


def export_captured(
    program: torch.export.ExportedProgram,
    answer: Callable[[Feeds], Any],
    inputs: Feeds,
    path: Path,
    axes: Axes,
    *,
    source: str,
) -> Export:
    """Export what torch.export captured, and check it at the sizes that it was captured for; see `export`."""
    convert = partial(_by_program, program, list(inputs))
    return _attempt("torch.export", convert, _Subject(answer, inputs, axes, source), path, [])


@dataclass(frozen=True)
class _Subject:
    """What an export is made from and compared with."""

    answer: Callable[[Feeds], Any]
    inputs: Feeds
    axes: Axes
    source: str


def _answer(module: torch.nn.Module, feeds: Feeds) -> Any:
    return module(**feeds)


def _attempt(
    way: str, convert: Convert, subject: _Subject, path: Path, failures: Sequence[tuple[str, ModelError]]
) -> Export:
    """Convert, write under another name, check, and only then let it take its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        unchecked = Path(folder) / path.name
        model = _convert(convert, Path(folder), subject)
        _tidy(model, list(flat(subject.answer(subject.inputs))), subject.axes)
        scrubbed = scrub(model)
        save_model(model, unchecked)
        _check_file(unchecked, subject.source)
        worst, compared = _compare(unchecked, subject)
        move_model(unchecked, path)
    failed = tuple(f"{name}: {error.problem}" for name, error in failures)
    return Export(worst, way, compared, failed, scrubbed)


def _refusal(failures: Sequence[tuple[str, ModelError]], plans: Sequence[Axes]) -> ModelError:
    """What the first way said of the fewest free axes: its words are nearest to the user's code; then what others said."""
    per_plan = len(failures) // len(plans)
    (_, first), *others = failures[-per_plan:]
    fix = "; ".join(
        [first.fix, *(f"{name}: {error.problem}" for name, error in others if error.problem != first.problem)]
    )
    return ModelError(first.problem, file=first.file, field=first.field, value=first.value, fix=fix)


def _check_inputs(module: torch.nn.Module, inputs: Feeds, axes: Axes | None, source: str) -> None:
    import torch

    rows = {name: tensor.shape[0] if tensor.dim() else 0 for name, tensor in inputs.items()}
    if not rows or len(set(rows.values())) != 1 or min(rows.values()) < 2:
        raise ModelError(
            "needs example inputs with the same number of rows, two or more",
            field=source,
            value=rows,
            fix="give a dict of tensors by argument name, rows on axis 0",
        )
    _check_axes(inputs, axes or {}, source)
    held = (*module.parameters(), *module.buffers(), *inputs.values())
    if any(tensor.dtype == torch.bfloat16 for tensor in held):
        raise ModelError(
            "computes in bfloat16, which numpy and ONNX Runtime's processor kernels do not know", field=source,
            fix="return module.float(): optimize tries bfloat16 where the processor has it",
        )  # fmt: skip


def _check_axes(inputs: Feeds, axes: Axes, source: str) -> None:
    sizes: dict[str, set[int]] = {}
    for name, named in axes.items():
        for at, axis in named.items():
            if name not in inputs or not 0 < at < inputs[name].dim() or axis == BATCH or not axis.isidentifier():
                raise ModelError(
                    f"frees axis {at} of `{name}` under the name {axis!r}", field=source,
                    fix=f"give {{input: {{axis: name}}}} with the axes 1, 2, … of the inputs {', '.join(inputs)}",
                )  # fmt: skip
            sizes.setdefault(axis, set()).add(inputs[name].shape[at])
    unequal = {axis: sorted(found) for axis, found in sizes.items() if len(found) > 1}
    if unequal:
        raise ModelError("gives axes of one name different sizes", field=source, value=unequal, fix="name them apart")


def _check_runs(module: torch.nn.Module, inputs: Feeds, source: str) -> None:
    """The module runs on its own example and answers tensors."""
    import torch

    from windtunnel.source import call

    with torch.no_grad():
        leaves = flat(call(partial(module, **inputs), name=source))
    foreign = {name: type(each).__name__ for name, each in leaves.items() if not isinstance(each, torch.Tensor)}
    if foreign or not leaves:
        raise UserCodeError(
            "answers something else than tensors", field=source, value=foreign, fix="return tensors only"
        )
    if any(each.dtype == torch.bfloat16 for each in leaves.values()):
        raise ModelError("answers in bfloat16, which numpy does not know", field=source, fix="return .float()")


def _token_axes(answer: Callable[[Feeds], Any], inputs: Feeds) -> list[Axes]:
    """The second axes of tokens and of what is as long as they, where the source runs at other lengths; else nothing."""
    import torch

    tokens = [each for each in inputs.values() if each.dtype in {torch.int32, torch.int64} and each.dim() == 2]
    if not tokens:
        return []
    length = max(each.shape[1] for each in tokens)
    axes = {name: {1: SEQUENCE} for name, each in inputs.items() if each.dim() == 2 and each.shape[1] == length}
    others = (size for size in sizes_to_try(inputs, axes, SEQUENCE) if size != length)
    return [axes] if any(answers(answer, resize(inputs, axes, {SEQUENCE: size})) is not None for size in others) else []


def _by_torch_export(module: torch.nn.Module, inputs: Feeds, _folder: Path, axes: Axes) -> onnx.ModelProto:
    import torch

    sizes = {axis: torch.export.Dim(axis, min=1) for axis in axis_names(axes)}
    free = {name: {at: sizes[axis] for at, axis in axes[name].items()} for name in inputs}
    if _is_plain(module, inputs):
        program = torch.onnx.export(
            module, args=(), kwargs=dict(inputs), dynamo=True, verbose=False, dynamic_shapes=free
        )  # fmt: skip
    else:
        program = torch.onnx.export(
            _flattened(module, list(inputs)), args=tuple(inputs.values()), dynamo=True, verbose=False,
            dynamic_shapes=(tuple(free.values()),), input_names=list(inputs),
        )  # fmt: skip
    assert program is not None
    return program.model_proto


def _by_program(program: torch.export.ExportedProgram, names: list[str], _folder: Path, _axes: Axes) -> onnx.ModelProto:
    import torch

    converted = torch.onnx.export(program, (), dynamo=True, verbose=False, input_names=names)
    assert converted is not None
    return converted.model_proto


def _is_plain(module: torch.nn.Module, inputs: Feeds) -> bool:
    """Whether the answer is a tensor, or a dict, list or tuple of tensors: what the exporter takes as it is."""
    import torch

    with torch.no_grad():
        answer = module(**inputs)
    inside = list(answer.values()) if type(answer) is dict else answer if isinstance(answer, tuple | list) else [answer]
    return all(isinstance(each, torch.Tensor) for each in inside)


def _by_torchscript(module: torch.nn.Module, inputs: Feeds, folder: Path, axes: Axes) -> onnx.ModelProto:
    import onnx
    import torch
    from torch.jit._trace import TracerWarning

    traced = folder / "traced.onnx"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.onnx.export(
            _flattened(module, list(inputs)), tuple(inputs.values()), str(traced), dynamo=False, opset_version=OPSET,
            input_names=list(inputs), dynamic_axes={name: dict(named) for name, named in axes.items()},
        )  # fmt: skip
    # torch's own modules check shapes as they are traced; what they bake in shows at other sizes
    torchs = str(Path(torch.__file__).parent)
    baked = [
        str(each.message) for each in said
        if issubclass(each.category, TracerWarning) and not each.filename.startswith(torchs)
    ]  # fmt: skip
    if baked:
        raise ModelError(f"bakes a value of the example into the graph ({baked[0].partition('. ')[0]})")
    return onnx.load(str(traced))


def _flattened(module: torch.nn.Module, names: list[str]) -> torch.nn.Module:
    """The module with its inputs by position and its outputs in one flat tuple: dataclasses and nested ones too."""
    import torch

    class Flattened(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(flat(self.module(**dict(zip(names, tensors, strict=True)))).values())

    return Flattened().eval()


def _convert(convert: Convert, folder: Path, subject: _Subject) -> onnx.ModelProto:
    """Run an exporter; what it raises becomes a refusal that names the operator and where in the user's code it stands."""
    try:
        with _quietly(), _fresh_dispatch():
            return convert(folder, subject.axes)
    except ModelError as error:
        raise _named(error, subject.source) from error
    except Exception as error:  # exporters raise what they meet: their own errors, dynamo's, the runtime's, assertions
        place = where(error)
        raise ModelError(
            f"cannot be exported to ONNX ({_reason(error)})" + (f", at {place}" if place else ""),
            field=subject.source,
            fix="rewrite that operation, or register a translation",
        ) from error


def _named(error: ModelError, source: str) -> ModelError:
    """The refusal, said of the source: a file that is gone when this is read is not named."""
    return ModelError(
        error.problem, field=source, value=error.value, fix=error.fix or "rewrite it with tensor operations"
    )


def _reason(error: Exception) -> str:
    """What the innermost error says first: the outer ones say that it was raised."""
    import torch

    inner: BaseException = error
    if isinstance(error, torch.onnx.OnnxExporterError):
        inner = error.__cause__ or error
        unsupported = _unsupported(inner)
        if unsupported:
            return unsupported
    return first_line(inner)


def _unsupported(error: BaseException) -> str:
    """The operator that has no translation, where an error in the chain says so."""
    named = None
    current: BaseException | None = error
    while current is not None and named is None:
        named = re.search(r"No ONNX function found for (<OpOverload\(op='([^']+)'[^>]*>|\S+)", str(current))
        current = current.__cause__
    return f"the operator {named[2] or named[1]} has no translation" if named else ""


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the exporters' own news (missing torchvision, their deprecations, half-made graphs) from the user's terminal."""
    import torch

    loggers = [
        logging.getLogger(name)
        for name in (
            "torch",
            "torch.onnx",
            "torch.onnx._internal.exporter._registration",
            "torch.export",
            "torch.fx",
            "torch.fx.experimental.symbolic_shapes",
            "torch._dynamo",
            "onnxscript",
        )
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            mock.patch.object(torch._C, "_jit_onnx_log"),  # noqa: SLF001  # it prints the graph of a failed trace
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _fresh_dispatch() -> Iterator[None]:
    """Let the exporter's own LSTM and GRU be seen at every export, and at none of the user's.

    torch 2.13 swaps their kernels for an export (`export/_patches.py`) and forgets that kernels are cached: whether a
    sequence came out free depended on what was exported before.
    """
    import torch

    operators = (torch.ops.aten.lstm.input, torch.ops.aten.gru.input)
    for operator in operators:
        operator._dispatch_cache.clear()  # noqa: SLF001  # torch has no public way
    try:
        yield
    finally:
        for operator in operators:
            operator._dispatch_cache.clear()  # noqa: SLF001  # as above


def _tidy(model: onnx.ModelProto, names: list[str], axes: Axes) -> None:
    """Name outputs and free axes, and drop what tells of the exporting machine, so that equal models are equal bytes.

    Done on the finished graph, because naming outputs through the exporter writes invalid files for some models.
    """
    _name_outputs(model, names)
    _name_axes(model, axes)
    model.ClearField("doc_string")
    for graph in graphs(model):
        graph.ClearField("doc_string")
        for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
            del value.metadata_props[:]
    for each in (*nodes(model), *model.functions):
        each.ClearField("doc_string")
        del each.metadata_props[:]
    del model.metadata_props[:]


def _name_outputs(model: onnx.ModelProto, names: list[str]) -> None:
    """Call the outputs what they are called before; exporters name them after an inner node.

    An output that is an input as well keeps its name, and so does one whose name an input has.
    """
    inputs = {value.name for value in model.graph.input}
    pairs = zip((value.name for value in model.graph.output), names, strict=False)
    wanted = {old: new for old, new in pairs if not {old, new} & inputs}
    # a weight or an inner value that has such a name already makes way
    changed = {new: f"{new}_inner" for new in wanted.values()} | wanted
    for node in nodes(model):
        node.input[:] = [changed.get(each, each) for each in node.input]
        node.output[:] = [changed.get(each, each) for each in node.output]
    for graph in graphs(model):
        for each in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
            each.name = changed.get(each.name, each.name)


def _name_axes(model: onnx.ModelProto, axes: Axes) -> None:
    """Call free axes what they are to be called, wherever they come up; exporters call some after a symbol of theirs."""
    shapes = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    named = {
        shapes[name][at].dim_param: axis for name, each in axes.items() if name in shapes for at, axis in each.items()
    }  # fmt: skip
    named.pop("", None)
    symbol = re.compile("|".join(rf"\b{re.escape(each)}\b" for each in named) or "(?!)")
    for graph in graphs(model):
        for value in (*graph.input, *graph.output, *graph.value_info):
            for axis in value.type.tensor_type.shape.dim:
                if axis.dim_param:
                    axis.dim_param = symbol.sub(lambda found: named[found[0]], axis.dim_param)


def _check_file(path: Path, source: str) -> None:
    """The file is one that anybody would take: exporters write invalid ones without a word."""
    import onnx

    try:
        read_model(path)
        onnx.checker.check_model(str(path), full_check=True)
    except ModelError as error:
        raise _named(error, source) from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(
            f"was exported to an invalid file ({first_line(error)})", field=source, fix="rewrite the operation it names"
        ) from error


def _compare(path: Path, subject: _Subject) -> tuple[float, dict[str, tuple[int, ...]]]:
    try:
        return check_parity(subject.answer, subject.inputs, path, subject.axes, source=subject.source)
    except ModelError as error:
        if error.file is None:
            raise
        # the file is gone when this is read, so it is not named
        raise ModelError(
            f"{error.problem} once exported",
            field=subject.source,
            fix="rewrite the operation it names: index with int64, compute in float32",
        ) from error
