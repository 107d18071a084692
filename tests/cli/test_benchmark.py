"""The commands of `windtunnel benchmark` as people type them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.hardware import Hardware
from windtunnel.latency_profile import LatencyProfile
from windtunnel.verdict import EXIT_CODES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command
    from windtunnel.verdict import Outcome

QUICK = ("--budget", "1s", "--precision", "50%", "--no-footprint", "--no-scaling", "--quiet", "--json")
PRICING = tuple(option for option in QUICK if option not in {"--no-scaling", "--no-footprint"})
ENDS = ("", "_low", "_high")


def save_wide_model(path: Path, layers: int, width: int = 256) -> None:
    """Write a model of some dense layers with one input `x` [batch, words, width], mean over words."""
    rng = np.random.default_rng(1)
    nodes, weights, name = [], [], "x"
    for layer in range(layers):
        weight = rng.normal(size=(width, width)).astype(np.float32) / width**0.5
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [name, f"w{layer}"], [f"h{layer}"]))
        name = f"h{layer}"
    nodes.append(helper.make_node("ReduceMean", [name, "axes"], ["y"], keepdims=0))
    weights.append(numpy_helper.from_array(np.array([1, 2], np.int64), "axes"))
    graph = helper.make_graph(
        nodes, "wide", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "words", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])], weights,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))


def test_profiles_hold_what_was_promised(windtunnel: Command) -> None:
    """One entry a batch size, with every quantile and its ends, throughput, memory, validity and reasons."""
    ran = windtunnel("benchmark", "model.onnx", "--batch", "1,8,64", "--budget", "1s", "--precision", "50%", "--json")

    assert ran.code == EXIT_CODES[ran.document["verdict"]], ran.err
    assert [entry["batch"] for entry in ran.document["profiles"]] == [1, 8, 64]
    for entry in ran.document["profiles"]:
        quantiles = {f"{name}_s{end}" for name in ("p50", "p90", "p99", "p999") for end in ENDS}
        others = {"variant", "runtime", "threads", "samples", "throughput_per_s", "rss_bytes", "valid", "reasons"}
        assert quantiles | others | {"cpu_s_per_request", "process_start_s", "load_s"} <= entry.keys()
        assert entry["rss_bytes"] > 2**24
        assert 0.0 < entry["load_s"] < entry["process_start_s"]
    assert ran.document["generated_inputs"] is True
    assert ran.document["scalings"][0]["layouts"]
    (curve,) = ran.document["load_curves"]
    assert 0.0 < curve["knee_per_s"] < curve["saturation_per_s"]


def test_size_classes(home: Path, windtunnel: Command) -> None:
    """Each length of a free axis is a profile of its own; longer inputs take longer."""
    save_wide_model(home / "wide.onnx", 2)
    ran = windtunnel("benchmark", "wide.onnx", "--batch", "1,4", "--size", "words=2,128", *QUICK, "--out", "s")

    medians = {(entry["size"], entry["batch"]): entry["throughput_per_s"] for entry in ran.document["profiles"]}
    assert set(medians) == {("words=2", 1), ("words=2", 4), ("words=128", 1), ("words=128", 4)}
    assert medians["words=2", 4] > medians["words=128", 4]
    assert ran.document["comparisons"] == []
    assert sorted(path.name for path in (home / "s" / "benchmark").glob("*.npz")) == [
        "wide-words=128.npz",
        "wide-words=2.npz",
    ]


def test_real_rows_of_another_length(home: Path, windtunnel: Command) -> None:
    """Real rows are cut or repeated to each length, and the output says that they are real."""
    save_wide_model(home / "wide.onnx", 1)
    np.savez(home / "rows.npz", x=np.ones((3, 5, 256), np.float32))
    ran = windtunnel("benchmark", "wide.onnx", "--batch", 1, "--size", "words=2,9", "--data", "rows.npz", *QUICK)

    assert [entry["size"] for entry in ran.document["profiles"]] == ["words=2", "words=9"]
    assert ran.document["generated_inputs"] is False


@pytest.mark.skipif(Hardware.detect().cores < 2, reason="one core: neither two threads nor two instances fit")
def test_settings(windtunnel: Command) -> None:
    """Runtimes, threads and busy neighbours are combined, and every setting says what it is."""
    ran = windtunnel(
        "benchmark", "model.onnx", "--batch", 1, "--runtime", "onnxruntime-cpu,openvino", "--threads", "1,2",
        "--concurrency", "1,2", *QUICK,
    )  # fmt: skip

    settings = {(e["runtime"].split()[0], e["threads"], e["concurrency"]) for e in ran.document["profiles"]}
    assert settings == {(r, t, c) for r in ("onnxruntime", "openvino") for t in (1, 2) for c in (1, 2)}


def test_gate(home: Path, windtunnel: Command) -> None:
    """Shown to be slower fails the gate, exit 1; shown to be faster passes, exit 0; the order of the models is what is asked."""
    save_wide_model(home / "small.onnx", 1)
    save_wide_model(home / "large.onnx", 12)
    gate = ("--batch", 8, "--budget", "3s", "--precision", "90%", *QUICK[4:], "--fail-if-slower", "3%")
    worse = windtunnel("benchmark", "small.onnx", "large.onnx", *gate)
    better = windtunnel("benchmark", "large.onnx", "small.onnx", *gate)

    # a disturbed machine makes a measurement inconclusive, and no gate is then passed or failed
    assert (worse.code, better.code) in {(1, 0), (3, 3), (1, 3), (3, 0)}
    (comparison,) = worse.document["comparisons"]
    assert (comparison["a"], comparison["b"], comparison["batch"]) == ("small", "large", 8)
    assert comparison["told"] == "slower" or (worse.code, comparison["told"]) == (3, "not known")
    assert comparison["ratio_low"] <= comparison["ratio"] <= comparison["ratio_high"]
    if comparison["told"] == "slower":
        assert comparison["ratio_high"] < 1.0
        assert comparison["sentence"].startswith("large is slower than small at batch 8")


def _planted(home: Path, name: str, factor: float, runtime: str = "onnxruntime 1 CPUExecutionProvider") -> None:
    """Write an earlier run whose service times are those of `profile.npz` times a factor."""
    from dataclasses import replace

    folder = home / name / "benchmark"
    folder.mkdir(parents=True)
    replace(LatencyProfile.load(home / "profile.npz").scaled(factor), runtime=runtime).save(folder / "m.npz")


@pytest.mark.parametrize(("factor", "outcome"), [(1.5, "no-go"), (0.8, "go"), (1.03, "inconclusive")])
def test_two_runs(home: Path, windtunnel: Command, factor: float, outcome: Outcome) -> None:
    """Two earlier runs are compared without measuring again; versions that differ are named."""
    _planted(home, "old", 1.0)
    _planted(home, "new", factor, "onnxruntime 2 CPUExecutionProvider")
    ran = windtunnel("benchmark", "old", "new", "--fail-if-slower", "3%", "--json")

    assert (ran.code, ran.document["verdict"]) == (EXIT_CODES[outcome], outcome)
    assert [(each["batch"], each["paired"]) for each in ran.document["comparisons"]] == [(1, False), (8, False)]
    assert ran.document["comparisons"][0]["ratio"] == pytest.approx(1 / factor)
    assert "onnxruntime 2" in ran.document["comparisons"][0]["b"]


def test_runs_of_two_machines(home: Path, windtunnel: Command) -> None:
    """Profiles of different hardware are not compared as if they were of one machine."""
    from dataclasses import replace

    profile = LatencyProfile.load(home / "profile.npz")
    replace(profile, hardware=replace(profile.hardware, cpu="another")).save(home / "other.npz")
    ran = windtunnel("benchmark", "profile.npz", "other.npz", "--json")

    assert (ran.code, ran.out) == (2, "")
    assert "compare what was measured on one kind of machine" in ran.err


def test_costs_hold_what_was_promised(home: Path, windtunnel: Command) -> None:
    """Each cost names machine, price, date and basis, and has throughput and money with both ends, or says why not."""
    ran = windtunnel(
        "benchmark", "model.onnx", "--batch", "1,8", "--cost", "--hardware", "aws:m7i.large,aws:g5.xlarge,aws:c7g.large,aws:lambda-2048MB",
        "--slo", "p99<=500ms", "--grid", 400, *PRICING, "--out", "c",
    )  # fmt: skip

    assert ran.code == EXIT_CODES[ran.document["verdict"]], ran.err
    here, gpu, arm, function = ran.document["costs"]
    assert function["hardware"] == "aws:lambda-2048MB"
    assert 0.0 < function["usd_per_million_low"] <= function["usd_per_million"] <= function["usd_per_million_high"]
    assert [each["hardware"] for each in (here, gpu, arm)] == ["aws:m7i.large", "aws:g5.xlarge", "aws:c7g.large"]
    keys = {
        "usd_per_hour",
        "currency",
        "price_date",
        "basis",
        "throughput_at_slo_per_s",
        *(f"usd_per_million{end}" for end in ENDS),
    }
    assert all(keys <= each.keys() for each in (here, gpu, arm, function))
    assert (here["basis"], gpu["basis"], arm["basis"]) == ("projected", "projected", "not measured")
    assert here["usd_per_million_low"] < here["usd_per_million"] < here["usd_per_million_high"]
    assert here["usd_per_million"] == pytest.approx(here["usd_per_hour"] / 3600 / here["throughput_at_slo_per_s"] * 1e6)
    assert gpu["band"] > here["band"] > 1.0
    assert gpu["energy"]["co2_g_per_million"] > 0.0
    assert arm["usd_per_million"] is None
    assert "run windtunnel benchmark there" in arm["note"]
    assert ran.document["projection_error"]["held_out"]
    shown = windtunnel("report", "c").out
    assert "machine by machine" in shown
    assert "wider by the spread" in (home / "c" / "report.html").read_text()


def test_measured_is_said_of_this_machine_alone(home: Path, windtunnel: Command) -> None:
    """Where the user says what this machine is sold as, its cost is measured; a price of one's own may be used."""
    (home / "prices.csv").write_text(
        "provider,instance_type,region,arch,vcpu,memory_gib,accelerator,accelerator_count,ondemand_usd_per_hour,catalog_date,source\n"
        "aws,m7i.large,us-east-1,x86_64,2,8,,0,0.36,2026-11-01,a contract\n"
    )
    ran = windtunnel(
        "benchmark", "model.onnx", "--batch", "1,8", "--cost", "--hardware", "aws:m7i.large", "--here", "aws:m7i.large",
        "--prices", "prices.csv", "--slo", "p99<=50ms", *PRICING,
    )  # fmt: skip

    (cost,) = ran.document["costs"]
    assert (cost["basis"], cost["usd_per_hour"], cost["price_date"], cost["band"]) == (
        "measured",
        0.36,
        "2026-11-01",
        1.0,
    )
    assert ran.document["projection_error"] is None
    assert cost["usd_per_million"] == pytest.approx(100.0 / cost["throughput_at_slo_per_s"])


