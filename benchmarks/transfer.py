"""What computes on a device has its copies there and back counted, and timed apart from the computing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.session import DeviceSession, cut
from windtunnel.stats import Interval, series_mean_interval
from windtunnel.timer import time_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .task import Task

CALLS = 60
"""Calls of each part; none of them decides a verdict, and the whole way is measured with everything else."""


@dataclass(frozen=True)
class Transfer:
    """One batch size of one task, in its three parts.

    Args:
        name: of the task.
        batch: rows a call.
        copy_in_s: the inputs to the device (mean).
        compute_s: the computing alone.
        copy_out_s: the outputs back.
        copied_bytes: there and back.
    """

    name: str
    batch: int
    copy_in_s: Interval
    compute_s: Interval
    copy_out_s: Interval
    copied_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The parts as JSON values."""
        return {
            "name": self.name, "batch": self.batch, "copied_bytes": self.copied_bytes,
            **self.copy_in_s.to_dict("copy_in_s"), **self.compute_s.to_dict("compute_s"),
            **self.copy_out_s.to_dict("copy_out_s"),
        }  # fmt: skip


def measure_transfers(tasks: Sequence[Task], batch_sizes: Sequence[int], *, calls: int = CALLS) -> tuple[Transfer, ...]:
    """Time the parts of every task that computes on a device; tasks that compute in the host's memory have none.

    Args:
        tasks: what is measured.
        batch_sizes: rows a call.
        calls: of each part.
    """
    found = []
    for task in tasks:
        if task.device == "cpu":
            continue
        session = task.opener()
        if isinstance(session, DeviceSession):
            found += [measure_transfer(session, task, batch, calls) for batch in batch_sizes]
    return tuple(found)


def measure_transfer(session: DeviceSession, task: Task, batch: int, calls: int = CALLS) -> Transfer:
    """Time the parts of one batch size."""
    rows = cut(task.feeds, batch)
    session.run(rows)  # what is allocated on the first call is not part of serving

    def place() -> None:
        session.place(rows)

    there, computing, back = (
        series_mean_interval(time_calls(part, calls)) for part in (place, session.run_placed, session.fetch)
    )
    return Transfer(task.name, batch, there, computing, back, session.copied_bytes)
