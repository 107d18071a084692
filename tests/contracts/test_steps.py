"""What every step of the search promises, walked through by each on three kinds of models."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch

from windtunnel.digest import digest_file
from windtunnel.errors import ModelError
from windtunnel.hardware import Hardware
from windtunnel.optimize.export import export, relative_difference
from windtunnel.optimize.material import Material
from windtunnel.optimize.space import Facts, propose
from windtunnel.optimize.workshop import Workshop
from windtunnel.runtime import open_session
from windtunnel.seeds import Seeds
from windtunnel.session import run_in_batches
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.optimize.space import Branch
    from windtunnel.optimize.step import Step

    Arrays = dict[str, NDArray[Any]]

XEON = Hardware("new", "x86_64", ("AVX2", "AVX512-VNNI"), 2, 2**30)
"""Which steps there are must not depend on the machine that the test runs on."""

FAR = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.2, "int4": 0.6}
"""How far the answers of a small model may move, relative to the largest, by the precision of what is made."""


class _Table(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(128, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.layers(x))


class _Image(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
            torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
            torch.nn.Linear(8, 4),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layers(x), -1)


class _Text(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(50, 32)
        self.taken = torch.nn.Linear(32, 96)
        self.given, self.norm, self.last = torch.nn.Linear(32, 32), torch.nn.LayerNorm(32), torch.nn.Linear(32, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens)
        rows, length, _ = x.shape
        q, k, v = (each.reshape(rows, length, 4, 8).transpose(1, 2) for each in self.taken(x).chunk(3, -1))
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows, length, 32)
        return torch.softmax(self.last(self.norm(x + self.given(mixed)).mean(1)), -1)


def _feeds(kind: str) -> Arrays:
    rng = np.random.default_rng(1)
    if kind == "text":
        return {"tokens": rng.integers(0, 50, size=(96, 8))}
    if kind == "image":
        return {"x": rng.normal(size=(96, 3, 12, 12)).astype(np.float32)}
    # two columns lie far out, as the activations of some models do
    return {"x": (rng.normal(size=(96, 128)) * np.where(np.arange(128) < 2, 20.0, 1.0)).astype(np.float32)}


def _with_work_to_do(path: Path) -> None:
    """Give a file what exporters no longer leave behind: a weight too small to be normal, and an operator that does nothing."""
    model = onnx.load(str(path))
    first = next(node for node in model.graph.node if model.graph.input[0].name in node.input)
    place = list(first.input).index(model.graph.input[0].name)
    model.graph.node.insert(0, onnx.helper.make_node("Identity", [first.input[place]], ["passed_on"]))
    first.input[place] = "passed_on"
    matrix = next(each for each in model.graph.initializer if len(each.dims) == 2)
    weights = onnx.numpy_helper.to_array(matrix).copy()
    weights[0, 0] = 1e-40
    matrix.CopyFrom(onnx.numpy_helper.from_array(weights, matrix.name))
    onnx.save(model, str(path))


class _Anything:
    """Any file is good enough."""

    def __call__(self, path: Path) -> bool:
        return path.is_file()

    def to_dict(self) -> dict[str, Any]:
        return {}


MODULES = {"table": _Table, "image": _Image, "text": _Text}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Variant, Arrays]]:
    """Each model as ONNX, with rows."""
    made = {}
    for kind, module in MODULES.items():
        torch.manual_seed(0)
        path, feeds = tmp_path_factory.mktemp(kind) / "fp32.onnx", _feeds(kind)
        export(module(), {name: torch.from_numpy(array[:3]) for name, array in feeds.items()}, path)
        if kind == "table":
            _with_work_to_do(path)
        made[kind] = Variant.from_file(path), feeds
    return made


@pytest.fixture(scope="module")
def workshops(
    tmp_path_factory: pytest.TempPathFactory, models: dict[str, tuple[Variant, Arrays]]
) -> dict[str, Workshop]:
    """A workshop for each model; what is made in it is there for all tests."""
    return {
        kind: Workshop(Material(feeds), tmp_path_factory.mktemp(f"made-{kind}"), Seeds(1))
        for kind, (_, feeds) in models.items()
    }


BRANCHES = {
    "table": ("MatMul", "Gemm", "Relu"), "image": ("Conv", "Relu", "Gemm"), "text": ("MatMul", "Gemm", "Softmax"),
}  # fmt: skip


def _walk(kind: str) -> list[tuple[str, Branch, Step]]:
    """Every step of a model's space, repairs too, with the branch that it hangs on."""
    branches, _ = propose(Facts(frozenset(BRANCHES[kind]), frozenset({""})), XEON)
    return [(kind, branch, step) for branch in branches for step in (branch.step, *branch.repairs)]


STEPS = [pytest.param(*each, id=f"{each[0]}-{each[2].name}") for kind in BRANCHES for each in _walk(kind)]


def _made(step: Step, branch: Branch, parent: Variant, workshop: Workshop) -> Variant:
    """What a step makes; a step that this model cannot have must say so in a sentence, and is then of no interest here."""
    source = workshop.find(branch.of) if branch.of else parent
    if source is None:
        first = next(each for each in _walk("text") if each[2].name == branch.of)
        source = _made(first[2], first[1], parent, workshop)
    try:
        return workshop.make(step, source, _Anything() if step.accepts else None)
    except ModelError as error:
        reason = error.problem
    assert reason
    assert str(workshop.folder) not in reason
    assert "table" not in parent.path.parent.name, (
        reason
    )  # that model has work for every step, so that none is never walked
    pytest.skip(f"not for this model: {reason}")


@pytest.mark.parametrize(("kind", "branch", "step"), STEPS)
def test_step(
    kind: str, branch: Branch, step: Step, models: dict[str, tuple[Variant, Arrays]], workshops: dict[str, Workshop],
    tmp_path: Path,
) -> None:  # fmt: skip
    """A step leaves its parent alone, keeps the signature, makes a whole file that answers nearly the same, and makes it again bit for bit."""
    (parent, feeds), workshop = models[kind], workshops[kind]
    before = digest_file(parent.path)
    made = _made(step, branch, parent, workshop)

    assert digest_file(parent.path) == before
    onnx.checker.check_model(str(made.path))
    assert made.signature == parent.signature
    assert made.origin.step == step.kind
    assert {key: made.origin.settings[key] for key in step.settings.to_dict()} == step.settings.to_dict()

    right, answers = (run_in_batches(open_session(each), feeds, 32) for each in (parent, made))
    worst = max(relative_difference(right[name], answers[name]) for name in right)
    assert math.isfinite(worst)
    assert worst <= FAR[step.precision]

    again = replace(workshop, folder=tmp_path)
    source = workshop.find(branch.of) if branch.of else parent
    assert source is not None
    assert again.make(step, source, _Anything() if step.accepts else None).sha256 == made.sha256


def test_no_step_is_left_out() -> None:
    """Over the three models together every kind of step is walked through."""
    kinds = {step.kind for kind in BRANCHES for _, _, step in _walk(kind)}

    assert kinds >= {
        "clean", "compressed-weights", "dynamic-int8", "fuse", "half", "mixed-int8", "nncf-int8", "ort-optimize",
        "scrub-denormals", "smooth-int8", "static-int8", "weight-only",
    }  # fmt: skip
