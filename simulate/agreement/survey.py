"""A Survey: what was seen of a road at several loads, in turns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.road import LOADS

from .calibrate import calibrate, warm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from windtunnel.road import Road

    from .observed import Observed
    from .place import Place

ROUNDS = 2
"""How often each of them has its turn in a survey: a slow moment of the machine is no property of one load."""

STEADY = 0.08
"""By so much the middle of what batches take may differ from turn to turn; 3% where a machine is left alone."""

SPANS = ("queue_s", "model_s", "batch_size", "replica")
"""Columns of what is seen that no clock of the run is in."""


@dataclass(frozen=True)
class Survey:
    """Turns on a road; surveys before and after something add up to one that knows the machine as it was in between.

    Args:
        capacity_per_s: answers a second of a server that always has more to do.
        turns: a run each; one of each of `LOADS`, and again.
        doubts: why it does not count; empty where it does.
    """

    capacity_per_s: float
    turns: tuple[Observed, ...]
    doubts: tuple[str, ...] = ()

    def __add__(self, later: Survey) -> Survey:
        """Both as one."""
        doubts = dict.fromkeys((*self.doubts, *later.doubts))
        return Survey(self.capacity_per_s, (*self.turns, *later.turns), tuple(doubts))

    def road(self, place: Place) -> Road:
        """The stations that it tells of.

        Args:
            place: where it was made.

        Raises:
            DataError: it tells too little; see `calibrate`.
        """
        parts = [joined(self.turns[at :: len(LOADS)]) for at in range(len(LOADS))]
        road = calibrate(parts, capacity_per_s=self.capacity_per_s, **vars(place))
        return replace(road, doubts=(*self.doubts, *self._unsteady(road)))

    def _unsteady(self, road: Road) -> tuple[str, ...]:
        """Why it was not made on a machine that stays as fast as it is; nothing where the turns of each load tell the same.

        A neighbour on the same host, or a clock that changes, takes no time that a kernel counts.
        """
        off = 0.0
        for at in range(len(LOADS)):
            batches = [each.batches for each in self.turns[at :: len(LOADS)] if len(each)]
            spans = [
                float(np.median(each.model_s / (road.service_s[each.size] * warm(road.warmth, each.idle_s))))
                for each in batches
            ]
            off = max(off, max(spans) / min(spans) - 1.0)
        if off <= STEADY:
            return ()
        return (
            f"while the road was calibrated batches took {off:.0%} longer in one turn than in another at the same load: the machine is not steady",
        )


def split(seen: Observed, counts: Sequence[int]) -> list[Observed]:
    """The stretches of one run, each as a run of its own.

    Args:
        seen: the run.
        counts: how many requests were sent in each.
    """
    ends = np.cumsum(counts)
    return [between(seen, int(end - count), int(end)) for end, count in zip(ends, counts, strict=True)]


def between(seen: Observed, first: int, end: int) -> Observed:
    """The requests from one number up to another."""
    chosen = (seen.number >= first) & (seen.number < end)
    columns = {name: getattr(seen, name)[chosen] for name in ("scheduled_s", "finished_s", *SPANS)}
    return replace(seen, **columns, number=seen.number[chosen] - first, asked=end - first)


def joined(turns: Sequence[Observed]) -> Observed:
    """The turns of one load as one run, each begun when the one before was answered."""
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in (*SPANS, "scheduled_s", "finished_s", "number")}
    over_s, asked = 0.0, 0
    for turn in turns:
        shift_s = over_s - float(turn.scheduled_s[0]) if len(turn) else 0.0
        for name in SPANS:
            columns[name].append(getattr(turn, name))
        columns["scheduled_s"].append(turn.scheduled_s + shift_s)
        columns["finished_s"].append(turn.finished_s + shift_s)
        columns["number"].append(turn.number + asked)
        over_s, asked = float(np.max(turn.finished_s + shift_s, initial=over_s)), asked + turn.asked
    return replace(turns[0], **{name: np.concatenate(each) for name, each in columns.items()}, asked=asked)
