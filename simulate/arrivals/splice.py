"""Cutting and joining traces: one after another, one on top of another, a window of one. Columns go along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, DataError
from windtunnel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from .generator import Floats


def take(trace: Trace, rows: NDArray[Any], *, name: str = "", arrivals_s: Floats | None = None) -> Trace:
    """The rows of a trace, with their columns.

    Args:
        trace: what they are taken from.
        rows: indices or a mask.
        name: of the new trace; that of the old one where empty.
        arrivals_s: the new times of these rows, sorted; the old ones where None.
    """
    times_s = trace.arrivals_s[rows] if arrivals_s is None else arrivals_s
    return Trace(name or trace.name, times_s, {key: column[rows] for key, column in trace.columns.items()})


def splice(first: Trace, second: Trace, *, gap_s: float = 0.0) -> Trace:
    """One trace after another: the second's time zero falls `gap_s` after the first's last arrival.

    Raises:
        ConfigError: a gap below zero.
        DataError: one has a column that the other has not.

    Example:
        >>> a = Trace("a", np.array([0.0, 2.0]), {"key": np.array([1, 2])})
        >>> both = splice(a, a, gap_s=1.0)
        >>> both.arrivals_s.tolist(), both.columns["key"].tolist()
        ([0.0, 2.0, 3.0, 5.0], [1, 2, 1, 2])
    """
    if not 0.0 <= gap_s < float("inf"):
        raise ConfigError("must be zero or more", field="gap", value=gap_s)
    later_s = second.arrivals_s + (float(first.arrivals_s[-1]) + gap_s)
    times_s = np.concatenate([first.arrivals_s, later_s])
    return Trace(f"{first.name}, then {second.name}", times_s, _joined([first, second]))


def merge(*traces: Trace) -> Trace:
    """Traces on top of one another, on one clock; of two arrivals at one instant that of the earlier named comes first.

    Raises:
        DataError: no trace, or one has a column that another has not.

    Example:
        >>> merge(Trace("a", np.array([0.0, 2.0])), Trace("b", np.array([1.0, 3.0]))).arrivals_s.tolist()
        [0.0, 1.0, 2.0, 3.0]
    """
    if not traces:
        raise DataError("is missing", field="traces", fix="give one at least")
    times_s = np.concatenate([each.arrivals_s for each in traces])
    order = np.argsort(times_s, kind="stable")
    columns = {key: column[order] for key, column in _joined(traces).items()}
    return Trace(" and ".join(each.name for each in traces), times_s[order], columns)


def slice_seconds(trace: Trace, start_s: float, end_s: float) -> Trace:
    """The requests from one time up to (not at) another; `start_s` becomes zero.

    Raises:
        DataError: fewer than two requests lie there.

    Example:
        >>> slice_seconds(Trace("t", np.arange(10.0)), 2.0, 5.0).arrivals_s.tolist()
        [0.0, 1.0, 2.0]
    """
    first, end = np.searchsorted(trace.arrivals_s, [start_s, end_s])
    if end - first < 2:
        raise DataError(
            f"has fewer than two requests from {start_s:g} s to {end_s:g} s",
            field=trace.name,
            fix=f"it goes from {trace.arrivals_s[0]:g} s to {trace.arrivals_s[-1]:g} s",
        )
    rows = np.arange(first, end)
    name = f"{trace.name} from {start_s:g} s to {end_s:g} s"
    return take(trace, rows, name=name, arrivals_s=trace.arrivals_s[rows] - start_s)


def slice_share(trace: Trace, start: float, end: float) -> Trace:
    """The requests between two shares of the trace's duration; the end of the whole is part of it.

    Raises:
        ConfigError: shares that are not 0 ≤ start < end ≤ 1.
        DataError: fewer than two requests lie there.

    Example:
        >>> len(slice_share(Trace("t", np.arange(101.0)), 0.5, 1.0))
        51
    """
    if not 0.0 <= start < end <= 1.0:
        raise ConfigError("must be 0 ≤ start < end ≤ 1", field="start, end", value=(start, end))
    first_s, length_s = float(trace.arrivals_s[0]), trace.duration_s
    end_s = np.nextafter(trace.arrivals_s[-1], np.inf) if end == 1.0 else first_s + end * length_s
    return slice_seconds(trace, first_s + start * length_s, float(end_s))


def _joined(traces: Sequence[Trace]) -> dict[str, NDArray[Any]]:
    names = set(traces[0].columns)
    for each in traces[1:]:
        if set(each.columns) != names:
            raise DataError(
                f"has the columns {sorted(each.columns)} where {traces[0].name} has {sorted(names)}",
                field=each.name,
                fix="give both the same columns, or none",
            )
    return {key: np.concatenate([each.columns[key] for each in traces]) for key in traces[0].columns}