def test_catalogue(home: Path, windtunnel: Command) -> None:
    """`doctor --catalog` lists every price with its date and doubts, and those of one's own."""
    (home / "prices.csv").write_text(
        "provider,instance_type,region,arch,vcpu,memory_gib,accelerator,accelerator_count,ondemand_usd_per_hour,catalog_date,source\n"
        "my,box,here,x86_64,4,16,,0,700,2020-01-01,an offer\n"
    )
    document = json.loads(windtunnel("doctor", "--catalog", "--prices", "prices.csv", "--json").out)
    shown = windtunnel("doctor", "--catalog").out

    own = next(each for each in document["prices"] if each["name"] == "my:box")
    assert own["flags"] == ["placeholder", "stale"]
    assert all(each["name"] in shown for each in document["prices"] if each["name"] != "my:box")


@pytest.mark.parametrize(
    "option", [("--cost", "--hardware", "aws:m7i.large", "--slo", "p99<=50ms"), ("--fail-if-slower", "3%")]
)
def test_a_cluster_is_not_one_machine(home: Path, windtunnel: Command, option: tuple[str, ...]) -> None:
    """What is about one machine is refused beside `--on-cluster`, before any cluster is looked for."""
    (home / "twin.onnx").write_bytes((home / "model.onnx").read_bytes())
    ran = windtunnel("benchmark", "model.onnx", "twin.onnx", "--on-cluster", "--ray-address", "127.0.0.1:1", *option)

    assert (ran.code, ran.out) == (2, "")
    assert f"`{option[0]}` is about one machine" in ran.err


