"""Arrivals: processes that make them, a language to name them in, and fits, cuts and columns of recorded ones."""

from __future__ import annotations

from .calendar import Weekly
from .closed_loop import ClosedLoop
from .columns import with_keys, with_priorities, with_sizes
from .curve import RateCurve
from .fit import Fit, fit
from .gamma import Gamma
from .generator import STATE, Generator
from .hawkes import Hawkes
from .mmpp import Mmpp
from .parse import ARRIVALS, SERVICES, parse, parse_service
from .poisson import Poisson
from .scale import scale_rate
from .service import ServiceLaw
from .splice import merge, slice_seconds, slice_share, splice
from .weibull import Weibull

__all__ = [
    "ARRIVALS",
    "SERVICES",
    "STATE",
    "ClosedLoop",
    "Fit",
    "Gamma",
    "Generator",
    "Hawkes",
    "Mmpp",
    "Poisson",
    "RateCurve",
    "ServiceLaw",
    "Weekly",
    "Weibull",
    "fit",
    "merge",
    "parse",
    "parse_service",
    "scale_rate",
    "slice_seconds",
    "slice_share",
    "splice",
    "with_keys",
    "with_priorities",
    "with_sizes",
]
