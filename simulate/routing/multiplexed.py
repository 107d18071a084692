"""Multiplexed: power of two choices among the stations that hold a request's model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .ask import Ask

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Multiplexed:
    """Of two stations drawn from those that hold the model the less busy one; where none does, from those with the fewest models.

    A station holds a model that is at hand, is being loaded, or is wanted by an attempt there which is not answered yet. With
    none of those accepting, the candidates are the accepting stations with the fewest such models. Of two that are equally
    busy, the first drawn.

    Source: Ray Serve 2.60.0, `serve/_private/request_router/request_router.py`, `MultiplexMixin.apply_multiplex_routing`, and
    `pow_2_router.py`. There a router knows of loaded and loading models from a push every 0.1 s; a request whose model is held by
    nobody yet, but was sent to somebody before, waits for that push (up to `RAY_SERVE_MULTIPLEXED_MODEL_ID_MATCHING_TIMEOUT_S`, one
    to two seconds) and then follows: here it follows at once. The same time passes there before a request gives up the
    fewest-models stations for any; here those are the fewest among the accepting, and it passes in no time.
    """

    code: ClassVar[int] = 5
    name: ClassVar[str] = "multiplexed"

    def settings(self) -> Floats:
        """Nothing to set."""
        return np.zeros(0)

    def memory(self, stations: int) -> Floats:  # noqa: ARG002  # it has nothing in mind of each
        """What it has in mind at first, for so many stations."""
        return np.zeros(0)

    def twin(self) -> SlowMultiplexed:
        """The same, slowly."""
        return SlowMultiplexed()


@njit(nogil=True, cache=True)
def _is_candidate(claims: Ints, station: int, model: int, fewest: int) -> bool:
    return bool(claims[station, 0] == fewest if fewest >= 0 else claims[station, model + 1] > 0)


@njit(nogil=True, cache=True)
def _pick(accepting: Ints, count: int, claims: Ints, model: int, fewest: int, nth: int) -> int:
    """The n-th candidate."""
    for each in range(count):
        if _is_candidate(claims, accepting[each], model, fewest):
            if nth == 0:
                return int(accepting[each])
            nth -= 1
    return -1


@njit(nogil=True, cache=True)
def route(accepting: Ints, count: int, ongoing: Ints, draw: tuple[float, float], model: int, claims: Ints) -> int:
    """The less busy of two that hold the model, or have the fewest."""
    candidates, fewest = 0, -1
    for each in range(count):
        candidates += claims[accepting[each], model + 1] > 0
    if candidates == 0:
        for each in range(count):
            models = claims[accepting[each], 0]
            if fewest < 0 or models < fewest:
                candidates, fewest = 0, models
            candidates += models == fewest
    one = int(draw[0] * candidates)
    first = _pick(accepting, count, claims, model, fewest, one)
    if candidates == 1:
        return first
    other = int(draw[1] * (candidates - 1))
    other += other >= one
    second = _pick(accepting, count, claims, model, fewest, other)
    return int(first if ongoing[first] <= ongoing[second] else second)


class SlowMultiplexed:
    """The same in plain Python."""

    def route(self, _now_s: float, accepting: Sequence[int], ongoing: Sequence[int], ask: Ask) -> int:
        """Those who hold it, else those with the fewest; draw one, then one of the others."""
        fewest = min(len(ask.models[station]) for station in accepting)
        candidates = [station for station in accepting if ask.key in ask.models[station]]
        candidates = candidates or [station for station in accepting if len(ask.models[station]) == fewest]
        first = candidates.pop(int(ask.draw[0] * len(candidates)))
        if not candidates:
            return first
        second = candidates[int(ask.draw[1] * len(candidates))]
        return min(first, second, key=lambda station: ongoing[station])
