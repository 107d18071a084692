from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.benchmarks.benchmark import Benchmark, Extent, benchmark, describe, judge
from windtunnel.benchmarks.compare import compare_timings
from windtunnel.benchmarks.disturbance import Disturbance
from windtunnel.benchmarks.measure import Effort, measure
from windtunnel.benchmarks.task import tasks
from windtunnel.benchmarks.transfer import measure_transfer, measure_transfers
from windtunnel.bound_session import BoundSession
from windtunnel.digest import canonical_json
from windtunnel.hardware import Hardware
from windtunnel.session import OnnxSession
from windtunnel.timings import Timings
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.verdict import Verdict

QUIET = Disturbance(0.0, 0.0)
QUICK = Effort(0.5, 0.0)
NOTHING = Extent(footprint=False, scaling=False)
ROWS = {"x": np.ones((4, 4), np.float32)}


def _judge(
    levels: Any, *, warm: bool = True, floor_s: float = 1e-6, disturbance: Disturbance = QUIET, precision: float = 0.05
) -> Verdict:
    """Judge a session whose blocks were at some levels."""
    blocks = tuple(np.full(20, level) for level in levels)
    return judge(
        Timings({("fp32", 8): blocks}, {("fp32", 8): warm}), "fp32", (8,), Effort(precision, 60), floor_s, disturbance
    )


STEADY = 1e-3 * np.random.default_rng(1).uniform(0.99, 1.01, 20)


def test_a_good_measurement() -> None:
    """Warm, steady, precise, undisturbed and slow against the harness: go."""
    verdict = _judge(STEADY)

    assert (verdict.outcome, verdict.would_change) == ("go", ())


@pytest.mark.parametrize(
    ("case", "reason", "change"),
    [
        (
            {"levels": STEADY, "warm": False},
            "batch 8 never warmed up to a steady state",
            "on a machine that does nothing else",
        ),
        (
            {"levels": STEADY * np.repeat([1.0, 1.2], 10), "precision": 0.5},
            "batch 8 drifted by more than 15%",
            "measure longer (--budget)",
        ),
        (
            {"levels": STEADY * np.tile([1.0, 1.3], 10)},
            "the p50 of batch 8 is not known to ± 5%",
            "raise --budget, or ask for less --precision",
        ),
        (
            {"levels": STEADY, "floor_s": 2e-4},
            "the harness (2e+02 µs a call) is more than 10% of batch 8",
            "measure larger batches",
        ),
        (
            {"levels": STEADY, "disturbance": Disturbance(0.25, 0.0)},
            "25% of the time was throttled by the cgroup",
            "quieter machine",
        ),
        (
            {"levels": STEADY, "disturbance": Disturbance(0.0, 0.4)},
            "40% of the time was stolen by other machines",
            "quieter machine",
        ),
    ],
    ids=["cold", "drift", "imprecise", "harness", "throttled", "stolen"],
)
def test_what_makes_it_invalid(case: dict[str, Any], reason: str, change: str) -> None:
    """Each fault that is planted is found, alone, with what would mend it."""
    verdict = _judge(**case)

    assert verdict.outcome == "inconclusive"
    assert len(verdict.reasons) == 1
    assert reason in verdict.reasons[0]
    assert change in verdict.would_change[0]


@pytest.mark.parametrize(("cpu_s", "waited"), [(1.02e-3, False), (0.95e-3, False), (0.6e-3, True)])
def test_calls_that_waited(cpu_s: float, waited: bool) -> None:
    """A call of one thread that worked for less than it took had no processor; that somebody else waited is no fault of ours."""
    timings = Timings({("fp32", 8): (np.full(20, 1e-3),) * 20}, {("fp32", 8): True}, {("fp32", 8): cpu_s})
    crowded = Disturbance(0.0, 0.0, waiting=0.9)

    verdict = judge(timings, "fp32", (8,), Effort(), 1e-6, crowded, one_thread=True)
    assert verdict.reasons == (
        ("batch 8 had no processor for 40% of its time",) if waited else ("steady, warm and precise enough",)
    )


def test_every_fault_is_said_once() -> None:
    """Several faults are several reasons; what would mend two of them is said once."""
    verdict = _judge(STEADY, floor_s=1e-3, disturbance=Disturbance(0.5, 0.5), warm=False)

    assert len(verdict.reasons) == 4
    assert len(verdict.would_change) == len(set(verdict.would_change)) == 3


def test_described(make_profile: Callable[..., LatencyProfile]) -> None:
    """One entry a batch size, with quantiles, intervals, samples and throughput; JSON as it stands."""
    first, second = describe(make_profile(samples=13_000))

    assert (first["batch"], second["batch"], first["samples"], first["valid"]) == (1, 8, 13_000, True)
    assert first["p50_s_low"] < first["p50_s"] < first["p50_s_high"]
    assert first["p50_s"] == pytest.approx(1e-3, rel=0.01)
    assert second["throughput_per_s"] == pytest.approx(8 / 2e-3, rel=0.01)
    assert first["p999_s"] is not None
    assert json.loads(canonical_json(first)) == first


def test_described_with_null_where_the_sample_cannot_carry(make_profile: Callable[..., LatencyProfile]) -> None:
    """A quantile that the sample cannot carry is null with both its ends, and no guess."""
    entry = describe(make_profile(samples=60, valid=False))[0]

    assert entry["p50_s"] is not None
    assert [entry[f"{name}_s{end}"] for name in ("p90", "p99", "p999") for end in ("", "_low", "_high")] == [None] * 9
    assert (entry["valid"], entry["reasons"]) == (False, ["batch 1 drifted"])