def test_no_cluster(windtunnel: Command) -> None:
    """Where no cluster is, that is said at once, with exit 4."""
    ran = windtunnel("benchmark", "model.onnx", "--on-cluster", "--ray-address", "127.0.0.1:1", "--batch", 1)

    assert (ran.code, ran.out) == (4, "")
    assert "127.0.0.1:1" in ran.err


def test_every_size_class_is_gated(home: Path, windtunnel: Command) -> None:
    """A model that is slower only on long inputs is compared there too, and does not pass."""
    save_wide_model(home / "small.onnx", 1)
    save_wide_model(home / "large.onnx", 12)
    ran = windtunnel(
        "benchmark", "small.onnx", "large.onnx", "--batch", 4, "--size", "words=1,64", "--fail-if-slower", "10%",
        "--budget", "3s", "--precision", "90%", *QUICK[4:],
    )  # fmt: skip

    assert [(each["a"], each["b"]) for each in ran.document["comparisons"]] == [
        ("small, words=1", "large, words=1"), ("small, words=64", "large, words=64"),
    ]  # fmt: skip
    assert ran.code in {1, 3}


@pytest.mark.skipif(Hardware.detect().cores < 2, reason="one core: two threads do not fit")
def test_like_is_compared_with_like(home: Path, windtunnel: Command) -> None:
    """Another model is put beside the first in the same setting; a lone model's settings are put beside each other."""
    (home / "twin.onnx").write_bytes((home / "model.onnx").read_bytes())
    two = windtunnel("benchmark", "model.onnx", "twin.onnx", "--batch", 1, "--threads", "1,2", *QUICK)
    one = windtunnel("benchmark", "model.onnx", "--batch", 1, "--threads", "1,2", *QUICK)

    assert [(each["a"], each["b"]) for each in two.document["comparisons"]] == [
        ("model", "twin"), ("model, 2 threads", "twin, 2 threads"),
    ]  # fmt: skip
    assert [(each["a"], each["b"]) for each in one.document["comparisons"]] == [("model", "model, 2 threads")]


