from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.benchmarks.benchmark import Benchmark, benchmark, describe, judge, parallel_efficiency
from windtunnel.benchmarks.disturbance import Disturbance
from windtunnel.benchmarks.measure import Effort
from windtunnel.digest import canonical_json
from windtunnel.timings import Timings
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.verdict import Verdict

QUIET = Disturbance(0.0, 0.0)


def _judge(levels: Any, *, warm: bool = True, floor_s: float = 1e-6, disturbance: Disturbance = QUIET) -> Verdict:
    """Judge a session whose blocks were at some levels."""
    blocks = tuple(np.full(20, level) for level in levels)
    return judge(
        Timings({("fp32", 8): blocks}, {("fp32", 8): warm}), "fp32", (8,), Effort(0.05, 60), floor_s, disturbance
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
            {"levels": STEADY * np.repeat([1.0, 1.2], 10)},
            "batch 8 drifted by more than 15%",
            "measure longer (--budget)",
        ),
        (
            {"levels": STEADY * np.tile([1.0, 1.3], 10)},
            "the median of batch 8 is not known to ± 5%",
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
    entry = describe(make_profile(samples=100, valid=False))[0]

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
    """A real model is measured at every batch size asked for, on this machine, by blocks that are kept."""
    variant = Variant.from_file(tiny_model, name="tiny")
    found = benchmark([variant], {"x": np.ones((4, 4), np.float32)}, (1, 4), effort=Effort(0.5, 0.0), generated=True)
    (profile,) = found.profiles

    assert (profile.variant, profile.sha256, profile.basis, profile.batch_sizes) == (
        "tiny",
        variant.sha256,
        "measured",
        (1, 4),
    )
    assert np.array_equal(profile.samples_s[1], found.timings.samples_s("tiny", 4))
    assert 0.0 < profile.parallel_efficiency <= 1.0
    assert found.harness_floor_s > 0.0
    assert found.to_dict()["generated_inputs"] is True
    assert [entry["batch"] for entry in found.to_dict()["profiles"]] == [1, 4]


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (3, 2)])
def test_one_session_has_the_machine_to_itself(tiny_model: Path, cores: int, threads: int) -> None:
    """Where only one session fits, none slows another."""
    rows = {"x": np.ones((4, 4), np.float32)}

    assert parallel_efficiency(Variant.from_file(tiny_model), rows, cores, threads) == 1.0


def test_parallel_efficiency_is_a_share(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four sessions that together do 2.4 times the work of one alone reach 60%; the median of three looks is taken."""
    rates = iter([100.0, 240.0, 100.0, 400.0, 100.0, 120.0])
    module = importlib.import_module("windtunnel.benchmarks.benchmark")  # the package's own `benchmark` is the function
    monkeypatch.setattr(module, "_calls_together", lambda *_: next(rates))

    found = parallel_efficiency(Variant.from_file(tiny_model), {"x": np.ones((4, 4), np.float32)}, 4, 1)
    assert found == pytest.approx(0.6)
