"""The whole search with real files; speeds are planted in race and timing, so that no clock is in any assertion."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import DataError, ModelError
from windtunnel.fanout import Workers
from windtunnel.optimize import checks, explore, proof, search, space, witness
from windtunnel.optimize.budget import Budget
from windtunnel.optimize.goal import Goal
from windtunnel.optimize.invariance import batch_dependence
from windtunnel.optimize.material import Material
from windtunnel.optimize.quality import Holdout, Quality
from windtunnel.optimize.race import Finish, Refused
from windtunnel.optimize.search import apart, optimize
from windtunnel.optimize.workshop import Workshop
from windtunnel.seeds import Seeds
from windtunnel.stats import Interval
from windtunnel.timings import Timings
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.optimize.judged import Judged
    from windtunnel.optimize.optimization import Optimization
    from windtunnel.optimize.race import Cell
    from windtunnel.session import Session

GOAL = Goal("agreement", 0.02, (1, 8), batching=False, runtimes=("onnxruntime-cpu",), budget_s=1000.0)
FEW = ("int8-static", "int8-dynamic")
"""The branches that most of these tests go down: the others are tried by tests of their own."""


def _lost(value: float) -> Interval:
    return Interval(value, value - 0.01, value + 0.01, 300, 0.95)


def _statuses(judged: Sequence[Judged]) -> dict[str, str]:
    return {each.variant.name: each.status for each in judged}


class _Speeds:
    """How many times as fast as the parent each variant is, by its name; as fast where it is not named."""

    def __init__(self) -> None:
        self.of: dict[str, float] = {}
        self.timed: list[tuple[str, ...]] = []

    def race(
        self, parent: Variant, ways: Sequence[Variant], cells: Sequence[Cell], *, to_the_end: bool = False
    ) -> tuple[list[Finish], list[Refused]]:
        """In place of a race."""
        del parent, to_the_end
        finishes = [
            Finish(way, speed, {c.name: speed for c in cells}, {c.name: 1e-3 / speed for c in cells}, 0.0)
            for way in ways
            for speed in (self.of.get(way.name, 1.0),)
        ]
        return sorted(finishes, key=lambda each: -each.speedup), []

    def measure(
        self,
        openers: Mapping[str, Callable[[], Session]],
        feeds: object,
        batch_sizes: Sequence[int],
        *,
        budget_s: float,
    ) -> Timings:
        """In place of a measurement."""
        del feeds, budget_s
        self.timed.append(tuple(openers))
        rng = np.random.default_rng(1)
        blocks = {
            (name, batch): tuple(1e-3 / self.of.get(name, 1.0) * rng.uniform(0.99, 1.01, 20) for _ in range(12))
            for name in openers
            for batch in batch_sizes
        }
        return Timings(blocks, dict.fromkeys(blocks, True))


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
        self.parent, self.seeds, self.goal, self.speeds = parent, Seeds(1), GOAL, _Speeds()
        self.material = Material({"x": rows["x"][:300]})
        self.holdout = Holdout({"x": np.tile(rows["x"][300:], (4, 1))}, None)
        self.workers = Workers(1)

    def run(self, folder: Path) -> Optimization:
        return optimize(
            self.parent, self.material, self.holdout, self.goal, measure=self.speeds.measure, folder=folder,
            seeds=self.seeds, workers=self.workers,
        )  # fmt: skip


@pytest.fixture
def branches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the branches that are gone down; `student` stands for all that students bring."""
    chosen = list(FEW)
    everything = space.propose

    def few(*arguments: Any) -> Any:
        found, skipped = everything(*arguments)
        return [b for b in found if b.step.name in chosen or b.step.name.startswith("student")], skipped

    monkeypatch.setattr(search, "propose", few)
    return chosen


@pytest.fixture
def study(mlp: Variant, rows: dict[str, NDArray[Any]], branches: list[str], monkeypatch: pytest.MonkeyPatch) -> _Study:
    del branches
    made = _Study(mlp, rows)
    monkeypatch.setattr(explore, "race", made.speeds.race)
    monkeypatch.setattr(search, "race", made.speeds.race)
    return made


