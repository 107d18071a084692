"""Truncate and scramble: the test that nothing said as of τ hangs on what became known after τ.

After τ become known: labels, corrections of labels, and everything about requests that are asked from τ on, their features and
logged predictions included. All of it is taken away or replaced, and everything that was said up to τ must stay as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from windtunnel.errors import DataError
from windtunnel.recording import ID, LABEL, LABEL_TIME, TIME, Recording

from .comparison import moment
from .kernel import NEVER_US

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from numpy.typing import NDArray

    from .comparison import Comparison

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Change = Literal["deleted", "scrambled"]
    Run = Callable[..., Comparison]

FURTHEST_US = 30 * 86_400_000_000
"""A scrambled label comes at most that long after it could first have come."""


@dataclass(frozen=True)
class LeakCheck:
    """One time, one way to change what came after it, and what of the past moved with it.

    Args:
        as_of: the time τ.
        change: whether what was known after τ was deleted, or replaced by other things at other times after τ.
        labels: how many labels that concerned, those included that never came, and corrections.
        looks: how many looks up to τ were compared, bit by bit.
        moved: the series that differ though nothing known at τ had changed; empty where nothing leaks.
    """

    as_of: datetime
    change: Change
    labels: int
    looks: int
    moved: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all that was said up to τ stayed as it was, to the last bit."""
        return not self.moved


@dataclass(frozen=True)
class _World:
    """All that a run is given."""

    recording: Recording
    predictions: dict[str, Floats]
    corrections: pl.DataFrame | None

    @property
    def time_us(self) -> Ints:
        return self.recording.frame[TIME].dt.timestamp("us").to_numpy()

    @property
    def known_us(self) -> Ints:
        return self.recording.frame[LABEL_TIME].dt.timestamp("us").fill_null(NEVER_US).to_numpy()

    def run(self, run: Run) -> Comparison:
        if self.corrections is None:
            return run(self.recording, self.predictions)
        return run(self.recording, self.predictions, corrections=self.corrections)


def leak_test(
    recording: Recording,
    predictions: Mapping[str, Floats],
    run: Run,
    rng: np.random.Generator,
    times: int = 5,
    corrections: pl.DataFrame | None = None,
) -> tuple[LeakCheck, ...]:
    """Change everything known after a random look, and see whether anything said up to that look moves.

    Args:
        recording: the requests and their labels.
        predictions: float64 [n] by model name.
        run: what is tested, such as `partial(backtest, incumbent="a", candidates=["b"])`; it is called with a recording and
            predictions, and with `corrections` where there are any.
        rng: chooses the looks and what stands in place of the future.
        times: how many looks; each is tried with deleted and with scrambled labels.
        corrections: later versions of labels, as `backtest` takes them.

    Returns:
        Two checks a look.

    Raises:
        DataError: the recording has no look between its first and its last request.
    """
    world = _World(recording, dict(predictions), corrections)
    before = world.run(run).timeline
    looks = before.as_of_us[before.as_of_us <= world.time_us[-1]]
    if len(looks) == 0:
        raise DataError(
            "has no look between its first and last request", file=recording.name, field=TIME, fix="record longer"
        )
    checks = []
    for as_of_us in rng.choice(looks, size=times).tolist():
        concerned = int(np.sum(world.known_us > as_of_us)) + len(_after(corrections, as_of_us))
        for change, changed in _changes(world, as_of_us, rng):
            then = before.series(as_of_us)
            now = changed.run(run).timeline.series(as_of_us)
            moved = tuple(name for name in then if then[name].tobytes() != now[name].tobytes())
            checks.append(LeakCheck(moment(as_of_us), change, concerned, len(then["as_of_us"]), moved))
    return tuple(checks)


