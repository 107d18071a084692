"""`windtunnel plan`: the cheapest deployment that keeps the promise."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError, naming
from windtunnel.progress import SILENT, Progress
from windtunnel.seeds import Seeds

from .alone import Done, run_alone
from .simulate import check_flight, flight_inputs

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.fanout import Workers
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.report.section import Section
    from windtunnel.trace import Trace
    from windtunnel.verdict import Verdict

    Arrays = dict[str, NDArray[Any]]


def plan(
    trace: Trace,
    profile: LatencyProfile,
    *,
    hardware: str,
    slo: str,
    replicas: tuple[int, ...],
    max_batch: tuple[int, ...],
    max_wait_s: tuple[float, ...],
    confidence: float = 0.99,
    scenario: str = "",
    seed: int = 1,
    workers: Workers | None = None,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> Done:
    """Find the cheapest deployment on a grid that keeps the promise.

    Args:
        trace: the arrivals.
        profile: the measured service times.
        hardware: the instance type that is priced.
        slo: the promise, such as `p99<=50ms`.
        replicas: numbers of replicas to try.
        max_batch: batch sizes to try.
        max_wait_s: waits to try, in seconds.
        confidence: how sure the answer is to be.
        scenario: a worse day that the promise must be kept on too.
        seed: of the service times and the scenario.
        workers: who does it.
        out: the run folder.
        progress: shown while planning.
    """
    _check_promise(hardware, slo)
    check_flight(profile, max(max_batch), scenario)
    if not 0.5 < confidence < 1.0:
        raise ConfigError("must lie between 50% and 100%", field="--confidence", value=confidence, fix="write 99%")
    inputs = flight_inputs(trace, profile)
    parameters = {
        "hardware": hardware, "slo": slo, "replicas": replicas, "max_batch": max_batch, "max_wait_s": max_wait_s,
        "confidence": confidence, "scenario": scenario,
    }  # fmt: skip
    make = partial(
        _plan, trace=trace, profile=profile, hardware=hardware, slo_text=slo, replicas=replicas, max_batch=max_batch,
        max_wait_s=max_wait_s, confidence=confidence, scenario=scenario, seeds=Seeds(seed), workers=workers, progress=progress,
    )  # fmt: skip
    return run_alone("plan", out, parameters, inputs, make, seed=seed, progress=progress)


def _check_promise(hardware: str, slo: str) -> None:
    """Refuse a machine without a price and a promise that cannot be read."""
    from windtunnel.deployment import Slo
    from windtunnel.price import find_price

    with naming(field="--hardware"):
        find_price(hardware)
    with naming(field="--slo"):
        Slo.parse(slo)


def _plan(
    _work: Path,
    *,
    trace: Trace,
    profile: LatencyProfile,
    hardware: str,
    slo_text: str,
    replicas: tuple[int, ...],
    max_batch: tuple[int, ...],
    max_wait_s: tuple[float, ...],
    confidence: float,
    scenario: str,
    seeds: Seeds,
    workers: Workers | None,
    progress: Progress,
) -> tuple[dict[str, Any], Section, Verdict]:
    from windtunnel.deployment import Slo
    from windtunnel.price import find_price
    from windtunnel.simulate import SCENARIOS, draw, rehearse
    from windtunnel.simulate import plan as search

    traces = {trace.name: trace}
    if scenario:
        traces[scenario] = SCENARIOS[scenario](trace, rng=seeds.stream("arrivals"))
    price = find_price(hardware)
    with progress.bar("deployments", len(replicas) * len(max_batch) * len(max_wait_s)) as report:
        found = search(
            traces, profile, slo=Slo.parse(slo_text), price=price, cores_per_machine=price.vcpu, replicas=replicas,
            max_batch=max_batch, max_wait_s=max_wait_s, confidence=confidence, seeds=seeds, workers=workers, report=report,
        )  # fmt: skip
    logs = rehearse(traces, profile, found.shown.deployment, seed=seeds.number("service"))
    speed = {
        "deployments_per_s": found.deployments_per_s, "requests_per_s": found.requests_per_s,
        "requests_simulated": found.requests_simulated, "where": found.where,
    }  # fmt: skip
    return {**found.to_dict(), **speed}, replace(draw(found, logs), title="Plan"), found.verdict
