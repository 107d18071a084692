"""An ONNX file on disk: read without trust, written so that equal models are equal bytes, moved with what belongs to it.

Nothing is run and no weight of another file is loaded before all of this holds: the file is whole; what it declares it has;
its other files lie beside it and are long enough; its graph, unrolled, stays small; and every operator is one that a runtime
here may know.
"""

from __future__ import annotations

import shutil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from windtunnel.digest import write_atomically
from windtunnel.errors import ModelError
from windtunnel.quantity import format_bytes
from windtunnel.shape_sums import constant, work_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import onnx
    from google.protobuf.message import Message

    M = TypeVar("M", bound=Message)

MAX_BYTES = 2 * 1024**3 - 1
"""The largest protobuf message, hence the largest ONNX file; what is larger keeps its weights in a file beside it."""

OLDEST_OPSET = 11
"""The first opset whose quantization and shape rules are today's (Clip, Pad and Resize take inputs)."""

MAX_NODES = 1_000_000
"""More operations than any model has; a file that unrolls to more is meant to exhaust whoever opens it."""

MAX_NESTING = 16
"""How deep branches and loops may lie in each other."""

DOMAINS = frozenset({
    "", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training", "ai.onnx.training", "com.microsoft", "com.microsoft.nchwc",
    "com.ms.internal.nhwc", "org.openvinotoolkit", "org.pytorch.aten",
})  # fmt: skip
"""The sets of operators that some runtime here brings along; others need a library of someone's to be loaded."""

BESIDE_BYTES = 1024
"""Weights smaller than this stay in the model's own file: shapes and scales are read where the graph is read."""

TURNS = 24
"""So often shapes are inferred, and sums on them worked out, at most: each turn gets past one reshape by a sum."""

ALIGNMENT = 4096
"""Weights in the file beside begin at whole pages, so that a runtime can map them instead of copying."""


def read_model(path: Path, *, limit_bytes: int | None = None) -> onnx.ModelProto:
    """Read an ONNX file and check that it is whole and safe to give to a runtime; weights kept in other files stay there.

    Args:
        path: the file.
        limit_bytes: how much the weights together, or any one value of fixed size, may take; what this process may have
            of this machine's memory where None.

    Raises:
        ModelError: missing, a directory, empty, truncated, cyclic, or not ONNX; an opset before 11; external data that
            lies outside the folder, is missing or too short; a declared size beyond the data or beyond the limit;
            operators of an unknown domain; inputs or outputs that are no tensors.
    """
    model = _parse(path)
    _check_size(model, path)
    _check_opset(model, path)
    _check_weights(model, path, _allowed(limit_bytes))
    _check_whole(path)
    _check_domains(model, path)
    for value in (*model.graph.input, *model.graph.output):
        _check_tensor(value, path)
    _check_values(model, path, _allowed(limit_bytes))
    return model


