"""How well rows are ordered: average precision over all rows, NDCG within each query."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.seeds import Seeds

from .answer import scores
from .bootstrap import Statistic, paired_bootstrap
from .non_inferiority import Estimate, count_units, leave_room
from .pair import resample_drop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .pair import Pair

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]


def weighted_average_precision(label: Floats, score: Floats) -> Statistic:
    """Average precision as a function of the rows' weights; equal scores are one threshold.

    Example:
        >>> of = weighted_average_precision(np.array([0.0, 1.0, 1.0]), np.array([0.5, 0.9, 0.1]))
        >>> of(np.ones((1, 3))).round(4).tolist()
        [0.8333]
    """
    order = np.argsort(-score, kind="stable")
    hits = np.flatnonzero(label[order] > 0.0)
    ranked = score[order]
    # precision is read where a run of equal scores ends, and only the positive rows have a say
    end = np.searchsorted(-ranked, -ranked[hits], side="right") - 1
    last_hit = np.searchsorted(hits, end, side="right") - 1
    apart = bool((end == hits).all())

    def average_precision(weights: Floats) -> Floats:
        drawn = weights[:, order]
        taken = np.cumsum(drawn, axis=1)[:, end]
        weight = drawn[:, hits]
        running = np.cumsum(weight, axis=1)
        found = running if apart else running[:, last_hit]
        # where no row was drawn down to a threshold, nothing was found, and one stands in for none
        np.maximum(taken, 1.0, out=taken)
        with np.errstate(invalid="ignore"):
            area: Floats = np.einsum("rh,rh->r", found / taken, weight) / running[:, -1]
        return area

    return average_precision


def average_precision_drop(pair: Pair, confidence: float) -> Estimate:
    """How much average precision a child has lost, with room for rows to be found that were not seen to lose their place."""
    of_parent, of_child = (weighted_average_precision(pair.truth, scores(each)) for each in (pair.parent, pair.child))
    once = np.ones((1, pair.rows))
    drop = resample_drop(pair, lambda weights: of_parent(weights) - of_child(weights), confidence)
    found = count_units(pair.truth > 0.0, pair.groups)
    return Estimate(float(of_child(once)[0]), float(of_parent(once)[0]), leave_room(drop, found))


def gains(label: Floats, score: Floats, queries: Codes, depth: int | None) -> Floats:
    """The discounted gain of each query: the labels of its first rows over log2(1 + rank), equal scores sharing their ranks.

    Args:
        label: how relevant each row is, 0 or more.
        score: by which the rows of a query are ordered, largest first.
        queries: which query each row belongs to.
        depth: how many rows of a query count; all where None.

    Source: Järvelin & Kekäläinen, ACM TOIS 20 (2002); ties: McSherry & Najork, ECIR 2008.

    Example:
        >>> gains(np.array([1.0, 0.0]), np.array([0.9, 0.1]), np.array([0, 0]), None).tolist()
        [1.0]
    """
    order = np.lexsort((-score, queries))
    query, ranked = queries[order], score[order]
    first = np.searchsorted(query, query, side="left")
    rank = np.arange(len(query)) - first
    discount = 1.0 / np.log2(rank + 2.0)
    if depth is not None:
        discount[rank >= depth] = 0.0
    begins = np.append(True, (query[1:] != query[:-1]) | (ranked[1:] != ranked[:-1]))
    tie = np.cumsum(begins) - 1
    shared = (np.bincount(tie, weights=discount) / np.bincount(tie))[tie]
    return np.bincount(query, weights=label[order] * shared).astype(np.float64)


def normalized_gains(label: Floats, score: Floats, queries: Codes, depth: int | None) -> Floats:
    """NDCG of each query; NaN where nothing in it is relevant, so that no order is better than another."""
    best = gains(label, label, queries, depth)
    with np.errstate(invalid="ignore"):
        normalized: Floats = gains(label, score, queries, depth) / best
    return normalized


def informative_queries(label: Floats, queries: Codes) -> int:
    """In how many queries one row is more relevant than another, so that their order can be lost.

    Example:
        >>> informative_queries(np.array([1.0, 0.0, 0.0, 0.0, 2.0]), np.array([0, 0, 1, 1, 2]))
        1
    """
    most, least = np.full(int(queries.max()) + 1, -np.inf), np.full(int(queries.max()) + 1, np.inf)
    np.maximum.at(most, queries, label)
    np.minimum.at(least, queries, label)
    return int(np.sum(most > least))


def ndcg_drop(pair: Pair, confidence: float, depth: int | None) -> Estimate:
    """How much NDCG a child has lost, on average over the queries in which something is relevant.

    There is room for queries that were not seen to lose their order (`leave_room`); those without any order are no witnesses.
    """
    assert pair.groups is not None
    each = [normalized_gains(pair.truth, scores(array), pair.groups, depth) for array in (pair.parent, pair.child)]
    known = np.isfinite(each[0])
    parent, child = each[0][known], each[1][known]
    apart = parent - child
    rng = Seeds(pair.seed).stream("bootstrap")
    drop = paired_bootstrap(
        lambda drawn: drawn @ apart / drawn.sum(axis=1), len(apart), confidence, rng, resamples=pair.resamples
    )
    drop = leave_room(drop, informative_queries(pair.truth, pair.groups))
    return Estimate(float(child.mean()), float(parent.mean()), replace(drop, samples=pair.rows))
