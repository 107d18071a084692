"""How fast a generator is, and how late it sends, against a server that does nothing.

    python -m tests.performance.driving [--generators 1] [--seconds 5] [--shares 0.25,0.5,0.75] [--bytes 1024] [--json]

First what the generators can send at most in a closed loop, then Poisson arrivals at shares of that: by how much requests leave late, how
bursty they leave beside how bursty they were scheduled (variance over mean of counts in 10 ms: about 1 for both), and what a request takes
of a core, answers read. Server and generators share the machine. Ends with 1 where at half the capacity one request in a hundred leaves
more than 2 ms late.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.simulate.live import Bodies, Schedule, Target, drive
from windtunnel.simulate.live.generators import Program
from windtunnel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LAG_S, AT_SHARE = 0.002, 0.5
"""The bar: one in a hundred leaves no later than this, at this share of the capacity."""

BIN_S = 0.010


@dataclass(frozen=True)
class Driven:
    """One rate.

    Args:
        share: of the capacity.
        rate_per_s: asked.
        lag_p50_s: by how much requests left late, and so on.
        burstiness: variance over mean of the counts that left.
        burstiness_scheduled: of those that were due.
        latency_p50_s: to the answer, from the schedule.
        cpu_s: of a generator's core, a request; its start left out.
    """

    share: float
    rate_per_s: float
    lag_p50_s: float
    lag_p99_s: float
    lag_p999_s: float
    burstiness: float
    burstiness_scheduled: float
    latency_p50_s: float
    cpu_s: float


def measure(generators: int, seconds: float, shares: Sequence[float], size: int) -> tuple[float, list[Driven]]:
    """The capacity, and what became of each share of it."""
    program = Program("null_server")
    try:
        target = Target.find(f"http://127.0.0.1:{program.hear()['port']}", "null")
        bodies = Bodies.of(target, [{"x": np.zeros((64, max(4, size // 4)), np.float32)}])
        few = _poisson(20.0, 1.0, bodies)
        capacity_per_s = drive(target, few, bodies, generators=generators).generator_capacity_per_s
        # what a generator takes to start, and for next to nothing
        start_s = drive(target, few, bodies, generators=generators, capacity_per_s=capacity_per_s).cpu_s
        rates = [(share, share * capacity_per_s) for share in shares]
        return capacity_per_s, [
            _driven(target, bodies, generators, share, rate, seconds, capacity_per_s, start_s) for share, rate in rates
        ]
    finally:
        program.close()


def _driven(
    target: Target,
    bodies: Bodies,
    generators: int,
    share: float,
    rate: float,
    seconds: float,
    capacity_per_s: float,
    start_s: float,
) -> Driven:
    schedule = _poisson(rate, seconds, bodies)
    run = drive(target, schedule, bodies, generators=generators, capacity_per_s=capacity_per_s)
    first_sent_s = run.log.scheduled_s + run.send_lag_s
    lag_p50_s, lag_p99_s, lag_p999_s = (float(each) for each in np.quantile(run.send_lag_s, [0.5, 0.99, 0.999]))
    return Driven(
        share, rate, lag_p50_s, lag_p99_s, lag_p999_s, _burstiness(first_sent_s), _burstiness(schedule.scheduled_s),
        float(np.nanmedian(run.log.latency_s)), (run.cpu_s - start_s) / len(run),
    )  # fmt: skip


def _poisson(rate: float, seconds: float, bodies: Bodies) -> Schedule:
    times_s = np.sort(np.random.default_rng(1).uniform(0.0, seconds, int(rate * seconds)))
    return Schedule.of(Trace("poisson", times_s), bodies)


def _burstiness(times_s: NDArray[np.float64]) -> float:
    counts = np.bincount((times_s / BIN_S).astype(np.int64))[1:-1]
    return float(counts.var() / counts.mean())


def main(words: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--generators", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--shares", default="0.25,0.5,0.75")
    parser.add_argument("--bytes", type=int, default=1024)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(words)
    shares = [float(each) for each in asked.shares.split(",")]
    capacity_per_s, found = measure(asked.generators, asked.seconds, shares, asked.bytes)
    if asked.json:
        told: dict[str, Any] = {"capacity_per_s": capacity_per_s, "generators": asked.generators, "bytes": asked.bytes}
        sys.stdout.write(json.dumps(told | {"driven": [asdict(each) for each in found]}, indent=2) + "\n")
    else:
        _print(capacity_per_s, asked.generators, found)
    return int(any(each.share == AT_SHARE and each.lag_p99_s > LAG_S for each in found))


def _print(capacity_per_s: float, generators: int, found: Sequence[Driven]) -> None:
    write = sys.stdout.write
    write(f"{generators} × generator: {capacity_per_s:,.0f} requests/s at most\n")
    write("share    rate/s   late p50   late p99 late p99.9   bursty (scheduled)   latency p50   CPU a request\n")
    for each in found:
        write(
            f"{each.share:4.0%} {each.rate_per_s:10,.0f} {each.lag_p50_s * 1e6:7.0f} µs {each.lag_p99_s * 1e6:7.0f} µs {each.lag_p999_s * 1e6:7.0f} µs "
            f"{each.burstiness:8.2f} ({each.burstiness_scheduled:.2f})      {each.latency_p50_s * 1e6:7.0f} µs      {each.cpu_s * 1e6:7.0f} µs\n"
        )


if __name__ == "__main__":
    raise SystemExit(main())