def _changes(world: _World, as_of_us: int, rng: np.random.Generator) -> list[tuple[Change, _World]]:
    """The world without what was known after a time, and with other things in their place."""
    later = world.known_us > as_of_us
    gone = np.where(later, NEVER_US, world.known_us)
    label = world.recording.frame[LABEL].fill_null(float("nan")).to_numpy()
    value, known_us = _scramble(world, label, later, as_of_us, rng)
    return [
        ("deleted", _changed(world, label, gone, as_of_us, rng, corrections=_until(world.corrections, as_of_us))),
        ("scrambled", _changed(world, value, known_us, as_of_us, rng, corrections=_shaken(world, as_of_us, rng))),
    ]


def _scramble(
    world: _World, label: Floats, later: NDArray[np.bool_], as_of_us: int, rng: np.random.Generator
) -> tuple[Floats, Ints]:
    """Draw other labels for some rows, a tenth of them none, each known at another moment after a time."""
    # 0 and 1 suit every loss, and are there even where the recording knows one class only
    pool = np.union1d(label[~np.isnan(label)], [0.0, 1.0])
    earliest_us = np.maximum(world.time_us, as_of_us) + 1
    drawn_us = earliest_us + rng.integers(FURTHEST_US, size=len(label))
    drawn_us[rng.random(len(label)) < 0.1] = NEVER_US
    value = np.where(later, rng.choice(pool, size=len(label)), label)
    return value, np.where(later, drawn_us, world.known_us)


def _changed(
    world: _World,
    value: Floats,
    known_us: Ints,
    as_of_us: int,
    rng: np.random.Generator,
    *,
    corrections: pl.DataFrame | None,
) -> _World:
    """The same requests with other labels; those asked from a time on change features and predictions among each other."""
    came = pl.Series(known_us != NEVER_US)
    frame = world.recording.frame
    instants = pl.Series(known_us).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").cast(frame.schema[LABEL_TIME])
    places = np.arange(frame.height)
    unasked = world.time_us >= as_of_us
    places[unasked] = rng.permutation(places[unasked])
    features = [name for name in frame.columns if name not in (ID, TIME, LABEL, LABEL_TIME)]
    frame = frame.with_columns(
        pl.when(came).then(pl.Series(value)).alias(LABEL),
        pl.when(came).then(instants).alias(LABEL_TIME),
        *(frame[name].gather(places) for name in features),
    )
    predictions = {name: np.asarray(each)[places] for name, each in world.predictions.items()}
    if corrections is not None:  # where there is no label any more there is nothing to correct
        corrections = corrections.join(
            frame.filter(pl.col(LABEL).is_not_null()), on=ID, how="semi", maintain_order="left"
        )
    return _World(Recording(world.recording.name, frame), predictions, corrections)


def _until(corrections: pl.DataFrame | None, as_of_us: int) -> pl.DataFrame | None:
    """The corrections known by a time."""
    return None if corrections is None else corrections.filter(pl.col(LABEL_TIME).dt.timestamp("us") <= as_of_us)


def _after(corrections: pl.DataFrame | None, as_of_us: int) -> pl.DataFrame:
    """The corrections known only after a time."""
    if corrections is None:
        return pl.DataFrame()
    return corrections.filter(pl.col(LABEL_TIME).dt.timestamp("us") > as_of_us)


def _shaken(world: _World, as_of_us: int, rng: np.random.Generator) -> pl.DataFrame | None:
    """The corrections with other labels in place of those known only after a time, each after whatever it may correct."""
    if world.corrections is None:
        return None
    later = _after(world.corrections, as_of_us)
    last_us = max(int(world.time_us[-1]), as_of_us) + FURTHEST_US
    moved_us = pl.Series(last_us + 1 + rng.integers(FURTHEST_US, size=len(later))).cast(pl.Datetime("us"))
    labels = pl.Series(rng.integers(2, size=len(later))).cast(later.schema[LABEL])
    told = later.with_columns(
        labels.alias(LABEL), moved_us.dt.replace_time_zone("UTC").cast(later.schema[LABEL_TIME]).alias(LABEL_TIME)
    )
    kept = _until(world.corrections, as_of_us)
    assert kept is not None
    return pl.concat([kept, told])
