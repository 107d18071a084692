from __future__ import annotations

import numpy as np
import pytest

from windtunnel.seeds import SOURCES, Seeds

GOLDEN = {
    "checks": 0.000457659567,
    "fit": 0.344828404122,
    "distil": 0.480854242504,
    "calibration": 0.993161707212,
    "bootstrap": 0.956686263271,
    "order": 0.911193319196,
    "arrivals": 0.839578097238,
    "payload": 0.532990617241,
    "spread": 0.087127473025,
    "service": 0.888192606187,
    "routing": 0.642273796062,
    "clients": 0.897944318696,
    "labels": 0.535743681559,
    "inputs": 0.988802096668,
    "adversary": 0.212320593801,
}


def test_golden_first_values() -> None:
    """A seed gives the same numbers in every release, so that an old run can be made again."""
    assert {source: round(float(Seeds(1).stream(source).random()), 12) for source in SOURCES} == GOLDEN
    assert (Seeds(1).number("inputs"), Seeds(1).number("inputs", 1)) == (869230719, 1130337558)


def test_streams_are_all_different() -> None:
    """No two roots, sources or items share a stream."""
    first = {
        Seeds(root).stream(source, item).integers(2**62)
        for root in range(10)
        for source in SOURCES
        for item in range(50)
    }

    assert 10 * len(SOURCES) * 50 == len(first)


@pytest.mark.parametrize("axis", ["item", "source", "root"])
def test_streams_are_independent(axis: str) -> None:
    """Neighbouring streams are uncorrelated: 4.5 standard deviations bound every pair's correlation."""
    n = 4000
    if axis == "item":
        rows = [Seeds(1).stream("service", item).normal(size=n) for item in range(20)]
    elif axis == "source":
        rows = [Seeds(1).stream(source).normal(size=n) for source in SOURCES]
    else:
        rows = [Seeds(root).stream("service").normal(size=n) for root in range(20)]
    correlations = np.asarray(np.corrcoef(rows))[np.triu_indices(len(rows), 1)]

    assert float(np.abs(correlations).max()) < 4.5 / np.sqrt(n)


def test_first_values_across_items() -> None:
    """The first values of many items are themselves uniform: a run draws one stream an item."""
    first = np.array([Seeds(1).stream("bootstrap", item).random() for item in range(2000)])
    counts, _ = np.histogram(first, bins=20, range=(0.0, 1.0))

    # the 0.999 quantile of chi-square with 19 degrees of freedom
    assert float(((counts - 100.0) ** 2 / 100.0).sum()) < 43.8


def test_opening_does_not_consume() -> None:
    """A stream starts anew each time it is opened, whatever was drawn from others meanwhile."""
    seeds = Seeds(5)
    before = seeds.stream("order", 3).random(4).tolist()
    seeds.stream("order", 2).random(100)

    assert before == seeds.stream("order", 3).random(4).tolist()


def test_unknown_source() -> None:
    """A source of chance that is not named is a slip in our own code, and says which there are."""
    with pytest.raises(KeyError, match="bootstrap"):
        Seeds().stream("luck")
