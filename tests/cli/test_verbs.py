"""Every verb as a user calls it: one document or a table on stdout, progress on stderr, an exit code to act on."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command

PLAN = ("plan", "--profile", "profile.npz", "--hardware", "azure:D2s_v5", "--max-batch", "1,8", "--replicas", "1,2")
SIMULATE = ("simulate", "--profile", "profile.npz", "--trace", "arrivals.csv")
EXIT_CODES = {"go": 0, "no-go": 1, "inconclusive": 3}
RANGES = ("", "_low", "_high")


def _keys(value: Any) -> set[str]:
    """Every key of a document, however deep."""
    if isinstance(value, dict):
        return set(value) | {key for each in value.values() for key in _keys(each)}
    return {key for each in value for key in _keys(each)} if isinstance(value, list) else set()


def test_trace(home: Path, windtunnel: Command) -> None:
    """`trace` says what a recording holds, units in the key names, and decides nothing."""
    ran = windtunnel("trace", "arrivals.csv", "--json")

    assert (ran.code, ran.err) == (0, "")
    assert ran.document["requests"] == 2000
    assert {"schema", "file", "seconds", "rate_per_s", "burstiness"} <= set(ran.document)
    assert "verdict" not in ran.document
    assert windtunnel("trace", "arrivals.csv").out.startswith("Trace\n  arrivals.csv, read as csv\n")
    assert sorted(path.name for path in home.glob("runs*")) == []


def test_simulate(home: Path, windtunnel: Command) -> None:
    """`simulate` gives latency and wait with their intervals, and keeps the log of every request."""
    ran = windtunnel(*SIMULATE, "--replicas", 2, "--max-batch", 8, "--max-wait", "1ms", "--out", "flown", "--json")

    assert ran.code == 0
    assert ran.document["schema"] == "windtunnel.simulate/1"
    assert (ran.document["verdict"], ran.document["requests"], ran.document["completed"]) == ("go", 2000, 2000)
    assert {"mean_batch", "utilization", "throughput_per_s", "seconds_simulated", "wall_s"} <= set(ran.document)
    for name in ("mean", "p50", "p90", "p99", "p999"):
        assert {f"{name}_s{end}" for end in RANGES} <= set(ran.document["latency"]) & set(ran.document["wait"])
    assert len(pl.read_parquet(home / "flown" / "simulate" / "requests.parquet")) == 2000


def test_simulate_a_generated_day(windtunnel: Command) -> None:
    """Arrivals can be generated; a scenario adds requests; the same seed gives the same figures, another seed others."""
    generated = (
        "simulate",
        "--profile",
        "profile.npz",
        "--arrivals",
        "poisson(rate=200)",
        "--requests",
        1000,
        "--json",
    )
    calm = windtunnel(*generated, "--out", "calm").document
    again = windtunnel(*generated, "--out", "again").document
    other = windtunnel(*generated, "--seed", 2, "--out", "other").document
    crowded = windtunnel(*generated, "--scenario", "flash-crowd", "--out", "crowded").document

    assert calm["latency"] == again["latency"] != other["latency"]
    assert calm["requests"] == 1000 < crowded["requests"]


def test_simulate_knows_profiles_apart(home: Path, windtunnel: Command) -> None:
    """Two profiles of one model are two inputs: the second is not answered with the first one's figures."""
    from windtunnel.latency_profile import LatencyProfile

    first = LatencyProfile.load(home / "profile.npz")
    slower = tuple(10 * each for each in first.samples_s)
    LatencyProfile(
        first.variant, first.sha256, first.hardware, first.runtime, first.threads, first.basis, first.batch_sizes, slower,
        first.parallel_efficiency, first.verdict,
    ).save(home / "slower.npz")  # fmt: skip
    fast = windtunnel(*SIMULATE, "--out", "one", "--json").document
    slow = windtunnel(
        "simulate", "--profile", "slower.npz", "--trace", "arrivals.csv", "--out", "one", "--json"
    ).document

    assert (fast["cached"], slow["cached"]) == (False, False)
    assert slow["latency"]["p50_s"] > 5 * fast["latency"]["p50_s"]


