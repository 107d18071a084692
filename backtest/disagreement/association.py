"""Which features flips go with, from logged answers alone: no model is asked, so what goes together need not be a cause.

A feature is cut into slices, and one sees by how much the share of flips differs from slice to slice. Some difference there always
is. How much noise makes, with flips and features each as they follow upon each other in time, is seen by moving all flips to
another time: the features that go with flips only because they go with everything do so then too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.backtest.slices import Cut

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Ints = NDArray[np.int64]

MOST_ROWS = 20_000
"""So many requests are looked at, drawn at random."""

SHIFTS = 199
"""How many other times flips are moved to."""

LEVEL = 0.05
"""The chance that any feature is named that flips do not go with."""

LEAST_IN_SLICE = 30
"""Of a slice with fewer requests no share of flips is told."""


@dataclass(frozen=True)
class Association:
    """How flips go with one feature.

    Args:
        feature: its column.
        strength: Cramér's V between its slices and whether a request flips: 0, nothing; 1, they decide it.
        floor: what noise makes of it: exceeded by any of the features in 5% of cases.
        where: the slice with the greatest share of flips, as in `hour > 17`.
        rate: that share.
        requests: in that slice, of those looked at.
    """

    feature: str
    strength: float
    floor: float
    where: str
    rate: float
    requests: int

    @property
    def named(self) -> bool:
        """Whether it is more than noise makes."""
        return self.strength > self.floor

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "feature": self.feature, "association": self.strength, "noise_floor": self.floor, "named": self.named,
            "where": self.where, "flip_rate": self.rate, "requests": self.requests,
        }  # fmt: skip


@dataclass(frozen=True)
class Associations:
    """How flips go with each feature, the strongest above its noise first.

    Args:
        features: each.
        rate: the share of requests that flip, of those looked at.
        requests: how many were looked at.
    """

    features: tuple[Association, ...]
    rate: float
    requests: int

    @property
    def named(self) -> tuple[Association, ...]:
        """The features that flips are shown to go with."""
        return tuple(each for each in self.features if each.named)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "how": "logged answers alone: which features flips go with", "requests": self.requests, "flip_rate": self.rate,
            "shifts": SHIFTS, "features": [each.to_dict() for each in self.features],
        }  # fmt: skip


def associate(features: pl.DataFrame, flips: Flags, time_us: Ints, rng: np.random.Generator) -> Associations | None:
    """See which features flips go with.

    Args:
        features: numbers, texts or flags, as known when each request was asked, [n, columns].
        flips: whether the two models decide otherwise, bool [n].
        time_us: when each was asked, int64 [n].
        rng: of this question alone; it draws the requests, and the times that flips are moved to.

    Returns:
        The features; None where none, or every request, flips.

    Example: they part where `b` is large.

        >>> import polars as pl
        >>> rng = np.random.default_rng(0)
        >>> table = pl.DataFrame({"a": rng.random(4000), "b": rng.random(4000)})
        >>> found = associate(table, (table["b"] > 0.75).to_numpy() & (rng.random(4000) < 0.2), np.arange(4000), rng)
        >>> [each.feature for each in found.named], found.features[0].where
        (['b'], 'b > 0.752')
    """
    chosen = rng.choice(len(flips), size=min(MOST_ROWS, len(flips)), replace=False)
    chosen = chosen[np.argsort(time_us[chosen], kind="stable")]
    flipped = flips[chosen].astype(np.float64)
    if not features.width or flipped.min() == flipped.max():
        return None
    shifts = rng.integers(len(chosen) // 10, max(len(chosen) - len(chosen) // 10, 1), size=SHIFTS)
    cuts = [Cut.of(features[name][chosen], np.ones(len(chosen), dtype=np.bool_)) for name in features.columns]
    strengths = np.array([_strengths(cut, flipped, shifts) for cut in cuts])
    floors = _floors(strengths[:, 1:])
    found = [_association(cut, flipped, *each) for cut, *each in zip(cuts, strengths[:, 0], floors, strict=True)]
    found.sort(key=lambda each: (each.floor - each.strength, each.feature))
    return Associations(tuple(found), float(flipped.mean()), len(chosen))


def _strengths(cut: Cut, flipped: Floats, shifts: Ints) -> list[float]:
    """Cramér's V as it is, then with flips moved to each other time."""
    count = np.bincount(cut.codes)
    some = np.maximum(count, 1)
    mean, spread = flipped.mean(), flipped.var()

    def strength(moved: Floats) -> float:
        rates = np.bincount(cut.codes, moved) / some
        return float(np.sqrt((count * (rates - mean) ** 2).sum() / (len(moved) * spread)))

    return [strength(flipped), *(strength(np.roll(flipped, shift)) for shift in shifts.tolist())]


def _floors(noise: Floats) -> Floats:
    """The strength of each feature's noise that any of them exceeds in 5% of cases: so many deviations above its mean."""
    mean, deviation = noise.mean(axis=1), noise.std(axis=1)
    apart = np.divide(
        noise - mean[:, None], deviation[:, None], out=np.zeros_like(noise), where=deviation[:, None] > 0.0
    )
    highest = np.quantile(apart.max(axis=0), 1.0 - LEVEL, method="higher")
    floors: Floats = mean + highest * deviation
    return floors


def _association(cut: Cut, flipped: Floats, strength: float, floor: float) -> Association:
    count = np.bincount(cut.codes, minlength=len(cut.names))
    rates = np.bincount(cut.codes, flipped, minlength=len(cut.names)) / np.maximum(count, 1)
    best = int(np.argmax(np.where(count >= min(LEAST_IN_SLICE, count.max()), rates, -1.0)))
    value = cut.names[best]
    where = f"{cut.column} {value}" if value[:2] in {"≤ ", "> "} else f"{cut.column} = {value}"
    return Association(cut.column, float(strength), float(floor), where, float(rates[best]), int(count[best]))