def load_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file as `read_model` does, and its weights with it, wherever they are kept."""
    from onnx.external_data_helper import load_external_data_for_model

    model = read_model(path)
    load_external_data_for_model(model, str(path.parent))
    return model


def companions(path: Path) -> tuple[str, ...]:
    """The names of the files that an ONNX file keeps weights in, relative to its folder, sorted.

    Raises:
        ModelError: the file cannot be read, or names a file that does not lie in its own folder.
    """
    model = _parse(path)
    return tuple(sorted({_location(tensor, path) for tensor in tensors(model) if _is_external(tensor)}))


def save_model(model: onnx.ModelProto, path: Path, *, largest_bytes: int = MAX_BYTES) -> None:
    """Write a model: one file, or that and `<name>.data` beside it where one file would be too large.

    Equal models are written as equal bytes; the model given is not changed.

    Args:
        model: with its weights loaded.
        path: where it goes.
        largest_bytes: how large one file may be.

    Raises:
        ModelError: weights of the model lie in another file and were not loaded, or it is too large even without them.
    """
    for tensor in tensors(model):
        if _is_external(tensor):
            raise ModelError("was not loaded with its weights", file=path, field=tensor.name, fix="use load_model")
    weights = sum(byte_count(tensor) for tensor in model.graph.initializer)
    data = model.SerializeToString(deterministic=True) if weights < largest_bytes else b""
    if not data or len(data) > largest_bytes:
        data = _with_weights_beside(model, path).SerializeToString(deterministic=True)
    if len(data) > largest_bytes:
        raise ModelError(
            f"takes {format_bytes(len(data))} without its weights", file=path,
            fix="let its large constants be initializers of the graph",
        )  # fmt: skip
    path.write_bytes(data)


def copy_model(source: Path, target: Path) -> None:
    """Copy an ONNX file with the files that belong to it; `a.onnx.data` is named after the target."""
    if companions(source):
        _bring_companions(source, target, shutil.copyfile)
    else:
        shutil.copyfile(source, target)


def move_model(source: Path, target: Path) -> None:
    """Move an ONNX file with the files that belong to it, within one disk; the model's own comes last."""
    if companions(source):
        _bring_companions(source, target, lambda old, new: old.replace(new))
        source.unlink()
    else:
        source.replace(target)


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that a model holds: weights, sparse weights, constants; those of branches, loops and functions too."""
    for graph in graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)


def graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graph of a model, and every branch and loop body in it and in its functions."""
    yield from _unfold(model.graph)
    for function in model.functions:
        yield from _inner(function.node)


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every operation of a model, as it is written: those of branches, loops and functions too."""
    for graph in graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def byte_count(tensor: onnx.TensorProto) -> int:
    """How many bytes a tensor's dtype and shape ask for.

    Example:
        >>> import onnx
        >>> byte_count(onnx.TensorProto(data_type=onnx.TensorProto.INT4, dims=[3, 3]))
        5
    """
    return -(-value_count(tensor.dims) * _bits(tensor.data_type) // 8)


def value_count(shape: Sequence[int]) -> int:
    """How many values a shape holds, exactly, however many that is."""
    count = 1
    for size in shape:
        count *= size
    return count


def _bits(data_type: int) -> int:
    """The width of a dtype; 0 for text, whose width the shape does not say."""
    import onnx

    name = onnx.TensorProto.DataType.Name(data_type)
    if name == "STRING":
        return 0
    narrow = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}
    return narrow.get(name) or onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize * 8


def _unfold(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    yield from _inner(graph.node)


def _inner(given: Sequence[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in given:
        for graph in _bodies(node):
            yield from _unfold(graph)


def _bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [
        graph
        for each in node.attribute
        for graph in (*each.graphs, *((each.g,) if each.HasField("g") else ()))
    ]  # fmt: skip


def _parse(path: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    if not path.exists():
        known = path.suffix == ".onnx"
        fix = "give the path of an ONNX file" if known else "give the path of a model, or module.py:factory"
        raise ModelError("does not exist", file=path, fix=fix)
    if path.is_dir():
        raise ModelError("is a directory", file=path, fix="give the model's own file in it")
    size = path.stat().st_size
    if size == 0:
        raise ModelError("is empty", file=path, fix="export the model again")
    if size > MAX_BYTES:
        raise ModelError(
            "is larger than 2 GiB, which no ONNX file is", file=path,
            fix="save it with its weights in a file beside it: onnx.save(…, save_as_external_data=True)",
        )  # fmt: skip
    try:
        model = onnx.ModelProto()
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise _not_whole(path, error) from error
    return model


def _not_whole(path: Path, error: Exception) -> ModelError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    fix = (
        "export the model again"
        if path.suffix == ".onnx"
        else "export it to ONNX: what ends in no known way is taken for that"
    )
    return ModelError(f"is not a whole ONNX model ({reason})", file=path, fix=fix)


def _check_whole(path: Path) -> None:
    """Let ONNX's own checker look at the file: order of the graph, operators, attributes."""
    import onnx

    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise _not_whole(path, error) from error


def _allowed(limit_bytes: int | None) -> int:
    from windtunnel.hardware import allowed_memory_bytes

    return allowed_memory_bytes() if limit_bytes is None else limit_bytes


def _check_size(model: onnx.ModelProto, path: Path) -> None:
    """Refuse graphs that are small on disk and endless once unrolled."""
    if _depth(model.graph.node, MAX_NESTING) or any(_depth(each.node, MAX_NESTING) for each in model.functions):
        raise ModelError(f"nests branches more than {MAX_NESTING} deep", file=path, fix="take it for malicious")
    functions = {(each.domain, each.name): each.node for each in model.functions}
    counted: dict[tuple[str, str], int | None] = {}
    count = _unrolled(model.graph.node, functions, counted, path)
    if count > MAX_NODES:
        raise ModelError(
            f"unrolls to {count:,} operations, allowed {MAX_NODES:,}", file=path, fix="take it for malicious"
        )


def _depth(given: Sequence[onnx.NodeProto], left: int) -> bool:
    """Whether bodies lie deeper in each other than `left`."""
    bodies = [graph for node in given for graph in _bodies(node)]
    return bool(bodies) and (left == 0 or any(_depth(graph.node, left - 1) for graph in bodies))


