"""The command line in this process, and a small world for it: a model, a recording, arrivals, a profile, a pipeline."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.cli import main
from windtunnel.hardware import Hardware
from windtunnel.latency_profile import LatencyProfile
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 1440
COLUMNS = "abcd"
WEIGHTS = (0.5, -0.25, 1.0, 2.0)

PIPELINE = """\
name = "tiny"
seed = 3

[recording]
source = "recorded.parquet"
develop_until = 2024-01-20
holdout = "5d"

[recording.columns]
time = "asked_at"
label = "label"
label_time = "known_at"

[model]
path = "columns.onnx"

[optimize]
metric = "roc_auc"
max_drop = 0.05
batch = [1]
budget = "200ms"

[benchmark]
batch = [1, 4]
budget = "300ms"
hardware = ["azure:D2s_v5"]

[simulate]
slo = "p99<=50ms"
hardware = "azure:D2s_v5"
replicas = [1, 2]
max_batch = [1, 4]
max_wait = ["0ms", "1ms"]

[backtest]
metric = "log_loss"
max_loss = 0.05
every = "1d"
horizon = "1d"
"""

BACKTEST = """\
[backtest]
recording = "logged.parquet"
incumbent = "champion"
candidates = ["challenger"]
metric = "log_loss"
every = "1d"
horizon = "7d"
[backtest.columns]
id = "id"
time = "asked_at"
label = "late"
label_time = "known_at"
predictions = { champion = "p_old", challenger = "p_new" }
"""

FACTORY = """\
import torch


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def forward(self, a, b, c, d):
        return torch.sigmoid(self.layer(torch.stack([a, b, c, d], dim=1))).squeeze(1)


def factory():
    torch.manual_seed(0)
    return Tiny(), {name: torch.zeros(2) for name in "abcd"}


def raises():
    raise ZeroDivisionError("theirs")


def interrupts():
    raise KeyboardInterrupt
"""


@dataclass(frozen=True)
class Ran:
    """What one command left: its exit code and what it printed, the runtime's own lines included."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout; anything before or after it, or a bare NaN, is an error."""
        document: dict[str, Any] = json.loads(self.out, parse_constant=_refuse)
        return document


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


class Command(Protocol):
    """Runs `windtunnel` with some arguments."""

    def __call__(self, *arguments: object) -> Ran:
        """Run it."""
        ...


@pytest.fixture
def windtunnel(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """The command, called as its console script calls it, inside the small world."""
    assert home.is_dir()

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["windtunnel", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        printed = capfd.readouterr()
        assert isinstance(left.value.code, int)
        return Ran(left.value.code, printed.out, printed.err)

    return run


def _save(path: Path, nodes: list[Any], inputs: list[tuple[str, list[Any]]], weights: dict[str, Any]) -> None:
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))


def save_matrix_model(path: Path, weights: tuple[float, ...]) -> None:
    """Write y = sigmoid(x·w) with one input `x` [batch, 4]."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Sigmoid", ["z"], ["y"])]
    _save(path, nodes, [("x", ["batch", 4])], {"w": weights})


def save_columns_model(path: Path) -> None:
    """Write the same function with an input [batch] for each column."""
    nodes = [helper.make_node("Mul", [name, f"w_{name}"], [f"p_{name}"]) for name in COLUMNS]
    nodes += [
        helper.make_node("Sum", [f"p_{name}" for name in COLUMNS], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["y"]),
    ]
    weights = {f"w_{name}": weight for name, weight in zip(COLUMNS, WEIGHTS, strict=True)}
    _save(path, nodes, [(name, ["batch"]) for name in COLUMNS], weights)


def _write_world(home: Path) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(ROWS, 4))
    score = rows @ np.array(WEIGHTS)
    chance = 1 / (1 + np.exp(-score))
    label = (rng.random(ROWS) < chance).astype(np.float64)
    asked = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(ROWS)]  # noqa: DTZ001  # a user's file has none
    known = [time + timedelta(hours=1) for time in asked]
    features = {name: rows[:, i] for i, name in enumerate(COLUMNS)}
    recorded = pl.DataFrame({"asked_at": asked, **features, "label": label, "known_at": known})
    recorded.write_parquet(home / "recorded.parquet")
    recorded.write_csv(home / "recorded.csv")
    logged = {"id": range(ROWS), "asked_at": asked, "late": label, "known_at": known}
    weak = 1 / (1 + np.exp(-0.2 * score))
    pl.DataFrame({**logged, "p_old": weak, "p_new": chance}).write_parquet(home / "logged.parquet")
    np.savez(home / "holdout.npz", x=rows.astype(np.float32), label=label)
    pl.DataFrame({"time": np.cumsum(rng.exponential(1 / 200, 2000))}).write_csv(home / "arrivals.csv")
    save_matrix_model(home / "model.onnx", WEIGHTS)
    save_matrix_model(home / "other.onnx", (1.0, 1.0, 1.0, 1.0))
    save_columns_model(home / "columns.onnx")
    _profile().save(home / "profile.npz")
    for name, text in {"windtunnel.toml": PIPELINE, "backtest.toml": BACKTEST, "made.py": FACTORY}.items():
        (home / name).write_text(text)


def _profile() -> LatencyProfile:
    """A millisecond a batch and half a millisecond an item, give or take a tenth."""
    rng = np.random.default_rng(7)
    sizes = (1, 8)
    samples = tuple((0.001 + 0.0005 * size) * rng.lognormal(0.0, 0.1, size=300) for size in sizes)
    hardware = Hardware("a CPU", "x86_64", ("AVX2",), 2.0, 2**33)
    return LatencyProfile("m", "0" * 64, hardware, "rt", 1, "measured", sizes, samples, 0.8, Verdict("go", ("steady",)))


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("world")
    _write_world(home)
    return home


@pytest.fixture
def home(_made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with the small world in it, and the working directory."""
    shutil.copytree(_made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path
