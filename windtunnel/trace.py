"""A Trace: when requests arrive, and what is known of each. It says nothing about servers."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

KNOWN: Mapping[str, type[np.generic]] = MappingProxyType(
    {"size": np.int32, "priority": np.int32, "key": np.int64, "deadline_s": np.float64}
)
"""The columns that the tunnel itself understands, and their dtypes."""


@dataclass(frozen=True)
class Trace:
    """Sorted arrival times in seconds from the first, and columns with one value a request.

    Args:
        name: what it is a trace of.
        arrivals_s: float64, sorted, finite, starting at zero or later.
        columns: by name, each as long as `arrivals_s` and kept read-only. The tunnel understands `size` (int32, the index
            of a size class), `priority` (int32, 0 is served first), `key` (int64: model, client or entity) and `deadline_s`
            (float64, seconds after the arrival, after which an answer is worthless); others carry their unit in their name.

    Raises:
        DataError: fewer than two requests, times that are not finite, negative, unsorted, or all at one instant, or a
            column of another length, or of whole numbers that are none.

    Example:
        >>> trace = Trace("t", np.array([0.0, 1.0, 4.0]), {"size": np.array([0, 2, 1])})
        >>> trace.speed_up(2.0).duration_s, trace.columns["size"].dtype
        (2.0, dtype('int32'))
    """

    name: str
    arrivals_s: NDArray[np.float64]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_times()
        kept = {name: self._column(name, values) for name, values in self.columns.items()}
        object.__setattr__(self, "columns", MappingProxyType(kept))

    def __reduce__(self) -> tuple[Any, ...]:
        # a mapping proxy does not travel between processes
        return Trace, (self.name, self.arrivals_s, dict(self.columns))

    def _check_times(self) -> None:
        times = self.arrivals_s
        if len(times) < 2:
            raise DataError("has fewer than two requests", field=self.name, value=len(times), fix="record longer")
        if not np.all(np.isfinite(times)):
            row = int(np.flatnonzero(~np.isfinite(times))[0])
            raise DataError(
                f"has a time that is not a number in row {row}", field=self.name, fix="drop or mend that row"
            )
        if times[0] < 0.0:
            raise DataError(
                "has negative times", field=self.name, value=float(times[0]), fix="count from the first request"
            )
        steps = np.diff(times)
        if np.any(steps < 0.0):
            row = int(np.flatnonzero(steps < 0.0)[0]) + 1
            raise DataError(
                f"has unsorted times: row {row} lies before row {row - 1}", field=self.name, fix="sort it by time"
            )
        if times[-1] == times[0]:
            raise DataError(
                "has all its requests at one instant", field=self.name, fix="give time stamps that are finer"
            )

    def _column(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        if len(values) != len(self):
            raise DataError(
                f"has {len(values)} values for {len(self)} requests",
                field=f"{self.name}.{name}",
                fix="give one a request",
            )
        dtype = KNOWN.get(name)
        if dtype is not None and np.issubdtype(dtype, np.integer):
            self._check_whole(name, np.asarray(values), np.iinfo(dtype))
        kept = np.asarray(values, dtype=dtype).view()
        kept.flags.writeable = False
        return kept

    def _check_whole(self, name: str, values: NDArray[Any], bounds: np.iinfo[Any]) -> None:
        """Refuse what a whole number of that many bits cannot hold: it would be cut, or turn into another."""
        numbers = np.isfinite(values)
        bad = ~numbers if values.dtype.kind in "iu" else ~numbers | (np.rint(np.where(numbers, values, 0.5)) != values)
        why = "values that are no whole numbers"
        if not bad.any():
            # of 64 bits the greatest is, as a float, one more than that
            rounded = values.dtype.kind == "f" and float(bounds.max) > bounds.max
            beyond = values >= float(bounds.max) if rounded else values > bounds.max
            bad, why = (values < bounds.min) | beyond, f"values that do not fit into {bounds.bits} bits"
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"has {int(bad.sum())} {why}, the first in row {row}", field=f"{self.name}.{name}", value=values[row].item(),
                fix="give a whole number a request",
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.arrivals_s)

    @property
    def duration_s(self) -> float:
        """From the first arrival to the last."""
        return float(self.arrivals_s[-1] - self.arrivals_s[0])

    @property
    def rate_per_s(self) -> float:
        """The mean rate."""
        return (len(self) - 1) / self.duration_s

    def speed_up(self, factor: float) -> Trace:
        """Scale time: the same requests in the same order, `factor` times as fast; what is known of each stays."""
        if not factor > 0.0:
            raise DataError("must be above zero", field="speed", value=factor)
        return Trace(f"{self.name} × {factor:g}", self.arrivals_s / factor, self.columns)

    def describe(self) -> dict[str, Any]:
        """Requests, length, rates and burstiness, units in the key names.

        `burstiness` is the variance over the mean of the counts in equal bins of `bin_s`, a thousand or one per ten requests: 1
        for Poisson traffic. `peak_rate_per_s` is that of the busiest of these bins.
        """
        counts, _ = np.histogram(self.arrivals_s, bins=min(1000, max(1, len(self) // 10)))
        bin_s = self.duration_s / len(counts)
        steps = np.diff(self.arrivals_s)
        return {
            "requests": len(self),
            "seconds": self.duration_s,
            "rate_per_s": self.rate_per_s,
            "burstiness": float(np.var(counts) / np.mean(counts)),
            "interarrival_cv": float(np.std(steps) / np.mean(steps)),
            "peak_rate_per_s": float(np.max(counts)) / bin_s,
            "bin_s": bin_s,
            "same_instant_share": float(np.mean(steps == 0.0)),
        }
