from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import DataError, ModelError
from windtunnel.optimize import search
from windtunnel.optimize.quality import Holdout, Quality
from windtunnel.optimize.search import Goal, Judged, Material, Optimization, choose, make_children, optimize
from windtunnel.seeds import Seeds
from windtunnel.session import OnnxSession, run_in_batches
from windtunnel.stats import Interval
from windtunnel.timings import Timings
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.optimize.search import Status
    from windtunnel.session import Session

GOAL = Goal("agreement", 0.02, (1, 8), batching=False)


def _interval(value: float, reach: float = 0.01) -> Interval:
    return Interval(value, value - reach, value + reach, 100, 0.95)


@pytest.fixture
def judged(mlp: Variant) -> Callable[..., Judged]:
    """A variant with a judgement made by hand."""

    def make(name: str, status: Status = "on-frontier", speed: float = 1.0, drop: float = 0.0) -> Judged:
        quality = Quality("agreement", 1 - drop, _interval(drop))
        speedups = {1: _interval(speed)}
        return Judged(replace(mlp, name=name), status, "why", quality, speedups[1], speedups, {1: 0.001}, 0.0, (1, 2))

    return make


def _statuses(marked: Sequence[Judged]) -> dict[str, str]:
    return {each.variant.name: each.status for each in marked}


def test_the_fastest_proven_child_is_chosen(judged: Callable[..., Judged]) -> None:
    """Of the proven the fastest is chosen; one that is slower and loses more is dominated, one that loses less is not."""
    marked = choose([
        judged("parent"), judged("fast", speed=3.0, drop=0.01), judged("slower", speed=2.0, drop=0.015),
        judged("gentle", speed=1.5, drop=0.001),
    ])  # fmt: skip

    assert _statuses(marked) == {
        "parent": "on-frontier",
        "fast": "chosen",
        "slower": "dominated",
        "gentle": "on-frontier",
    }


@pytest.mark.parametrize("status", ["not-proven", "worse", "slower", "batch-dependent"])
def test_never_ship_worse(judged: Callable[..., Judged], status: Status) -> None:
    """However fast a child is, it is not chosen unless everything is proven; the parent is, and a proven child before it."""
    parent, child = judged("parent"), judged("child", status, speed=100.0)

    assert _statuses(choose([parent, child])) == {"parent": "chosen", "child": status}
    assert _statuses(choose([parent, child, judged("proven", speed=1.1)]))["proven"] == "chosen"


def test_the_parent_alone(judged: Callable[..., Judged]) -> None:
    """Where every step failed the parent is chosen, and the reason is said."""
    (only,) = choose([judged("parent")])

    assert (only.status, only.reason) == ("chosen", "no child is both proven and faster")


def test_a_proven_child_beats_the_parent(judged: Callable[..., Judged]) -> None:
    """A child that is faster and loses nothing dominates its parent."""
    assert _statuses(choose([judged("parent"), judged("child", speed=2.0)])) == {
        "parent": "dominated",
        "child": "chosen",
    }


PROVEN, WORSE, OPEN = (
    Quality("mae", 0.5, _interval(0.0, 0.01)),
    Quality("mae", 0.5, _interval(0.1)),
    Quality("mae", 0.5, _interval(0.02)),
)


