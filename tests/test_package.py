"""The wheel: real files of every stage, the data they need and no tests; it works where the repository is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

NEEDED = {
    "windtunnel/__init__.py", "windtunnel/cli.py", "windtunnel/py.typed", "windtunnel/catalog/instance_prices.csv",
    "windtunnel/examples/flights/windtunnel.toml", "windtunnel/examples/flights/flights.py", "windtunnel/report/html.py",
    "windtunnel/optimize/search.py", "windtunnel/benchmarks/measure.py", "windtunnel/simulate/kernel.py",
    "windtunnel/backtest/replay.py",
}  # fmt: skip


def _build(*arguments: str, cwd: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *arguments], capture_output=True, text=True, cwd=cwd
    )
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git keeps and what is new, as it is now, without what earlier builds left: a build writes into its source."""
    copy = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_symlink() or (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source."""
    out = tmp_path_factory.mktemp("wheel")
    _build("--wheel", "--outdir", str(out), cwd=source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed into a folder of its own."""
    target = tmp_path_factory.mktemp("target")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    return target


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def _python(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python far from the repository, with what was installed first on its path."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment)


def test_what_it_holds(wheel: Path) -> None:
    """Every module of the repository is in the wheel, with the catalogue and the example; nothing lies beside windtunnel."""
    names = _names(wheel)
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "windtunnel").glob("*.py")}
    modules |= {
        f"windtunnel/{stage}/{path.name}"
        for stage in ("optimize", "benchmarks", "simulate", "backtest")
        for path in (ROOT / stage).glob("*.py")
    }

    assert NEEDED | modules <= names
    assert {name.partition("/")[0] for name in names} == {"windtunnel"}
    assert [name for name in names if "test" in Path(name).name.lower().split("_") or "/tests/" in name] == []


def test_real_files(wheel: Path) -> None:
    """The stages, which are links in the repository, are files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("windtunnel/cli.py") == (ROOT / "cli.py").read_bytes()
        assert archive.read("windtunnel/simulate/kernel.py") == (ROOT / "simulate" / "kernel.py").read_bytes()


def test_source_distribution(source: Path, wheel: Path, tmp_path: Path) -> None:
    """The wheel that is built from the source distribution holds the same files."""
    _build("--sdist", "--outdir", str(tmp_path), cwd=source)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    _build("--wheel", "--outdir", str(tmp_path / "again"), cwd=unpacked)
    (again,) = (tmp_path / "again").glob("*.whl")

    assert _names(again) == _names(wheel)


def test_import(installed: Path, tmp_path: Path) -> None:
    """Imported from elsewhere it is the installed one, and its stages are too."""
    source = "import windtunnel, windtunnel.simulate.traffic as t; print(windtunnel.__file__); print(t.__file__)"
    ran = _python(installed, tmp_path, "-c", source)

    assert ran.returncode == 0, ran.stderr
    assert [Path(line).is_relative_to(installed) for line in ran.stdout.split()] == [True, True]


def test_command(installed: Path, tmp_path: Path) -> None:
    """The command line starts from the installed files, finds its prices there, and carries the example of `demo`."""
    shown = _python(installed, tmp_path, "-m", "windtunnel.cli", "--help")
    priced = _python(
        installed, tmp_path, "-c", "from windtunnel.price import find_price; print(find_price('aws:g5.xlarge').vcpu)"
    )

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "benchmark" in shown.stdout
    assert priced.stdout.strip() == "4", priced.stderr
    assert (installed / "windtunnel" / "examples" / "flights" / "windtunnel.toml").is_file()
