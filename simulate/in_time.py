"""The share of the requests that got a good answer, with an interval that knows that neighbours are alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.stats import Interval

from .kernel import OVER_TIME
from .spread import LEAST_BLOCKS, LEAST_REQUESTS, QUANTILES, ratio_error, student

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .flight import Flight

    Floats = NDArray[np.float64]

BLOCKS = 50
"""Into how many stretches of as many requests a flight is cut, as far as its timeline allows."""


def in_time(flight: Flight, confidence: float = 0.95) -> Interval:
    """The share of all requests that were answered within what a good answer takes; what is never answered is late.

    Wilson's interval (JASA 1927) of as many independent requests as these are worth. Neighbours share queues, so their number is
    divided by the design effect: by how much the share varies over blocks of consecutive requests more than that of independent
    ones would. Late requests come in clusters, and a run that saw few of them is too sure; so the effect is taken to be no less
    than that of the quantiles of the latency that lie below the bound, as among quantiles (`Spread.of`). Few requests or blocks
    carry no interval (0 to 1), as there. It is about a load that goes on like this one.
    """
    requests, times = flight.summary.requests, flight.summary.latency_times
    share = flight.good / requests
    sums, counts = _blocks(*(flight.over_time[:, OVER_TIME.index(name)] for name in ("good", "arrived")))
    blocks = len(counts)
    if blocks < LEAST_BLOCKS or requests < LEAST_REQUESTS:
        return Interval(share, 0.0, 1.0, blocks, confidence)
    below = [each for each in QUANTILES.values() if each <= share]
    answered = [(times.block_counts_to(times.column_of(each)), times.block_counts) for each in below]
    effect = max(1.0, *(_effect(*each) for each in [(sums, counts), *answered]))
    return Interval(share, *_wilson(share, requests / effect, student(blocks, confidence)), blocks, confidence)


def _effect(sums: Floats, counts: Floats) -> float:
    """By how much the ratio of two block sums varies more than the share of independent observations; 1 where it does not vary."""
    share, several = sums.sum() / counts.sum(), np.count_nonzero(counts) > 1
    independent = share * (1.0 - share) / counts.sum()
    return ratio_error(sums, counts) ** 2 / independent if several and independent > 0.0 else 1.0


def _wilson(share: float, requests: float, factor: float) -> tuple[float, float]:
    """Of a share of so many independent requests, with Student's factor for the normal's."""
    doubt = factor**2 / requests
    reach = math.sqrt(doubt * (share * (1.0 - share) + doubt / 4.0))
    low, high = ((share + doubt / 2.0 + end) / (1.0 + doubt) for end in (-reach, reach))
    return max(0.0, low), min(1.0, high)


def _blocks(sums: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Sums and counts of stretches of bins, each with about as many requests."""
    used = counts > 0.0
    sums, counts = sums[used], counts[used]
    block = np.ceil(np.cumsum(counts) / counts.sum() * BLOCKS).astype(np.int64)
    first = np.flatnonzero(np.diff(block, prepend=0))
    return np.add.reduceat(sums, first), np.add.reduceat(counts, first)
