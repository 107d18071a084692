"""Many candidates at once: which of them are discoveries, if a share of the discoveries may be false."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def e_bh(e_values: Floats, rate: float = 0.05) -> NDArray[np.bool_]:
    """The Benjamini–Hochberg procedure of e-values: of K candidates reject the k whose evidence is at least K / (k · rate).

    k is the greatest number for which that holds. The expected share of false ones among those rejected is at most `rate`,
    however the candidates depend on each other, as they do when all are compared with one incumbent on the same rows (Wang &
    Ramdas, *False discovery rate control with e-values*, arXiv 2009.02824). It may be asked at any look, if all
    e-values are of that look; rejections gathered over many looks are not covered.

    Args:
        e_values: float64 [candidates, ...]: the first axis is compared, the others (looks, say) are each judged alone.
        rate: the false discovery rate.

    Returns:
        Which are rejected, bool [candidates, ...].

    Example: alone the second would not do, beside the first it does.

        >>> e_bh(np.array([200.0, 30.0, 2.0])).tolist(), e_bh(np.array([1.0, 30.0, 2.0])).tolist()
        ([True, True, False], [False, False, False])
    """
    many = len(e_values)
    order = np.argsort(-e_values, axis=0, kind="stable")
    ranked = np.take_along_axis(e_values, order, axis=0)
    k = np.arange(1, many + 1, dtype=np.float64).reshape(-1, *(1,) * (e_values.ndim - 1))
    enough = ranked * k * rate >= many
    # the last rank that is enough carries all before it
    carried = np.flip(np.logical_or.accumulate(np.flip(enough, axis=0), axis=0), axis=0)
    rejected = np.zeros(e_values.shape, dtype=np.bool_)
    np.put_along_axis(rejected, order, carried, axis=0)
    return rejected
