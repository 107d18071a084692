"""A flight over time: rates, replicas, cost and the promise, interval by interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from .overload import executors_each

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .flight import Flight
    from .system import System

    Floats = NDArray[np.float64]

NEARLY = 1e-6
"""What a sum of seconds may be off by."""


@dataclass(frozen=True)
class FlightCourse:
    """How a flight went, in equal intervals.

    Args:
        table: a row an interval: its start, counts as in `kernel.OVER_TIME`, and `rate_per_s`, `mean_batch`, `in_time` (the
            share of what came that was answered within what a good answer takes), `replicas` (on average, those that start
            included), `usd`; null where there is nothing to divide by, and `usd` where there is no price.
        replicas_mean: over the whole flight.
        replicas_peak: in the interval with the most, a part of one counted whole.
        replica_s: replica-seconds, those that start included.
    """

    table: pl.DataFrame
    replicas_mean: float
    replicas_peak: int
    replica_s: float

    @staticmethod
    def of(flight: Flight, system: System, usd_per_hour: float | None = None) -> FlightCourse:
        """The course of a flight.

        Args:
            flight: what became of the requests.
            system: what served.
            usd_per_hour: what a replica costs.
        """
        told, seconds = flight.timeline(), flight.summary.seconds_simulated
        replica_s = flight.summary.replica_s / executors_each(system)
        lasts_s = np.full(told.height, flight.bin_s)
        # the last interval in which anything happened ends with the flight
        lasts_s[-1] = max(seconds - flight.bin_s * (told.height - 1), NEARLY)
        replicas = _replicas(flight, system, told, lasts_s)
        batches, arrived = told["batches"].to_numpy(), told["arrived"].to_numpy()
        usd = None if usd_per_hour is None else replicas * lasts_s * usd_per_hour / 3600.0
        table = told.with_columns(
            rate_per_s=pl.Series(arrived / lasts_s), mean_batch=_ratio(told["served"].to_numpy(), batches),
            in_time=_ratio(told["good"].to_numpy(), arrived), replicas=pl.Series(replicas),
            usd=pl.lit(None, pl.Float64) if usd is None else pl.Series(usd),
        )  # fmt: skip
        peak = math.ceil(float(np.max(replicas)) - NEARLY)
        return FlightCourse(table, replica_s / seconds if seconds else float(peak), peak, replica_s)


def _replicas(flight: Flight, system: System, told: pl.DataFrame, lasts_s: Floats) -> Floats:
    """On average in each interval; a queue with nothing beside it has the same at all times, and books none."""
    booked = told["replica_s"].to_numpy()
    each = executors_each(system)
    if not booked.any() and flight.summary.replica_s:
        return np.full(len(lasts_s), system.stations * system.executors / each)
    return np.asarray(booked / lasts_s / each, dtype=np.float64)


def _ratio(above: Floats, below: Floats) -> pl.Series:
    none = below == 0.0
    return pl.Series(np.where(none, np.nan, above / np.where(none, 1.0, below))).fill_nan(None)
