"""More or fewer requests in the same time. `Trace.speed_up` is another thing: the same requests in less time.

Twice the users are not the same users twice as fast: sped up, a day's rhythm takes half a day and every lull is halved;
scaled in rate, the day stays a day and its hours are twice as full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError

from .splice import take

if TYPE_CHECKING:
    from windtunnel.trace import Trace


def scale_rate(trace: Trace, factor: float, rng: np.random.Generator, *, jitter_s: float | None = None) -> Trace:
    """As many requests times `factor` in the same time.

    Below one each request is kept with that chance (thinning): what is Poisson stays Poisson, and what is burstier becomes
    less so. From one on each is there as many times as the factor's whole part says, and once more with the chance of the
    rest (superposition). The first of each keeps its place; its copies are moved by up to `jitter_s` to either side,
    uniformly, so that they are not at one instant, and carry the columns of the request that they copy. Copies that would
    fall outside the trace are mirrored back into it. The copies of one burst burst together: that is the traffic of more
    users who do the same at the same time, and burstier than that of as many strangers; for these, fit and sample.

    Args:
        trace: the recording.
        factor: above zero.
        rng: the stream of arrivals.
        jitter_s: how far copies are moved; the mean gap of the trace where None.

    Raises:
        ConfigError: a factor that is not above zero, or a jitter below zero.
        DataError: fewer than two requests are left.

    Example:
        >>> from windtunnel.trace import Trace
        >>> whole = Trace("t", np.arange(10_001.0))
        >>> [round(len(scale_rate(whole, by, np.random.default_rng(0))), -3) for by in (0.5, 1.0, 2.5)]
        [5000, 10000, 25000]
    """
    if not 0.0 < factor < float("inf"):
        raise ConfigError("must be above zero", field="factor", value=factor)
    name = f"{trace.name} at {factor:g} × its rate"
    if factor < 1.0:
        return take(trace, np.flatnonzero(rng.random(len(trace)) < factor), name=name)
    reach_s = 1.0 / trace.rate_per_s if jitter_s is None else jitter_s
    if not 0.0 <= reach_s < float("inf"):
        raise ConfigError("must be zero or more", field="jitter", value=jitter_s)
    copies = int(factor) - 1 + (rng.random(len(trace)) < factor % 1.0)
    copied = np.repeat(np.arange(len(trace)), copies)
    moved_s = trace.arrivals_s[copied] + rng.uniform(-reach_s, reach_s, size=len(copied))
    first_s, last_s = trace.arrivals_s[[0, -1]]
    moved_s = np.where(moved_s < first_s, 2.0 * first_s - moved_s, moved_s)
    moved_s = np.clip(np.where(moved_s > last_s, 2.0 * last_s - moved_s, moved_s), first_s, last_s)
    times_s = np.concatenate([trace.arrivals_s, moved_s])
    order = np.argsort(times_s, kind="stable")
    rows = np.concatenate([np.arange(len(trace)), copied])[order]
    return take(trace, rows, name=name, arrivals_s=times_s[order])
