"""What users name as a source: a file, or a function of theirs as `file.py:function` or `package.module:function`."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from windtunnel.digest import digest_file, digest_value
from windtunnel.errors import ConfigError, DataError, UserCodeError, WindtunnelError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl

T = TypeVar("T")

PACKAGE = Path(__file__).parent


def is_function(text: str) -> bool:
    """Whether a text names a function rather than a file.

    Example:
        >>> is_function("flights.py:fit"), is_function("model.onnx")
        (True, False)
    """
    return ":" in text and "://" not in text


def load_function(text: str, folder: Path) -> Callable[..., Any]:
    """Load `file.py:function` relative to a folder, or `package.module:function` from the path.

    The file's own folder is importable while it is loaded, and the module gets a name of its own, so that a user's
    `optimize.py` never collides with ours.

    Raises:
        ConfigError: no such file, module or function.
        UserCodeError: the file raised while it was imported.
    """
    place, _, name = text.rpartition(":")
    if not place.strip(".") or not name:
        raise ConfigError(
            "does not name a function", value=text, fix="write file.py:function or package.module:function"
        )
    if place.endswith(".py"):
        path = (folder / place).resolve()
        if not path.is_file():
            raise ConfigError(
                "does not exist", file=path, value=text, fix=f"write file.py:function, as seen from {folder.resolve()}"
            )
        with in_folder(path.parent), passing_on(text):
            module = _import_file(path)
    else:
        with in_folder(folder.resolve()), passing_on(text):
            try:
                module = importlib.import_module(place)
            except ModuleNotFoundError as error:
                if error.name is None or not place.startswith(error.name):
                    raise
                raise ConfigError("cannot be imported", value=text, fix=f"there is no module `{error.name}`") from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError("is not a function of that module", value=text, fix=nearest(name, known))
    return function  # type: ignore[no-any-return]  # callable() narrows to an object


def _import_file(path: Path) -> Any:
    # a file that was written anew is loaded anew
    name = f"windtunnel_user_{hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    """Make a folder importable for a while."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextlib.contextmanager
def passing_on(what: str) -> Iterator[None]:
    """Turn what the user's code raises into a refusal that shows their traceback, not ours."""
    try:
        yield
    except WindtunnelError:
        raise
    except Exception as error:
        theirs = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
        lines = "".join(traceback.format_list(theirs)) + "".join(traceback.format_exception_only(error))
        raise UserCodeError(f"raised {type(error).__name__}\n{lines.rstrip()}", field=what) from error


def _is_ours(filename: str) -> bool:
    """Whether a frame is only the way to the user's code: this package but its examples, or the import machinery."""
    path = Path(filename)
    ours = path.is_relative_to(PACKAGE) and not path.is_relative_to(PACKAGE / "examples")
    return ours or filename == importlib.__file__ or filename.startswith("<frozen importlib")


def call(function: Callable[..., T], *arguments: Any, name: str) -> T:
    """Call a user's function; what it raises is shown as theirs."""
    with passing_on(name):
        return function(*arguments)


def read_source(source: str, home: Path) -> pl.DataFrame:
    """Read a table from a file or from a user's function, named relative to the configuration.

    Raises:
        DataError: the file cannot be read.
        UserCodeError: the function raised, or returned something else than a polars frame.
    """
    import polars as pl

    from windtunnel.table import read_table

    if not is_function(source):
        return read_table(home / source)
    table = call(load_function(source, home), name=source)
    if isinstance(table, pl.LazyFrame):
        table = table.collect()
    if not isinstance(table, pl.DataFrame):
        raise UserCodeError(
            f"returned {type(table).__name__}", field=source, fix="return a polars DataFrame or LazyFrame"
        )
    return table


READ_SUFFIXES = (".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson", ".json")


def find_files(source: str, home: Path) -> tuple[str, ...]:
    """The files that a source is in, sorted: itself, all tables below a folder, or what a glob means; a URI is left to polars.

    Below a folder, what is hidden or begins with an underscore (`_SUCCESS`, `.crc`) is no table; the files of the
    commonest suffix count, so that a schema beside Parquet is not read with it, or all where none has a suffix.

    Args:
        source: as the user wrote it, relative to the configuration.
        home: the configuration's folder.

    Raises:
        DataError: nothing is there, or it is the folder of a Delta table.
    """
    if "://" in source:
        return (source,)
    place = home / source
    if place.is_dir():
        found = _tables_below(place, source)
    elif place.exists() or not any(mark in source for mark in "*?["):
        found = [place]
    else:
        pattern = Path(source)
        root = Path(pattern.anchor) if pattern.is_absolute() else home
        found = sorted(
            path
            for path in root.glob(str(pattern.relative_to(root) if pattern.is_absolute() else pattern))
            if path.is_file()
        )
    if not found or not found[0].exists():
        raise DataError("holds no file", file=source, fix="give a table, a folder of tables, a glob or a URI")
    return tuple(map(str, found))


def _tables_below(place: Path, source: str) -> list[Path]:
    if (place / "_delta_log").is_dir():
        raise DataError(
            "is a Delta table: its folder also holds rows that were deleted or replaced", file=source,
            fix="export it to Parquet",
        )  # fmt: skip
    below = [path for path in place.rglob("*") if path.is_file()]
    plain = [path for path in below if not any(part[0] in "._" for part in path.relative_to(place).parts)]
    named = {path: path.name.removesuffix(".gz") for path in plain}
    tables = [path for path, name in named.items() if name.endswith(READ_SUFFIXES)]
    counts = Counter(Path(named[path]).suffix for path in tables)
    kept = [path for path in tables if Path(named[path]).suffix == counts.most_common(1)[0][0]] if tables else plain
    return sorted(kept)


def _python_files(place: Path) -> list[Path]:
    """The Python files below a folder; hidden folders, virtual environments and run folders (which hold scripts) left out."""
    found = []
    for folder, inner, names in os.walk(place):
        marks = {
            name: ((Path(folder) / name / mark).exists() for mark in ("pyvenv.cfg", "manifest.json")) for name in inner
        }
        inner[:] = [name for name in inner if name[0] not in "._" and not any(marks[name])]
        found += [Path(folder) / name for name in names if name.endswith(".py")]
    return sorted(found)


def digest_sources(sources: list[str], home: Path) -> dict[str, str]:
    """What some sources stand for: a file's digest; for a function, the Python files below its folder and every installed version.

    What a function reads besides (weights, a table) is not seen here: `depends_on` names it.
    """
    digests = {}
    for source in sources:
        if not is_function(source):
            path = home / source
            digests[source] = digest_file(path) if path.is_file() else "missing"
            continue
        place = (home / source.rpartition(":")[0]).parent if ".py:" in source else home
        files = {path.relative_to(place).as_posix(): digest_file(path) for path in _python_files(place)}
        installed = sorted(f"{each.name} {each.version}" for each in metadata.distributions())
        digests[source] = digest_value({"files": files, "installed": installed})
    return digests
