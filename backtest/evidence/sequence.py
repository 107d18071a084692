"""What every way of weighing evidence answers: where the mean lies, and what speaks against a claim about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_LOG = 700.0
"""Evidence beyond e^700 is told as e^700: what is larger would overflow, and says nothing more."""


class Sequence(Protocol):
    """Bounds and evidence that stay valid however often one looks.

    Values run along the last axis in the order in which they became known; leading axes are candidates, or repetitions.
    What is said after a value hangs on it and on those before it alone, so that no look can see the future.
    """

    @property
    def level(self) -> float:
        """The chance that the bounds ever leave the truth, over all looks."""
        ...

    def bounds(self, values: Floats) -> tuple[Floats, Floats]:
        """The lower and upper bound of the mean after each value."""
        ...

    def above(self, values: Floats, than: float) -> Floats:
        """The e-value against a mean of `than` or less, after each value.

        Bounds that have to hold on both sides leave `than` out where half the stake on either side wins 1 / level.
        """
        ...

    def below(self, values: Floats, than: float) -> Floats:
        """The e-value against a mean of `than` or more, after each value."""
        ...


def apart(sequence: Sequence, values: Floats, than: float = 0.0) -> Floats:
    """The e-value against a mean of exactly `than`, after each value: half the stake on either side.

    Example:
        >>> from windtunnel.backtest.evidence.asymptotic import Asymptotic
        >>> x = np.random.default_rng(0).normal(1.0, 1.0, size=50)
        >>> bool(apart(Asymptotic(), x)[-1] > 20.0), float(apart(Asymptotic(), x)[3])
        (True, 1.0)
    """
    both: Floats = (sequence.above(values, than) + sequence.below(values, than)) / 2.0
    return both


def as_evidence(log_e: Floats) -> Floats:
    """From the logarithm of evidence to evidence, short of overflow."""
    return np.exp(np.minimum(log_e, MOST_LOG))
