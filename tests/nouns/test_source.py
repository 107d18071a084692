from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import ConfigError, DataError, UserCodeError
from windtunnel.source import call, find_files, in_folder, is_function, load_function

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _modules_as_before() -> Iterator[None]:
    """What a test imports is forgotten after it."""
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]
    assert path == sys.path


def test_from_a_file(tmp_path: Path) -> None:
    """A function is found in a file below the folder, wherever the command is run."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "flights.py").write_text("def fit(x):\n    return x + 1\n")

    assert load_function("inner/flights.py:fit", tmp_path)(2) == 3


def test_from_a_module(tmp_path: Path) -> None:
    """A function is found in a package of the folder, and in any that is installed."""
    (tmp_path / "wt_package").mkdir()
    (tmp_path / "wt_package" / "__init__.py").touch()
    (tmp_path / "wt_package" / "model.py").write_text("def fit():\n    return 'theirs'\n")

    assert load_function("wt_package.model:fit", tmp_path)() == "theirs"
    assert load_function("posixpath:join", tmp_path) is os.path.join


def test_neighbours_are_importable(tmp_path: Path) -> None:
    """A user's file may import the file beside it."""
    (tmp_path / "wt_neighbour.py").write_text("BASE = 40\n")
    (tmp_path / "user.py").write_text("from wt_neighbour import BASE\ndef f():\n    return BASE + 2\n")

    assert load_function("user.py:f", tmp_path)() == 42


@pytest.mark.parametrize("name", ["optimize", "benchmarks", "simulate", "backtest", "cli", "windtunnel"])
def test_names_of_ours_are_free(tmp_path: Path, name: str) -> None:
    """A user's file may be called as one of ours is; neither takes the other's place."""
    ours = importlib.import_module("windtunnel")
    (tmp_path / f"{name}.py").write_text("def f():\n    return 'theirs'\n")
    function = load_function(f"{name}.py:f", tmp_path)

    assert function() == "theirs"
    assert importlib.import_module("windtunnel") is ours
    assert function.__module__.startswith("windtunnel_user_")
    assert (tmp_path / f"{name}.py").as_posix() != str(getattr(sys.modules.get(f"windtunnel.{name}"), "__file__", ""))


def test_two_files_of_one_name(tmp_path: Path) -> None:
    """Files of one name in two folders are two modules; one file is one module."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.py").write_text(f"def f():\n    return {folder!r}\ndef g():\n    return f\n")
    f, other = load_function("a/model.py:f", tmp_path), load_function("b/model.py:f", tmp_path)

    assert (f(), other()) == ("a", "b")
    assert load_function("model.py:g", tmp_path / "a")() is f


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("none.py:f", r"none\.py: \(='none\.py:f'\) does not exist; write file\.py:function"),
        ("wt_nowhere.model:f", "there is no module `wt_nowhere`"),
        ("os.nowhere:f", r"there is no module `os\.nowhere`"),
        ("user.py:fti", "is not a function of that module; did you mean `fit`"),
        ("user.py:SIZE", "is not a function of that module"),
        ("posixpath:jion", "did you mean `join`"),
        ("fit", "does not name a function; write file.py:function or package.module:function"),
        (":fit", "does not name a function"),
        ("..:fit", "does not name a function"),
        ("user.py:", "does not name a function"),
    ],
)
def test_missing(tmp_path: Path, text: str, message: str) -> None:
    """A file, module or function that is not there is refused as just that, with the nearest name."""
    (tmp_path / "user.py").write_text("SIZE = 3\ndef fit():\n    pass\n")

    with pytest.raises(ConfigError, match=message):
        load_function(text, tmp_path)


def test_their_traceback_when_called(tmp_path: Path) -> None:
    """What a user's function raises is shown with their lines and none of ours."""
    (tmp_path / "user.py").write_text("def inner(x):\n    return 1 / x\ndef f(x):\n    return inner(x)\n")
    function = load_function("user.py:f", tmp_path)
    with pytest.raises(UserCodeError, match=r"`user\.py:f` raised ZeroDivisionError") as caught:
        call(function, 0, name="user.py:f")

    shown = str(caught.value)
    assert [line for line in shown.splitlines() if "File" in line] == [
        f'  File "{tmp_path}/user.py", line 4, in f',
        f'  File "{tmp_path}/user.py", line 2, in inner',
    ]
    assert shown.endswith("ZeroDivisionError: division by zero")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("code", "lines", "end"),
    [
        ("def fit():\n    pass\nraise RuntimeError('no data')\n", [3], "RuntimeError: no data"),
        ("import wt_nowhere\n", [1], "ModuleNotFoundError: No module named 'wt_nowhere'"),
        ("def fit(:\n", [1], "SyntaxError: invalid syntax"),
    ],
)
def test_their_traceback_when_imported(tmp_path: Path, code: str, lines: list[int], end: str) -> None:
    """What a user's file raises while it is imported is shown likewise, and the file can be mended and loaded."""
    path = tmp_path / "user.py"
    path.write_text(code)
    with pytest.raises(UserCodeError) as caught:
        load_function("user.py:fit", tmp_path)

    shown = str(caught.value)
    files = [line.split(", in ")[0] for line in shown.splitlines() if line.startswith("  File")]
    assert [f'  File "{path}", line {line}' for line in lines] == files
    assert shown.endswith(end)
    path.write_text("def fit():\n    return 'mended now'\n")
    assert load_function("user.py:fit", tmp_path)() == "mended now"


