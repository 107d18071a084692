"""What requests carry: hot keys, sizes, priorities and deadlines, drawn row by row from a seed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ConfigError

from .zipf import Zipf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from windtunnel.trace import Trace

    from .generator import Floats

# one stream each, so that another mix of sizes leaves the keys where they were
_KEYS, _SIZES, _PRIORITIES = 1, 2, 3


def zipf_shares(distinct: int, exponent: float) -> Floats:
    """The share of each of so many keys, the hottest first: proportional to rank^−exponent.

    Raises:
        ConfigError: no key, more than ten million, or an exponent below zero.

    Example:
        >>> zipf_shares(3, 1.0).round(3).tolist()
        [0.545, 0.273, 0.182]
    """
    Zipf(distinct, exponent)  # refuses what is no law
    weights = np.arange(1.0, distinct + 1.0) ** -exponent
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def with_keys(trace: Trace, distinct: int, exponent: float, seed: int) -> Trace:
    """The trace with a column `key`: 0 is the hottest of `distinct` keys, whose shares follow Zipf's law.

    Args:
        trace: any.
        distinct: how many keys there are.
        exponent: 0 makes all alike; caches and stores of real traffic show about 0.6 to 1.2.
        seed: of the draw.

    Raises:
        ConfigError: see `zipf_shares`.

    Source: Breslau et al., *Web caching and Zipf-like distributions*, INFOCOM 1999.

    Example:
        >>> from windtunnel.trace import Trace
        >>> keyed = with_keys(Trace("t", np.arange(10_000.0)), 100, 1.0, seed=1)
        >>> round(float(np.mean(keyed.columns["key"] == 0)), 2)  # one over the hundredth harmonic number: 0.193
        0.19
    """
    drawn = _drawn(zipf_shares(distinct, exponent), len(trace), seed, _KEYS)
    return _with(trace, "key", drawn.astype(np.int64))


def with_sizes(trace: Trace, shares: Sequence[float], seed: int) -> Trace:
    """The trace with a column `size`: the index of a size class of the latency profile, with these shares.

    Raises:
        ConfigError: shares below zero, or that do not add up to one.
    """
    return _with(trace, "size", _drawn(_checked(shares), len(trace), seed, _SIZES).astype(np.int32))


def with_priorities(trace: Trace, shares: Sequence[float], seed: int, *, deadlines_s: Sequence[float] = ()) -> Trace:
    """The trace with a column `priority`, 0 served first, and where given each class's deadline in `deadline_s`.

    Args:
        trace: any.
        shares: of the classes, the first served first.
        seed: of the draw.
        deadlines_s: seconds after arrival from which an answer is worthless, one a class; `inf` for never.

    Raises:
        ConfigError: shares below zero or that do not add up to one, or another number of deadlines, or one not above zero.

    Example:
        >>> from windtunnel.trace import Trace
        >>> mixed = with_priorities(Trace("t", np.arange(1000.0)), [0.2, 0.8], 1, deadlines_s=[0.1, np.inf])
        >>> sorted(mixed.columns), sorted(set(mixed.columns["deadline_s"].tolist()))
        (['deadline_s', 'priority'], [0.1, inf])
    """
    if len(deadlines_s) and (len(deadlines_s) != len(shares) or not all(each > 0.0 for each in deadlines_s)):
        raise ConfigError("need one above zero a class", field="deadlines", value=tuple(deadlines_s))
    drawn = _drawn(_checked(shares), len(trace), seed, _PRIORITIES)
    ranked = _with(trace, "priority", drawn.astype(np.int32))
    return _with(ranked, "deadline_s", np.asarray(deadlines_s, np.float64)[drawn]) if len(deadlines_s) else ranked


def with_deadline(trace: Trace, deadline_s: float) -> Trace:
    """The trace with one deadline for all, seconds after the arrival, in `deadline_s`.

    Raises:
        ConfigError: a deadline that is not above zero.
    """
    if not deadline_s > 0.0:
        raise ConfigError("must be above zero", field="deadline", value=deadline_s)
    return _with(trace, "deadline_s", np.full(len(trace), deadline_s))


def _checked(shares: Sequence[float]) -> Floats:
    array = np.asarray(shares, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.all(array >= 0.0) or abs(float(array.sum()) - 1.0) > 1e-9:
        raise ConfigError("must be zero or more and add up to one", field="shares", value=tuple(shares))
    return array


def _drawn(shares: Floats, rows: int, seed: int, column: int) -> NDArray[np.int64]:
    """Indices with these shares, by inversion: one uniform a row."""
    draws = np.random.default_rng([seed, column]).random(rows)
    found = np.searchsorted(np.cumsum(shares), draws, side="right")
    return np.minimum(found, int(np.flatnonzero(shares)[-1])).astype(np.int64)


def _with(trace: Trace, name: str, column: NDArray[Any]) -> Trace:
    return replace(trace, columns={**trace.columns, name: column})
