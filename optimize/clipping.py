"""Where the range of a quantized tensor ends: at the extremes, or nearer, where clipping a few buys precision for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from .observer import Observer

    Floats = NDArray[np.float64]
    Range = tuple[float, float]

LEVELS = 255
"""Steps between the ends of an 8-bit range."""

MAGNITUDES = 128
"""Levels of the magnitude in the entropy method, as in NVIDIA's."""

CANDIDATES = 128
"""How many ranges the entropy method compares."""

SHRUNK = np.arange(1.0, 0.1, -1 / 64)
"""The shares of the full range that the method of least squares tries."""


def clip(seen: Observer, method: str, percentile: float) -> Range:
    """The range that a method gives a tensor; zero is always in it.

    Args:
        seen: what was seen of the tensor.
        method: one of `METHODS`.
        percentile: how much of the values, in percent, `percentile` keeps; half of the rest is cut at each end.

    Example:
        >>> from .observer import Observer
        >>> seen = Observer()
        >>> seen.observe(np.float32([*np.linspace(0, 1, 10_000), 50.0]))
        >>> clip(seen, "minmax", 99.9)[1], round(clip(seen, "percentile", 99.9)[1], 1)
        (50.0, 1.0)
    """
    low, high = METHODS[method](seen, percentile)
    # a bin reaches beyond what lay in it
    return min(0.0, float(max(low, seen.low))), max(0.0, float(min(high, seen.high)))


def check_method(method: str) -> None:
    """Refuse what is not one of `METHODS`.

    Raises:
        ConfigError: there is no such method.
    """
    if method not in METHODS:
        raise ConfigError("is not a calibrator", field="calibrator", value=method, fix=nearest(method, METHODS))


def _minmax(seen: Observer, _: float) -> Range:
    return seen.low, seen.high


def _moving_average(seen: Observer, _: float) -> Range:
    return seen.mean_low, seen.mean_high


def _percentile(seen: Observer, percentile: float) -> Range:
    below = np.cumsum(seen.counts)
    cut = (100.0 - percentile) / 200.0 * below[-1]
    first, last = np.searchsorted(below, cut, side="right"), np.searchsorted(below, below[-1] - cut)
    return float((seen.first + first) * seen.width), float((seen.first + last + 1) * seen.width)


def _entropy(seen: Observer, _: float) -> Range:
    """Symmetric about zero: the magnitude at which the clipped and quantized histogram tells least apart from the whole.

    Source: Migacz, 8-bit inference with TensorRT, GTC 2017.
    """
    sizes = _magnitudes(seen)
    step = max(1, len(sizes) // CANDIDATES)
    if len(sizes) < MAGNITUDES:
        return seen.low, seen.high
    kept = np.unique([*range(MAGNITUDES, len(sizes), step), len(sizes)])  # the full range is one of them
    best = min(kept[::-1], key=lambda bins: _divergence(sizes, bins))
    return -float(best * seen.width), float(best * seen.width)


def _magnitudes(seen: Observer) -> Floats:
    """The histogram of absolute values, up to the largest."""
    index = seen.first + np.arange(len(seen.counts))
    sizes = np.bincount(np.where(index < 0, -index - 1, index), weights=seen.counts)
    return np.asarray(sizes[: np.flatnonzero(sizes)[-1] + 1])


def _divergence(sizes: Floats, kept: int) -> float:
    """Kullback and Leibler's: of the first `kept` bins, the tail put into the last, from their quantized selves."""
    reference = sizes[:kept].copy()
    reference[-1] += sizes[kept:].sum()
    level = np.arange(kept) * MAGNITUDES // kept
    filled = sizes[:kept] > 0
    mass = np.bincount(level, weights=sizes[:kept])
    quantized = (mass / np.maximum(np.bincount(level, weights=filled), 1.0))[level] * filled
    told = reference > 0
    if not quantized[told].all():
        return float("inf")
    p, q = reference / reference.sum(), quantized / quantized.sum()
    return float(np.sum(p[told] * np.log(p[told] / q[told])))


def _least_squares(seen: Observer, _: float) -> Range:
    """Both ends drawn in together, then each alone, to where the squared error of quantizing is least."""
    filled = np.flatnonzero(seen.counts)
    counts, values = seen.counts[filled].astype(np.float64), seen.centres[filled]
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    if low == high:
        return low, high

    def best(ranges: list[Range]) -> Range:
        return min(ranges, key=lambda each: squared_error(counts, values, *each))

    low, high = best([(low * share, high * share) for share in SHRUNK])
    low, high = best([(low, high * share) for share in SHRUNK])
    return best([(low * share, high) for share in SHRUNK])


def squared_error(counts: Floats, values: Floats, low: float, high: float) -> float:
    """What 8-bit integers over a range lose of some values, squared and summed.

    Args:
        counts: how often each value occurs.
        values: the values.
        low: the lower end of the range, zero or below.
        high: the upper end, zero or above; not both are zero.

    Example:
        >>> squared_error(np.array([2.0]), np.array([3.0]), 0.0, 2.0)
        2.0
    """
    scale = (high - low) / LEVELS
    zero = np.rint(-low / scale)
    held = (np.clip(np.rint(values / scale) + zero, 0, LEVELS) - zero) * scale
    return float(np.sum(counts * (values - held) ** 2))


METHODS: Mapping[str, Callable[[Observer, float], Range]] = {
    "minmax": _minmax,
    "moving-average": _moving_average,
    "percentile": _percentile,
    "entropy": _entropy,
    "mse": _least_squares,
}
"""The calibrators by name."""
