"""What requests carry, as it is typed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from windtunnel.errors import ConfigError, DataError
from windtunnel.simulate.arrivals import Cuts, Mix, Payload, Zipf, parse_deadlines, parse_sizes
from windtunnel.trace import Trace

TRACE = Trace("t", np.arange(20_000.0), {"tokens": np.arange(20_000.0) % 10.0})


def test_each_option_is_a_column() -> None:
    """Sizes, keys, priorities and each class's deadline, in their shares, the same for the same seed."""
    mixed = Payload(Mix.parse("short=0.9, long=0.1"), Zipf(3), Mix.parse("urgent=20%, usual=80%"), (0.1, math.inf))
    columns, again = mixed.carried(TRACE, 7).columns, mixed.carried(TRACE, 7).columns

    assert {"size", "key", "priority", "deadline_s", "tokens"} == set(columns)
    assert np.mean(columns["size"]) == pytest.approx(0.1, abs=0.01)
    assert np.mean(columns["priority"]) == pytest.approx(0.8, abs=0.02)
    assert np.array_equal(columns["deadline_s"] == 0.1, columns["priority"] == 0)
    assert all(np.array_equal(columns[name], again[name]) for name in columns)


def test_sizes_are_cut_from_a_figure() -> None:
    """Up to and with the first cut is class 0; nothing is drawn."""
    sizes = parse_sizes("tokens: 2, 7.5")
    size = Payload(sizes).carried(TRACE, 1).columns["size"]

    assert sizes == Cuts("tokens", (2.0, 7.5))
    assert size[:10].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 2, 2]
    assert np.array_equal(size, Payload(sizes).carried(TRACE, 2).columns["size"])


def test_one_deadline_for_all() -> None:
    """Without classes, every request has it."""
    deadline_s = Payload(deadlines_s=parse_deadlines("100ms", None)).carried(TRACE, 1).columns["deadline_s"]

    assert set(deadline_s.tolist()) == {0.1}


def test_shares_are_taken_by_name() -> None:
    """The order of the classes is that of the service times, not that of the shares."""
    assert Mix.parse("long=0.1, short=0.9").ordered(["short", "long"]) == Mix(("short", "long"), (0.9, 0.1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("short=0.9, long=0.2", "adds up to 1.1, not to one"),
        ("short=0.5, short=0.5", "names a class twice"),
        ("short", "is no list of shares; write short=90%"),
        ("short=much", "is not a share"),
        ("tokens: 5, 3", "is no column with rising cut points"),
        ("tokens: nan", "is no column with rising cut points"),
        (": 5", "is no column with rising cut points"),
    ],
)
def test_unreadable_sizes(text: str, message: str) -> None:
    """What is no mix and no cut is refused with the way out."""
    with pytest.raises(ConfigError, match=message):
        parse_sizes(text)


def test_classes_that_do_not_match() -> None:
    """Shares of unknown classes, classes without a share, deadlines of other classes or of none are refused."""
    with pytest.raises(ConfigError, match=r"\(='lang'\) is no class; did you mean `long`"):
        Mix.parse("short=0.9, lang=0.1").ordered(["short", "long"])
    with pytest.raises(ConfigError, match="gives no share to long; write long=0%"):
        Mix.parse("short=1").ordered(["short", "long"])
    with pytest.raises(ConfigError, match="does not name each class of priority once; the classes are urgent, usual"):
        parse_deadlines("urgent=1s", Mix.parse("urgent=20%, usual=80%"))
    with pytest.raises(ConfigError, match="give --priorities too"):
        parse_deadlines("urgent=1s", None)
    with pytest.raises(ConfigError, match="leaves no time"):
        parse_deadlines("0ms", None)


def test_figures_that_are_not_there() -> None:
    """A column that the trace has not, or that some requests lack, cannot be cut."""
    with pytest.raises(DataError, match=r"`column` \(='token'\) is not a column of the trace; did you mean `tokens`"):
        Cuts("token", (1.0,)).classed(TRACE)
    with pytest.raises(DataError, match="is not known of 1 requests"):
        Cuts("x", (1.0,)).classed(Trace("t", np.arange(2.0), {"x": np.array([1.0, np.nan])}))


def test_a_deadline_twice_for_one_class() -> None:
    """Of two deadlines for one class none is taken silently."""
    with pytest.raises(ConfigError, match="does not name each class of priority once"):
        parse_deadlines("urgent=1s, urgent=2s, usual=inf", Mix.parse("urgent=20%, usual=80%"))