def _unrolled(
    given: Sequence[onnx.NodeProto],
    functions: dict[tuple[str, str], Any],
    counted: dict[tuple[str, str], int | None],
    path: Path,
) -> int:
    """How many operations there are once every function stands where it is called: each is counted once."""
    total = len(given)
    for node in given:
        total += sum(_unrolled(graph.node, functions, counted, path) for graph in _bodies(node))
        called = (node.domain, node.op_type)
        if called not in functions:
            continue
        if called not in counted:
            counted[called] = None
            counted[called] = _unrolled(functions[called], functions, counted, path)
        inside = counted[called]
        if inside is None:
            raise ModelError("is a function that calls itself", file=path, field=node.op_type, fix="export it again")
        total += inside
    return total


def _check_opset(model: onnx.ModelProto, path: Path) -> None:
    import onnx

    for each in model.opset_import:
        if each.domain not in {"", "ai.onnx"}:
            continue
        if each.version < OLDEST_OPSET:
            raise ModelError(
                f"is older than {OLDEST_OPSET}", file=path, field="opset", value=each.version,
                fix=f"convert it: onnx.version_converter.convert_version(onnx.load(path), {OLDEST_OPSET + 2})",
            )  # fmt: skip
        if each.version > onnx.defs.onnx_opset_version():
            raise ModelError(
                f"is newer than {onnx.defs.onnx_opset_version()}, the newest that onnx {onnx.__version__} knows",
                file=path, field="opset", value=each.version, fix="pip install -U onnx onnxruntime, or export with an older opset",
            )  # fmt: skip


def _check_domains(model: onnx.ModelProto, path: Path) -> None:
    own = {(each.domain, each.name) for each in model.functions}
    for node in nodes(model):
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
            raise ModelError(
                f"is an operator of the domain `{node.domain}`, which no runtime here knows", file=path, field=node.op_type,
                fix="compute it outside of the model, or write it with standard operators",
            )  # fmt: skip


def _check_tensor(value: onnx.ValueInfoProto, path: Path) -> None:
    if not value.type.HasField("tensor_type"):
        raise ModelError(
            f"is a {value.type.WhichOneof('value')}, not a tensor", file=path, field=value.name,
            fix="export the model with tensors only (skl2onnx: options={'zipmap': False})",
        )  # fmt: skip


def _check_weights(model: onnx.ModelProto, path: Path, limit_bytes: int) -> None:
    """Refuse tensors that declare other sizes than they hold, wherever they hold them."""
    total = 0
    for tensor in tensors(model):
        if any(size < 0 for size in tensor.dims):
            raise _no_weight(f"has the shape {list(tensor.dims)}", tensor, path)
        try:
            total += byte_count(tensor)
        except (KeyError, ValueError) as error:
            raise _no_weight(f"has no dtype that ONNX knows ({tensor.data_type})", tensor, path) from error
        (_check_beside if _is_external(tensor) else _check_inside)(tensor, path)
    if total > limit_bytes:
        raise ModelError(
            f"declares weights of {format_bytes(total)}, and {format_bytes(limit_bytes)} of memory may be used",
            file=path, fix="run it on a larger machine",
        )  # fmt: skip


def _no_weight(problem: str, tensor: onnx.TensorProto, path: Path) -> ModelError:
    return ModelError(problem, file=path, field=tensor.name or "constant", fix="export the model again")


def _check_inside(tensor: onnx.TensorProto, path: Path) -> None:
    """A tensor of this file holds as much as it declares."""
    if tensor.HasField("raw_data"):
        wanted, held = byte_count(tensor), len(tensor.raw_data)
        if wanted != held:
            raise _no_weight(f"declares {wanted:,} bytes and holds {held:,}", tensor, path)
        return
    import onnx

    field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
    held = len(getattr(tensor, field)) * max(1, 8 // (_bits(tensor.data_type) or 8))
    wanted = value_count(tensor.dims)
    if wanted > held:
        raise _no_weight(f"declares {wanted:,} values and holds {held:,}", tensor, path)


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location == 1)  # TensorProto.EXTERNAL


def _entries(tensor: onnx.TensorProto) -> dict[str, str]:
    return {each.key: each.value for each in tensor.external_data}


