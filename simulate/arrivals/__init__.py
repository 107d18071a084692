"""Arrivals: processes that make them, a language to name them in, and fits, cuts and columns of recorded ones."""

from __future__ import annotations

from windtunnel.simulate.population import Population

from .calendar import Weekly
from .columns import with_deadline, with_keys, with_priorities, with_sizes
from .curve import RateCurve
from .fit import Fit, fit
from .gamma import Gamma
from .generator import STATE, Generator
from .hawkes import Hawkes
from .mmpp import Mmpp
from .parse import ARRIVALS, SERVICES, parse, parse_service
from .payload import Cuts, Mix, Payload, parse_deadlines, parse_sizes
from .poisson import Poisson
from .scale import scale_rate
from .service import ServiceLaw
from .splice import merge, slice_seconds, slice_share, splice
from .weibull import Weibull
from .zipf import KEYS, Zipf

__all__ = [
    "ARRIVALS",
    "KEYS",
    "SERVICES",
    "STATE",
    "Cuts",
    "Fit",
    "Gamma",
    "Generator",
    "Hawkes",
    "Mix",
    "Mmpp",
    "Payload",
    "Poisson",
    "Population",
    "RateCurve",
    "ServiceLaw",
    "Weekly",
    "Weibull",
    "Zipf",
    "fit",
    "merge",
    "parse",
    "parse_deadlines",
    "parse_service",
    "parse_sizes",
    "scale_rate",
    "slice_seconds",
    "slice_share",
    "splice",
    "with_deadline",
    "with_keys",
    "with_priorities",
    "with_sizes",
]
