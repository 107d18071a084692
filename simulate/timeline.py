"""A log over time: how many came and how long they took, interval by interval."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.request_log import RequestLog

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Timeline:
    """Equal intervals of a log's time, from the first arrival to the last.

    Args:
        start_s: float64 `[bins]`, when each interval starts.
        seconds: how long each is.
        rate_per_s: float64 `[bins]`, arrivals a second.
        latency_s: float64 `[bins]`, the quantile of the latency of what arrived then; NaN where nothing did.
    """

    start_s: Floats
    seconds: float
    rate_per_s: Floats
    latency_s: Floats


def timeline(log: RequestLog, bins: int, *, quantile: float = 0.99) -> Timeline:
    """Cut a log into equal intervals by when requests should have been sent.

    Args:
        log: one row a request, in order of arrival.
        bins: how many intervals.
        quantile: of the latency.

    Raises:
        ConfigError: no interval.

    Example:
        >>> from windtunnel.deployment import BatchPolicy
        >>> from windtunnel.simulate.tunnel import simulate
        >>> from windtunnel.trace import Trace
        >>> trace = Trace("t", np.array([0.0, 1.0, 1.5, 10.0]))
        >>> over_time = timeline(simulate(trace, np.array([[0.0], [0.5]]), BatchPolicy(), 1, seed=1), 2)
        >>> over_time.rate_per_s, over_time.latency_s
        (array([0.6, 0.2]), array([0.5, 0.5]))
    """
    if bins < 1:
        raise ConfigError("must be at least 1", field="bins", value=bins)
    arrivals_s, latency_s = log.scheduled_s, log.latency_s
    edges = np.linspace(arrivals_s[0], arrivals_s[-1], bins + 1)
    # the last arrival belongs to the last interval
    cuts = np.append(np.searchsorted(arrivals_s, edges[:-1]), len(arrivals_s))
    seconds = float(edges[1] - edges[0])
    quantiles = np.full(bins, np.nan)
    for each, (start, end) in enumerate(itertools.pairwise(cuts)):
        if end > start:
            quantiles[each] = np.quantile(latency_s[start:end], quantile)
    return Timeline(edges[:-1], seconds, np.diff(cuts) / seconds, quantiles)
