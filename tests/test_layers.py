"""The direction of imports: stages know nouns, nouns know no stage, and only the front door knows both."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAGES = ("optimize", "benchmarks", "simulate", "backtest")
FRONT_DOOR = ("__init__", "pipeline", "verbs", "cli")
"""The files of `windtunnel/` that may import stages."""


def imported(source: str) -> list[tuple[int, int, str]]:
    """Every import of a file, wherever it stands: line, relative level, and the full dotted name."""
    found: list[tuple[int, int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, 0, each.name) for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.lineno, node.level, f"{node.module or ''}.{each.name}".strip(".")) for each in node.names]
        elif isinstance(node, ast.Call) and (name := _imported_by_call(node)):
            found.append((node.lineno, 0, name))
    return found


def _imported_by_call(node: ast.Call) -> str:
    """The name in `import_module("…")` or `__import__("…")`; empty for any other call."""
    function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    argument = node.args[0] if node.args else None
    if function not in {"import_module", "__import__"} or not isinstance(argument, ast.Constant):
        return ""
    return str(argument.value)


def violations(source: str, stage: str, depth: int = 1) -> list[str]:
    """What a file imports against the direction.

    Args:
        source: the file's text.
        stage: the stage it belongs to; empty for a noun.
        depth: how many folders deep it lies inside its stage or `windtunnel/`, itself counted: relative imports of a
            higher level leave it.
    """
    wrong = []
    for line, level, name in imported(source):
        parts = name.split(".")
        if level > depth:
            wrong.append(f"line {line}: a relative import leaves the folder: {'.' * level}{name}")
        elif level and not stage:
            # a noun beside a noun; the stages are linked beside them
            wrong += _of_windtunnel(line, parts, stage, depth) if level == depth else []
        elif level == 0 and parts[0] == "windtunnel":
            wrong += _of_windtunnel(line, parts[1:], stage, depth)
        elif level == 0 and parts[0] in (*STAGES, "cli"):
            wrong.append(f"line {line}: {name} is called windtunnel.{name}")
    return wrong


def _of_windtunnel(line: int, parts: list[str], stage: str, depth: int) -> list[str]:
    name = ".".join(["windtunnel", *parts])
    if parts == ["__version__"]:
        return []
    if not parts or parts[0] in ("load", "pipeline", "verbs", "cli"):
        return [f"line {line}: {name} is the front door"]
    if parts[0] == stage:
        # between two folders of a stage; within one it is relative
        between = depth > 1 or (len(parts) > 1 and (ROOT / stage / parts[1]).is_dir())
        return [] if between else [f"line {line}: {name} is this stage itself: import it relatively"]
    if parts[0] in STAGES:
        return [f"line {line}: {name} is {'another' if stage else 'a'} stage"]
    return []


def _files() -> list[tuple[str, str, int]]:
    """Every file that the direction binds: its path from the root, its stage, its depth."""
    package = ROOT / "windtunnel"
    nouns = [path for path in package.glob("*.py") if path.stem not in FRONT_DOOR]
    files = [(path, "", package) for path in (*nouns, *(package / "report").rglob("*.py"))]
    files += [(path, stage, ROOT / stage) for stage in STAGES for path in (ROOT / stage).rglob("*.py")]
    return sorted(
        (path.relative_to(ROOT).as_posix(), stage, len(path.relative_to(top).parts)) for path, stage, top in files
    )


@pytest.mark.parametrize(("name", "stage", "depth"), _files())
def test_direction(name: str, stage: str, depth: int) -> None:
    """A stage imports nouns and itself; a noun imports no stage; neither knocks at the front door."""
    assert violations((ROOT / name).read_text(encoding="utf-8"), stage, depth) == []


def test_every_part_was_looked_at() -> None:
    """The files that were found are of all four stages, the nouns and the report: none passes by being missed."""
    names = [name for name, _, _ in _files()]

    for part in (*STAGES, "windtunnel/report"):
        assert any(name.startswith(f"{part}/") for name in names)
    assert {"windtunnel/trace.py", "windtunnel/stats.py"} < set(names)
    assert not {"windtunnel/pipeline.py", "windtunnel/cli.py", "windtunnel/__init__.py"} & set(names)


@pytest.mark.parametrize("stage", STAGES)
def test_stages_are_linked(stage: str) -> None:
    """Each stage is importable as a part of windtunnel, and is the folder that stands at the top."""
    assert (ROOT / stage).resolve() == (ROOT / "windtunnel" / stage).resolve()


@pytest.mark.parametrize(
    "source",
    [
        "from windtunnel.backtest import backtest",
        "import windtunnel.backtest",
        "import windtunnel.trace, windtunnel.backtest.replay as r",
        "from windtunnel import backtest",
        "from windtunnel.simulate.kernel import run",
        "from windtunnel import pipeline",
        "from windtunnel.pipeline import load",
        "from windtunnel import load",
        "import windtunnel",
        "import windtunnel.cli",
        "import cli",
        "from backtest import replay",
        "import simulate.kernel",
        "from ..backtest import replay",
        "from .. import trace",
        "def f():\n    from windtunnel.backtest import backtest",
        "if TYPE_CHECKING:\n    from windtunnel.backtest import Decision",
        "import importlib\nimportlib.import_module('windtunnel.backtest')",
        "__import__('backtest')",
        "try:\n    pass\nfinally:\n    import windtunnel.optimize",
    ],
)
def test_planted_violation_in_a_stage(source: str) -> None:
    """A stage that imports another, itself by its full name, or the front door is found, wherever the import stands."""
    assert len(violations(source, "simulate")) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from windtunnel.optimize import optimize",
        "import windtunnel.simulate.kernel",
        "from windtunnel import backtest",
        "from .simulate import kernel",
        "from . import optimize",
        "from .pipeline import load",
        "from windtunnel.cli import main",
        "import benchmarks",
        "from ..report import section",
    ],
)
def test_planted_violation_in_a_noun(source: str) -> None:
    """A noun that imports a stage or the front door is found."""
    assert len(violations(source, "")) == 1


@pytest.mark.parametrize(
    ("source", "stage", "depth"),
    [
        ("import numpy as np\nfrom windtunnel.trace import Trace\nfrom windtunnel.report.section import Section", "simulate", 1),
        ("from .kernel import run\nfrom . import kernel", "simulate", 1),
        ("from ..kernel import run", "simulate", 2),
        ("from windtunnel import __version__", "simulate", 1),
        ("from windtunnel import trace", "simulate", 1),
        ("from windtunnel.table import read_table\nfrom .table import read_table\nimport optimizer", "", 1),
        ("from .section import Section\nfrom ..verdict import Verdict", "", 2),
        ("import sklearn.calibration\nfrom ray import serve", "", 1),
        ("import importlib\nimportlib.import_module(name)", "", 1),
    ],
)  # fmt: skip
def test_what_is_allowed(source: str, stage: str, depth: int) -> None:
    """Nouns, the stage's own files and other people's packages are free to import."""
    assert violations(source, stage, depth) == []
