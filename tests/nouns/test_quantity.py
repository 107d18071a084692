from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from windtunnel.errors import ConfigError
from windtunnel.quantity import (
    Duration,
    Share,
    format_duration,
    parse_bytes,
    parse_duration,
    parse_integers,
    parse_share,
)

UNITS_S = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0,
}  # fmt: skip


@pytest.mark.parametrize("unit", UNITS_S)
@given(number=st.integers(0, 10**6), gap=st.sampled_from(["", " "]))
def test_duration_units(unit: str, number: int, gap: str) -> None:
    """A number and a unit are that many seconds, with or without a space between them."""
    assert number * UNITS_S[unit] == parse_duration(f"{number}{gap}{unit}")


@given(st.floats(1e-9, 1e9))
def test_duration_round_trip(seconds: float) -> None:
    """What is written for people is read back, to the three figures that were written."""
    written = format_duration(seconds)

    assert math.isclose(seconds, parse_duration(written), rel_tol=0.0051)
    assert "e" not in written


@given(st.floats(1e-12, 1e12), st.floats(1e-12, 1e12))
def test_duration_order(a: float, b: float) -> None:
    """The longer duration is never written as the shorter one."""
    low, high = sorted((a, b))

    assert parse_duration(format_duration(low)) <= parse_duration(format_duration(high)) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0, "0 ns"),
        (9.999e-7, "1 µs"),
        (0.0009999, "1 ms"),
        (0.9999, "1 s"),
        (119.96, "2 min"),
        (7199.0, "2 h"),
        (-0.5, "-500 ms"),
        (2 * 86400.0, "2 d"),
        (1e8, "1160 d"),
        (math.inf, "∞"),
        (math.nan, "n/a"),
        (-math.inf, "n/a"),
    ],
)
def test_duration_at_the_edges(seconds: float, written: str) -> None:
    """A value that rounds up to the next unit is written in that unit."""
    assert written == format_duration(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "5", "ms", "5 x", "5MS", "-1s", "1,5s", "nan s", "inf", "1e400s", "1s2s", "--1s", ".s", "５s", 5, 0.5, math.nan],
)  # fmt: skip
def test_duration_refused(text: str | float) -> None:
    """What has no number, no known unit, a sign or no end is refused with the way out."""
    with pytest.raises(ConfigError, match=r"write|zero or more"):
        parse_duration(text)


def test_duration_zero() -> None:
    """Nothing needs no unit."""
    assert parse_duration("0") == parse_duration(0) == parse_duration("0ms") == 0.0


@given(st.floats(0.0, 1.0))
def test_share_round_trip(share: float) -> None:
    """A share is read back as it was written, as a number and in percent."""
    assert share == parse_share(repr(share)) == parse_share(share)
    assert math.isclose(share, parse_share(f"{share * 100!r} %"), rel_tol=1e-12, abs_tol=1e-300)


@pytest.mark.parametrize("text", ["", "%", "x", "-0.1", "1.01", "101%", "nan", "inf", "1%%", "5e400", 2])
def test_share_refused(text: str | float) -> None:
    """What is no number or lies outside 0 to 1 is refused with the way out."""
    with pytest.raises(ConfigError, match=r"write 0\.01 or 1%"):
        parse_share(text)


@given(st.lists(st.integers(1, 10**9), min_size=1))
def test_integers_round_trip(values: list[int]) -> None:
    """A list is read sorted, each number once."""
    assert tuple(sorted(set(values))) == parse_integers(",".join(map(str, values)))


@pytest.mark.parametrize("text", ["", ",", "1,", "1.5", "a", "0", "-1,2", "1;2"])
def test_integers_refused(text: str) -> None:
    """What is not a list of positive whole numbers is refused with the way out."""
    with pytest.raises(ConfigError, match="write 1,8,64"):
        parse_integers(text)


class _Settings(BaseModel):
    wait: Duration
    share: Share


def test_in_a_document() -> None:
    """A document reads both forms, and says which key it could not read and why."""
    read = _Settings.model_validate({"wait": "50ms", "share": "1%"})
    assert (read.wait, read.share) == (0.05, 0.01)

    with pytest.raises(ValidationError, match=r"(?s)wait.*is not a duration.*share.*outside 0 to 1"):
        _Settings.model_validate({"wait": "50", "share": "200%"})


@pytest.mark.parametrize(
    ("text", "size"), [("1B", 1), ("4096B", 4096), ("1kB", 1000), ("1KiB", 1024), ("10GB", 10**10), ("0.5 TiB", 2**39)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    """A size is a number and a unit, of a thousand or of 1024."""
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "64", "MB", "-1MB", "0B", "0.1B", "1XB", "1e30TB"])
def test_sizes_that_are_none(text: str) -> None:
    """A number alone, an unknown unit, less than a byte and more than can be held are refused with the way out."""
    with pytest.raises(ConfigError, match="64MiB"):
        parse_bytes(text)
