"""Where in the user's own code an exporter's error comes from."""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

LIBRARIES = tuple({str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib", "platlib")})
HERE = str(Path(__file__).resolve().parent)


def where(error: BaseException) -> str:
    """The line of the user's code that an exporter's error comes from, as `file.py:12 in forward: y = x.eig()`.

    A graph's node knows the lines it was captured from; an error while capturing passed through the user's code itself. Empty
    where neither says.
    """
    for each in _chain(error):
        for line in (*_lines_of_nodes(each.__traceback__), *_lines_passed(each.__traceback__), *_lines_told(str(each))):
            return line
    return ""


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what caused it, the innermost first: that is where it happened."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return chain[::-1]


def _lines_of_nodes(frames: TracebackType | None) -> Iterator[str]:
    """What the graph's node says that an exporter was at."""
    import torch

    for frame, _ in traceback.walk_tb(frames):
        node = frame.f_locals.get("node")
        if isinstance(node, torch.fx.Node) and node.stack_trace:
            yield from _lines_told(node.stack_trace)


def _lines_passed(frames: TracebackType | None) -> Iterator[str]:
    """The innermost of the user's own frames that an error passed through."""
    own = [each for each in traceback.extract_tb(frames) if _is_theirs(each.filename)]
    if own:
        yield _place(own[-1].filename, own[-1].lineno or 0, own[-1].name, own[-1].line or "")


def _lines_told(text: str) -> Iterator[str]:
    """The innermost of the user's own lines in a printed stack."""
    found = re.findall(r'File "([^"]+)", line (\d+), in (\S+)\n\s*(.*)', text)
    own = [each for each in found if _is_theirs(each[0])]
    if own:
        file, line, function, code = own[-1]
        yield _place(file, int(line), function, code)


def _is_theirs(filename: str) -> bool:
    """Whether a file is neither Python's, nor an installed package's, nor ours."""
    path = str(Path(filename).resolve())
    return path.endswith(".py") and not path.startswith((*LIBRARIES, HERE))


def _place(file: str, line: int, function: str, code: str) -> str:
    return f"{Path(file).name}:{line} in {function}" + (f": {code.strip()}" if code.strip() else "")
