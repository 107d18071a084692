"""Which features drive the flips, where models can be asked: a feature is hidden, and one sees whether they still part.

A feature is hidden by giving a row the value that some other row has (permutation, Breiman, *Random forests*, 2001). That
leaves each column's distribution as it is, but not how columns hang together: two columns that say the same cover for each
other, and both may seem to matter little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True)
class Driver:
    """What hiding one feature does to rows that flip.

    Args:
        feature: its column.
        narrowed: by how much the two models' answers come nearer to each other, on average over flips; below zero they part more.
        low: lower end of its interval, for rows that do not depend on each other.
        high: upper end.
        share: of the distance between the answers that is.
        undone: the share of flips that are no flips without it. That may also be because both models lean on it and both move away
            from the threshold, so it is `narrowed` that is ranked by.
    """

    feature: str
    narrowed: float
    low: float
    high: float
    share: float
    undone: float

    def to_dict(self) -> dict[str, Any]:
        """The driver as JSON values."""
        return {
            "feature": self.feature, "narrowed": self.narrowed, "narrowed_low": self.low, "narrowed_high": self.high,
            "share": self.share, "undone": self.undone,
        }  # fmt: skip


def find_drivers(
    features: pl.DataFrame, incumbent: Ask, candidate: Ask, rng: np.random.Generator, *,
    threshold: float = 0.5, most_rows: int = MOST_ROWS, repeats: int = REPEATS,
) -> tuple[Driver, ...]:  # fmt: skip
    """Hide one feature after the other from both models on rows that flip.

    Args:
        features: what the models are asked with, [n, columns].
        incumbent: answers a table with float64 [rows].
        candidate: likewise.
        rng: of this question alone; it draws which flips are asked about and which rows lend values.
        threshold: from which answer on the decision is yes.
        most_rows: flips to ask about.
        repeats: how many other rows lend each a value.

    Returns:
        The features, by how much of the distance between the models goes with them; none where nothing flips.

    Raises:
        DataError: answers of another shape than the incumbent's.

    Example: the incumbent looks at `a`, the candidate at `a` and `b`; `c` is looked at by neither.

        >>> import polars as pl
        >>> table = pl.DataFrame(dict(zip("abc", np.random.default_rng(0).random((3, 2000)))))
        >>> drivers = find_drivers(
        ...     table, lambda t: t["a"].to_numpy(), lambda t: (0.6 * t["a"] + 0.4 * t["b"]).to_numpy(), np.random.default_rng(1))
        >>> [each.feature for each in drivers][0], drivers[-1].feature, drivers[-1].narrowed
        ('b', 'c', 0.0)
    """
    ours, theirs = incumbent(features), candidate(features)
    nothing = np.full(len(features), np.nan)
    check_alike(Judged(nothing, ours), Judged(nothing, theirs), "candidate")
    rows = Flips.of(nothing, ours, theirs, threshold).rows
    if not len(rows):
        return ()
    rows = np.sort(rng.choice(rows, size=min(most_rows, len(rows)), replace=False))
    lenders = rng.integers(len(features), size=(repeats, len(rows)))
    asked = features[np.tile(rows, repeats)]
    apart = np.abs(theirs[rows] - ours[rows])
    found = []
    for name in features.columns:
        hidden = asked.with_columns(features[name][lenders.ravel()])
        found.append(_driver(name, apart, (incumbent(hidden), candidate(hidden)), threshold, repeats))
    return tuple(sorted(found, key=lambda each: (-each.narrowed, each.feature)))


def _driver(name: str, apart: Floats, told: tuple[Floats, Floats], threshold: float, repeats: int) -> Driver:
    ours, theirs = (each.reshape(repeats, -1) for each in told)
    narrowed = mean_interval(apart - np.abs(theirs - ours).mean(axis=0))
    undone = float(np.mean((ours >= threshold) == (theirs >= threshold)))
    share = narrowed.value / float(apart.mean())
    return Driver(name, narrowed.value, narrowed.low, narrowed.high, share, undone)


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
