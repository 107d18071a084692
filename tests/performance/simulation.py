"""How fast the tunnel flies, beside SimPy on the same queue in one run, and how time and memory grow with the requests.

    python -m tests.performance.simulation [--rounds 5] [--requests 5000000] [--sizes 1e7,1e8,1e9] [--json FILE]

The queue: one server, Poisson arrivals at 900 a second, batches of up to 8 that wait 2 ms for company, service of 1 ms and 0.4 ms
an item, spread over 64 equally likely times. Both sides draw arrivals and service times and keep a histogram of latencies; both
are timed in turns in one process, in CPU seconds. The whole system beside it has a proxy, power-of-two routing to up to 16
replicas that scale, timeouts and retries. Ends with 1 where the ratio is shown to be below 100.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

from windtunnel.seeds import Seeds
from windtunnel.simulate import arrivals
from windtunnel.simulate.batching import IdealBatching
from windtunnel.simulate.client import Client
from windtunnel.simulate.flight import chunks_from, fly
from windtunnel.simulate.proxy import Proxy
from windtunnel.simulate.routing import PowerOfTwo
from windtunnel.simulate.scaling import RayServeScaling
from windtunnel.simulate.system import Scaling, System
from windtunnel.stats import ratio_interval

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from windtunnel.simulate.summary import Summary

    Floats = NDArray[np.float64]

BAR = 100.0
"""How many times as fast as SimPy ours must be."""

RATE_PER_S, MAX_BATCH, MAX_WAIT_S = 900.0, 8, 0.002
SIMPY_SHARE = 100
"""SimPy flies a hundredth of the requests: the time of both is that of each request."""


def service_table() -> Floats:
    """Sixty-four equally likely times for each size of batch, of 1 ms and 0.4 ms an item in the mean."""
    means = 0.001 + 0.0004 * np.arange(MAX_BATCH + 1)
    return np.outer(means, np.linspace(0.8, 1.2, 64))


# SimPy.


class SimpyQueue:
    """The queue as one writes it with SimPy: a process of arrivals, and one of the server."""

    def __init__(self, requests: int, seed: int) -> None:
        self.env = simpy.Environment()
        self.rng = np.random.default_rng(seed)
        self.table = service_table()
        self.requests = requests
        self.waiting: list[float] = []
        self.changed = self.env.event()
        self.latencies_s = np.zeros(4096, dtype=np.int64)
        self.latency_sum_s = 0.0

    def arrive(self) -> Generator[Any, Any, None]:
        """Requests come one by one."""
        for gap_s in self.rng.exponential(1.0 / RATE_PER_S, size=self.requests):
            yield self.env.timeout(gap_s)
            self.waiting.append(self.env.now)
            if len(self.waiting) in (1, MAX_BATCH):
                self.changed.succeed()
                self.changed = self.env.event()

    def serve(self) -> Generator[Any, Any, None]:
        """A batch leaves when it is full, or when its oldest has waited."""
        served, luck = 0, iter(self.rng.integers(64, size=self.requests))
        while served < self.requests:
            if not self.waiting:
                yield self.changed
            while len(self.waiting) < MAX_BATCH and self.env.now < self.waiting[0] + MAX_WAIT_S:
                yield self.env.timeout(self.waiting[0] + MAX_WAIT_S - self.env.now) | self.changed
            batch, self.waiting = self.waiting[:MAX_BATCH], self.waiting[MAX_BATCH:]
            yield self.env.timeout(self.table[len(batch), next(luck)])
            for came_s in batch:
                latency_s = self.env.now - came_s
                self.latency_sum_s += latency_s
                self.latencies_s[min(int(latency_s * 1e4), 4095)] += 1
            served += len(batch)

    def run(self) -> float:
        """The mean latency in seconds."""
        self.env.process(self.arrive())
        done = self.env.process(self.serve())
        self.env.run(until=done)
        return self.latency_sum_s / self.requests


# Ours.


def plain() -> System:
    """The queue."""
    return System(service_table(), batcher=IdealBatching(MAX_BATCH, MAX_WAIT_S))


def whole() -> System:
    """A proxy in front of up to 16 replicas that scale, asked by clients that time out and retry."""
    return System(
        service_table(), 8, 1, IdealBatching(MAX_BATCH, MAX_WAIT_S), PowerOfTwo(),
        Scaling(RayServeScaling(target=4.0, up_s=3.0, down_s=10.0), 8, 16, 1.0),
        Client(timeout_s=0.05, retries=2, backoff_s=0.01, jitter=1.0), proxy=Proxy(4, 0.0001),
    )  # fmt: skip


def flown(system: System, rate_per_s: float, requests: int, seed: int) -> Summary:
    """Generated arrivals through a system."""
    generator = arrivals.Poisson(rate_per_s)
    return fly(system, chunks_from(generator, requests, seed), Seeds(seed)).summary


@dataclass(frozen=True)
class Speed:
    """CPU seconds a request, turn by turn."""

    ours_s: Floats
    simpy_s: Floats
    whole_s: Floats
    mean_latency_s: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Requests a second, and the ratio with its interval."""
        ratio = ratio_interval(self.simpy_s, self.ours_s)
        told = {"ours": self.ours_s, "simpy": self.simpy_s, "whole_system": self.whole_s}
        return {
            **{f"{name}_per_s": float(1.0 / np.median(each)) for name, each in told.items()},
            **ratio.to_dict("ratio"), "mean_latency_s": self.mean_latency_s,
        }  # fmt: skip