def test_what_told_nothing_is_measured_again(windtunnel: Command) -> None:
    """An inconclusive measurement is not taken for an answer when it is asked for again; a valid one is."""
    never = ("benchmark", "model.onnx", "--batch", 1, "--budget", "200ms", "--precision", "0.0001%", *QUICK[4:])
    first, again = windtunnel(*never), windtunnel(*never)

    assert [each.document["verdict"] for each in (first, again)] == ["inconclusive", "inconclusive"]
    assert [each.document["cached"] for each in (first, again)] == [False, False]


def test_what_a_function_makes_is_the_question(home: Path, windtunnel: Command) -> None:
    """A function that reads another file than before makes another model, and no old result passes for it."""
    (home / "width.txt").write_text("8")
    (home / "net.py").write_text(
        "import pathlib, torch\n\n\ndef make():\n    torch.manual_seed(0)\n"
        "    width = int(pathlib.Path('width.txt').read_text())\n"
        "    return torch.nn.Linear(width, 1), {'input': torch.zeros(4, width)}\n"
    )
    first = windtunnel("benchmark", "net.py:make", "--batch", 1, *QUICK)
    (home / "width.txt").write_text("16")
    again = windtunnel("benchmark", "net.py:make", "--batch", 1, *QUICK)

    assert first.document["profiles"][0]["variant"] == "make"
    assert first.document["run"] != again.document["run"]
    assert again.document["cached"] is False