def test_default_folder_and_cache(home: Path, windtunnel: Command) -> None:
    """Without --out the folder is named by what was asked; asked again it is not done again."""
    first = windtunnel(*SIMULATE, "--json")
    second = windtunnel(*SIMULATE, "--json")

    assert first.document["run"].startswith("runs/simulate-")
    assert (first.document["cached"], second.document["cached"]) == (False, True)
    assert len(list((home / "runs").iterdir())) == 1


def test_plan_go(windtunnel: Command) -> None:
    """`plan` names the cheapest deployment with its bound, and the work it took."""
    ran = windtunnel(*PLAN, "--trace", "arrivals.csv", "--slo", "p99<=50ms", "--max-wait", "0ms,1ms", "--json")

    assert (ran.code, ran.document["verdict"]) == (0, "go")
    cheapest = ran.document["cheapest"]
    assert {"hardware", "replicas", "max_batch", "max_wait_s", "usd_per_hour", "machines"} <= set(cheapest)
    assert cheapest["hardware"] == "azure:D2s_v5"
    assert cheapest["p99_s"] <= cheapest["p99_s_high"] <= 0.05
    assert cheapest["confidence"] == 0.99
    # a batch of one waits for nobody
    assert ran.document["possible"] == 2 * (1 + 2)
    assert {"frontier", "evaluated", "deployments_per_s", "requests_per_s", "requests_simulated"} <= set(ran.document)
    assert windtunnel(*PLAN, "--trace", "arrivals.csv", "--slo", "p99<=50ms", "--out", "p").out.startswith("Plan: go\n")


def test_plan_as_it_is_written(home: Path, windtunnel: Command) -> None:
    """Without a grid the load and the profile say what to try; a machine that nothing speaks of is left out and told."""
    ran = windtunnel(
        "plan", "--trace", "arrivals.csv", "--profile", "profile.npz", "--hardware", "aws:m7i.large,aws:g5.xlarge",
        "--slo", "p99<=50ms", "--confidence", "99%", "--tune-batching", "--json",
    )  # fmt: skip

    assert (ran.code, ran.document["verdict"]) == (0, "go")
    assert ran.document["cheapest"]["hardware"] == "aws:m7i.large"
    assert [each["hardware"] for each in ran.document["left_out"]] == ["aws:g5.xlarge"]
    assert 0 < ran.document["evaluated"] < ran.document["possible"]
    best = ran.document["batching"]["best"]
    files = home / ran.document["run"] / "plan" / "batching"
    assert sorted(file.name for file in files.iterdir()) == ["kserve.yaml", "ray_serve.py", "triton.pbtxt"]
    compile((files / "ray_serve.py").read_text(), "ray_serve.py", "exec")
    assert f"max_batch_size={best['max_batch']}" in (files / "ray_serve.py").read_text()
    assert f"max_batch_size: {best['max_batch']}" in (files / "triton.pbtxt").read_text()


def test_plan_for_several_days(home: Path, windtunnel: Command) -> None:
    """The promise is kept on each trace that is given, on the crowded one, and on the day on which a replica dies."""
    (home / "other.csv").write_text((home / "arrivals.csv").read_text())
    ran = windtunnel(
        *PLAN, "--trace", "arrivals.csv", "--trace", "other.csv", "--slo", "p99<=500ms", "--max-wait", "0ms",
        "--scenario", "flash-crowd(times=2), replica-loss", "--json",
    )  # fmt: skip

    assert (ran.code, ran.document["verdict"]) == (0, "go")
    assert list(ran.document["cheapest"]["traces"]) == ["arrivals.csv", "flash-crowd", "other.csv", "replica-loss"]


def test_plan_no_go(windtunnel: Command) -> None:
    """A promise that no deployment on the grid keeps is a no-go, exit 1, and says what would change it."""
    ran = windtunnel(
        *PLAN,
        "--arrivals",
        "poisson(rate=5000)",
        "--requests",
        5000,
        "--slo",
        "p99<=5ms",
        "--max-wait",
        "0ms",
        "--json",
    )

    assert (ran.code, ran.document["verdict"]) == (1, "no-go")
    assert ran.document["would_change"]


