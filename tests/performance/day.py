"""How long `plan` takes for a space of 11,904 deployments on a day of traffic, and how little of it is flown.

    python -m tests.performance.day [REQUESTS] [WORKERS]

The day is made up: a rate that rises and falls by half with the hour, 8.64 million requests unless told otherwise. So is the
profile: 30 ms a batch and 10 ms an item, give or take a tenth, and a variant that takes a fifth less for the batch and more
for the item. A first plan on a short day compiles and is left out.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

from windtunnel.deployment import Slo
from windtunnel.fanout import Workers
from windtunnel.hardware import Hardware
from windtunnel.latency_profile import LatencyProfile
from windtunnel.price import find_price
from windtunnel.seeds import Seeds
from windtunnel.simulate import Offer, Plan, Space, plan
from windtunnel.trace import Trace
from windtunnel.verdict import Verdict

DAY_S = 86_400.0
REPLICAS, MAX_BATCH = tuple(range(1, 65)), (1, 2, 4, 8)
MAX_WAIT_S = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1)
HARDWARE = ("aws:m7i.large", "aws:m7i.xlarge", "azure:D2s_v5")
POSSIBLE = 2 * len(HARDWARE) * len(REPLICAS) * (1 + 3 * len(MAX_WAIT_S))


def make_profile(name: str, base_s: float, item_s: float) -> LatencyProfile:
    """Service times of batches of 1 to 8."""
    rng = np.random.default_rng(7)
    sizes = (1, 2, 4, 8)
    samples = tuple((base_s + item_s * size) * rng.lognormal(0.0, 0.1, size=300) for size in sizes)
    hardware = Hardware("a CPU", "x86_64", ("AVX2",), 4.0, 2**33)
    go = Verdict("go", ("steady",))
    return LatencyProfile(name, "0" * 64, hardware, "none 1", 1, "measured", sizes, samples, 0.85, go)


def make_day(requests: int, seconds: float) -> Trace:
    """A rate that rises and falls by half with the time of day: Poisson, conditioned on the number of requests."""
    rng = np.random.default_rng(1)
    at = rng.uniform(0.0, seconds, size=2 * requests)
    kept = at[rng.uniform(0.0, 1.5, size=len(at)) < 1.0 - 0.5 * np.cos(2.0 * np.pi * at / seconds)]
    return Trace("a day", np.sort(kept[:requests]))


def plan_day(trace: Trace, workers: int) -> Plan:
    """The plan."""
    first = make_profile("m", 0.03, 0.01)
    profiles = first, make_profile("n", 0.024, 0.011)
    offers = tuple(Offer(profile, find_price(name)) for profile in profiles for name in HARDWARE)
    space = Space(offers, REPLICAS, MAX_BATCH, MAX_WAIT_S)
    return plan({"day": trace}, space, slo=Slo(0.99, 0.25), seeds=Seeds(1), workers=Workers(workers))


def main() -> None:
    """Plan and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requests", type=int, nargs="?", default=8_640_000)
    parser.add_argument("workers", type=int, nargs="?", default=1)
    given = parser.parse_args()
    plan_day(make_day(10_000, 100.0), 1)
    trace = make_day(given.requests, DAY_S * given.requests / 8_640_000)
    clock = time.process_time()
    found = plan_day(trace, given.workers)
    cpu_s = time.process_time() - clock
    assert found.possible == POSSIBLE
    assert replace(found, seconds=1.0) == found
    print(  # noqa: T201  # a script for people
        f"{found.verdict.reasons[0]}\n{found.effort}\n{found.monotony}\n{found.growth}\n{found.possible:,} deployments on "
        f"{len(trace):,} requests: {found.seconds:.1f} s, {cpu_s:.1f} s of CPU in this process, "
        f"{found.requests_simulated / 1e6:,.0f} million requests simulated, {found.effort.share:.3%} of the simulations of "
        f"flying all until the answer stood, {found.where}"
    )


if __name__ == "__main__":
    main()