@pytest.mark.parametrize(
    ("quality", "speeds", "dependence", "batching", "status", "words"),
    [
        (PROVEN, (2.0, 2.0), 0.0, True, "on-frontier", "proven: loses at most 0.0100 mae; allowed 0.02"),
        (WORSE, (2.0, 2.0), 0.0, True, "worse", "loses at least 0.0900 mae; allowed 0.02"),
        (
            OPEN,
            (2.0, 2.0),
            0.0,
            True,
            "not-proven",
            "may lose up to 0.0300 mae; allowed 0.02; more rows are not likely",
        ),
        (PROVEN, (2.0, 2.0), 0.1, True, "batch-dependent", "moves by up to 0.1 with its batch"),
        (PROVEN, (2.0, 2.0), 0.1, False, "on-frontier", "proven"),
        (PROVEN, (3.0, 0.9), 0.0, True, "slower", "slower than the parent at batch 8"),
        (PROVEN, (0.5, 0.5), 0.0, True, "slower", "slower than the parent at batch 1, 8"),
        (PROVEN, (1.0, 1.0), 0.0, True, "slower", "not shown to be faster: 1.00 × (0.99 to 1.01)"),
        (WORSE, (0.5, 0.5), 0.1, True, "worse", "loses at least"),
    ],
)
def test_what_keeps_a_child_out(
    quality: Quality, speeds: tuple[float, float], dependence: float, batching: bool, status: str, words: str
) -> None:
    """Quality first, then the batch, where batches are shared, then speed at each size and overall."""
    goal = Goal("mae", 0.02, (1, 8), batching)
    overall = _interval(float(np.sqrt(speeds[0] * speeds[1])))
    found = search._status(quality, overall, dict(zip((1, 8), map(_interval, speeds), strict=True)), dependence, goal)

    assert found[0] == status
    assert words in found[1]


def test_rows_that_would_tell_are_said() -> None:
    """Where more rows would prove a child, it is said how many."""
    quality = Quality("mae", 0.5, _interval(0.0, 0.04))

    assert search._status(quality, _interval(2.0), {1: _interval(2.0)}, 0.0, GOAL)[1].endswith(
        "about 400 held-out rows would tell"
    )


# From here on with real children; speeds are planted, so no clock is in any assertion.


def _planted(**speed: float) -> Callable[..., Timings]:
    """Timings as if `name` were so many times as fast as the rest (by its first word), with a little noise."""

    def measure(sessions: Mapping[str, Session], feeds: object, batch_sizes: Sequence[int]) -> Timings:
        del feeds
        rng = np.random.default_rng(1)
        blocks = {
            (name, batch): tuple(
                1e-3 / speed.get(name.replace("-", "_"), 1.0) * rng.uniform(0.99, 1.01, 20) for _ in range(12)
            )
            for name in sessions
            for batch in batch_sizes
        }
        return Timings(blocks, dict.fromkeys(blocks, True))

    return measure


class _Student(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1), torch.nn.Sigmoid()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.layers(x)
        return answer


class _Study:
    """What one optimization is asked, with everything that can be changed."""

    def __init__(self, parent: Variant, rows: dict[str, NDArray[Any]]) -> None:
        self.parent, self.seeds, self.goal = parent, Seeds(1), GOAL
        self.material = Material({"x": rows["x"][:300]})
        self.holdout = Holdout({"x": np.tile(rows["x"][300:], (4, 1))}, None)
        self.measure = _planted(int8_static=2.0)

    def run(self, folder: Path) -> Optimization:
        return optimize(
            self.parent, self.material, self.holdout, self.goal, measure=self.measure, folder=folder, seeds=self.seeds
        )


@pytest.fixture
def study(mlp: Variant, rows: dict[str, NDArray[Any]]) -> _Study:
    return _Study(mlp, rows)


def test_from_end_to_end(study: _Study, tmp_path: Path, mlp: Variant) -> None:
    """Children are made, judged on rows held out, and the fastest that is proven is chosen."""
    found = study.run(tmp_path)

    assert [each.variant.name for each in found.judged] == ["fp32", "int8-dynamic", "int8-static"]
    assert found.failures == ()
    assert found.parent.variant == mlp
    assert found.chosen.variant.name == "int8-static"
    assert (found.chosen.quantized, found.parent.quantized) == ((2, 2), (0, 2))
    assert found.chosen.quality.drop.samples == 1200
    assert found.chosen.speedup.low > 1.5
    assert found.chosen.variant.origin.parent == mlp.sha256
    assert _statuses(found.judged)["int8-dynamic"] == "slower"
    assert found.verdict.outcome == "go"
    assert found.verdict.reasons[0].startswith("int8-static is 2.0")
    assert found.verdict.evidence == {"chosen": "int8-static", "tried": 3}


