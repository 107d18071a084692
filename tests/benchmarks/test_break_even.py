from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.benchmarks.break_even import HOURS_A_MONTH, SECONDS_A_MONTH, Pattern, Segment, break_even
from windtunnel.errors import ConfigError

CALLS = Pattern("calls", usd_per_request=1e-6)
BOXES = Pattern("boxes", usd_per_hour=0.036, per_s=100.0, least=1)


def test_break_even_by_hand() -> None:
    """A box at 3.6 cents an hour costs as much as 36,000 calls at 1 USD a million: ten a second.

    Above 100 a second two boxes are needed, which 20 calls a second are worth: boxes stay the cheaper.
    """
    found = break_even([CALLS, BOXES], 20.0, up_to_per_s=500.0)

    assert [segment.pattern for segment in found.segments] == ["calls", "boxes"]
    assert found.segments[0].high_per_s == pytest.approx(10.0, rel=1e-12)
    assert found.segments[-1] == Segment("boxes", found.segments[0].high_per_s, 500.0)


def test_a_step_gives_the_load_back() -> None:
    """Just above a full box two are needed: calls are cheaper again from 100 a second to where they cost two boxes."""
    dear = Pattern("boxes", usd_per_hour=0.27, per_s=100.0, least=1)  # 75 calls a second are worth one
    found = break_even([CALLS, dear], 20.0, up_to_per_s=300.0)

    assert [segment.pattern for segment in found.segments] == ["calls", "boxes"] * 3
    assert [segment.low_per_s for segment in found.segments] == pytest.approx([0.0, 75.0, 100.0, 150.0, 200.0, 225.0])


def test_full_machines_are_full() -> None:
    """A load that fills machines to the last request needs no further one, whatever a division rounds to."""
    third = Pattern("thirds", usd_per_hour=1.0, per_s=0.1)

    assert [third.machines(count * 0.1) for count in range(1, 200)] == list(range(1, 200))
    assert third.machines(0.30001) == 4
    assert third.machines(0.0) == 0


def test_a_month_by_hand() -> None:
    """730 hours: 25 requests a second need three boxes of ten; a million calls a month cost a dollar."""
    assert Pattern("boxes", usd_per_hour=0.1, per_s=10.0).usd_per_month(25.0) == pytest.approx(0.3 * HOURS_A_MONTH)
    assert CALLS.usd_per_month(1e6 / SECONDS_A_MONTH) == pytest.approx(1.0)


def test_twice_the_load() -> None:
    """Calls double, a half idle box does not, a full one does; what costs nothing costs nothing."""
    found = break_even([CALLS, BOXES, Pattern("gift")], 50.0)

    assert [found.doubled(pattern) for pattern in found.patterns] == pytest.approx([2.0, 1.0, 1.0])
    assert break_even([BOXES], 100.0).doubled(BOXES) == 2.0
    assert found.to_dict()["cheapest"] == "gift"


_PATTERNS = st.lists(
    st.builds(
        lambda request, hour, per_s, least: Pattern("", request, hour, per_s if hour else math.inf, least),
        st.sampled_from([0.0, 1e-7, 5e-7, 1e-6]),
        st.sampled_from([0.0, 0.01, 0.05, 0.3]),
        st.sampled_from([3.0, 10.0, 12.5, 100.0, 1e4]),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(patterns=_PATTERNS, shares=st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=40))
def test_no_pattern_is_cheaper_than_the_one_that_is_said(patterns: list[Pattern], shares: list[float]) -> None:
    """Against brute force: at any load the pattern of its segment costs no more than any other, and segments leave no gap."""
    limit = 200.0
    named = [Pattern(str(i), p.usd_per_request, p.usd_per_hour, p.per_s, p.least) for i, p in enumerate(patterns)]
    found = break_even(named, 10.0, up_to_per_s=limit)

    assert (found.segments[0].low_per_s, found.segments[-1].high_per_s) == (0.0, limit)
    for before, after in itertools.pairwise(found.segments):
        assert before.high_per_s == after.low_per_s
        assert before.pattern != after.pattern
    for load in [share * limit for share in shares]:
        segment = next(s for s in found.segments if s.low_per_s < load <= s.high_per_s)
        said = next(pattern for pattern in named if pattern.name == segment.pattern)
        least = min(pattern.usd_per_month(load) for pattern in named)

        assert said.usd_per_month(load) <= least * (1.0 + 1e-9) + 1e-9


@settings(max_examples=60, deadline=None)
@given(patterns=_PATTERNS)
def test_the_cheapest_changes_only_where_it_must(patterns: list[Pattern]) -> None:
    """Where one segment ends, the pattern it ends with is no longer the cheapest just beyond."""
    named = [Pattern(str(i), p.usd_per_request, p.usd_per_hour, p.per_s, p.least) for i, p in enumerate(patterns)]
    found = break_even(named, 10.0, up_to_per_s=200.0)
    costs = {pattern.name: pattern for pattern in named}
    for before, after in itertools.pairwise(found.segments):
        beyond = min(after.low_per_s * (1.0 + 1e-6), after.high_per_s)

        assert costs[after.pattern].usd_per_month(beyond) <= costs[before.pattern].usd_per_month(beyond) + 1e-9


def test_refusals() -> None:
    """What cannot be weighed is refused, with the way out."""
    with pytest.raises(ConfigError, match="`patterns`"):
        break_even([], 1.0)
    with pytest.raises(ConfigError, match="each named once"):
        break_even([CALLS, CALLS], 1.0)
    with pytest.raises(ConfigError, match="`load_per_s`"):
        break_even([CALLS], 0.0)
    with pytest.raises(ConfigError, match="ask about lower loads"):
        break_even([BOXES], 1.0, up_to_per_s=1e9)
    with pytest.raises(ConfigError, match="`usd_per_hour`"):
        Pattern("p", usd_per_hour=-1.0)
    with pytest.raises(ConfigError, match="carries nothing"):
        Pattern("p", usd_per_hour=1.0, per_s=0.0)
    with pytest.raises(ConfigError, match="`least`"):
        Pattern("p", least=-1)
