"""Requests that cost more than others: a class of sizes of their own in the table of service times."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .day import Day

    Floats = NDArray[np.float64]


def with_heavy(
    day: Day,
    name: str,
    share: float,
    window: tuple[float, float],
    worsen: Callable[[Floats], Floats],
    rng: np.random.Generator,
) -> Day:
    """The day with requests on top that are like some of the window's, and heavier.

    For each size class there is a worse one above all that there are, and a batch takes as long as the highest class in
    it: whoever shares a batch with one of these waits for it.

    Args:
        day: any.
        name: what they are.
        share: how many come for each recorded request of the window; one at least.
        window: from when until when they come.
        worsen: makes the table `[groups, sizes, max_batch + 1, points]` of the worse classes from that of the usual ones.
        rng: draws when they come, and which requests they are like.

    Raises:
        DataError: no request in the window, or one whose size class the table does not have.
    """
    rows, usual = day.recorded_between(*window), day.system.by_group
    if not len(rows):
        raise DataError(
            f"has no request from {window[0]:g} s to {window[1]:g} s, so there is nothing to take a share of",
            field=day.trace.name, fix="move the window with start_share or after, or widen it with lasts",
        )  # fmt: skip
    sizes = day.trace.columns.get("size", np.zeros(len(day.trace), dtype=np.int32))
    if not 0 <= int(sizes.min()) <= int(sizes.max()) < usual.shape[1]:
        raise DataError(
            f"has size classes up to {int(sizes.max())}, and there are service times of {usual.shape[1]}",
            field=f"{day.trace.name}.size", fix="give a profile of every size class",
        )  # fmt: skip
    extra = max(1, round(share * len(rows)))
    like = rows[rng.integers(0, len(rows), size=extra)]
    trace = replace(day.trace, columns={**day.trace.columns, "size": sizes})
    system = replace(day.system, table=np.concatenate([usual, worsen(usual)], axis=1))
    heavier = sizes[like] + np.int32(usual.shape[1])
    return replace(day, trace=trace, system=system).joined(name, rng.uniform(*window, size=extra), like, size=heavier)
