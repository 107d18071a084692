"""Which features drive the flips, where models can be asked: a feature is hidden, and one sees whether they still part.

A feature is hidden by giving a row the value that some other row has (permutation, Breiman, *Random forests*, 2001). That
leaves each column's distribution as it is, but not how columns hang together: two columns that say the same cover for each
other, and both may seem to matter little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.backtest.metrics import Judged, check_alike
from windtunnel.errors import DataError, ModelError
from windtunnel.feed import feed_table
from windtunnel.session import run_in_batches
from windtunnel.stats import mean_interval

from .flips import Flips

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.session import Session
    from windtunnel.variant import Signature, Tensor

    Floats = NDArray[np.float64]
    Ask = Callable[[pl.DataFrame], Floats]

MOST_ROWS = 1000
"""So many flips are asked about: a share of them is then known to within 3%."""

REPEATS = 4
"""How many other rows lend each row a value."""

MOST_ANSWERS = 1_000_000
"""No model is asked for more: with many features fewer flips are asked about."""

LEAST_SHARE = 0.01
"""A feature that takes less than this share of the distance with it drives nothing, however surely it takes that."""

SURE = 1e-3
"""A probability nearer to 0 or 1 is as good as certain: its log-odds end at ±6.9."""

LEVEL = 0.05
"""The chance that any of the features is named that takes no such share."""

Scale = Literal["answers", "log-odds"]


@dataclass(frozen=True)
class Driver:
    """What hiding one feature does to rows that flip.

    Args:
        feature: its column.
        narrowed: by how much the two models' answers come nearer to each other, on average over flips; below zero they part more.
        low: lower end of its interval, over days where they are given; the intervals of all features hold together with 95%.
        high: upper end.
        share: of the distance between the answers that is.
        undone: the share of flips that are no flips without it. That may also be because both models lean on it and both move away
            from the threshold, so it is `narrowed` that is ranked by.
        named: whether it is shown to take a hundredth of the distance with it, or more.
    """

    feature: str
    narrowed: float
    low: float
    high: float
    share: float
    undone: float
    named: bool

    def to_dict(self) -> dict[str, Any]:
        """The driver as JSON values; an end that is not known is null."""
        low, high = (each if math.isfinite(each) else None for each in (self.low, self.high))
        return {
            "feature": self.feature, "narrowed": self.narrowed, "narrowed_low": low, "narrowed_high": high,
            "share": self.share, "undone": self.undone, "named": self.named,
        }  # fmt: skip


@dataclass(frozen=True)
class Drivers:
    """What both models said when each feature was hidden from them.

    Args:
        features: by how much of the distance between the models goes with each.
        scale: in which answers are held against each other.
        apart: how far they lie apart on average, where nothing is hidden.
        flips: requests that flip.
        asked: how many of them were asked about, drawn at random.
        repeats: how many other requests lent each a value.
    """

    features: tuple[Driver, ...]
    scale: Scale
    apart: float
    flips: int
    asked: int
    repeats: int

    @property
    def answers(self) -> int:
        """How many answers each model was asked for."""
        return self.asked * self.repeats * len(self.features)

    @property
    def named(self) -> tuple[Driver, ...]:
        """The features that are shown to drive the flips, the strongest first."""
        return tuple(each for each in self.features if each.named)

    def to_dict(self) -> dict[str, Any]:
        """The drivers as JSON values."""
        return {
            "how": "both models were asked with one feature hidden", "scale": self.scale, "apart": self.apart, "flips": self.flips,
            "flips_asked": self.asked, "repeats": self.repeats, "answers": self.answers,
            "least_share": LEAST_SHARE, "features": [each.to_dict() for each in self.features],
        }  # fmt: skip


def find_drivers(
    features: pl.DataFrame, incumbent: Ask, candidate: Ask, rng: np.random.Generator, *,
    threshold: float = 0.5, scale: Scale = "answers", told: tuple[Floats, Floats] | None = None,
    day: NDArray[np.int64] | None = None, most_rows: int = MOST_ROWS, repeats: int = REPEATS,
) -> Drivers | None:  # fmt: skip
    """Hide one feature after the other from both models on rows that flip.

    Two models that lean on a feature alike answer otherwise without it, both. In log-odds that cancels where their evidence adds up,
    as in a logistic regression; in probabilities it does not, for near 0 and 1 all answers are near each other.

    Args:
        features: what the models are asked with, [n, columns].
        incumbent: answers a table with float64 [rows].
        candidate: likewise.
        rng: of this question alone; it draws which flips are asked about and which rows lend values.
        threshold: from which answer on the decision is yes.
        scale: in which answers are held against each other: as they are, or, of probabilities, in log-odds.
        told: what both answer where nothing is hidden, float64 [n] each, where that is known; None: they are asked.
        day: of each row, int64 [n]: rows of one day may depend on each other; None: rows do not.
        most_rows: flips to ask about, if `MOST_ANSWERS` allows.
        repeats: how many other rows lend each a value.

    Returns:
        The features, by how much of the distance between the models goes with them; None where nothing flips.

    Raises:
        DataError: answers of another shape than the incumbent's.

    Example: the incumbent looks at `a`, the candidate at `a` and `b`; `c` is looked at by neither.

        >>> import polars as pl
        >>> table = pl.DataFrame(dict(zip("abc", np.random.default_rng(0).random((3, 2000)))))
        >>> found = find_drivers(
        ...     table, lambda t: t["a"].to_numpy(), lambda t: (0.8 * t["a"] + 0.4 * t["b"]).to_numpy(), np.random.default_rng(1))
        >>> found.named[0].feature, found.features[-1].feature, found.features[-1].narrowed
        ('b', 'c', 0.0)
    """
    ours, theirs = told or (incumbent(features), candidate(features))
    nothing = np.full(len(features), np.nan)
    check_alike(Judged(nothing, ours), Judged(nothing, theirs), "candidate")
    flips = Flips.of(nothing, ours, theirs, threshold).rows
    if not len(flips) or not features.width:
        return None
    most = min(most_rows, len(flips), max(1, MOST_ANSWERS // (repeats * features.width)))
    rows = np.sort(rng.choice(flips, size=most, replace=False))
    lenders = rng.integers(len(features), size=(repeats, len(rows)))
    asked = features[np.tile(rows, repeats)]
    apart = _apart(ours[rows], theirs[rows], scale)
    block = np.arange(len(rows)) if day is None else np.unique(day[rows], return_inverse=True)[1]
    found = []
    for name in features.columns:
        hidden = asked.with_columns(features[name][lenders.ravel()])
        said = incumbent(hidden).reshape(repeats, -1), candidate(hidden).reshape(repeats, -1)
        nearer = apart - _apart(*said, scale).mean(axis=0)
        undone = float(np.mean((said[0] >= threshold) == (said[1] >= threshold)))
        found.append(_driver(name, nearer, block, float(apart.mean()), undone, LEVEL / features.width))
    found.sort(key=lambda each: (-each.narrowed, each.feature))
    return Drivers(tuple(found), scale, float(apart.mean()), len(flips), len(rows), repeats)


def _apart(ours: Floats, theirs: Floats, scale: Scale) -> Floats:
    """How far answers lie apart."""
    distance: Floats = np.abs(theirs - ours) if scale == "answers" else np.abs(_log_odds(theirs) - _log_odds(ours))
    return distance


def _log_odds(probability: Floats) -> Floats:
    held = np.clip(probability, SURE, 1.0 - SURE)
    told: Floats = np.log(held) - np.log1p(-held)
    return told


def _driver(name: str, nearer: Floats, block: NDArray[np.int64], apart: float, undone: float, level: float) -> Driver:
    """One feature; the interval of a mean over rows that depend on each other within blocks, by linearization."""
    mean = float(nearer.mean())
    left = np.bincount(block, nearer - mean)
    reach = mean_interval(left * len(left) / len(nearer), 1.0 - level)
    low, high = mean + reach.low - reach.value, mean + reach.high - reach.value
    share = mean / apart if apart > 0.0 else 0.0
    return Driver(name, mean, low, high, share, undone, low > LEAST_SHARE * apart)


def ask_session(name: str, session: Session, output: str = "", batch: int = 4096) -> Ask:
    """Make a loaded model answer tables.

    Args:
        name: of the model, for messages.
        session: the model; its inputs are fed from the columns of the same names.
        output: that holds the answer; the first where empty.
        batch: rows a call.

    Raises:
        DataError: when asked: an input has no column, as with a candidate of another signature.
        ModelError: when asked: no such output, or not one number a row.
    """

    def ask(rows: pl.DataFrame) -> Floats:
        answers = run_in_batches(session, feed_table(rows, session.signature, file=name), batch)
        wanted = output or session.signature.outputs[0].name
        if wanted not in answers:
            raise ModelError("is not an output", file=name, field=output, fix=f"the outputs are: {', '.join(answers)}")
        answer = answers[wanted]
        if answer.shape not in {(len(rows),), (len(rows), 1)}:
            raise ModelError(
                f"answers with shape {answer.shape} to {len(rows)} requests", file=name, field=wanted,
                fix="name an output with one number a row",
            )  # fmt: skip
        return answer.reshape(-1).astype(np.float64)

    return ask


def check_signatures(incumbent: Signature, candidate: Signature, columns: Sequence[str]) -> None:
    """Refuse a candidate that cannot be asked what the incumbent was, or that answers something of another shape.

    Args:
        incumbent: what it takes and gives.
        candidate: likewise.
        columns: what the recording holds.

    Raises:
        DataError: an input of the candidate has no column.
        ModelError: its first output has another shape a row than the incumbent's.

    Example:
        >>> from windtunnel.variant import Signature, Tensor
        >>> km, p = Tensor("km", "float32", ("n",)), Tensor("p", "float32", ("n",))
        >>> check_signatures(Signature((km,), (p,)), Signature((km, Tensor("wind", "float32", ("n",))), (p,)), ["km"])
        Traceback (most recent call last):
        windtunnel.errors.DataError: `wind` is an input of the candidate, which the incumbent does not take and the recording ...
    """
    taken = {tensor.name for tensor in incumbent.inputs}
    for tensor in candidate.inputs:
        if tensor.name not in columns:
            raise DataError(
                f"is an input of the candidate, which {'' if tensor.name in taken else 'the incumbent does not take and '}"
                "the recording does not hold",
                field=tensor.name,
                fix="log it, or join it as-of from a table of features",
            )
    ours, theirs = (_width(each.outputs[0]) for each in (incumbent, candidate))
    if ours != theirs:
        raise ModelError(
            f"answers {theirs} a row where the incumbent answers {ours}",
            field=candidate.outputs[0].name,
            fix="put outputs that mean the same first",
        )


def _width(tensor: Tensor) -> str:
    shape = [axis for axis in tensor.shape[1:] if axis != 1]
    return "a tensor " + str(shape) if shape else "one number"
