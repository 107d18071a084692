"""Durations, shares and lists as people write them, and as people read them.

Inside the code a duration is a float of seconds and a share a float of one; only here do units meet people.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_NUMBER = r"([+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)"


def parse_duration(text: str | float) -> float:
    """Read a duration such as `50ms`, `2s`, `10m`, `7d` as seconds.

    Raises:
        ConfigError: no number, no unit, an unknown unit, a negative value, or one too long for a float.

    Example:
        >>> parse_duration("50ms"), parse_duration("7d")
        (0.05, 604800.0)
    """
    match = re.fullmatch(_NUMBER + r"\s*([a-zµ]+)", str(text).strip())
    if match is None or match[2] not in _SECONDS:
        if str(text).strip() == "0":
            return 0.0
        raise ConfigError("is not a duration", value=text, fix="write a number and a unit, such as 50ms, 2s, 10m, 7d")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds < 0:
        raise ConfigError("is negative", value=text, fix="a duration is zero or more")
    if math.isinf(seconds):
        raise ConfigError("is too long to be counted", value=text, fix="write 10m, 7d")
    return seconds


def parse_share(text: str | float) -> float:
    """Read a share such as `0.01` or `1%` as a float of one.

    Raises:
        ConfigError: not a number, or outside 0 to 1.

    Example:
        >>> parse_share("1%"), parse_share(0.25)
        (0.01, 0.25)
    """
    match = re.fullmatch(_NUMBER + r"\s*(%?)", str(text).strip())
    if match is None:
        raise ConfigError("is not a share", value=text, fix="write 0.01 or 1%")
    share = float(match[1]) / (100.0 if match[2] else 1.0)
    if not 0.0 <= share <= 1.0:
        raise ConfigError("is outside 0 to 1", value=text, fix="write 0.01 or 1%")
    return share


def parse_tolerance(text: str | float) -> float:
    """Read how much worse something may be: a share such as `1%`, or a number in the units of what is measured.

    Raises:
        ConfigError: not a number, below zero, or not finite.

    Example:
        >>> parse_tolerance("1%"), parse_tolerance("2.5")
        (0.01, 2.5)
    """
    match = re.fullmatch(_NUMBER + r"\s*(%?)", str(text).strip())
    if match is None:
        raise ConfigError("is not a tolerance", value=text, fix="write 0.01, 1%, or a number in the metric's units")
    tolerance = float(match[1]) / (100.0 if match[2] else 1.0)
    if tolerance < 0.0 or math.isinf(tolerance):
        raise ConfigError("should be greater than or equal to 0", value=text, fix="write 0.01 or 1%")
    return tolerance


def parse_integers(text: str) -> tuple[int, ...]:
    """Read a list of positive whole numbers such as `1,8,64`, sorted, each once.

    Example:
        >>> parse_integers("64,1,8")
        (1, 8, 64)
    """
    try:
        values = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise ConfigError("is not a list of whole numbers", value=text, fix="write 1,8,64") from None
    if values[0] < 1:
        raise ConfigError("holds a number below 1", value=text, fix="write 1,8,64")
    return tuple(values)


def format_instant(instant: datetime | None) -> str:
    """Write a UTC time for people; a midnight is its date alone.

    Example:
        >>> from datetime import UTC, datetime
        >>> format_instant(datetime(2013, 5, 26, tzinfo=UTC)), format_instant(datetime(2013, 5, 26, 6, 30, tzinfo=UTC))
        ('26 May 2013', '26 May 2013 06:30 UTC')
    """
    if instant is None:
        return "not yet"
    day = f"{instant.day} {instant:%B %Y}"
    return day if (instant.hour, instant.minute) == (0, 0) else f"{day} {instant:%H:%M} UTC"


def format_figure(value: float) -> str:
    """Write a figure with three digits that count, never in powers of ten; thousands as k, millions as M, and G.

    Example:
        >>> format_figure(726_187.0), format_figure(3.672e-05), format_figure(12.0)
        ('726k', '0.0000367', '12')
    """
    if not math.isfinite(value):
        return "∞" if value > 0 else "n/a"
    for limit, scale, unit in ((999.5e6, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= limit:
            return f"{value / scale:.3g}{unit}"
    if value == 0.0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_share(share: float) -> str:
    """Write a share for people, in per cent, with five digits at most.

    Example:
        >>> format_share(1.0), format_share(0.9999), format_share(0.00094)
        ('100%', '99.99%', '0.094%')
    """
    return f"{share * 100.0:.5g}%"


def format_duration(seconds: float) -> str:
    """Write seconds for people, with three figures.

    Example:
        >>> format_duration(0.0123), format_duration(42e-6), format_duration(3.5), format_duration(7200)
        ('12.3 ms', '42 µs', '3.5 s', '2 h')
        >>> format_duration(0.9999)
        '1 s'
    """
    if not math.isfinite(seconds):
        return "∞" if seconds > 0 else "n/a"
    # rounded first, so that 0.9999 s is 1 s and not 1e+03 ms
    size = float(f"{abs(seconds):.3g}")
    for limit, unit, factor in (
        (1e-6, "ns", 1e9),
        (1e-3, "µs", 1e6),
        (1.0, "ms", 1e3),
        (120.0, "s", 1.0),
        (7200.0, "min", 1 / 60),
    ):
        if size < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds / 3600:.3g} h" if size < 2 * 86400 else f"{float(f'{seconds / 86400:.3g}'):g} d"


def format_bytes(size: float) -> str:
    """Write bytes for people, in units of 1024, with three figures.

    Example:
        >>> format_bytes(900), format_bytes(1_500_000), format_bytes(2**30), format_bytes(2**30 - 1)
        ('900 B', '1.43 MiB', '1 GiB', '1 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        # rounded first, so that one byte less than 1 GiB is not 1.02e+03 MiB
        rounded = float(f"{size:.3g}") if size < 999.5 else float(f"{size:.0f}")
        if rounded < 1024.0 or unit == "TiB":
            break
        size /= 1024.0
    return f"{rounded:g} {unit}"


def parse_bytes(text: str) -> int:
    """Read a size such as `64MiB`, `10GB` or `4096B`; `MB` is a million bytes, `MiB` 1024 × 1024.

    Raises:
        ConfigError: no number, no unit, an unknown unit, or less than a byte.

    Example:
        >>> parse_bytes("64MiB"), parse_bytes("1.5 GB")
        (67108864, 1500000000)
    """
    match = re.fullmatch(_NUMBER + r"\s*([kKMGT]?)(i?)B", text.strip())
    if match is None:
        raise ConfigError("is not a size", value=text, fix="write a number and a unit, such as 64MiB or 10GB")
    size = float(match[1]) * (1024.0 if match[3] else 1000.0) ** " KMGT".index(match[2].upper() or " ")
    if not 1.0 <= size < 2.0**63:
        raise ConfigError("is not a size that can be held", value=text, fix="write 64MiB, 10GB")
    return int(size)


def _for_pydantic(parse: Callable[[str | float], float]) -> BeforeValidator:
    """Let pydantic say which key it was."""

    def validate(value: str | float) -> float:
        try:
            return parse(value)
        except ConfigError as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(validate)


Duration = Annotated[float, _for_pydantic(parse_duration)]
"""A configuration value that people write as `50ms` and the code reads as seconds."""

Share = Annotated[float, _for_pydantic(parse_share)]
Tolerance = Annotated[float, _for_pydantic(parse_tolerance)]
"""A configuration value that people write as `1%` and the code reads as 0.01."""
