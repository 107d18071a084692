"""One compiled door to all generators, by code: what the event loop calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import njit

from . import calendar, curve, gamma, hawkes, mmpp, poisson, weibull

if TYPE_CHECKING:
    from .generator import Floats

_fill_poisson, _fill_gamma, _fill_weibull, _fill_mmpp = poisson.fill, gamma.fill, weibull.fill, mmpp.fill
_fill_curve, _fill_hawkes, _fill_calendar = curve.fill, hawkes.fill, calendar.fill


@njit(nogil=True, cache=True)
def fill(code: int, state: Floats, settings: Floats, out: Floats) -> None:
    """Write the next `len(out)` arrivals of the generator of that code; `inf` where there are none any more."""
    if code == 0:
        _fill_poisson(state, settings, out)
    elif code == 1:
        _fill_gamma(state, settings, out)
    elif code == 2:
        _fill_weibull(state, settings, out)
    elif code == 3:
        _fill_mmpp(state, settings, out)
    elif code == 4:
        _fill_curve(state, settings, out)
    elif code == 5:
        _fill_hawkes(state, settings, out)
    else:
        _fill_calendar(state, settings, out)