def _location(tensor: onnx.TensorProto, path: Path) -> str:
    """The file in which a tensor's data lies, relative to the folder; refused where that leads out of it."""
    location = _entries(tensor).get("location", "")
    named = PurePosixPath(location)
    # a star is ONNX Runtime's mark for an address in memory, and a drive or a backslash leads out on Windows
    leads_out = named.is_absolute() or ".." in named.parts or any(each in location for each in "\\:*\0")
    if not named.parts or leads_out:
        raise ModelError(
            "keeps its data outside of the model's folder", file=path, field=tensor.name, value=location,
            fix="take the file for malicious, or save it again with its data beside it",
        )  # fmt: skip
    return location


def _check_beside(tensor: onnx.TensorProto, path: Path) -> None:
    """The file beside holds what a tensor declares, where it says."""
    location = _location(tensor, path)
    file = path.parent / location
    if not file.is_file():
        raise ModelError(
            f"keeps its data in `{location}`, which is not there", file=path, field=tensor.name, fix="copy it beside"
        )
    if file.resolve() != path.parent.resolve() / location:
        raise ModelError(
            f"keeps its data in `{location}`, which is a link", file=path, field=tensor.name,
            fix="copy the model and its data into one folder",
        )  # fmt: skip
    offset, length = (_whole_number(tensor, key, path) for key in ("offset", "length"))
    wanted, size = byte_count(tensor), file.stat().st_size
    if length not in {0, wanted} or offset + wanted > size:
        raise _no_weight(
            f"declares {wanted:,} bytes, and `{location}` of {size:,} has {length or size - offset:,} for it at {offset:,}",
            tensor, path,
        )  # fmt: skip


