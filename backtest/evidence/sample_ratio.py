"""Did the arms get the shares of traffic that they were meant to get? If not, nothing else about them can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats as distributions
from scipy.special import gammaln

from windtunnel.errors import ConfigError

from .sequence import as_evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONCENTRATION = 1000.0
"""How close to the meant shares a mismatch is looked for: about 1.6 percentage points of an equal share."""


@dataclass(frozen=True)
class SampleRatio:
    """The shares that were meant, those that were found, and the evidence that they differ.

    Args:
        meant: the share of each arm, float64 [arms].
        found: of all rows (or units) so far, float64 [arms].
        p_value: of Pearson's chi-square at the end: fair only to who looks once.
        e_values: the evidence against the meant shares after each look, float64 [looks]: fair to who looks at any time.
        level: the chance of calling a true ratio a mismatch, at whatever look.
    """

    meant: Floats
    found: Floats
    p_value: float
    e_values: Floats
    level: float

    @staticmethod
    def of(counts: NDArray[np.int64], meant: Floats, level: float = 0.01) -> SampleRatio:
        """Weigh the counts look by look.

        The e-value is the likelihood ratio of a Dirichlet mixture around the meant shares against them: a martingale
        where units are assigned independently (Lindon & Malek, *Anytime-valid inference for multinomial count data*, arXiv
        2011.03567). Count each unit once: rows of one user are assigned together.

        Args:
            counts: units that came to each arm between one look and the next, int64 [looks, arms].
            meant: the shares as they were set, float64 [arms], above zero, of sum one.
            level: small, because the test is made for every comparison, and a mismatch voids it.

        Raises:
            ConfigError: shares that are none.

        Example:
            >>> even = np.array([0.5, 0.5])
            >>> SampleRatio.of(np.array([[500, 510]] * 10), even).mismatch_at is None
            True
            >>> SampleRatio.of(np.array([[500, 560]] * 10), even).mismatch_at
            3
        """
        if len(meant) != counts.shape[1] or not (meant > 0.0).all() or abs(float(meant.sum()) - 1.0) > 1e-6:
            raise ConfigError(
                f"are not the shares of {counts.shape[1]} arms",
                field="shares",
                value=meant.tolist(),
                fix="give each arm the share of the traffic that it was meant to get; together they make 1",
            )
        meant = meant / meant.sum()  # what rounding left out of a third would be a mismatch of its own
        so_far = np.cumsum(counts, axis=0)
        total = counts.sum(axis=0)
        p_value = float(distributions.chisquare(total, meant * total.sum()).pvalue) if total.sum() else 1.0
        return SampleRatio(meant, total / max(1, total.sum()), p_value, _e_values(so_far, meant), level)

    @property
    def e_value(self) -> float:
        """The greatest evidence so far: a mismatch once seen is not undone by traffic that hides it."""
        return float(self.e_values.max(initial=1.0))

    @property
    def mismatch_at(self) -> int | None:
        """The first look, from 0, at which the mismatch was plain; None: at none."""
        plain = self.e_values >= 1.0 / self.level
        return int(np.argmax(plain)) if plain.any() else None

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON values."""
        return {
            "meant": self.meant.tolist(),
            "found": self.found.tolist(),
            "p_value": self.p_value,
            "e_value": self.e_value,
            "mismatch": self.mismatch_at is not None,
        }


def _e_values(so_far: NDArray[np.int64], meant: Floats) -> Floats:
    prior = CONCENTRATION * meant
    grown = np.sum(gammaln(prior + so_far) - gammaln(prior) - so_far * np.log(meant), axis=-1)
    return as_evidence(grown + gammaln(CONCENTRATION) - gammaln(CONCENTRATION + so_far.sum(axis=-1)))
