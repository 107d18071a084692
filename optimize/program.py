"""`.pt2` files of torch.export → ONNX; what such a file could do to its reader is looked at before torch reads it.

A `.pt2` is a zip of weights, of JSON that names functions to call, and of pickles. torch 2.13 calls what the JSON names
(`torch.os.system` is one such name), evaluates its expressions (`_export/serde/serialize.py`, `sympy.sympify`), unpickles without
restraint where a restrained try failed, and loads compiled libraries that lie beside. So only files are read whose functions are
tensor operators, whose expressions are arithmetic, and whose pickles hold tensors; others need `allow_pickle`.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from functools import partial
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ModelError
from windtunnel.hardware import allowed_memory_bytes
from windtunnel.quantity import format_bytes
from windtunnel.session import first_line

from .export import Export, export_captured
from .parity import BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import torch

    from .parity import Axes, Feeds

OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|higher_order|torchvision|quantized_decomposed)\.(?!from_file)[A-Za-z]\w*(\.\w+)?"
    r"|torch\.ops\.aten\._[A-Za-z]\w*(\.\w+)?"
    r"|torch\._?sym_[a-z]\w*|math\.[a-z]\w*"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|neg|pos|abs|pow|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|getitem)"
)
"""What a graph may call: operators on tensors, and arithmetic on their sizes. `from_file` reads files of its choice."""

FUNCTIONS = re.compile(
    r"Add|Mul|Pow|Integer|Rational|Float|Symbol|(Ceil|Clean|Floor|FloatTrue|IntTrue)Div|(Ceil|Floor|Trunc|Round)ToInt|TruncToFloat"
    r"|Eq|Ne|Ge|Gt|Le|Lt|Max|Min|max|min|Mod|PythonMod|ModularIndexing|PowByNatural|FloatPow|LShift|RShift|RoundDecimal|ToFloat"
    r"|Where|Identity|ceiling|floor"
)
"""What an expression over sizes may call."""

METHODS = frozenset({"size", "stride", "storage_offset", "ndimension", "dim"})
"""What an expression may ask of a tensor."""

SYNTAX = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Constant, ast.Name, ast.Load, ast.Subscript, ast.Call,
    ast.Attribute, ast.keyword, ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip


MEMBERS = re.compile(
    r"archive_format|archive_version|version|byteorder|\.data/(version|serialization_id)|extra/.+|data/aotinductor/.+"
    r"|models/[\w-]+\.json|data/(weights|constants)/([\w-]+_config\.json|[\w-]+\.pt|(weight|tensor)_\d+)"
    r"|data/sample_inputs/[\w-]+\.pt"
)
"""What torch calls the members of an archive, behind its one folder; objects that are more than tensors have other names."""

IMPORTING = ("__enum__", "default_factory", "\\u")
"""Words of a container's description by which torch imports modules; `\\u` could spell them otherwise."""


def export_program(given: Path, path: Path, *, allow_pickle: bool = False) -> Export:
    """Export a `.pt2` file and check the result against it, at the sizes that it was captured for.

    Args:
        given: what `torch.export.save` wrote.
        path: where the ONNX file goes.
        allow_pickle: read the file though it may run code of its author's.

    Raises:
        ModelError: not such a file; one that could run code; without example inputs; or it cannot be exported.
    """
    import torch

    for danger in _dangers(given):
        if allow_pickle:
            break
        raise ModelError(f"could run code of its author's: {danger}", file=given, fix="--allow-pickle if you trust it")
    try:
        program = torch.export.load(str(given))
    except Exception as error:  # torch raises what it meets: assertions, key errors, runtime errors
        raise ModelError(
            f"cannot be read by torch {torch.__version__} ({first_line(error)})",
            file=given,
            fix="save it with this torch",
        ) from error
    inputs = _examples(program, given)
    answer = partial(_answer, program.module(), _given_by_position(program))
    return export_captured(program, answer, inputs, path, _free_axes(program), source=str(given))


def _dangers(given: Path) -> Iterator[str]:
    """What in an archive could run code, or fill the memory, if torch read it."""
    import torch

    try:
        with zipfile.ZipFile(given) as archive:
            sizes = [(part.filename, part.file_size) for part in archive.infolist()]
        total = sum(size for _, size in sizes)
        if total > allowed_memory_bytes():
            raise ModelError(f"unpacks to {format_bytes(total)}", file=given, fix="run it on a larger machine")
        yield from _dangers_of_layout([name for name, _ in sizes])
        # what torch's own reader finds is looked at: another one may find another list of members in the same file
        reader = torch._C.PyTorchFileReader(str(given))  # noqa: SLF001  # what torch.export reads with; it has no other name
        inside = {name.partition("/")[2]: size for name, size in sizes}
        if inside != {name: reader.get_record_size(name) for name in reader.get_all_records()}:
            yield "torch finds other members in it than it lists"
        for name in inside:
            yield from _dangers_of_member(name, reader)
    # RuntimeError: encrypted, cut off, or JSON nested too deep; ValueError and below: JSON that is none, or of other types
    except (OSError, zipfile.BadZipFile, RuntimeError, ValueError, TypeError, AttributeError, EOFError) as error:
        raise ModelError(
            f"is not a .pt2 file ({first_line(error)})", file=given, fix="write it with torch.export.save"
        ) from error


