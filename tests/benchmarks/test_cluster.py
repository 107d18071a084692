from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.benchmarks.benchmark import Benchmark, Extent
from windtunnel.benchmarks.cluster import ClusterBenchmark, benchmark_on_cluster, check_source
from windtunnel.benchmarks.connection import connected
from windtunnel.benchmarks.disturbance import Disturbance
from windtunnel.benchmarks.kind import Kind
from windtunnel.benchmarks.measure import Effort
from windtunnel.benchmarks.node import Node, Sight, pinned
from windtunnel.benchmarks.task import Task
from windtunnel.benchmarks.turns import Bench, none_measured
from windtunnel.errors import MeasurementError, MissingError, WindtunnelError
from windtunnel.hardware import Hardware
from windtunnel.latency_profile import LatencyProfile
from windtunnel.progress import Progress
from windtunnel.timings import Timings
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


SPACE = "windtunnel-tests"


class Lines(Progress):
    """Keeps what is said, and calls a function with each line."""

    def __init__(self, then: Callable[[str], None]) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []
        self._then = then

    def say(self, line: str) -> None:
        """Keep one line."""
        self.lines.append(line.strip())
        self._then(line.strip())


@dataclass
class Fleet:
    """A cluster of nodes that all stand on this machine, and what was measured on it."""

    address: str
    task: Task
    busy: Node
    result: ClusterBenchmark
    lines: list[str]
    without_cpus: WindtunnelError
    initialized_after: bool


def measure(address: str, task: Task, progress: Progress, patience_s: float = 60.0) -> ClusterBenchmark:
    missing = replace(task, runtime="onnxruntime-tensorrt", described="onnxruntime 1 TensorrtExecutionProvider")
    return benchmark_on_cluster(
        [task, missing], (1, 4), address=address, effort=Effort(0.5, 0.0), extent=Extent(footprint=False, scaling=False),
        patience_s=patience_s, progress=progress,
    )  # fmt: skip


def find(label: str) -> Node:
    import ray

    nodes = [Node.from_ray(entry) for entry in ray.nodes()]  # type: ignore[no-untyped-call]  # Ray left it untyped
    return next(node for node in nodes if node.accelerator == label)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A head that lends nothing, a node that is free, one that is busy, and one that dies while it measures."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray.cluster_utils import Cluster

    task = Task(_variant(tmp_path_factory.mktemp("model") / "tiny.onnx"), {"x": np.ones((4, 4), np.float32)},
                "onnxruntime-cpu", "not asked yet")  # fmt: skip
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        with pytest.raises(MissingError) as without_cpus:
            measure(cluster.address, task, Progress(quiet=True))
        cluster.add_node(wait=False, num_cpus=1, labels={"ray.io/accelerator-type": "A10G"})
        cluster.add_node(wait=False, num_cpus=1, labels={"ray.io/accelerator-type": "busy"})
        dying = cluster.add_node(wait=False, num_cpus=1, resources={"accelerator_type:T4": 1})
        cluster.wait_for_nodes()
        with connected(cluster.address):
            busy = find("busy")
            holder: Any = ray.remote(num_cpus=1)(Bench)
            held = holder.options(
                scheduling_strategy=pinned(busy), lifetime="detached", name="holder", namespace=SPACE
            ).remote()
            ray.get(held.hold.remote())

        def kill(line: str) -> None:
            if line.startswith("T4: measuring on"):
                cluster.remove_node(dying, allow_graceful=False)

        said = Lines(kill)
        result = measure(cluster.address, task, said, patience_s=1.0)
        yield Fleet(cluster.address, task, busy, result, said.lines, without_cpus.value, ray.is_initialized())
    finally:
        cluster.shutdown()


def _variant(path: Path) -> Variant:
    import onnx
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "tiny", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return Variant.from_file(path)


def kinds(result: ClusterBenchmark) -> dict[str, Kind]:
    return {kind.label: kind for kind in result.kinds}


def test_one_measurement_a_kind(fleet: Fleet) -> None:
    """Nodes of different accelerators are different kinds; one that is free measures the task, and Ray is left afterwards."""
    found = kinds(fleet.result)

    assert sorted(found) == ["A10G", "T4", "busy"]
    assert [label for label, kind in found.items() if kind.benchmark is not None] == ["A10G"]
    assert found["A10G"].hardware == Hardware.detect()
    assert len(found["A10G"].versions["windtunnel"]) == 64
    assert not fleet.initialized_after


def test_profiles_come_home(fleet: Fleet, tmp_path: Path) -> None:
    """Profiles live on when Ray is gone, and are written to a folder a kind."""
    fleet.result.save(tmp_path)
    number = [kind.label for kind in fleet.result.kinds].index("A10G") + 1
    files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.npz")]

    assert files == [f"{number}-A10G/tiny.npz"]
    assert [len(profile.samples_s) for profile in fleet.result.profiles] == [2]
    loaded = LatencyProfile.load(tmp_path / files[0])
    assert loaded.batch_sizes == (1, 4)
    assert loaded.runtime.startswith("onnxruntime ")


def test_one_machine_in_turns(fleet: Fleet) -> None:
    """Nodes on one machine measure one after the other: each kind's outcome is said before the next one begins."""
    started = [line.partition(":")[0] for line in fleet.lines if ": measuring on" in line]
    order = [line.partition(":")[0] for line in fleet.lines[1:]]

    assert fleet.result.in_turns == (tuple(kind.label for kind in fleet.result.kinds),)
    assert order == [label for kind in fleet.result.kinds for label in [kind.label] * (1 + (kind.label in started))]
    assert sorted(started) == ["A10G", "T4"]


