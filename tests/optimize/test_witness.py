from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from windtunnel.errors import ModelError
from windtunnel.execution import Execution
from windtunnel.optimize import witness as asking
from windtunnel.optimize.goal import Goal
from windtunnel.optimize.quality import Holdout
from windtunnel.optimize.witness import Witness, ask
from windtunnel.runtime import open_session
from windtunnel.session import Session
from windtunnel.variant import Signature, Tensor, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

GOAL = Goal("agreement", 0.02)


class _Model(Session):
    """Answers with a formula of `x`, and notes how many rows each call had."""

    def __init__(self, formula: Callable[[Array], Array], batch: int | str = "n") -> None:
        self.signature = Signature((Tensor("x", "float64", (batch, 2)),), ())
        self.formula, self.asked = formula, list[int]()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.asked.append(len(feeds["x"]))
        return {"y": self.formula(feeds["x"])}


def _total(x: Array) -> Array:
    total: Array = x.sum(axis=1)
    return total


X = np.random.default_rng(1).normal(size=(150, 2))


def test_rows_are_asked_in_batches() -> None:
    """Rows go in bounded batches, larger only where larger ones are to be served; the answers are all there, in order."""
    few, many = _Model(_total), _Model(_total)

    assert np.array_equal(ask(few, {"x": X}, GOAL, "m")["y"], X.sum(axis=1))
    assert np.array_equal(ask(many, {"x": X}, replace(GOAL, batch_sizes=(1, 100)), "m")["y"], X.sum(axis=1))
    assert (max(few.asked), max(many.asked)) == (64, 100)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 150])
def test_a_fixed_batch_is_filled_up(rows: int) -> None:
    """A model that takes eight rows and no others is asked eight at a time, and only real rows come back."""
    model = _Model(_total, 8)

    assert np.array_equal(ask(model, {"x": X[:rows]}, GOAL, "m")["y"], X[:rows].sum(axis=1))
    assert set(model.asked) == {8}


def test_a_model_that_fails_is_named() -> None:
    """Whatever a runtime raises is told with the model's name, its first line, and the way out."""

    def broken(x: Array) -> Array:
        raise RuntimeError(f"no kernel for {x.ndim} axes\nand much more")

    with pytest.raises(ModelError) as refused:
        ask(_Model(broken), {"x": X}, GOAL, "int8")
    assert str(refused.value) == (
        "`int8` does not run on the rows (no kernel for 2 axes); see whether they fit its inputs"
    )


@pytest.fixture
def witness(mlp: Variant, rows: dict[str, NDArray[Any]]) -> Witness:
    """What `mlp` answered to 400 rows held out, and to 200 that choices may be made on."""
    held, learning = Holdout({"x": rows["x"][:400]}, None), Holdout({"x": rows["x"][400:]}, None)
    return Witness.of(open_session(mlp), "fp32", GOAL, held, learning, untaught=50, seed=1)


def _negated(mlp: Variant, path: Path) -> Variant:
    """The same model with its last weights negated: it decides everything the other way."""
    model = onnx.load(str(mlp.path))
    weight = model.graph.initializer[2]
    weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
    onnx.save(model, str(path))
    return Variant.from_file(path)


def test_the_parent_loses_nothing_against_itself(witness: Witness, mlp: Variant) -> None:
    """Beside itself the parent is proven, on all rows held out, and on the learning rows it loses nothing."""
    quality = witness.own_quality(0.99, "fp32")

    assert quality == witness.quality(open_session(mlp), "fp32", 0.99)
    assert (quality.value, quality.drop.value, quality.drop.samples) == (1.0, 0.0, 400)
    assert (quality.drop.confidence, quality.judge(0.02)) == (0.99, "proven")
    lost = witness.lost_on_learning(mlp)
    assert lost is not None
    assert (lost.value, lost.samples) == (0.0, 200)


def test_what_decides_otherwise_is_seen_on_both(witness: Witness, mlp: Variant, tmp_path: Path) -> None:
    """A model that decides everything the other way loses all agreement, on either rows."""
    child = _negated(mlp, tmp_path / "negated.onnx")

    assert witness.quality(open_session(child), "negated", 0.95).value == 0.0
    lost = witness.lost_on_learning(child)
    assert lost is not None
    assert lost.value == 1.0


def test_the_proof_has_rows_of_its_own(
    witness: Witness, mlp: Variant, rows: dict[str, NDArray[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Choices ask the learning rows and nothing else; the proof asks the rows held out and nothing else."""
    seen: list[Array] = []
    asked = asking.ask

    def watch(session: Session, feeds: Mapping[str, Array], goal: Goal, name: str) -> dict[str, Array]:
        seen.append(feeds["x"])
        return asked(session, feeds, goal, name)

    monkeypatch.setattr(asking, "ask", watch)
    witness.lost_on_learning(mlp)
    witness.quality(open_session(mlp), "fp32", 0.95)

    assert [len(each) for each in seen] == [200, 400]
    assert np.array_equal(seen[0], rows["x"][400:])
    assert np.array_equal(seen[1], rows["x"][:400])


def test_learning_rows_are_bounded(
    mlp: Variant, rows: dict[str, NDArray[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many learning rows the first are asked, with their labels, groups and slices: choices stay cheap."""
    monkeypatch.setattr(asking, "LEARNING_ROWS", 10)
    whole = Holdout({"x": rows["x"]}, np.arange(600.0), np.arange(600), {"even": np.arange(600) % 2})
    learning = Witness.of(
        open_session(mlp), "fp32", GOAL, Holdout({"x": rows["x"]}, None), whole, untaught=50, seed=1
    ).learning

    assert learning.label is not None
    assert learning.groups is not None
    assert {len(learning.feeds["x"]), len(learning.label), len(learning.groups), len(learning.slices["even"])} == {10}


def test_who_was_taught_is_asked_other_rows(witness: Witness, mlp: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taught on the learning rows is asked only those that nobody is taught."""
    asked: list[int] = []
    answer = asking.ask

    def counted(session: Any, feeds: Any, goal: Goal, name: str) -> dict[str, NDArray[Any]]:
        asked.append(len(feeds["x"]))
        return answer(session, feeds, goal, name)

    monkeypatch.setattr(asking, "ask", counted)
    lost = [witness.lost_on_learning(mlp, taught=taught) for taught in (False, True)]

    assert [each.value for each in lost if each is not None] == [0.0, 0.0]
    assert asked == [200, 50]


def test_what_is_asked_of_a_file(witness: Witness, mlp: Variant, tmp_path: Path) -> None:
    """An acceptor takes a file that is good enough where it is run, and no other."""
    accept = witness.acceptor(Execution(threads=1))

    assert accept(mlp.path)
    assert not accept(_negated(mlp, tmp_path / "negated.onnx").path)


def test_answers_that_cannot_be_judged(mlp: Variant, rows: dict[str, NDArray[Any]]) -> None:
    """A parent whose answers the metric cannot judge is refused before anything is made of it."""
    held = Holdout({"x": rows["x"]}, None)

    with pytest.raises(ModelError, match=r"`fp32` gives .* where cosine needs vectors"):
        Witness.of(open_session(mlp), "fp32", Goal("cosine"), held, held, untaught=50, seed=1)