def measure(rounds: int, requests: int) -> Speed:
    """Time all three in turns, after a first flight that compiles."""
    flown(plain(), RATE_PER_S, 10_000, 0)
    flown(whole(), 12_000.0, 10_000, 0)
    ours_s, simpy_s, whole_s, means = [], [], [], []
    for turn in range(rounds):
        few = max(requests // SIMPY_SHARE, 100)
        seconds, summary = clocked(lambda turn=turn: flown(plain(), RATE_PER_S, requests, turn))
        ours_s.append(seconds / requests)
        seconds, mean_s = clocked(SimpyQueue(few, turn).run)
        simpy_s.append(seconds / few)
        seconds, _ = clocked(lambda turn=turn: flown(whole(), 12_000.0, requests, turn))
        whole_s.append(seconds / requests)
        means.append((summary.latency_times.mean_s, mean_s))
    average = tuple(float(each) for each in np.mean(means, axis=0))
    return Speed(np.array(ours_s), np.array(simpy_s), np.array(whole_s), (average[0], average[1]))


def clocked(call: Any) -> tuple[float, Any]:
    """CPU seconds of a call, and what it gave."""
    started = time.process_time()
    told = call()
    return time.process_time() - started, told


def grow(requests: int) -> dict[str, float]:
    """Fly so many requests in a process of its own: wall and CPU seconds, and the peak of its memory."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.performance.simulation", "--alone", str(requests)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def alone(requests: int) -> dict[str, float]:
    """What `grow` asks of its process."""
    flown(plain(), RATE_PER_S, 10_000, 0)
    started, busy = time.perf_counter(), time.process_time()
    flown(plain(), RATE_PER_S, requests, 1)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "requests": requests, "wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - busy,
        "peak_mib": peak_bytes / 2**20,
    }  # fmt: skip


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=5_000_000)
    parser.add_argument("--sizes", default="", help="such as 1e7,1e8,1e9")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone:
        print(json.dumps(alone(int(asked.alone))))  # noqa: T201  # read by the process that asked
        return 0
    told: dict[str, Any] = measure(asked.rounds, asked.requests).to_dict()
    told["growth"] = [grow(int(float(size))) for size in asked.sizes.split(",") if size]
    text = json.dumps(told, indent=1)
    if asked.json:
        asked.json.write_text(text + "\n")
    print(text)  # noqa: T201  # this is the script's result
    return int(told["ratio_high"] < BAR)


if __name__ == "__main__":
    sys.exit(main())