def _whole_number(tensor: onnx.TensorProto, key: str, path: Path) -> int:
    text = _entries(tensor).get(key, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise _no_weight(f"has the {key} {text!r} in its data's file", tensor, path)
    return int(text)


def _check_values(model: onnx.ModelProto, path: Path, limit_bytes: int) -> None:
    """Refuse graphs that make something huge out of little: a runtime would do so while it loads them.

    Shapes are inferred, and sizes that the graph works out from shapes and constants are worked out, in turns; nothing large
    is made. Sizes that follow from rows or weights stay unknown. onnx 1.23 could follow sums itself (`data_prop`), but makes
    a symbol of every value of a vector, and runs out of memory.
    """
    import onnx

    try:
        light = _skeleton(model)
    except RuntimeError as error:  # so the inliner says that a call does not fit its function
        raise _not_whole(path, error) from error
    for _ in range(TURNS):
        try:
            light = onnx.shape_inference.infer_shapes(light)
        except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
            break  # what cannot be inferred is no evidence
        if not _settle(light.graph, {}, {}):
            break
    for graph in graphs(light):
        for value in (*graph.value_info, *graph.output):
            _check_value(value, graph, path, limit_bytes)


def _check_value(value: onnx.ValueInfoProto, graph: onnx.GraphProto, path: Path, limit_bytes: int) -> None:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.elem_type:
        return
    size = value_count([max(1, each.dim_value) for each in kind.shape.dim]) * _bits(kind.elem_type) // 8
    if size > limit_bytes:
        raise ModelError(
            f"would be {format_bytes(size)}{_maker(value, graph)}, and {format_bytes(limit_bytes)} of memory may be used",
            file=path, field=value.name, fix="take the file for malicious, or run it on a larger machine",
        )  # fmt: skip


def _maker(value: onnx.ValueInfoProto, graph: onnx.GraphProto) -> str:
    """Say which node makes a value, where one does."""
    for node in graph.node:
        if value.name in node.output:
            return f", made by `{node.name}` ({node.op_type})" if node.name else f", made by {node.op_type}"
    return ""


def _settle(graph: onnx.GraphProto, shapes: dict[str, tuple[int, ...]], constants: dict[str, Any]) -> bool:
    """Put what follows from shapes and constants into a graph and its inner ones, as constants; says whether any was new.

    Args:
        graph: with shapes inferred; it is changed.
        shapes: of the tensors around it, by name.
        constants: the small tensors around it, by name.
    """
    import onnx

    shapes = {**shapes, **_shapes(graph)}
    held = {each.name: constant(each) for each in graph.initializer}
    constants = {**constants, **{name: value for name, value in held.items() if value is not None}}
    found = work_out(graph.node, shapes, constants)
    outputs = {each.name for each in graph.output}
    new = {name: value for name, value in found.items() if name not in outputs}
    kept = [node for node in graph.node if not (node.output and node.output[0] in new)]
    asked = {name for node in kept for name in node.input}
    del graph.node[:]
    graph.node.extend(kept)
    # what is known around an inner graph is put into it, where inference looks for it
    around = {name: constants[name] for name in asked if name in constants and name not in held}
    for name, value in {**around, **new}.items():
        graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    known = {**constants, **found}
    changed = [_settle(body, shapes, known) for node in graph.node for body in _bodies(node)]
    return bool(new) or bool(around) or any(changed)


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Of every tensor of which all sizes are known, by name."""
    known = {each.name: tuple(each.dims) for each in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(each.HasField("dim_value") for each in kind.shape.dim):
            known[value.name] = tuple(each.dim_value for each in kind.shape.dim)
    return known


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model for one row of everything, its large weights as inputs: shapes follow from their shapes alone.

    What the file says of its inner shapes is left out, so that it cannot hide what would be computed.
    """
    import onnx.inliner

    light = _without(model, "graph")
    light.graph.CopyFrom(_without(model.graph, "initializer"))
    del light.graph.value_info[:]
    for value in light.graph.output:
        value.type.tensor_type.ClearField("shape")
    for axis in (each for value in light.graph.input for each in value.type.tensor_type.shape.dim):
        axis.dim_value = axis.dim_value or 1
    given = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if not _is_external(tensor) and byte_count(tensor) < BESIDE_BYTES:
            light.graph.initializer.add().CopyFrom(tensor)
        elif tensor.name not in given:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for node in nodes(light):
        _lighten(node)
    # of what is inside a function inference says nothing
    return onnx.inliner.inline_local_functions(light) if light.functions else light


def _lighten(node: onnx.NodeProto) -> None:
    """Let a large constant be something of the same dtype and shape that is told in a few bytes; it is never run."""
    import onnx

    if node.op_type != "Constant" or len(node.attribute) != 1 or not node.attribute[0].HasField("t"):
        return
    held = node.attribute[0].t
    if byte_count(held) >= BESIDE_BYTES:
        kind = onnx.helper.make_attribute("dtype", held.data_type)
        shape = onnx.helper.make_attribute("shape", list(held.dims))
        node.op_type = "RandomNormal"
        del node.attribute[:]
        node.attribute.extend([kind, shape])


def _without(message: M, left_out: str) -> M:
    """A copy of a protobuf message without one of its fields, which is never copied."""
    copy: M = type(message)()
    for field, value in message.ListFields():
        if field.name == left_out:
            continue
        if isinstance(value, str | bytes | int | float):
            setattr(copy, field.name, value)
        else:
            getattr(copy, field.name).MergeFrom(value)
    return copy


def _with_weights_beside(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Write the weights to `<name>.data`, and give the model that says where each lies."""
    import onnx

    light = _without(model, "graph")
    light.graph.CopyFrom(_without(model.graph, "initializer"))
    beside = path.with_name(f"{path.name}.data")
    with beside.open("wb") as file:
        for tensor in model.graph.initializer:
            added = light.graph.initializer.add()
            if byte_count(tensor) < BESIDE_BYTES:
                added.CopyFrom(tensor)
                continue
            raw = tensor.raw_data if tensor.HasField("raw_data") else onnx.numpy_helper.to_array(tensor).tobytes()
            offset = file.seek(-(-file.tell() // ALIGNMENT) * ALIGNMENT)
            file.write(raw)
            added.CopyFrom(onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims))
            _point(added, {"location": beside.name, "offset": str(offset), "length": str(len(raw))})
    return light


def _point(tensor: onnx.TensorProto, entries: dict[str, str]) -> None:
    tensor.data_location = 1  # type: ignore[assignment]  # TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


def _renamed(source: Path, target: Path) -> dict[str, str]:
    """What a model's other files are called beside the target: `a.onnx.data` becomes `b.onnx.data`, others keep their names."""
    return {
        name: target.name + name.removeprefix(source.name) if name.startswith(source.name) else name
        for name in companions(source)
    }


def _bring_companions(source: Path, target: Path, carry: Callable[[Path, Path], object]) -> None:
    """Bring the other files over, and write the model's own anew, which names them."""
    renamed = _renamed(source, target)
    for old, new in renamed.items():
        (target.parent / new).parent.mkdir(parents=True, exist_ok=True)
        carry(source.parent / old, target.parent / new)
    model = _parse(source)
    for tensor in tensors(model):
        if _is_external(tensor):
            entries = _entries(tensor)
            _point(tensor, entries | {"location": renamed[entries["location"]]})
    write_atomically(target, model.SerializeToString(deterministic=True))
