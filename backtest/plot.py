"""The strokes that the backtest's figures are drawn with, and its figures of speech: numbers, ranges and shares as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.report.section import Figure

from .comparison import finite, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

MOST_POINTS = 1000
"""More points a line than that no eye can tell apart."""

COLOURS = ((37, 99, 168), (217, 115, 13), (26, 127, 75), (142, 68, 173), (179, 38, 30), (14, 138, 138))
"""Red, green and blue of the models, so that a band and its line go together."""


def colour(place: int) -> str:
    """The colour of a model, by its place.

    Example:
        >>> colour(0), colour(6)
        ('37,99,168', '37,99,168')
    """
    return ",".join(map(str, COLOURS[place % len(COLOURS)]))


def kept(points: int) -> Ints:
    """Which of many points to draw, the first and the last always among them, int64 [at most MOST_POINTS].

    Example:
        >>> kept(3).tolist(), len(kept(10_000))
        ([0, 1, 2], 1000)
    """
    return np.unique(np.linspace(0, points - 1, min(points, MOST_POINTS)).round().astype(np.int64))


def times(at_us: Ints) -> list[str]:
    """Moments as Plotly reads them."""
    return [moment(int(us)).isoformat() for us in at_us]


def line(x: Sequence[Any], y: Iterable[float], name: str, **style: Any) -> dict[str, Any]:
    """A line; gaps where a value is not finite.

    Args:
        x: a place or a time for each value.
        y: the values.
        name: in the legend.
        style: more of Plotly's keys.
    """
    return {"type": "scatter", "mode": "lines", "x": list(x), "y": [finite(float(v)) for v in y], "name": name, **style}


def band(x: Sequence[Any], low: Iterable[float], high: Iterable[float], rgb: str, group: str) -> list[dict[str, Any]]:
    """The area between two lines, which comes and goes with the line of the same group."""
    style = {"showlegend": False, "legendgroup": group, "line": {"width": 1, "color": f"rgba({rgb},0.45)"}}
    return [
        line(x, high, "high", fill="none", **style),
        line(x, low, "low", fill="tonexty", fillcolor=f"rgba({rgb},0.10)", **style),
    ]


def rule(x: Sequence[Any], y: float, name: str, dash: str) -> dict[str, Any]:
    """A thin grey line across, from the first place to the last."""
    return line([x[0], x[-1]], [y, y], name, line={"dash": dash, "width": 1, "color": "gray"})


def figure(caption: str, data: list[dict[str, Any]], y_title: str, x_title: str = "as of (UTC)") -> Figure:
    """A figure with a title on each axis."""
    layout = {"xaxis": {"title": {"text": x_title}}, "yaxis": {"title": {"text": y_title}}}
    return Figure(caption, {"data": data, "layout": layout})


def number(value: float, *, signed: bool = False, places: int | None = None) -> str:
    """A figure as text, with four digits that count, or with so many behind the point.

    Example:
        >>> number(0.25, signed=True), number(0.25, places=4), number(-1e-9, signed=True, places=2)
        ('+0.25', '0.2500', '0.00')
        >>> number(math.nan), number(math.inf), number(1234567.0)
        ('not known', 'unbounded', '1,234,567')
    """
    if not math.isfinite(value):
        return "not known" if math.isnan(value) else "unbounded"
    sign = "+" if signed else ""
    if places is None:
        return f"{value:{sign},.0f}" if abs(value) >= 1e4 else f"{value:{sign}.4g}"
    if places > MOST_PLACES:
        return f"{value:{sign}.2e}"
    rounded = round(value, places)
    # nothing but zeros has no sign
    return f"{rounded:{sign},.{places}f}" if rounded else f"{0.0:.{places}f}"


MOST_PLACES = 9
"""With more digits behind the point a figure is told in powers of ten."""


def places_of(low: float, high: float) -> int | None:
    """How many digits behind the point are worth telling: half the width of an interval shows two; None where it has none.

    Example:
        >>> places_of(-0.027, -0.012), places_of(-120.0, 300.0), places_of(0.5, 0.5)
        (4, 0, None)
    """
    half = (high - low) / 2.0
    if not math.isfinite(half) or half <= 0.0:
        return None
    return max(0, 1 - math.floor(math.log10(half)))


def beside(value: float, low: float, high: float, *, signed: bool = True) -> str:
    """A figure as text, told as finely as its interval.

    Example:
        >>> beside(-0.0203456, -0.027, -0.0137), beside(0.5, -math.inf, math.inf)
        ('-0.0203', '+0.5')
    """
    return number(value, signed=signed, places=places_of(low, high))


def span(low: float, high: float, *, signed: bool = True) -> str:
    """An interval as text, both ends told equally finely.

    Example:
        >>> span(-0.5, 0.25), span(0.1, math.inf)
        ('[-0.50, +0.25]', 'not known')
    """
    ends = between(low, high, signed=signed)
    return ends if ends == "not known" else f"[{ends.replace(' to ', ', ')}]"


def between(low: float, high: float, *, signed: bool = True) -> str:
    """An interval in words.

    Example:
        >>> between(-0.0271, -0.01239)
        '-0.0271 to -0.0124'
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return "not known"
    places = places_of(low, high)
    return f"{number(low, signed=signed, places=places)} to {number(high, signed=signed, places=places)}"


def share_between(share: float, low: float, high: float) -> str:
    """A share with its interval in words, all told equally finely.

    Example:
        >>> share_between(-0.0001, -0.004, 0.003), share_between(0.62, 0.5512, 0.7), share_between(0.3, -math.inf, math.inf)
        ('0.00% (-0.40% to 0.30%)', '62.0% (55.1% to 70.0%)', '30% (interval not known)')
    """
    ends = 100.0 * low, 100.0 * high
    told = beside(100.0 * share, *ends, signed=False)
    if not all(map(math.isfinite, ends)):
        return f"{told}% (interval not known)"
    return f"{told}% ({between(*ends, signed=False).replace(' to ', '% to ')}%)"


def percent(share: float) -> str:
    """A share as text.

    Example:
        >>> percent(0.125), percent(math.nan)
        ('12.50%', 'an unknown share')
    """
    return "an unknown share" if math.isnan(share) else f"{share:.2%}"