def test_the_verdict_of_several(make_profile: Callable[..., LatencyProfile]) -> None:
    """One invalid profile makes the whole inconclusive, and is named."""
    good, bad = make_profile("fp32"), make_profile("int8", valid=False)
    timings = Timings({}, {})

    assert Benchmark((good,), timings, 1e-6, QUIET).verdict.outcome == "go"
    verdict = Benchmark((good, bad), timings, 1e-6, QUIET).verdict
    assert (verdict.outcome, verdict.reasons) == ("inconclusive", ("int8: batch 1 drifted",))
    assert verdict.would_change == ("measure longer",)


def test_a_real_model(tiny_model: Path) -> None:
    """A real model is measured at every batch size asked for, on this machine, with its memory, start and scaling."""
    variant = Variant.from_file(tiny_model, name="tiny")
    measured = tasks([variant], {"": ROWS}, threads=(1,))
    found = benchmark(measured, (1, 4), effort=QUICK, generated=True)
    (profile,), (scaling,) = found.profiles, found.scalings

    assert (profile.variant, profile.sha256, profile.basis) == ("tiny", variant.sha256, "measured")
    assert (profile.batch_sizes, profile.threads, profile.concurrency, profile.size) == ((1, 4), 1, 1, "")
    assert np.array_equal(profile.samples_s[1], found.timings.samples_s("tiny", 4))
    assert profile.rounds == found.timings.rounds
    assert all(each > 0.0 for each in profile.cpu_s)
    assert profile.footprint is not None
    assert profile.footprint.rss_bytes > profile.footprint.instance_bytes > 0
    assert (scaling.variant, scaling.batch) == ("tiny", 4)
    assert profile.parallel_efficiency == scaling.parallel_efficiency(1).value
    assert 0.0 < found.harness_floor_s < 1e-3
    document = json.loads(canonical_json(found.to_dict()))
    assert document["generated_inputs"] is True
    assert [entry["batch"] for entry in document["profiles"]] == [1, 4]
    assert {entry["rss_bytes"] for entry in document["profiles"]} == {profile.footprint.rss_bytes}


def test_settings_side_by_side(tiny_model: Path) -> None:
    """Size classes and busy neighbours are profiles of their own, timed in the same rounds."""
    if Hardware.detect().cores < 2:
        pytest.skip("one core: nothing can be busy beside another")
    measured = tasks([Variant.from_file(tiny_model)], {"a": ROWS, "b": ROWS}, concurrency=(1, 2))
    found = benchmark(measured, (4,), effort=QUICK, extent=NOTHING)

    assert [profile.name for profile in found.profiles] == [
        "tiny, a",
        "tiny, 2 at once, a",
        "tiny, b",
        "tiny, 2 at once, b",
    ]
    assert {len(blocks) for blocks in found.timings.blocks_s.values()} == {found.timings.rounds}
    assert [profile.concurrency for profile in found.profiles] == [1, 2, 1, 2]
    alone, together = found.profiles[0], found.profiles[1]
    # as many service times again from the second instance
    assert len(together.samples_s[0]) % 2 == 0
    assert together.throughput_per_s(4).value == pytest.approx(2 * 4 / together.samples_s[0].mean())
    assert alone.throughput_per_s(4).value == pytest.approx(4 / alone.samples_s[0].mean())
    assert (found.scalings, found.starts, alone.footprint, alone.parallel_efficiency) == ((), (), None, 1.0)


def test_another_runtime(tiny_model: Path) -> None:
    """OpenVINO runs the same file beside ONNX Runtime, under a name of its own."""
    variant = Variant.from_file(tiny_model)
    found = benchmark(
        tasks([variant], {"": ROWS}, runtimes=("onnxruntime-cpu", "openvino")), (4,), effort=QUICK, extent=NOTHING
    )

    assert [profile.name for profile in found.profiles] == ["tiny", "tiny, openvino CPU float32"]
    assert [each.runtime.split()[0] for each in found.profiles] == ["onnxruntime", "openvino"]


def test_what_computes_on_a_device_has_its_copies_apart(tiny_model: Path) -> None:
    """The parts of a call on a device are timed, and the bytes there and back counted; here the device is the CPU."""
    session = BoundSession(tiny_model, provider="CPUExecutionProvider", device="cpu")
    (task,) = tasks([Variant.from_file(tiny_model)], {"": ROWS})
    found = measure_transfer(session, task, 4, calls=20)

    assert (found.name, found.batch) == ("tiny", 4)
    assert found.copied_bytes == 4 * 4 * 4 + 4 * 4
    assert all(part.value > 0.0 for part in (found.copy_in_s, found.compute_s, found.copy_out_s))
    assert found.to_dict().keys() >= {"copy_in_s", "compute_s_low", "copy_out_s_high", "copied_bytes"}


def test_what_computes_in_host_memory_has_no_copies(tiny_model: Path) -> None:
    """Tasks of the CPU are not timed in parts."""
    assert measure_transfers(tasks([Variant.from_file(tiny_model)], {"": ROWS}), (1, 4)) == ()


def test_twins_are_seldom_called_different(tiny_model: Path, tmp_path: Path) -> None:
    """Two copies of one file, measured for real a hundred times, are called different about as often as 95% intervals may."""
    twin = tmp_path / "twin.onnx"
    twin.write_bytes(tiny_model.read_bytes())
    openers = {path.stem: partial(OnnxSession, path) for path in (tiny_model, twin)}
    rng, different = np.random.default_rng(1), 0
    for _ in range(100):
        timings = measure(openers, ROWS, (4,), effort=QUICK, rng=rng)
        (found,) = compare_timings(timings, [("tiny", "twin")], (4,))
        different += found.told != "not told apart"

    # 5 of 100 are expected; more than 13 are seen by chance in 1 of 2,000 such hundreds
    assert different <= 13
