"""Truncate and scramble: the test that nothing said as of τ hangs on a label that came after τ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from windtunnel.errors import DataError
from windtunnel.recording import LABEL, LABEL_TIME, TIME, Recording

from .comparison import moment
from .labels import NEVER_US, Labels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from numpy.typing import NDArray

    from .comparison import Comparison

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]
    Run = Callable[[Recording, Mapping[str, Floats]], Comparison]

FURTHEST_US = 30 * 86_400_000_000
"""A scrambled label comes at most that long after it could first have come."""


@dataclass(frozen=True)
class LeakCheck:
    """One time, one way to change what came after it, and what of the past moved with it.

    Args:
        as_of: the time τ.
        change: whether the labels known after τ were deleted, or replaced by others at other times after τ.
        labels: how many labels that concerned, those included that never came.
        looks: how many looks up to τ were compared, bit by bit.
        moved: the series that differ though nothing known at τ had changed; empty where nothing leaks.
    """

    as_of: datetime
    change: Literal["deleted", "scrambled"]
    labels: int
    looks: int
    moved: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all that was said up to τ stayed as it was, to the last bit."""
        return not self.moved


def leak_test(
    recording: Recording, predictions: Mapping[str, Floats], run: Run, rng: np.random.Generator, times: int = 5
) -> tuple[LeakCheck, ...]:
    """Change every label known after a random look, and see whether anything said up to that look moves.

    Args:
        recording: the requests and their labels.
        predictions: float64 [n] by model name.
        run: what is tested, such as `lambda r, p: backtest(r, p, incumbent="a", candidates=["b"])`.
        rng: chooses the looks and the false labels.
        times: how many looks; each is tried with deleted and with scrambled labels.

    Returns:
        Two checks a look.

    Raises:
        DataError: the recording has no look between its first and its last request.
    """
    before = run(recording, predictions).timeline
    looks = before.as_of_us[before.as_of_us <= Labels.of(recording, 0.0).time_us[-1]]
    if len(looks) == 0:
        raise DataError(
            "has no look between its first and last request", file=recording.name, field=TIME, fix="record longer"
        )
    checks = []
    for as_of_us in rng.choice(looks, size=times).tolist():
        for change, changed in _changes(recording, as_of_us, rng):
            then = before.series(as_of_us)
            now = run(changed, predictions).timeline.series(as_of_us)
            moved = tuple(name for name in then if then[name].tobytes() != now[name].tobytes())
            concerned = int(np.sum(Labels.of(recording, 0.0).known_us > as_of_us))
            checks.append(LeakCheck(moment(as_of_us), change, concerned, len(then["as_of_us"]), moved))
    return tuple(checks)


def _changes(
    recording: Recording, as_of_us: int, rng: np.random.Generator
) -> list[tuple[Literal["deleted", "scrambled"], Recording]]:
    """The recording without the labels known after a time, and with others in their place."""
    labels = Labels.of(recording, 0.0)
    later = labels.known_us > as_of_us
    gone = np.where(later, NEVER_US, labels.known_us)
    value, known_us = _scramble(labels, later, as_of_us, rng)
    return [
        ("deleted", _with_labels(recording, labels.value, gone)),
        ("scrambled", _with_labels(recording, value, known_us)),
    ]


def _scramble(
    labels: Labels, later: NDArray[np.bool_], as_of_us: int, rng: np.random.Generator
) -> tuple[Floats, Times]:
    """Draw other labels for some rows, a tenth of them none, each known at another moment after a time."""
    # 0 and 1 suit every loss, and are there even where the recording knows one class only
    pool = np.union1d(labels.value[labels.came], [0.0, 1.0])
    earliest_us = np.maximum(labels.time_us, as_of_us) + 1
    drawn_us = earliest_us + rng.integers(FURTHEST_US, size=len(labels))
    drawn_us[rng.random(len(labels)) < 0.1] = NEVER_US
    value = np.where(later, rng.choice(pool, size=len(labels)), labels.value)
    return value, np.where(later, drawn_us, labels.known_us)


def _with_labels(recording: Recording, value: Floats, known_us: Times) -> Recording:
    """The same requests with other labels; none where the known time is never."""
    came = pl.Series(known_us != NEVER_US)
    dtype = recording.frame.schema[LABEL_TIME]
    frame = recording.frame.with_columns(
        pl.when(came).then(pl.Series(value)).alias(LABEL),
        pl.when(came)
        .then(pl.Series(known_us).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").cast(dtype))
        .alias(LABEL_TIME),
    )
    return Recording(recording.name, frame)
