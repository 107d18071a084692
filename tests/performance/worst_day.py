"""What a rehearsal of worst days takes: memory, processor time, and how wide its intervals are.

    python tests/performance/worst_day.py [REQUESTS] [RUNS]

Poisson at 1,600 a second, four stations of 1 to 2 ms a request, a crowd five times as large and a station that is lost at the
peak, by themselves and together, with all mitigations: ten million requests and one run unless told otherwise. A first
rehearsal of 5,000 requests compiles and is left out of the time.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from windtunnel.seeds import Seeds
from windtunnel.simulate.scenarios import read_scenarios
from windtunnel.simulate.scenarios.rehearsal import Rehearsal, rehearse_worst_days
from windtunnel.simulate.system import System
from windtunnel.trace import Trace


def rehearse(requests: int, runs: int) -> Rehearsal:
    """The days, without a log."""
    trace = Trace("Poisson", np.cumsum(np.random.default_rng(3).exponential(1.0 / 1600.0, size=requests)))
    system = System(np.linspace(0.001, 0.002, 16)[None, None].repeat(2, axis=1), stations=4)
    scenarios = read_scenarios("flash-crowd, replica-loss")
    return rehearse_worst_days(trace, system, scenarios, Seeds(1), mitigate=True, runs=runs, log=False)


def peak_gib() -> float:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Rehearse and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requests", type=int, nargs="?", default=10_000_000)
    parser.add_argument("runs", type=int, nargs="?", default=1)
    given = parser.parse_args()
    rehearse(5_000, 1)
    before_gib, clock = peak_gib(), time.process_time()
    found = rehearse(given.requests, given.runs)
    print(  # noqa: T201  # a script for people
        f"{given.requests:,} requests, {given.runs} runs of {len(found.days)} days: {time.process_time() - clock:.1f} s of "
        f"CPU, {peak_gib():.2f} GiB at most ({before_gib:.2f} before)"
    )
    for day in found.days:
        toll = day.harm.to_dict()
        print(day.name, {name: toll[name] for name in toll if name.startswith(("recovery_s", "requests_hurt"))})  # noqa: T201  # a script for people


if __name__ == "__main__":
    main()