def test_batch_dependent_children_are_kept_out_of_batches(study: _Study, tmp_path: Path) -> None:
    """Dynamic int8 may be chosen where each request is alone, and never where requests share batches."""
    study.measure = _planted(int8_dynamic=3.0)

    assert study.run(tmp_path).chosen.variant.name == "int8-dynamic"

    study.goal = replace(GOAL, batching=True)
    found = study.run(tmp_path)
    assert found.chosen is found.parent
    assert _statuses(found.judged)["int8-dynamic"] == "batch-dependent"
    assert found.verdict.reasons == ("fp32 stays: no child is both proven within 0.02 agreement and faster",)


def test_too_few_rows_prove_nothing(study: _Study, tmp_path: Path) -> None:
    """With forty rows no child is proven; the parent stays, and the verdict says how many rows would tell."""
    study.holdout = Holdout({"x": study.holdout.feeds["x"][:40]}, None)
    found = study.run(tmp_path)

    assert found.chosen is found.parent
    assert "held-out rows would tell" in "".join(found.verdict.would_change)


def test_a_student_and_its_children(study: _Study, tmp_path: Path) -> None:
    """A student is taught, and quantized too; the student's parent is the model, its children's parent the student."""
    study.material = replace(
        study.material, student=lambda: (_Student(), {"x": torch.ones(2, 16)}), student_source="m.py:s"
    )
    found = study.run(tmp_path)
    made = {each.variant.name: each.variant for each in found.judged}

    assert set(made) == {
        "fp32",
        "int8-dynamic",
        "int8-static",
        "student",
        "student-int8-dynamic",
        "student-int8-static",
    }
    assert made["student"].origin.parent == made["fp32"].sha256
    assert made["student-int8-static"].origin.parent == made["student"].sha256

    again = study.run(tmp_path / "again")
    assert {v.variant.name: v.variant.sha256 for v in again.judged} == {name: v.sha256 for name, v in made.items()}


def test_a_failing_step_takes_only_its_own(study: _Study, tmp_path: Path) -> None:
    """A student that cannot be made is a failure with its reason; it takes its own children with it and no others."""

    def broken() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
        raise NotImplementedError

    study.material = replace(study.material, student=broken)
    found = study.run(tmp_path)

    assert [(each.name, each.reason) for each in found.failures] == [("student", "NotImplementedError")]
    assert found.chosen.variant.name == "int8-static"


def test_a_failing_int8_takes_only_its_own(study: _Study, tmp_path: Path) -> None:
    """Calibration rows that do not fit fail the static step alone."""
    study.material = Material({"x": np.ones((40, 7), np.float32)})
    children, failures = make_children(study.parent, study.material, folder=tmp_path, seeds=study.seeds)

    assert [each.name for each in children] == ["int8-dynamic"]
    assert [each.name for each in failures] == ["int8-static"]
    assert "cannot be quantized" in failures[0].reason
    assert sorted(each.name for each in tmp_path.iterdir()) == ["int8-dynamic.json", "int8-dynamic.onnx"]


