"""An adversary beside honest requests: what these were answered is compared, and a real server stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from windtunnel.deployment import BatchPolicy, Deployment
from windtunnel.seeds import Seeds
from windtunnel.serving.running import serving
from windtunnel.simulate.live import Bodies, Schedule, Target, drive
from windtunnel.simulate.live.adversary import Assault, Hostility, Material
from windtunnel.simulate.live.adversary.assault import FAMILIES
from windtunnel.simulate.live.adversary.processes import Processes, _comm
from windtunnel.trace import Trace
from windtunnel.variant import Variant
from windtunnel.verbs.adversary import Foe

from .test_assault import vulnerable

if TYPE_CHECKING:
    from windtunnel.simulate.live.adversary import Siege

FEEDS = {"x": np.random.default_rng(5).normal(size=(32, 4)).astype(np.float32)}


def _model(path: Path) -> Path:
    """A model that gives the sum of a row of x."""
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)], "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [axes],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


def _besieged(target: Target, variant: Variant, lasts_s: float, hostility: Hostility, *, calm_s: float = 0.0) -> Siege:
    """Drive a server with an adversary in the middle half of so long, or all the time but for so long before and after."""
    bodies = Bodies.of(target, [FEEDS])
    times_s = np.sort(np.random.default_rng(2).uniform(0.0, lasts_s, int(50 * lasts_s)))
    schedule = Schedule.of(Trace("t", times_s), bodies)
    if calm_s:
        rows = [{"x": row[None]} for row in FEEDS["x"]]
        assault = Assault(Material(target, rows), hostility, calm_s, lasts_s - calm_s, Seeds(1))
        foe = Foe(target, rows, assault, 3.0)
    else:
        foe = Foe.of(target, bodies, [FEEDS], schedule, Seeds(1), 3.0, hostility)
    with foe.assault:
        run = drive(target, schedule, bodies, capacity_per_s=1e6, keep=True, watch=foe.watching(lambda _: None))
    return foe.judge(run, variant)


def test_wrong_answers_to_honest_requests_are_found(tmp_path: Path) -> None:
    """A server that mixes up answers after a bad request is found out by what honest requests were told."""
    quick = tuple(each for each in FAMILIES if each.name == "json")
    with vulnerable("wrong") as url:
        variant = Variant.from_file(_model(tmp_path / "sum.onnx"), name="sum")
        siege = _besieged(Target.find(url, "sum"), variant, 5.0, Hostility(limit_s=1.0, families=quick))

    assert siege.compared == 250
    assert siege.wrong[0] > 5
    assert siege.wrong[1] == ("another y than the model alone gives",)
    assert siege.decide()[0] == "no-go"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes where Linux tells of them")
def test_our_server_stands(tmp_path: Path) -> None:
    """The real server under every family: nothing hangs, no malformed input is taken, no answer is wrong, no process ends."""
    path = _model(tmp_path / "sum.onnx")
    deployment = Deployment("sum", 1, BatchPolicy(8, 0.002), machines=1, usd_per_hour=0.0)
    with serving(path, deployment) as served:
        target = Target.find(served.root, "sum")
        seen = {_comm(pid) for pid in Processes.serving(target.address).started}
        variant = Variant.from_file(path, name="sum")
        # it gives up what trickles after ten seconds
        siege = _besieged(target, variant, 13.7, Hostility(rate_per_s=20.0, limit_s=11.7), calm_s=0.5)
    told: dict[str, Any] = {each.family: each for each in siege.families}

    assert siege.findings == ()
    assert (siege.crashes, siege.wrong[0], siege.gone) == (0, 0, False)
    assert siege.spared.under_lost == siege.spared.calm_lost == 0
    assert "ray::ServeRepli" in seen
    assert siege.compared == 685
    assert told["slowloris"].tried >= 32
    assert all(each.tried for each in siege.families)