def test_benchmark_of_two(home: Path, windtunnel: Command) -> None:
    """Two models are compared as a ratio of medians with an interval, and priced on the machines that are named."""
    ran = windtunnel(
        "benchmark", "model.onnx", "other.onnx", "--batch", "1,4", "--budget", "1s", "--precision", "50%",
        "--cost", "--hardware", "azure:D2s_v5,aws:g5.xlarge,aws:lambda-2048MB", "--slo", "p99<=50ms", "--out", "b", "--json",
    )  # fmt: skip

    # a busy machine makes a measurement inconclusive, and rightly so: what is tested is that the code says the verdict
    assert ran.code == EXIT_CODES[ran.document["verdict"]], ran.err
    assert {(each["variant"], each["batch"]) for each in ran.document["profiles"]} == {
        (name, batch) for name in ("model", "other") for batch in (1, 4)
    }
    assert {f"p50_s{end}" for end in RANGES} | {"samples", "threads", "throughput_per_s", "valid", "reasons"} <= set(
        ran.document["profiles"][0]
    )
    assert [(each["a"], each["b"], each["batch"]) for each in ran.document["comparisons"]] == [
        ("model", "other", 1), ("model", "other", 4),
    ]  # fmt: skip
    assert all(each["ratio_low"] <= each["ratio"] <= each["ratio_high"] for each in ran.document["comparisons"])
    assert {"hardware", "usd_per_hour", "price_date", "basis", "throughput_at_slo_per_s", "usd_per_million"} <= set(
        ran.document["costs"][0]
    )
    assert ran.document["generated_inputs"] is True
    shown = windtunnel("report", "b").out
    assert "Side by side" in shown
    assert (home / "b" / "report.html").is_file()


def test_benchmark_of_real_rows(windtunnel: Command) -> None:
    """Where the asked precision is out of reach the benchmark is inconclusive, exit 3; real inputs are said to be real."""
    ran = windtunnel(
        "benchmark",
        "model.onnx",
        "--batch",
        1,
        "--budget",
        "200ms",
        "--precision",
        "0.000001",
        "--data",
        "holdout.npz",
        "--json",
    )

    assert (ran.code, ran.document["verdict"]) == (3, "inconclusive")
    assert ran.document["generated_inputs"] is False


def test_optimize(home: Path, windtunnel: Command) -> None:
    """`optimize` tells what it chose and all it tried, and its bundle checks itself where windtunnel is not known."""
    ran = windtunnel(
        "optimize", "model.onnx", "--data", "holdout.npz", "--metric", "agreement", "--max-drop", "1%", "--batch", "1",
        "--budget", "300ms", "--out", "o", "--bundle", "bundle", "--json",
    )  # fmt: skip

    assert ran.code == EXIT_CODES[ran.document["verdict"]], ran.err
    document = ran.document
    assert {
        "name",
        "path",
        "p50_s",
        "speedup",
        "speedup_low",
        "speedup_high",
        "quality",
        "quality_drop",
        "quality_drop_high",
        "bytes",
    } <= set(document["chosen"])
    assert document["chosen"] in document["frontier"]
    assert {each["status"] for each in document["frontier"]} <= {
        "chosen", "on-frontier", "dominated", "not-proven", "worse", "slower", "batch-dependent", "failed",
    }  # fmt: skip
    assert all(each["reason"] for each in document["frontier"])
    checked = subprocess.run([sys.executable, "bundle/check.py"], capture_output=True, text=True, cwd=home)
    assert checked.returncode == 0, checked.stderr

    import windtunnel as package

    rows = np.load(home / "holdout.npz")["x"][:5]
    answers = [package.load(home / place).run({"x": rows})["y"] for place in ("o", "bundle", "model.onnx")]
    assert np.array_equal(answers[0], answers[1])
    assert answers[0] == pytest.approx(answers[2], abs=0.1)


def test_optimize_a_factory_on_a_table(windtunnel: Command) -> None:
    """A torch factory is exported, fed from a table by column name, and judged by labels."""
    ran = windtunnel(
        "optimize", "made.py:factory", "--data", "recorded.parquet", "--label", "label", "--metric", "brier",
        "--budget", "200ms", "--out", "o", "--json",
    )  # fmt: skip

    assert ran.code == EXIT_CODES[ran.document["verdict"]], ran.err
    assert ran.document["chosen"]["metric"] == "brier"
    assert [each["name"] for each in ran.document["chosen"]["signature"]["inputs"]] == list("abcd")