def _dangers_of_layout(names: Sequence[str]) -> Iterator[str]:
    """Members by other names than torch gives them: outside the one folder it reads files of its older form."""
    folders = {name.partition("/")[0] for name in names}
    for name in names:
        if len(folders) > 1 or not MEMBERS.fullmatch(name.partition("/")[2]):
            yield f"`{name}` is no member that torch writes"
    # torch looks members up without regard to case
    if len({name.casefold() for name in names}) < len(names):
        yield "two of its members have one name"


def _dangers_of_member(inside: str, reader: torch._C.PyTorchFileReader) -> Iterator[str]:
    if inside.startswith("data/aotinductor/"):
        yield f"`{inside}` is compiled"
    elif inside.endswith(".json") and not inside.startswith("extra/"):
        yield from _dangers_of_json(inside, json.loads(reader.get_record(inside)))
    elif inside.endswith(".pt") and inside.startswith("data/"):
        yield from _dangers_of_pickle(inside, reader.get_record(inside))


def _dangers_of_pickle(inside: str, data: bytes) -> Iterator[str]:
    """Whether torch's own restrained reader takes a pickle: it builds tensors and plain containers only."""
    import torch

    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception:  # noqa: BLE001  # whatever it raises, torch then reads without restraint
        yield f"`{inside}` is a pickle of more than tensors"


def _dangers_of_json(inside: str, value: Any) -> Iterator[str]:
    """Look at every function, expression and container that some JSON names."""
    if isinstance(value, list):
        for each in value:
            yield from _dangers_of_json(inside, each)
    if not isinstance(value, dict):
        return
    for key, each in value.items():
        if _is_function(key, value) and not OPERATORS.fullmatch(str(each)):
            yield f"it calls `{each}`"
        elif key == "expr_str" and not _is_arithmetic(each):
            yield f"it evaluates `{each}`"
        elif key == "guards_code":
            yield from (f"it evaluates `{guard}`" for guard in each if not _is_arithmetic(guard))
        elif key == "use_pickle" and each:
            yield f"`{value.get('path_name')}` is a pickle"
        elif key in {"in_spec", "out_spec"} and any(sign in each for sign in IMPORTING):
            yield "it imports modules by name"
        else:
            yield from _dangers_of_json(inside, each)


def _is_function(key: str, value: Mapping[str, Any]) -> bool:
    """Whether what stands under a key is looked up as a function: what a node calls, or hands to what it calls."""
    called = key == "target" and value.get("inputs") is not None
    return isinstance(value[key], str) and (called or key == "as_operator")


def _is_arithmetic(text: object) -> bool:
    """Whether an expression only reckons with sizes.

    Example:
        >>> _is_arithmetic("L['x'].size()[0] >= FloorDiv(s0, 2)"), _is_arithmetic("__import__('os').system('ls')")
        (True, False)
    """
    try:
        tree = ast.parse(str(text), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return all(_is_plain(node, called) for node in ast.walk(tree))


def _is_plain(node: ast.AST, called: set[int]) -> bool:
    if isinstance(node, ast.Attribute):
        return id(node) in called and node.attr in METHODS
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) or _is_known(node)
    return isinstance(node, SYNTAX) and not (isinstance(node, ast.Name) and node.id.startswith("__"))


def _is_known(node: ast.Call) -> bool:
    """Whether a call is of arithmetic, on numbers; only a symbol is given a name."""
    if not isinstance(node.func, ast.Name) or not FUNCTIONS.fullmatch(node.func.id):
        return False
    words = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return not words or (node.func.id == "Symbol" and all(word.isidentifier() for word in words))


def _given_by_position(program: torch.export.ExportedProgram) -> list[str]:
    """The names of the inputs that are given by position; the others are given by keyword."""
    assert program.example_inputs is not None
    names = list(program.graph_signature.user_inputs)
    return [str(name) for name in names[: len(program.example_inputs[0])]]


def _answer(module: torch.nn.Module, by_position: list[str], feeds: Feeds) -> Any:
    rest = {name: tensor for name, tensor in feeds.items() if name not in by_position}
    return module(*(feeds[name] for name in by_position), **rest)


def _examples(program: torch.export.ExportedProgram, given: Path) -> dict[str, torch.Tensor]:
    """The example inputs that were saved with a program, by name."""
    import torch

    if program.example_inputs is None:
        raise ModelError(
            "holds no example inputs to check the export with", file=given, fix="save what torch.export.export returned"
        )
    arguments, keywords = program.example_inputs
    names = [str(name) for name in program.graph_signature.user_inputs]
    tensors = [*arguments, *keywords.values()]
    if len(names) != len(tensors) or not all(isinstance(each, torch.Tensor) for each in tensors):
        raise ModelError("takes something else than tensors", file=given, fix="capture it with one tensor an input")
    return dict(zip(names, tensors, strict=True))


def _free_axes(program: torch.export.ExportedProgram) -> Axes:
    """Which axes a program was captured free in: the first is the batch, others are called after where they come up first."""
    shapes: Mapping[str, Sequence[object]] = {
        node.name: node.meta["val"].shape for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    }  # fmt: skip
    called: dict[str, str] = {}
    for name, shape in shapes.items():
        for at, size in enumerate(shape):
            if not isinstance(size, int):
                called.setdefault(str(size), BATCH if at == 0 else f"{name}_axis_{at}")
    return {
        name: {at: called[str(size)] for at, size in enumerate(shape) if not isinstance(size, int)}
        for name, shape in shapes.items()
    }
