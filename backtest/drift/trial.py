"""A drift detector on trial: streams whose changes are known, its alarms, and beside it a dummy that alarms at random.

A detector that always cries finds every change at once. So each is held against alarms thrown at random at the same rate:
only what it finds beyond them is its own.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binomtest

from windtunnel.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """Values in order, and where they changed.

    Args:
        values: float64 [n].
        changes: the first place after each change, int64, rising; empty where nothing changes.
        start: the first place of which something is to be said; before it lies the reference.
    """

    values: Floats
    changes: Places
    start: int


@dataclass(frozen=True)
class Score:
    """What a detector was worth on some streams, beside the dummy.

    Args:
        detector: its name.
        changes: how many there were.
        detected: how many were followed by an alarm in time.
        delay: mean places from change to first alarm, of those detected; NaN without one.
        false_per_1000: alarms for each thousand places at which nothing had changed lately.
        alarms_per_1000: of all places; the rate at which the dummy throws its alarms.
        dummy_detected: the share of changes that alarms at random find in time.
        dummy_delay: their mean delay where they do.
        p_value: the chance that alarms at random find as many changes or more (one-sided binomial).
    """

    detector: str
    changes: int
    detected: int
    delay: float
    false_per_1000: float
    alarms_per_1000: float
    dummy_detected: float
    dummy_delay: float
    p_value: float

    @property
    def beats_dummy(self) -> bool:
        """Whether it found shown-to-be more changes than the dummy (at 5%)."""
        return self.p_value <= 0.05

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; what is not known is null."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        finite = {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in values.items()}
        return finite | {"beats_dummy": self.beats_dummy}


def score_alarms(detector: str, streams: Sequence[Stream], alarms: Sequence[Places], patience: int) -> Score:
    """Score the alarms of one detector.

    A change counts as detected where an alarm follows it within `patience` places and before the next change; alarms
    later than that, and before the first change, are false. Further alarms within the patience are neither.

    Args:
        detector: its name.
        streams: what it was run on.
        alarms: its alarms on each, places rising.
        patience: how late an alarm may come.

    Raises:
        ConfigError: a patience below 1.
        DataError: changes that do not lie in order within their stream.

    Example: a change at 50; alarms at 20 (false) and 55.

        >>> stream = Stream(np.zeros(100), np.array([50]), start=10)
        >>> score = score_alarms("mine", [stream], [np.array([20, 55])], patience=20)
        >>> score.detected, score.delay, round(score.false_per_1000, 1), round(score.dummy_detected, 2)
        (1, 5.0, 14.3, 0.36)
    """
    if patience < 1:
        raise ConfigError("is below 1", field="patience", value=patience, fix="say how late an alarm may come")
    delays: list[int] = []
    spans: list[int] = []
    false = quiet = total = length = 0
    for stream, found in zip(streams, alarms, strict=True):
        _check(stream)
        windows = _windows(stream, patience)
        raised = found[found >= stream.start]
        inside = np.zeros(len(stream.values), dtype=bool)
        for begin, end in windows:
            inside[begin:end] = True
            first = raised[(raised >= begin) & (raised < end)]
            delays += [int(first[0]) - begin] if len(first) else []
            spans.append(end - begin)
        false += int((~inside[raised]).sum())
        quiet += int((~inside[stream.start :]).sum())
        total, length = total + len(raised), length + len(stream.values) - stream.start
    rate = total / length if length else 0.0
    chance = float(np.mean([1.0 - (1.0 - rate) ** span for span in spans])) if spans else math.nan
    return Score(
        detector, len(spans), len(delays), float(np.mean(delays)) if delays else math.nan,
        1000.0 * false / quiet if quiet else math.nan, 1000.0 * rate,
        chance, _dummy_delay(rate, spans), _p_value(len(delays), len(spans), chance),
    )  # fmt: skip


def make_stream(
    kind: str, rng: np.random.Generator, *, before: int = 600, after: int = 400, size: float = 1.0
) -> Stream:
    """A stream of independent normal values with one known change, or none.

    Args:
        kind: `mean` (moves by `size` standard deviations), `spread` (1 + `size` times as wide), `gradual` (the mean
            moves over the first half of what follows), or `none`.
        rng: draws it.
        before: values before the change; the first half of them is the reference.
        after: values after it.
        size: how much it changes.

    Raises:
        ConfigError: an unknown kind.
    """
    values = rng.normal(size=before + after)
    place = np.arange(after)
    if kind == "mean":
        values[before:] += size
    elif kind == "spread":
        values[before:] *= 1.0 + size
    elif kind == "gradual":
        values[before:] += size * np.minimum(1.0, 2.0 * place / after)
    elif kind != "none":
        fix = nearest(kind, ("mean", "spread", "gradual", "none"))
        raise ConfigError("is not a kind of change", field="kind", value=kind, fix=fix)
    changes = np.array([] if kind == "none" else [before], dtype=np.int64)
    return Stream(values, changes, before // 2)


def _windows(stream: Stream, patience: int) -> list[tuple[int, int]]:
    """Where an alarm counts as the detection of each change: from it on, at most so long, and not beyond the next."""
    edges = [*stream.changes.tolist(), len(stream.values)]
    return [(begin, min(begin + patience, end)) for begin, end in itertools.pairwise(edges)]


def _check(stream: Stream) -> None:
    places = stream.changes
    if len(places) and (places[0] < stream.start or places[-1] >= len(stream.values) or (np.diff(places) <= 0).any()):
        raise DataError(
            "do not lie in order behind the reference", field="changes", value=places.tolist(),
            fix="give the first place after each change, rising",
        )  # fmt: skip


def _dummy_delay(rate: float, spans: Sequence[int]) -> float:
    """The mean delay of alarms thrown at random, where they come within the span at all."""
    if rate <= 0.0 or not spans:
        return math.nan
    places = np.arange(max(spans))
    chance = rate * (1.0 - rate) ** places
    found = np.array([chance[:span].sum() for span in spans])
    late = np.array([float(chance[:span] @ places[:span]) for span in spans])
    return float(late.sum() / found.sum())


def _p_value(detected: int, changes: int, chance: float) -> float:
    if changes == 0:
        return 1.0
    return float(binomtest(detected, changes, chance, alternative="greater").pvalue)