def test_from_end_to_end(study: _Study, tmp_path: Path, mlp: Variant) -> None:
    """Children are made, raced, sifted and judged on rows held out, and the fastest that is proven is chosen."""
    study.speeds.of = {"int8-static": 2.0, "int8-dynamic": 0.5}
    found = study.run(tmp_path)

    assert [each.variant.name for each in found.judged] == ["fp32", "int8-static"]
    assert [(each.variant.name, each.status) for each in found.raced] == [("int8-dynamic", "slower")]
    assert found.failures == ()
    assert found.parent.variant == mlp
    assert found.chosen.variant.name == "int8-static"
    assert (found.chosen.quantized, found.parent.quantized) == ((2, 2), (0, 2))
    assert found.chosen.quality.drop.samples == 1200
    assert found.chosen.speedup.low > 1.5
    assert found.chosen.variant.origin.parent == mlp.sha256
    assert set(found.chosen.checks) == {"other_processors", "attribution", "robustness"}
    assert found.verdict.outcome == "go"
    assert found.verdict.reasons[0].startswith("int8-static is 2.0")
    assert found.verdict.evidence == {"chosen": "int8-static", "tried": 3}


def test_batch_dependent_children_are_kept_out_of_batches(study: _Study, tmp_path: Path) -> None:
    """Dynamic int8 may be chosen where each request is alone, and never where requests share batches."""
    study.speeds.of = {"int8-dynamic": 3.0}

    assert study.run(tmp_path).chosen.variant.name == "int8-dynamic"

    study.goal = replace(GOAL, batching=True)
    found = study.run(tmp_path)
    assert found.chosen is found.parent
    assert _statuses(found.judged)["int8-dynamic"] == "batch-dependent"
    assert found.verdict.reasons == (
        "fp32 stays (run by ort): no child is both proven within 0.02 agreement and faster",
    )


def test_too_few_rows_prove_nothing(study: _Study, tmp_path: Path) -> None:
    """With forty rows no child is proven; the parent stays, and the verdict says how many rows would tell."""
    study.speeds.of = {"int8-static": 2.0}
    study.holdout = Holdout({"x": study.holdout.feeds["x"][:40]}, None)
    found = study.run(tmp_path)

    assert found.chosen is found.parent
    assert "held-out rows would tell" in "".join(found.verdict.would_change)


