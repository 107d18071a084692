"""How honest projections are on this machine: every configuration left out, projected, measured, and set against the band.

    python tests/performance/roofline.py [BATCH ...]

The band of each change is the one that the other changes promised before it was seen.
"""

from __future__ import annotations

import argparse
import math
import time

from windtunnel.benchmarks.leave_one_out import BATCHES, leave_one_out
from windtunnel.hardware import Hardware


def main() -> None:
    """Print every projection, what was measured, and whether the band held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("batch", type=int, nargs="*", default=list(BATCHES))
    started = time.perf_counter()
    seen = leave_one_out(batches=tuple(parser.parse_args().batch))
    lines = [f"{Hardware.detect()}; {time.perf_counter() - started:.0f} s", ""]
    covered = 0
    for change, errors in seen.by_change().items():
        band = seen.without(change).band() if len(seen.by_change()) > 1 else seen.band()
        within = sum(abs(error) <= math.log(band) for error in errors)
        covered += within
        lines.append(f"{change}: promised within {band:.2f} ×, {within} of {len(errors)} were")
        lines += [
            f"    {each.case:18} projected {each.projected_s * 1e6:9.1f} µs, measured {each.measured_s * 1e6:9.1f} µs, "
            f"{math.exp(each.log_error):5.2f} ×"
            for each in seen.held_out
            if each.change == change
        ]
    lines += [
        "",
        f"{covered} of {len(seen.held_out)} within what was promised; the band for the next machine is {seen.band():.2f} ×",
    ]
    print("\n".join(lines))  # noqa: T201  # a script for people


if __name__ == "__main__":
    main()