def test_export(home: Path, windtunnel: Command) -> None:
    """`export` writes a file with a free batch axis and says how far its numbers are from the source's."""
    ran = windtunnel("export", "made.py:factory", "--out", "new.onnx", "--json")

    assert ran.code == 0, ran.err
    assert ran.document["schema"] == "windtunnel.export/1"
    assert (ran.document["path"], ran.document["bytes"]) == ("new.onnx", (home / "new.onnx").stat().st_size)
    assert 0.0 <= ran.document["largest_difference"] < 1e-4
    assert all(isinstance(each["shape"][0], str) for each in ran.document["signature"]["inputs"])
    assert [path.name for path in home.glob(".*partial*")] == []


def test_doctor(windtunnel: Command) -> None:
    """`doctor` tells cores, instruction sets, providers, Ray, versions, and what each extra would add."""
    ran = windtunnel("doctor", "--json")

    assert (ran.code, ran.err) == (0, "")
    assert {"hardware", "isa", "providers", "ray", "versions", "extras"} <= set(ran.document)
    assert {"AVX2", "AVX-512", "AVX512-VNNI", "AMX-INT8"} <= set(ran.document["isa"])
    assert "CPUExecutionProvider" in ran.document["providers"]
    assert windtunnel("doctor").out.startswith("Doctor\n")


def test_verify_and_gate(home: Path, windtunnel: Command) -> None:
    """`verify` names the one byte's file, exit 1; `gate` passes the verdict on only while the run is intact."""
    windtunnel(*SIMULATE, "--out", "run")
    intact, passed = windtunnel("verify", "run", "--json"), windtunnel("gate", "run", "--json")
    log = home / "run" / "simulate" / "requests.parquet"
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    changed, stopped = windtunnel("verify", "run", "--json"), windtunnel("gate", "run", "--json")

    assert (intact.code, intact.document["intact"], intact.document["problems"]) == (0, True, [])
    assert (passed.code, passed.document["verdict"]) == (0, "go")
    assert (changed.code, changed.document["problems"]) == (1, ["simulate/requests.parquet: changed"])
    assert (stopped.code, stopped.document["verdict"], stopped.document["intact"]) == (1, "no-go", False)
    assert windtunnel("verify", "run").out == "simulate/requests.parquet: changed\n"


def test_gate_of_an_unfinished_run(windtunnel: Command) -> None:
    """A run that was interrupted before its verdict is inconclusive, exit 3."""
    assert windtunnel("optimize", "made.py:interrupts", "--data", "recorded.parquet", "--out", "run").code == 130
    ran = windtunnel("gate", "run", "--json")

    assert (ran.code, ran.document["verdict"], ran.document["intact"]) == (3, "inconclusive", True)


@pytest.mark.parametrize("arguments", [SIMULATE, (*PLAN, "--trace", "arrivals.csv", "--slo", "p99<=50ms")])
def test_progress_and_quiet(windtunnel: Command, arguments: tuple[str, ...]) -> None:
    """Progress is said on stderr, a line a stage; --quiet says nothing there; stdout is the same."""
    told = windtunnel(*arguments, "--out", "one")
    silent = windtunnel(*arguments, "--out", "two", "--quiet")

    lines = told.err.splitlines()
    assert lines[0] == f"{arguments[0]} …"
    assert sum(line.startswith(f"{arguments[0]}: go after ") for line in lines) == 1
    assert silent.err == ""
    assert told.out == silent.out != ""


@pytest.mark.parametrize("arguments", [SIMULATE, ("backtest", "backtest.toml")])
def test_units_in_key_names(windtunnel: Command, arguments: tuple[str, ...]) -> None:
    """No key of a document speaks of a time, a rate or money without its unit."""
    keys = _keys(windtunnel(*arguments, "--json").document)

    assert not {key for key in keys if key.endswith(("_ms", "latency_", "duration", "cost", "rate"))}
    assert {"schema", "verdict", "reasons", "run", "seconds", "cached"} <= keys
