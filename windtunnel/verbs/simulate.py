"""`windtunnel simulate`: one trace through one deployment."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_bytes, digest_value
from windtunnel.errors import ConfigError, naming, nearest
from windtunnel.progress import SILENT, Progress
from windtunnel.report.section import Section, Table
from windtunnel.seeds import Seeds

from .alone import Done, run_alone

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.deployment import BatchPolicy
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.trace import Trace
    from windtunnel.verdict import Verdict

    Arrays = dict[str, NDArray[Any]]


def simulate(
    trace: Trace,
    profile: LatencyProfile,
    *,
    replicas: int,
    batch: BatchPolicy,
    scenario: str = "",
    seed: int = 1,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Done:
    """Fly one trace through one deployment.

    Args:
        trace: the arrivals.
        profile: the measured service times.
        replicas: servers behind one queue, a core each.
        batch: the batching policy.
        scenario: makes the trace worse first; see `windtunnel.simulate.SCENARIOS`.
        seed: of the service times and the scenario.
        out: the run folder.
        progress: a line at the start and at the end.
    """
    check_flight(profile, batch.max_batch, scenario)
    inputs = flight_inputs(trace, profile)
    parameters = {
        "replicas": replicas,
        "max_batch": batch.max_batch,
        "max_wait_s": batch.max_wait_s,
        "scenario": scenario,
    }
    make = partial(
        _simulate, trace=trace, profile=profile, replicas=replicas, batch=batch, scenario=scenario, seeds=Seeds(seed)
    )
    return run_alone("simulate", out, parameters, inputs, make, seed=seed, progress=progress)


def check_flight(profile: LatencyProfile, max_batch: int, scenario: str) -> None:
    """Refuse a scenario that is not known and batches that were never profiled."""
    from windtunnel.simulate import SCENARIOS

    if scenario and scenario not in SCENARIOS:
        raise ConfigError("is not a scenario", field="--scenario", value=scenario, fix=nearest(scenario, SCENARIOS))
    with naming(field="--max-batch"):
        profile.service_table(max_batch, points=1)


def flight_inputs(trace: Trace, profile: LatencyProfile) -> dict[str, str]:
    """The digests of what a flight depends on: every arrival, and every measured service time."""
    arrivals = digest_bytes(trace.arrivals_s.tobytes())
    head = [profile.sha256, profile.hardware.fingerprint, profile.batch_sizes, profile.parallel_efficiency]
    samples = [digest_bytes(each.tobytes()) for each in profile.samples_s]
    return {"trace": digest_value([trace.name, arrivals]), "profile": digest_value([head, samples])}


def _simulate(
    work: Path, *, trace: Trace, profile: LatencyProfile, replicas: int, batch: BatchPolicy, scenario: str, seeds: Seeds
) -> tuple[dict[str, Any], Section, Verdict]:
    import time

    from windtunnel.deployment import Deployment
    from windtunnel.quantity import format_duration
    from windtunnel.simulate import SCENARIOS, rehearse, summarise
    from windtunnel.verdict import Verdict

    flown = SCENARIOS[scenario](trace, rng=seeds.stream("arrivals")) if scenario else trace
    cores = max(1, int(profile.hardware.cores))
    # as many machines like the measured one as it takes; their price is not asked for here
    deployment = Deployment(profile.variant, replicas, batch, -(-replicas // cores), 0.0)
    clock = time.perf_counter()
    log = rehearse({flown.name: flown}, profile, deployment, seed=seeds.number("service"))[flown.name]
    wall_s = time.perf_counter() - clock
    log.to_frame().write_parquet(work / "requests.parquet")
    found = summarise(log, replicas)
    rows = tuple(
        (name, *(_range_of(found.to_dict()[kind], name) for kind in ("latency", "wait")))
        for name in ("mean", "p50", "p90", "p99", "p999")
    )
    text = (
        f"{found.requests:,} requests in {format_duration(found.seconds_simulated)} through {deployment}: mean batch "
        f"{found.mean_batch:.3g}, utilization {found.utilization:.1%}"
    )
    table = Table("Simulated, with 95% intervals", ("", "latency", "wait"), rows)
    notes = ("Service times are drawn from the measured profile; server, network and client are not in it.",)
    return (
        {**found.to_dict(), "wall_s": wall_s},
        Section("Simulate", "go", (text,), (table,), (), notes),
        Verdict("go", (text,)),
    )


def _range_of(spread: dict[str, Any], name: str) -> str:
    from windtunnel.quantity import format_duration

    value, low, high = (spread[f"{name}_s{end}"] for end in ("", "_low", "_high"))
    shown = f" [{format_duration(low)} – {format_duration(high)}]" if low is not None else " [no interval]"
    return format_duration(value) + shown