def test_made_up_inputs_are_said_so(windtunnel: Command) -> None:
    """People are told that the inputs were made up; with real ones they are not."""
    quick = [option for option in QUICK if option != "--json"]

    assert "made up from the signature" in windtunnel("benchmark", "model.onnx", "--batch", 1, *quick).out
    assert "made up" not in windtunnel("benchmark", "model.onnx", "--batch", 1, "--data", "holdout.npz", *quick).out


@pytest.mark.parametrize(
    ("slo", "outcomes"), [("p50<=10ns", {"no-go", "inconclusive"}), ("p50<=10s", {"go", "inconclusive"})]
)
def test_a_promise_that_nothing_keeps(windtunnel: Command, slo: str, outcomes: set[str]) -> None:
    """Where no machine can keep the promise the answer is no; a measurement that does not hold says neither."""
    ran = windtunnel(
        "benchmark", "model.onnx", "--batch", 1, "--cost", "--hardware", "aws:m7i.large", "--slo", slo, *PRICING
    )

    assert ran.document["verdict"] in outcomes
    assert (ran.document["costs"][0]["usd_per_million"] is None) == (slo == "p50<=10ns")


def test_made_up_inputs_that_the_model_cannot_take(home: Path, windtunnel: Command) -> None:
    """What the runtime refuses while it is measured is a refusal with its words, not a crash."""
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"])]
    graph = helper.make_graph(
        nodes, "lookup", [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.zeros((1, 2), np.float32), "table")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(home / "lookup.onnx"))
    ran = windtunnel("benchmark", "lookup.onnx", "--batch", "64", *QUICK)

    assert (ran.code, ran.out) == (2, "")
    assert "Traceback" not in ran.err
    assert "out of data bounds" in ran.err


@pytest.mark.parametrize(("batch", "code"), [("1,8", 2), ("4", None)])
def test_a_fixed_batch_axis(home: Path, windtunnel: Command, batch: str, code: int | None) -> None:
    """A model that takes exactly four rows is measured with four, and refused with what to give otherwise."""
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)]
    graph = helper.make_graph(
        nodes, "fixed", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])], [numpy_helper.from_array(np.array([1], np.int64), "axes")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(home / "fixed.onnx"))
    ran = windtunnel("benchmark", "fixed.onnx", "--batch", batch, *QUICK)

    if code is None:
        assert ran.document["profiles"][0]["batch"] == 4
    else:
        assert ran.code == code
        assert "takes exactly 4 rows a call; give --batch 4" in ran.err


def test_a_comparison_is_reported(home: Path, windtunnel: Command) -> None:
    """The folder of a comparison is a run like any other: its report can be written again."""
    _planted(home, "old", 1.0)
    _planted(home, "new", 1.5)
    windtunnel("benchmark", "old", "new", "--out", "compared")
    ran = windtunnel("report", "compared")

    assert ran.code == 1 or "slower" in ran.out
    assert (home / "compared" / "report.html").is_file()


def test_where_it_is_kept_is_said(home: Path, windtunnel: Command) -> None:
    """People are told where the result is, and when it takes the place of another."""
    quick = [option for option in QUICK if option not in {"--json", "--quiet"}]
    first = windtunnel("benchmark", "model.onnx", "--batch", 1, *quick, "--out", "kept")
    again = windtunnel("benchmark", "other.onnx", "--batch", 1, *quick, "--out", "kept")

    assert "kept in kept" in first.err
    assert "takes the place of" not in first.err
    assert "takes the place of" in again.err
    assert home.joinpath("kept", "benchmark", "other.npz").is_file()
