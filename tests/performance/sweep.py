"""How fast `plan` sweeps deployments, with the work pinned: the same traffic and grid are the same deployments, and the search flies the same ones.

    python tests/performance/sweep.py [REQUESTS]

The profile is made up (a millisecond a batch and half a millisecond an item, give or take a tenth), so that the figures
speak of the simulator alone. A first sweep compiles and is left out.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.deployment import Slo
from windtunnel.fanout import Workers
from windtunnel.hardware import Hardware
from windtunnel.latency_profile import LatencyProfile
from windtunnel.price import find_price
from windtunnel.seeds import Seeds
from windtunnel.simulate import Offer, Space, plan, poisson
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from windtunnel.simulate import Plan

REPLICAS, MAX_BATCH, MAX_WAIT_S = (1, 2, 3, 4, 6, 8), (1, 2, 4, 8), (0.0, 0.001, 0.002, 0.005, 0.01)
GRID = len(REPLICAS) * (1 + (len(MAX_BATCH) - 1) * len(MAX_WAIT_S))
REPEATS = 10


def make_profile() -> LatencyProfile:
    """Service times of batches of 1 to 8."""
    rng = np.random.default_rng(7)
    sizes = (1, 2, 4, 8)
    samples = tuple((0.001 + 0.0005 * size) * rng.lognormal(0.0, 0.1, size=300) for size in sizes)
    hardware = Hardware("a CPU", "x86_64", ("AVX2",), 2.0, 2**33)
    return LatencyProfile(
        "m", "0" * 64, hardware, "none", 1, "measured", sizes, samples, 0.8, Verdict("go", ("steady",))
    )


def sweep(requests: int) -> Plan:
    """Plan for Poisson traffic of 900 requests a second, in this process."""
    seeds = Seeds(1)
    trace = poisson(900.0, requests, seeds.stream("arrivals"))
    space = Space((Offer(make_profile(), find_price("azure:D2s_v5")),), REPLICAS, MAX_BATCH, MAX_WAIT_S)
    return plan(
        {trace.name: trace}, space, slo=Slo.parse("p99<=20ms"), seeds=seeds, repeats=REPEATS, workers=Workers(1)
    )


def main() -> None:
    """Sweep and say how fast."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requests", type=int, nargs="?", default=100_000)
    requests = parser.parse_args().requests
    sweep(1000)
    found = sweep(requests)
    assert found.possible == GRID
    print(  # noqa: T201  # a script for people
        f"{found.evaluated} of {GRID} deployments flown and {len(found.tried)} proofs on {requests:,} requests: "
        f"{found.requests_simulated:,} requests "
        f"simulated in {found.seconds:.2f} s, {found.deployments_per_s:,.1f} deployments/s, "
        f"{found.requests_per_s / 1e6:.2f} million requests/s, {found.where}"
    )


if __name__ == "__main__":
    main()