def test_a_later_wave_is_judged_where_the_first_proves_nothing(
    study: _Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the fastest children fail their proof the next are judged, at a higher level: chance has had its chances."""
    monkeypatch.setattr(proof, "WAVE", 1)
    study.speeds.of = {"int8-dynamic": 3.0, "int8-static": 2.0}
    study.goal = replace(GOAL, batching=True)
    found = study.run(tmp_path)

    assert study.speeds.timed == [("fp32", "int8-static")]  # who is not good enough is not timed
    assert found.chosen.variant.name == "int8-static"
    assert [each.quality.drop.confidence for each in found.judged[1:]] == pytest.approx([0.975, 0.9875])


def test_what_is_not_likely_is_not_proven(study: _Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that loses too much on the rows to learn from takes no chance on the rows held out, however fast it is."""
    study.speeds.of = {"int8-dynamic": 9.0, "int8-static": 2.0}
    monkeypatch.setattr(
        witness.Witness,
        "lost_on_learning",
        lambda _, variant, **__: _lost(0.5) if "int8-dynamic" in variant.name else _lost(0.0),
    )
    found = study.run(tmp_path)

    assert study.speeds.timed == [("fp32", "int8-static")]
    left = {each.variant.name: (each.status, each.reason) for each in found.raced}
    assert left["int8-dynamic"] == ("worse", "lost 0.5000 agreement (0.4900 to 0.5100) on 300 rows to learn from")


def test_fast_children_that_lose_too_much_are_repaired(
    study: _Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the fastest is not good enough its repairs are made in order, until one is."""
    study.speeds.of = {"int8-static": 3.0, "int8-static-percentile": 3.0, "int8-static-moving-average": 3.0}
    good = {"int8-static-percentile"}
    monkeypatch.setattr(
        witness.Witness, "lost_on_learning", lambda _, variant, **__: _lost(0.0 if variant.name in good else 0.5)
    )
    found = study.run(tmp_path)

    assert found.chosen.variant.name == "int8-static-percentile"
    assert "int8-static-percentile was enough" in {each.reason for each in found.skipped}
    assert "int8-static-mixed" in {each.name for each in found.skipped}


def test_what_is_hardly_faster_is_not_repaired(study: _Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repairs of a child that is hardly faster than a good one are not made, and it is said why."""
    study.speeds.of = {"int8-static": 2.01, "int8-dynamic": 2.0}
    monkeypatch.setattr(
        witness.Witness,
        "lost_on_learning",
        lambda _, variant, **__: _lost(0.5) if variant.name == "int8-static" else _lost(0.0),
    )
    found = study.run(tmp_path)

    assert found.chosen.variant.name == "int8-dynamic"
    assert {"int8-static is hardly faster than what is good already"} == {each.reason for each in found.skipped}


def test_exhaustive_finds_nothing_better(study: _Study, tmp_path: Path, branches: list[str]) -> None:
    """On a small space the search that skips chooses what the search that tries everything chooses."""
    branches += ["int8-static-s8s8", "int8-dynamic-per-tensor", "float16"]
    study.speeds.of = {"int8-static": 2.0, "int8-dynamic": 1.9, "float16": 1.2, "int8-dynamic-per-tensor": 1.5}
    short, whole = (
        study.run(tmp_path / name) for name, study.goal in (("short", GOAL), ("whole", replace(GOAL, exhaustive=True)))
    )

    assert short.chosen.variant.name == whole.chosen.variant.name == "int8-static"
    assert len(whole.judged) > len(short.judged)
    assert whole.raced == ()


def test_everything_that_is_proposed_can_be_made_or_says_why(
    mlp: Variant, study: _Study, tmp_path: Path, branches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every branch of this model's space makes a file, or says in plain words why there is none."""
    monkeypatch.undo()
    monkeypatch.setattr(explore, "race", study.speeds.race)
    monkeypatch.setattr(search, "race", study.speeds.race)
    del branches
    found = study.run(tmp_path)
    words = {each.name: each.reason for each in found.failures}

    assert found.tried > 8
    assert set(words) <= {"cleaned", "ort-optimized", "int8-weights-rtn", "int4-weights-hqq", "int4-weights-gptq"}
    assert all("Traceback" not in reason and str(tmp_path) not in reason for reason in words.values())
    assert mlp.sha256 == Variant.from_file(mlp.path).sha256


def test_a_student_and_its_children(study: _Study, tmp_path: Path) -> None:
    """A student is taught, and quantized too; the student's parent is the model, its children's parent the student."""
    study.goal = replace(GOAL, exhaustive=True)
    study.material = replace(
        study.material, student=lambda: (_Student(), {"x": torch.ones(2, 16)}), student_source="m.py:s"
    )
    found = study.run(tmp_path)
    made = {each.variant.name: each.variant for each in found.judged}

    assert {"student", "student-int8-dynamic", "student-int8-static"} <= set(made)
    assert made["student"].origin.parent == made["fp32"].sha256
    assert made["student-int8-static"].origin.parent == made["student"].sha256

    again = study.run(tmp_path / "again")
    assert {v.variant.name: v.variant.sha256 for v in again.judged} == {name: v.sha256 for name, v in made.items()}


def test_a_failing_step_takes_only_its_own(study: _Study, tmp_path: Path) -> None:
    """A student that cannot be made is a failure with its reason; it takes its own children with it and no others."""

    def broken() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
        raise NotImplementedError

    study.speeds.of = {"int8-static": 2.0}
    study.material = replace(study.material, student=broken)
    found = study.run(tmp_path)

    assert [(each.name, each.reason) for each in found.failures] == [("student", "NotImplementedError")]
    assert {"there is no student to make it from"} == {each.reason for each in found.skipped}
    assert found.chosen.variant.name == "int8-static"


def test_side_by_side_is_one_by_one(study: _Study, tmp_path: Path) -> None:
    """Files made by other processes are the files made here, bit for bit."""
    here = study.run(tmp_path / "here")
    study.workers = Workers(2)
    beside = study.run(tmp_path / "beside")
    digests = [
        {path.name: path.read_bytes() for path in folder.glob("*.onnx")}
        for folder in (tmp_path / "here", tmp_path / "beside")
    ]

    assert digests[0] == digests[1]
    assert len(digests[0]) == len(FEW)
    assert _statuses(here.judged) == _statuses(beside.judged)


def test_stopped_while_exploring_the_best_so_far_is_proven(
    study: _Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends the making of files; what was found by then is sifted, proven and chosen, and the result says so."""
    study.speeds.of = {"int8-static": 2.0, "int8-dynamic": 3.0}
    follow = explore.Explorer._follow

    def interrupted(self: explore.Explorer, branch: Any) -> None:
        if branch.step.name == "int8-dynamic":
            raise KeyboardInterrupt
        follow(self, branch)

    monkeypatch.setattr(explore.Explorer, "_follow", interrupted)
    found = study.run(tmp_path)

    assert found.interrupted
    assert found.chosen.variant.name == "int8-static"
    assert "it was stopped before its end: the same command goes on from there" in found.verdict.would_change


def test_out_of_time_something_is_chosen(study: _Study, tmp_path: Path) -> None:
    """With no time at all nothing is made, everything says so, and the parent is chosen."""
    study.goal = replace(GOAL, budget_s=0.0)
    found = study.run(tmp_path)

    assert found.chosen is found.parent
    assert set(FEW) == {each.name for each in found.skipped}
    assert {"the time for making was over"} == {each.reason for each in found.skipped}


def test_a_child_that_answers_nothing_is_a_failure(
    study: _Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child whose answers are no numbers is kept out with its reason; the search goes on."""
    study.speeds.of = {"int8-static": 2.0, "int8-dynamic": 3.0}
    asked = witness.ask

    def broken(session: Session, feeds: Any, goal: Goal, name: str) -> dict[str, NDArray[Any]]:
        outputs = asked(session, feeds, goal, name)
        return {key: array * np.nan for key, array in outputs.items()} if name == "int8-dynamic" else outputs

    monkeypatch.setattr(witness, "ask", broken)
    found = study.run(tmp_path)

    assert [each.name for each in found.failures] == ["int8-dynamic"]
    assert "NaN" in found.failures[0].reason
    assert [each.variant.name for each in found.judged] == ["fp32", "int8-static"]


def test_a_parent_that_does_not_run_is_refused(study: _Study, tmp_path: Path) -> None:
    """Where the parent itself does not run on the rows there is nothing to compare with, and no child is made."""
    study.holdout = Holdout({"x": np.ones((40, 7), np.float32)}, None)

    with pytest.raises(ModelError, match="`fp32` does not run on the rows"):
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
    """Static ranges that were learnt from other rows are made again; dynamic int8 learns from none."""
    study.run(tmp_path)
    before = _made(tmp_path)
    study.material = Material({"x": study.material.feeds["x"] * 2})
    study.run(tmp_path)

    assert {"int8-static.onnx"} == {name for name, made in _made(tmp_path).items() if made != before[name]}


def test_some_rows_are_taught_to_nobody(rows: dict[str, NDArray[Any]]) -> None:
    """All rows to learn from may be asked, with their labels, those that nobody is taught first."""
    taught, learning, untaught = apart(Material({"x": rows["x"]}, np.arange(600.0)))
    assert taught.label is not None
    assert learning.label is not None

    assert sorted(learning.label) == list(range(600))
    assert untaught == 150
    assert set(learning.label[:150]).isdisjoint(taught.label)
    assert np.array_equal(learning.feeds["x"], rows["x"][learning.label.astype(int)])


def test_who_was_not_asked_is_asked_when_the_first_fail(
    study: _Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When all who were likely fail their proof the slower are asked and proven: the parent is not chosen for want of asking."""
    monkeypatch.setattr(explore, "LIKELY", 1)
    study.speeds.of = {"int8-dynamic": 3.0, "int8-static": 2.0}
    study.goal = replace(GOAL, batching=True)
    found = study.run(tmp_path)

    assert _statuses(found.judged) == {"fp32": "dominated", "int8-dynamic": "batch-dependent", "int8-static": "chosen"}


def test_what_was_not_proven_is_repaired(study: _Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that was likely to be good and is shown to be worse is repaired while there is time, and its repair proven."""
    study.speeds.of = {"int8-static": 3.0, "int8-static-moving-average": 3.0, "int8-dynamic": 0.5}
    quality = witness.Witness.quality

    def judged(self: witness.Witness, session: Session, name: str, confidence: float) -> Quality:
        found = quality(self, session, name, confidence)
        return (
            found if name != "int8-static" else replace(found, drop=replace(found.drop, low=0.4, value=0.5, high=0.6))
        )

    monkeypatch.setattr(witness.Witness, "quality", judged)
    found = study.run(tmp_path)

    assert _statuses(found.judged) == {
        "fp32": "dominated", "int8-static": "worse", "int8-static-moving-average": "chosen",
    }  # fmt: skip


KEYS = {
    "name", "path", "runtime", "settings", "p50_s", "speedup", "speedup_low", "speedup_high", "quality", "quality_drop",
    "quality_drop_high", "bytes",
}  # fmt: skip


def test_the_document(study: _Study) -> None:
    """An optimization is JSON, with the promised keys for the chosen and every variant that was judged."""
    study.speeds.of = {"int8-static": 2.0, "int8-dynamic": 0.5}
    found = study.run(study.parent.path.parent / "children")
    document = found.to_dict(study.parent.path.parent)

    assert document == json.loads(json.dumps(document))
    assert [each["path"] for each in document["frontier"]] == [
        "mlp.onnx",
        "children/int8-static.onnx",
        "children/int8-dynamic.onnx",
    ]
    assert document["chosen"]["status"] == "chosen"
    assert set(document["chosen"]) >= KEYS | {"batch_dependence", "rows", "reason", "origin", "checks", "warnings"}
    assert (document["chosen"]["quantized_operators"], document["chosen"]["heavy_operators"]) == (2, 2)
    assert {"chosen", "dominated", "slower"} == {each["status"] for each in document["frontier"]}


class _Clock:
    """A clock by which work takes as long as is planted."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def work(self, took_s: float) -> None:
        """Let time pass."""
        self.now_s += took_s


class _Pace:
    """How long each kind of work takes, in seconds."""

    def __init__(self, study: _Study, patch: pytest.MonkeyPatch) -> None:
        self.clock, self.step_s, self.race_s, self.row_s, self.look_s = _Clock(), 4.0, 2.0, 0.001, 0.5
        self.steps: list[str] = []
        patch.setattr(search, "Budget", partial(Budget, clock=self.clock))
        for owner in (explore, search):
            patch.setattr(owner, "race", self._after(study.speeds.race, lambda *_: self.race_s))
        patch.setattr(Workshop, "make", self._after(Workshop.make, self._making_s))
        patch.setattr(witness, "ask", self._after(witness.ask, self._asking_s))
        patch.setattr(proof, "batch_dependence", self._after(batch_dependence, lambda *_: 50 * self.row_s))
        for name in ("cross_isa", "attribution_parity", "robustness_parity"):
            patch.setattr(checks, name, self._after(getattr(checks, name), lambda *_: self.look_s))
        measure = study.speeds.measure

        def timed(*given: Any, budget_s: float) -> Timings:
            self.clock.work(max(budget_s, 0.5))
            return measure(*given, budget_s=budget_s)

        patch.setattr(study.speeds, "measure", timed)

    def _after(self, function: Callable[..., Any], took_s: Callable[..., float]) -> Callable[..., Any]:
        def later(*given: Any, **more: Any) -> Any:
            self.clock.work(took_s(*given))
            return function(*given, **more)

        return later

    def _making_s(self, _workshop: Workshop, step: Any, *_: Any) -> float:
        self.steps.append(step.name)
        return self.step_s

    def _asking_s(self, _session: Session, feeds: Mapping[str, NDArray[Any]], *_: Any) -> float:
        return self.row_s * len(feeds["x"])


@pytest.fixture
def pace(study: _Study, monkeypatch: pytest.MonkeyPatch) -> _Pace:
    study.speeds.of = {"int8-static": 2.0, "int8-dynamic": 1.5}
    return _Pace(study, monkeypatch)


@pytest.mark.parametrize(
    ("planted", "budget_s", "chosen"),
    [
        ({}, 20.0, "int8-static"),
        ({}, 60.0, "int8-static"),
        ({"race_s": 8.0}, 20.0, "fp32"),
        ({"row_s": 0.02}, 200.0, "int8-static"),
    ],
    ids=["short", "enough", "long races", "slow rows"],
)
def test_the_budget_is_kept(
    study: _Study, pace: _Pace, tmp_path: Path, planted: dict[str, float], budget_s: float, chosen: str
) -> None:
    """Where no single piece of work outlasts it, the search ends within a tenth of its budget, with what is proven or the model."""
    vars(pace).update(planted)
    study.goal = replace(GOAL, budget_s=budget_s)
    found = study.run(tmp_path)

    assert found.seconds == pace.clock.now_s
    assert found.seconds <= 1.1 * budget_s
    assert found.overrun == ""
    assert found.chosen.variant.name == chosen
    assert sum(found.phases_s.values()) == pytest.approx(found.seconds)


@pytest.mark.parametrize(
    ("planted", "phase"),
    [({"step_s": 1000.0}, "making files"), ({"look_s": 1000.0}, "a closer look")],
    ids=["step", "look"],
)
def test_one_piece_without_an_end_is_the_last(
    study: _Study, pace: _Pace, tmp_path: Path, planted: dict[str, float], phase: str
) -> None:
    """A step or a look that goes on for ever is finished, nothing of its kind is begun after it, and the result says what took so long."""
    vars(pace).update(planted)
    study.goal = replace(GOAL, budget_s=30.0)
    found = study.run(tmp_path)

    assert 1000.0 < found.seconds <= 1000.0 + 1.1 * 30.0
    assert f"most of it for {phase} (16.7 min)" in found.overrun


def test_what_could_not_be_avoided_is_told(study: _Study, pace: _Pace, tmp_path: Path) -> None:
    """Where the model's own answers alone take longer than the budget nothing is begun after them, and the result says so."""
    pace.row_s, study.goal = 0.02, replace(GOAL, budget_s=20.0)
    found = study.run(tmp_path)

    assert found.chosen is found.parent
    assert pace.steps == []
    assert (
        found.overrun
        == "it took 33.5 s of a budget of 20 s, most of it for the model's own answers (31 s) and races (2 s)"
    )
    assert found.overrun in found.verdict.would_change
    assert found.to_dict(study.parent.path.parent)["phases_s"]["races"] == 2.0


def test_a_look_that_came_too_late_is_warned_of(study: _Study, pace: _Pace, tmp_path: Path) -> None:
    """A child that is proven is chosen though there was no time for more than one look, and carries a warning for each other."""
    pace.look_s, study.goal = 1000.0, replace(GOAL, budget_s=30.0)
    found = study.run(tmp_path)

    assert "attribution not looked at: the budget was over" in found.chosen.warnings
    assert "other processors not looked at: the budget was over" in found.chosen.warnings
    assert found.chosen.checks.keys() == {"robustness"}


def test_who_was_not_proven_in_time_is_told(
    study: _Study, pace: _Pace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child whose turn comes after the budget is spent is not proven, and not said to be worse than who was chosen."""
    study.speeds.of, study.goal = {"int8-static": 2.0, "int8-dynamic": 3.0}, replace(GOAL, budget_s=100.0)
    quality = witness.Witness.quality

    def endless(self: witness.Witness, session: Session, name: str, confidence: float) -> Quality:
        pace.clock.work(1000.0 if name == "int8-dynamic" else 0.0)
        return quality(self, session, name, confidence)

    monkeypatch.setattr(witness.Witness, "quality", endless)
    monkeypatch.setattr(proof, "WAVE", 2)
    found = study.run(tmp_path)

    assert found.chosen.variant.name == "int8-dynamic"
    assert [(each.variant.name, each.reason) for each in found.raced] == [
        ("int8-static", "what was chosen is better in what is asked for")
    ]
    assert "most of it for rows held out (16.7 min)" in found.overrun


def test_who_had_no_turn_is_told(study: _Study, pace: _Pace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first child took all the time and is not good, the next is not proven, and more time is what would change it."""
    study.speeds.of, study.goal = {"int8-static": 2.0, "int8-dynamic": 3.0}, replace(GOAL, budget_s=100.0)
    quality = witness.Witness.quality

    def endless(self: witness.Witness, session: Session, name: str, confidence: float) -> Quality:
        pace.clock.work(1000.0)
        found = quality(self, session, name, confidence)
        return replace(found, drop=replace(found.drop, value=0.5, low=0.4, high=0.6))

    monkeypatch.setattr(witness.Witness, "quality", endless)
    monkeypatch.setattr(proof, "WAVE", 1)
    found = study.run(tmp_path)

    assert found.chosen is found.parent
    assert ("int8-static", "there was no time left to prove it") in {
        (each.variant.name, each.reason) for each in found.raced
    }
    assert any("not proven for want of time: give a --budget above 100s" in each for each in found.verdict.would_change)


def test_nothing_is_made_beside_that_cannot_be_raced(
    study: _Study, pace: _Pace, tmp_path: Path, branches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several workers every file that was made is raced; with little time, files are made one by one."""
    branches += ["int8-static-s8s8", "int8-dynamic-per-tensor", "float16", "cleaned", "ort-optimized"]
    asked: list[int] = []

    def few_at_once(function: Callable[..., str], items: Sequence[Any], *, shared: Any, workers: Workers) -> None:
        assert workers.count == 2
        asked.append(len(items))
        for item in items:
            function(shared, item)

    monkeypatch.setattr(explore, "fan_out", few_at_once)
    study.workers, pace.race_s = Workers(2), 6.0
    for budget_s, waves in ((80.0, [4]), (25.0, [])):
        asked.clear()
        folder = tmp_path / str(budget_s)
        study.goal = replace(GOAL, budget_s=budget_s)
        pace.clock.now_s = 0.0
        found = study.run(folder)

        assert asked == waves
        assert {path.stem for path in folder.glob("*.onnx")} <= found.files
        assert found.seconds <= 1.1 * budget_s
