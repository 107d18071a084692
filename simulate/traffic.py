"""Traffic: made from nothing, or a trace with a crowd in it. What else makes a day worse is in `scenarios/`."""

from __future__ import annotations

import numpy as np

from windtunnel.errors import ConfigError
from windtunnel.simulate.scenarios.day import joined
from windtunnel.simulate.scenarios.flash_crowd import crowd
from windtunnel.trace import Trace


def poisson(rate_per_s: float, requests: int, rng: np.random.Generator) -> Trace:
    """Requests that know nothing of each other, at a constant rate.

    Args:
        rate_per_s: the mean rate.
        requests: how many; the first comes at zero.
        rng: the stream of arrivals.

    Raises:
        ConfigError: a rate that is not above zero.
        DataError: fewer than two requests.

    Example:
        >>> round(poisson(100.0, 50_000, np.random.default_rng(0)).rate_per_s)
        100
    """
    if not 0.0 < rate_per_s < float("inf"):
        raise ConfigError("must be above zero", field="rate_per_s", value=rate_per_s)
    steps_s = rng.exponential(1.0 / rate_per_s, size=max(requests - 1, 0))
    return Trace(f"Poisson at {rate_per_s:g}/s", np.concatenate([np.zeros(min(requests, 1)), np.cumsum(steps_s)]))


def flash_crowd(
    trace: Trace, *, times: float = 5.0, start_share: float = 0.5, length_share: float = 0.02, rng: np.random.Generator
) -> Trace:
    """The same requests with a crowd on top in one window: `windtunnel.simulate.scenarios.FlashCrowd`, on a trace alone.

    Args:
        trace: the recording.
        times: the mean rate within the window, as a multiple of the recorded one.
        start_share: where the window starts, as a share of the trace's duration.
        length_share: how long it is, as a share of the trace's duration.
        rng: the stream of arrivals.

    Raises:
        ConfigError: `times` below 1, or a window that does not lie within the trace.
        DataError: nothing was recorded within the window.

    Example:
        >>> calm = Trace("calm", np.arange(1001.0))
        >>> crowded = flash_crowd(calm, times=5.0, rng=np.random.default_rng(0))
        >>> len(crowded) - len(calm), int(np.sum((crowded.arrivals_s >= 500) & (crowded.arrivals_s < 520)))
        (80, 100)
    """
    if not 1.0 <= times < float("inf"):
        raise ConfigError("must be at least 1", field="times", value=times, fix="a crowd adds to what was recorded")
    if not (0.0 <= start_share < 1.0 and length_share > 0.0 and start_share + length_share <= 1.0):
        raise ConfigError(
            "is not a window within the trace",
            field="start_share, length_share",
            value=(start_share, length_share),
            fix="give shares of its duration whose sum is at most 1",
        )
    start_s = float(trace.arrivals_s[0]) + start_share * trace.duration_s
    crowd_s, like = crowd(trace, start_s, start_s + length_share * trace.duration_s, times, rng)
    own = {name: column[like] for name, column in trace.columns.items()}
    return joined(trace, f"a flash crowd × {times:g}", crowd_s, own)[0]