def test_busy_node(fleet: Fleet) -> None:
    """A node that is not free in time is named with what runs there, and is no reason to lose the others."""
    busy = kinds(fleet.result)["busy"]

    assert busy.benchmark is None
    assert busy.problem.startswith(f"node {fleet.busy.id[:12]} (")
    assert " was not free within 1 s: it runs Bench (process " in busy.problem
    assert busy.problem.endswith("; wait for that or end it, and measure again")


def test_node_that_dies(fleet: Fleet) -> None:
    """A node that dies while it measures is named; what the others measured is brought home, and the verdict stays open."""
    dying = kinds(fleet.result)["T4"]

    assert dying.benchmark is None
    assert dying.problem.startswith(f"node {dying.nodes[0].id[:12]} (")
    assert " was lost before it could finish measuring (" in dying.problem
    assert len(fleet.result.profiles) == 1
    assert fleet.result.verdict.outcome == "inconclusive"


def test_head_is_passed_over(fleet: Fleet) -> None:
    """A node that lends no CPU cannot be held, and is not measured; a cluster of such nodes alone is refused."""
    assert [node.cpus for node in fleet.result.passed_over] == [0.0]
    assert str(fleet.without_cpus).startswith("no node of the cluster lends CPUs; add one: ray start --address=")


def test_runtime_that_runs_nowhere(fleet: Fleet) -> None:
    """A runtime that no node has is left out everywhere, with the words of the node, and leaves the verdict open."""
    left_out = kinds(fleet.result)["A10G"].left_out

    assert list(left_out) == list(fleet.result.nowhere) == ["onnxruntime-tensorrt"]
    assert any(
        reason.startswith("onnxruntime-tensorrt: can run on no node (") for reason in fleet.result.verdict.reasons
    )


def test_document(fleet: Fleet) -> None:
    """The JSON document has one entry a profile and batch size, with its kind, and every kind with its verdict."""
    told = fleet.result.to_dict()

    assert [(entry["kind"], entry["variant"], entry["batch"]) for entry in told["profiles"]] == [
        ("A10G", "tiny", 1),
        ("A10G", "tiny", 4),
    ]
    assert all("profiles" not in kind for kind in told["kinds"])
    assert {kind["label"]: kind["measured_on"] for kind in told["kinds"]} == {
        kind.label: kind.nodes[0].id for kind in fleet.result.kinds
    }


def test_busy_node_holds_up_nobody(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nodes stand on machines of their own, one that is free does not wait for one that is busy, which follows."""
    monkeypatch.setattr("windtunnel.benchmarks.turns.turns_of", lambda kinds: tuple((kind,) for kind in kinds))
    finished: list[str] = []

    def free(line: str) -> None:
        import ray

        label, _, told = line.partition(": ")
        if told not in {"go", "inconclusive"}:
            return
        finished.append(label)
        if finished == ["A10G"]:
            ray.kill(ray.get_actor("holder", namespace=SPACE))

    result = measure(fleet.address, fleet.task, Lines(free), patience_s=60.0)

    assert finished == ["A10G", "busy"]
    assert [profile.variant for profile in result.profiles] == ["tiny", "tiny"]


def test_other_source_is_refused() -> None:
    """What another windtunnel measured would not be comparable: refused, with both digests."""
    hardware = Hardware("a processor", "x86_64", (), 2.0, 2**33)
    node = Node("abc", "h", "10.0.0.7", 2.0)
    check_source(Sight(hardware, "m", {"windtunnel": "1" * 64}), node, "1" * 64)
    with pytest.raises(MissingError) as caught:
        check_source(Sight(hardware, "m", {"windtunnel": "0" * 64}), node, "1" * 64)

    assert str(caught.value).startswith(f"node abc (h, 10.0.0.7) has windtunnel {'0' * 12} and here it is {'1' * 12}")


def test_none_measured() -> None:
    """Where no kind was measured the error is of the type that all errors are of, and says what each met."""
    lacks, lost = MissingError("lacks CUDA"), MeasurementError("was lost")

    assert none_measured({"a": lacks}) is lacks
    assert type(none_measured({"a": lacks, "b": lacks})) is MissingError
    assert type(none_measured({"a": lacks, "b": lost})) is MeasurementError
    assert (
        str(none_measured({"a": lacks, "b": lost})) == "no kind of node could be measured: a: lacks CUDA; b: was lost"
    )


def test_go_where_all_is_well(make_profile: Callable[..., LatencyProfile]) -> None:
    """The verdict is go where every kind's is; one kind without a measurement leaves it open."""
    benchmark = Benchmark((make_profile(),), Timings({}, {}), 1e-7, Disturbance(0.0, 0.0))
    node = Node("abc", "h", "10.0.0.7", 2.0)
    well = Kind("a", (node,), machine="1", benchmark=benchmark, left_out={"openvino": "not installed"})
    well_too = replace(well, label="b", machine="2", left_out={})

    assert ClusterBenchmark((well, well_too)).verdict.outcome == "go"
    assert ClusterBenchmark((well, well_too)).in_turns == ()
    assert ClusterBenchmark((well,)).verdict.outcome == "inconclusive"
    assert ClusterBenchmark((well_too, Kind("c", (node,), problem="was lost"))).verdict.outcome == "inconclusive"
