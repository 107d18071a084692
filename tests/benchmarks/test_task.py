from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.benchmarks.task import tasks
from windtunnel.errors import ConfigError, MissingError, ModelError
from windtunnel.runtime import RUNTIMES
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

ROWS = {"x": np.ones((2, 4), np.float32)}
FUNCTION = """
import torch


def make():
    return torch.nn.Linear(4, 1), {"input": torch.zeros(2, 4)}
"""


def test_every_setting_once(tiny_model: Path) -> None:
    """Variants, runtimes, size classes, threads and concurrency are all combined, under names that differ."""
    variants = [Variant.from_file(tiny_model, name=name) for name in ("a", "b")]
    made = tasks(
        variants,
        {"n=8": ROWS, "n=64": ROWS},
        runtimes=("onnxruntime-cpu", "openvino"),
        threads=(1, 2),
        concurrency=(1, 2),
    )

    assert len(made) == len({task.name for task in made}) == 2 * 2 * 2 * 2 * 2
    assert {(task.runtime, task.described.split()[0]) for task in made} == {
        ("onnxruntime-cpu", "onnxruntime"),
        ("openvino", "openvino"),
    }


def test_opened(tiny_model: Path) -> None:
    """A task opens its variant in its runtime, anew each time."""
    (task,) = tasks([Variant.from_file(tiny_model)], {"": ROWS})
    first, second = task.opener(), task.opener()

    assert first is not second
    assert np.array_equal(first.run(ROWS)["y"], second.run(ROWS)["y"])
    assert task.device == "cpu"


def test_torch_runs_the_function(tiny_model: Path, tmp_path: Path) -> None:
    """For torch the user's function is what is opened, not the file that was exported from it."""
    (tmp_path / "made.py").write_text(FUNCTION)
    variant = Variant.from_file(tiny_model)
    (task,) = tasks([variant], {"": ROWS}, runtimes=("torch-eager",), functions={"tiny": "made.py:make"}, home=tmp_path)

    answer = task.opener().run({"input": ROWS["x"]})
    assert next(iter(answer.values())).shape == (2, 1)
    assert task.name == "tiny, torch eager CPU"


def test_torch_needs_a_function(tiny_model: Path) -> None:
    """A file cannot be run by torch, and the way out is said before anything is measured."""
    with pytest.raises(ModelError, match=r"torch-eager.*file\.py:function"):
        tasks([Variant.from_file(tiny_model)], {"": ROWS}, runtimes=("torch-eager",))


def test_no_such_runtime(tiny_model: Path) -> None:
    """A runtime that nobody knows is refused with the nearest names."""
    with pytest.raises(ConfigError, match="onnxruntime-cpu"):
        tasks([Variant.from_file(tiny_model)], {"": ROWS}, runtimes=("onnxruntime",))


def test_a_runtime_that_is_missing_here(tiny_model: Path) -> None:
    """A runtime that cannot run here is refused with what it lacks."""
    if not RUNTIMES["onnxruntime-cuda"].missing():
        pytest.skip("a CUDA device is here: nothing is missing")
    with pytest.raises(MissingError, match="onnxruntime-cuda cannot run here"):
        tasks([Variant.from_file(tiny_model)], {"": ROWS}, runtimes=("onnxruntime-cuda",))
