"""Meter: what a replica counts, kept where the others can read it, and told to Prometheus.

Each replica writes numbers of eight bytes into a file of its own, which is mapped into memory: counting costs no call to the
system, nobody waits for anybody, and whichever replica is asked adds up all files. Counts of replicas that are gone remain,
as a counter must never fall.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from bisect import bisect_left
from typing import TYPE_CHECKING

from windtunnel.serving import prediction_log as log
from windtunnel.serving import shadow
from windtunnel.serving import traffic as canary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CODES = (200, 400, 401, 404, 405, 408, 413, 415, 499, 500, 503)
"""What requests are answered with."""

COUNTERS = {
    **{f'requests_total{{code="{code}"}}': "Requests answered, by status." for code in CODES},
    "rows_total": "Rows inferred.",
    "batches_total": "Batches run.",
    "batches_rerun_total": "Batches of which a member failed, so that each was run alone.",
    **dict.fromkeys(canary.COUNTED, "Requests that the split gave to the canary, by what became of them."),
    **dict.fromkeys(shadow.COUNTED, "Requests mirrored to the shadow, by what became of them."),
    **dict.fromkeys(log.COUNTED, "Requests to be written to the prediction log, by what became of them."),
}
"""What only grows, and what it counts."""

GAUGES = {"in_flight": "Requests being answered."}
"""What goes up and down, and ends with the replica."""

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

HISTOGRAMS = {
    "handler_seconds": ("From the entry of a request into the replica's code to its exit.", SECONDS),
    "queue_seconds": ("From a request's joining a batch to the batch's start.", SECONDS),
    "model_seconds": ("A batch's service.", SECONDS),
    "batch_requests": ("Requests that shared a batch.", (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)),
}
"""What is spread, and the bounds that it is told by."""


def _places() -> dict[str, int]:
    """Where each number stands: counters first; a histogram is a sum and a count for every bound and beyond."""
    places, at = {}, 0
    for name in (*COUNTERS, *GAUGES):
        places[name], at = at, at + 1
    for name, (_, bounds) in HISTOGRAMS.items():
        places[name], at = at, at + len(bounds) + 2
    return places | {"": at}


PLACES = _places()

SIZE = PLACES[""]

_BY_CODE = {code: PLACES[f'requests_total{{code="{code}"}}'] for code in CODES}

_SPREAD = {name: (PLACES[name], bounds) for name, (_, bounds) in HISTOGRAMS.items()}


class Meter:
    """Counts of one replica, in a file or, without one, in memory.

    Args:
        path: the file; made new.

    Example:
        >>> meter = Meter()
        >>> meter.add("batches_total")
        >>> meter.observe("queue_seconds", 0.003)
        >>> print(expose([meter.numbers]).splitlines()[-4])
        windtunnel_batch_requests_bucket{le="128"} 0
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            self.numbers = memoryview(bytearray(8 * SIZE)).cast("d")
            return
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.ftruncate(held, 8 * SIZE)
        self.numbers = memoryview(mmap.mmap(held, 8 * SIZE)).cast("d")
        os.close(held)
        self._held = os.open(path, os.O_RDONLY)  # of its own: the map keeps a copy of the other
        fcntl.flock(self._held, fcntl.LOCK_EX)  # until this process ends: whoever gets the lock knows that it has

    def close(self) -> None:
        """Count no more, as when the process ends."""
        os.close(self._held)

    def add(self, name: str, count: float = 1.0) -> None:
        """Count something of `COUNTERS` or `GAUGES`."""
        self.numbers[PLACES[name]] += count

    def answered(self, status: int) -> None:
        """Count a request by what it was answered with."""
        self.numbers[_BY_CODE.get(status, _BY_CODE[500])] += 1.0

    def observe(self, name: str, value: float) -> None:
        """Take note of a value of `HISTOGRAMS`."""
        place, bounds = _SPREAD[name]
        numbers = self.numbers
        numbers[place] += value
        numbers[place + 1 + bisect_left(bounds, value)] += 1.0


def read_numbers(folder: Path) -> list[Sequence[float]]:
    """The numbers of every replica that ever counted into a folder; gauges of those that are gone are nothing."""
    return [_read(path) for path in sorted(folder.glob("*.meter")) if path.stat().st_size == 8 * SIZE]


def _read(path: Path) -> Sequence[float]:
    with path.open("rb") as file:
        numbers = [float(each) for each in memoryview(file.read()).cast("d")]
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # it counts on
            return numbers
    for name in GAUGES:
        numbers[PLACES[name]] = 0.0
    return numbers


def in_flight(folder: Path) -> int:
    """Requests that are being answered by any replica."""
    return round(sum(numbers[PLACES["in_flight"]] for numbers in read_numbers(folder)))


def expose(each: Sequence[Sequence[float]]) -> str:
    """All replicas' numbers added up, in Prometheus' text format 0.0.4."""
    total = [sum(numbers) for numbers in zip(*each, strict=True)]
    lines: list[str] = []
    told: set[str] = set()
    for name, help_ in COUNTERS.items():
        family = name.partition("{")[0]
        if family not in told:
            lines += [f"# HELP windtunnel_{family} {help_}", f"# TYPE windtunnel_{family} counter"]
            told.add(family)
        lines.append(f"windtunnel_{name} {total[PLACES[name]]:.0f}")
    for name, help_ in GAUGES.items():
        lines += [f"# HELP windtunnel_{name} {help_}", f"# TYPE windtunnel_{name} gauge"]
        lines.append(f"windtunnel_{name} {total[PLACES[name]]:.0f}")
    for name, (help_, bounds) in HISTOGRAMS.items():
        lines += [f"# HELP windtunnel_{name} {help_}", f"# TYPE windtunnel_{name} histogram"]
        lines += _buckets(name, bounds, total[PLACES[name] :])
    return "\n".join([*lines, ""])


def _buckets(name: str, bounds: Sequence[float], numbers: Sequence[float]) -> list[str]:
    lines, seen = [], 0.0
    for bound, count in zip([*(f"{bound:g}" for bound in bounds), "+Inf"], numbers[1 : len(bounds) + 2], strict=True):
        seen += count
        lines.append(f'windtunnel_{name}_bucket{{le="{bound}"}} {seen:.0f}')
    return [*lines, f"windtunnel_{name}_sum {numbers[0]!r}", f"windtunnel_{name}_count {seen:.0f}"]