def test_a_module_that_lacks_another(tmp_path: Path) -> None:
    """A package that is there but imports what is not is the user's error, not a wrong name."""
    (tmp_path / "wt_half.py").write_text("import wt_nowhere\n")

    with pytest.raises(UserCodeError, match=r"(?s)ModuleNotFoundError.*wt_half\.py.*No module named 'wt_nowhere'"):
        load_function("wt_half:f", tmp_path)


def test_an_error_of_ours_passes_unchanged() -> None:
    """A refusal that is already in words for people is not wrapped again."""

    def refuse() -> None:
        raise ConfigError("is odd", field="t")

    with pytest.raises(ConfigError, match=r"^`t` is odd$"):
        call(refuse, name="f")


def test_interrupts_pass() -> None:
    """An interrupt in a user's function stays an interrupt."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(interrupt, name="f")


def test_call_gives_the_result() -> None:
    """A function that works is simply called."""
    assert call(divmod, 7, 2, name="divmod") == (3, 1)


def test_folder_is_importable_for_a_while(tmp_path: Path) -> None:
    """A folder leaves the path again, also when something was raised."""
    before = list(sys.path)

    def fail() -> None:
        with in_folder(tmp_path):
            assert [str(tmp_path), *before] == sys.path
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  # raised bare, just above
        fail()
    assert before == sys.path


@pytest.mark.parametrize(
    ("text", "expected"), [("a.py:f", True), ("a.b:f", True), ("a.onnx", False), ("s3://a/b", False)]
)
def test_is_function(text: str, *, expected: bool) -> None:
    """A function is told from a file and an address by its colon."""
    assert expected == is_function(text)


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_find_files(tmp_path: Path) -> None:
    """A folder is its tables, sorted, without what writers leave beside them; a glob what it means; an address itself."""
    _touch(
        tmp_path, "d/b=2/2.parquet", "d/b=1/1.parquet", "d/_SUCCESS", "d/.x.crc", "d/b=1/_tmp/0.parquet", "d/about.json"
    )

    def found(source: str) -> list[str]:
        return [each.removeprefix(f"{tmp_path}/") for each in find_files(source, tmp_path)]

    assert found("d") == ["d/b=1/1.parquet", "d/b=2/2.parquet"]
    assert found("d/*/1.*") == found(f"{tmp_path}/d/*/1.parquet") == found("d/b=1/1.parquet") == ["d/b=1/1.parquet"]
    assert found("s3://bucket/*.parquet") == ["s3://bucket/*.parquet"]


def test_find_files_without_a_suffix(tmp_path: Path) -> None:
    """Where no file says by its name what it is, all are taken; packed ones count as what is packed."""
    _touch(tmp_path, "plain/00/part-1", "plain/00/part-0", "packed/a.csv.gz", "packed/b.csv.gz", "packed/notes.txt")

    assert [Path(each).name for each in find_files("plain", tmp_path)] == ["part-0", "part-1"]
    assert [Path(each).name for each in find_files("packed", tmp_path)] == ["a.csv.gz", "b.csv.gz"]


def test_find_files_refuses(tmp_path: Path) -> None:
    """Nothing there, and a folder that also holds what was deleted, are refused."""
    _touch(tmp_path, "delta/_delta_log/0.json", "delta/0.parquet")
    (tmp_path / "empty").mkdir()

    for source in ("empty", "nowhere.csv", "*.parquet"):
        with pytest.raises(DataError, match="holds no file"):
            find_files(source, tmp_path)
    with pytest.raises(DataError, match="delta: is a Delta table"):
        find_files("delta", tmp_path)


def test_a_file_written_anew_is_loaded_anew(tmp_path: Path) -> None:
    """In one process, a function is that of the file as it is now, not as it was when it was first asked for."""
    answers = []
    for value in (1, 2):
        (tmp_path / "made.py").write_text(f"def answer():\n    return {value}\n")
        answers.append(load_function("made.py:answer", tmp_path)())

    assert answers == [1, 2]