def test_a_child_that_answers_nothing_is_a_failure(
    study: _Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child whose answers are no numbers is kept out with its reason; the search goes on."""

    def broken(session: OnnxSession, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        outputs = run_in_batches(session, feeds)
        return (
            {name: array * np.nan for name, array in outputs.items()}
            if "int8-dynamic" in session_paths[id(session)]
            else outputs
        )

    session_paths: dict[int, str] = {}

    class Remembering(OnnxSession):
        def __init__(self, path: Path, *arguments: Any) -> None:
            super().__init__(path, *arguments)
            session_paths[id(self)] = path.name

    monkeypatch.setattr(search, "OnnxSession", Remembering)
    monkeypatch.setattr(search, "run_in_batches", broken)
    found = study.run(tmp_path)

    assert [each.name for each in found.failures] == ["int8-dynamic"]
    assert "NaN or infinite" in found.failures[0].reason
    assert [each.variant.name for each in found.judged] == ["fp32", "int8-static"]


def test_a_parent_that_does_not_run_is_refused(study: _Study, tmp_path: Path) -> None:
    """Where the parent itself does not run on the rows there is nothing to compare with, and no child is made."""
    study.holdout = Holdout({"x": np.ones((40, 7), np.float32)}, None)

    with pytest.raises(ModelError, match="`fp32` does not run on the rows held out"):
        study.run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_depends_on_its_batch_is_refused(study: _Study, tmp_path: Path) -> None:
    """Where requests will share batches, a model whose answers move with its neighbours is no parent to compare with."""
    path = tmp_path / "centred.onnx"
    nodes = [
        helper.make_node("ReduceMean", ["x", "rows"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("ReduceMean", ["centred", "columns"], ["score"], keepdims=0),
        helper.make_node("Sigmoid", ["score"], ["y"]),
    ]
    axes = [numpy_helper.from_array(np.array([axis]), name) for name, axis in (("rows", 0), ("columns", 1))]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph(nodes, "centred", [x], [y], axes)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    study.parent = Variant.from_file(path, name="fp32")
    study.goal = replace(GOAL, batching=True)

    with pytest.raises(ModelError, match="with what shares its batch"):
        study.run(tmp_path / "variants")


def test_agreement_needs_probabilities(study: _Study, tmp_path: Path) -> None:
    """Agreement reads answers by a threshold of one half: a parent that answers logits or amounts is refused."""
    path = tmp_path / "amount.onnx"
    weights = [numpy_helper.from_array(np.full((16, 1), 3.0, np.float32), "w")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "amount", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    study.parent = Variant.from_file(path, name="fp32")

    with pytest.raises(ModelError, match="agreement needs probabilities"):
        study.run(tmp_path / "variants")


def test_a_metric_that_does_not_fit_is_refused_first(study: _Study, tmp_path: Path) -> None:
    """Labels that are missing are said before any child is made."""
    study.goal = replace(GOAL, metric="roc_auc")

    with pytest.raises(DataError, match="are needed for roc_auc"):
        study.run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def _made(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.onnx")}


def test_kept_steps_are_used_again(study: _Study, tmp_path: Path) -> None:
    """A second run makes nothing again, unless a file was damaged."""
    first, before = study.run(tmp_path), _made(tmp_path)
    second = study.run(tmp_path)

    assert before == _made(tmp_path)
    assert [each.variant for each in first.judged] == [each.variant for each in second.judged]

    (tmp_path / "int8-static.onnx").write_bytes(b"torn")
    third = study.run(tmp_path)
    changed = {name for name, made in _made(tmp_path).items() if made != before[name]}
    assert changed == {"int8-static.onnx"}
    assert [each.variant for each in first.judged] == [each.variant for each in third.judged]


def test_other_rows_make_other_children(study: _Study, tmp_path: Path) -> None:
    """Static ranges and students that were learnt from other rows are made again; dynamic int8 learns from none."""
    study.run(tmp_path)
    before = _made(tmp_path)
    study.material = Material({"x": study.material.feeds["x"] * 2})
    study.run(tmp_path)

    assert {name for name, made in _made(tmp_path).items() if made != before[name]} == {"int8-static.onnx"}


def test_the_document(study: _Study) -> None:
    """An optimization is JSON, every variant with its path, status, intervals and operators."""
    found = study.run(study.parent.path.parent / "children")
    document = found.to_dict(study.parent.path.parent)

    assert document == json.loads(json.dumps(document))
    assert [each["path"] for each in document["frontier"]] == [
        "mlp.onnx", "children/int8-dynamic.onnx", "children/int8-static.onnx",
    ]  # fmt: skip
    assert document["chosen"]["status"] == "chosen"
    assert set(document["chosen"]) >= {
        "quality_drop_low",
        "speedup_high",
        "p50_s",
        "batch_dependence",
        "rows",
        "reason",
        "origin",
    }
    assert (document["chosen"]["quantized_operators"], document["chosen"]["heavy_operators"]) == (2, 2)
