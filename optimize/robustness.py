"""Does the child break where the parent held? Real rows are disturbed, and both models asked before and after.

Two things are looked at, row by row, in the units of a `Yardstick`: whether the child's own answer moves further than the
parent's does, and whether the disturbance drives the child further from the parent than it was. A child whose ranges are clipped
may stand still where the parent moves: only the second shows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from scipy import stats as distributions

from windtunnel.errors import DataError, ModelError
from windtunnel.session import run_in_batches
from windtunnel.stats import Interval, mean_interval

from .yardstick import Yardstick, broken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.session import Session

    Feeds = Mapping[str, NDArray[Any]]
    Answers = Mapping[str, NDArray[Any]]
    Floats = NDArray[np.float64]

TOLERANCE = 0.02
"""How much more often, or how much further, a child may break."""

BATCH = 64
"""How many rows are asked at once."""


class Perturbation(Protocol):
    """A way to disturb rows."""

    def is_ordinary(self, seen: Feeds) -> bool:
        """Whether such rows are to be expected, so that a child that breaks on them is worse; else it is a test to destruction.

        Args:
            seen: all real rows.
        """
        ...

    @property
    def name(self) -> str:
        """What it does, in a word or two."""
        ...

    def disturb(self, rows: Feeds, seen: Feeds, rng: np.random.Generator) -> dict[str, NDArray[Any]] | None:
        """The rows disturbed, or None where there is nothing that it can disturb.

        Args:
            rows: real rows by input name; they stay as they are.
            seen: all real rows, of which what is usual is learnt.
            rng: decides.
        """
        ...


@dataclass(frozen=True)
class Noise:
    """Normal noise on every float, in standard deviations of its column.

    Example:
        >>> seen = {"x": np.array([[0.0, 5.0], [2.0, 5.0]])}
        >>> Noise(0.5).disturb(seen, seen, np.random.default_rng(1))["x"].round(2).tolist()
        [[0.17, 5.0], [2.17, 5.0]]
    """

    scale: float

    def is_ordinary(self, seen: Feeds) -> bool:
        """Up to a tenth of a standard deviation."""
        del seen
        return self.scale <= 0.1

    @property
    def name(self) -> str:
        """Its name."""
        return f"noise of {self.scale:g} standard deviations"

    def disturb(self, rows: Feeds, seen: Feeds, rng: np.random.Generator) -> dict[str, NDArray[Any]] | None:
        """Add noise."""
        return _floats(rows, lambda name, x: x + self.scale * _deviation(seen[name]) * rng.standard_normal(x.shape))


@dataclass(frozen=True)
class Missing:
    """Some floats are NaN."""

    share: float

    def is_ordinary(self, seen: Feeds) -> bool:
        """Where some are missing in real rows: a model that was never shown any may answer, but means nothing by it."""
        return any(np.isnan(array).any() for array in seen.values() if array.dtype.kind == "f")

    @property
    def name(self) -> str:
        """Its name."""
        return f"{self.share:.0%} of values missing"

    def disturb(self, rows: Feeds, seen: Feeds, rng: np.random.Generator) -> dict[str, NDArray[Any]] | None:
        """Take values away."""
        del seen  # nothing need be known of other rows
        return _floats(rows, lambda _, x: np.where(rng.random(x.shape) < self.share, np.nan, x))


@dataclass(frozen=True)
class Beyond:
    """Some floats lie outside of all that was seen in their column, by so many times its range."""

    share: float
    ranges: float

    def is_ordinary(self, seen: Feeds) -> bool:
        """Nothing like it was ever seen."""
        del seen
        return False

    @property
    def name(self) -> str:
        """Its name."""
        return f"{self.share:.0%} of values out of range by {self.ranges:g} ×"

    def disturb(self, rows: Feeds, seen: Feeds, rng: np.random.Generator) -> dict[str, NDArray[Any]] | None:
        """Push values beyond the least or the largest seen."""

        def push(name: str, x: Floats) -> Floats:
            low, high = (_by_column(seen[name], end) for end in (np.nanmin, np.nanmax))
            far = np.where(
                rng.random(x.shape) < 0.5, low - self.ranges * (high - low), high + self.ranges * (high - low)
            )
            return np.where(rng.random(x.shape) < self.share, far, x)

        return _floats(rows, push)


@dataclass(frozen=True)
class Scrambled:
    """Some bytes of texts are any byte, and some whole numbers are others that were seen, such as another word's."""

    share: float

    def is_ordinary(self, seen: Feeds) -> bool:
        """Misspelt words are."""
        del seen
        return True

    @property
    def name(self) -> str:
        """Its name."""
        return f"{self.share:.0%} of bytes or tokens scrambled"

    def disturb(self, rows: Feeds, seen: Feeds, rng: np.random.Generator) -> dict[str, NDArray[Any]] | None:
        """Replace values; inputs that hold no more than two, such as masks, are left alone."""
        changed = dict(rows)
        for name, array in rows.items():
            if array.dtype.kind not in "iu" or len(values := np.unique(seen[name])) <= 2:
                continue
            others = np.arange(256) if array.dtype == np.uint8 else values
            drawn = rng.choice(others, size=array.shape).astype(array.dtype)
            changed[name] = np.where(rng.random(array.shape) < self.share, drawn, array)
        return None if all(changed[name] is rows[name] for name in rows) else changed


PERTURBATIONS: tuple[Perturbation, ...] = (
    Noise(0.01), Noise(0.1), Noise(0.5), Missing(0.1), Beyond(0.1, 0.5), Beyond(0.1, 5.0), Scrambled(0.1),
)  # fmt: skip


@dataclass(frozen=True)
class Breakage:
    """What one disturbance did to parent and child.

    Args:
        name: of the disturbance.
        parent: how far the parent moved, the mean over rows, from 0 to 1.
        child: how far the child moved.
        more: how much further the child moved than the parent, paired.
        apart: how much further from the parent the disturbance drove the child, paired.
        parent_broken: disturbed rows to which the parent's answer is NaN or infinite.
        child_broken: the same of the child.
        tolerance: how much of either is allowed.
        ordinary: whether such rows are to be expected.
    """

    name: str
    parent: float
    child: float
    more: Interval
    apart: Interval
    parent_broken: int
    child_broken: int
    tolerance: float
    ordinary: bool = False

    @property
    def outcome(self) -> Literal["breaks", "holds", "inconclusive"]:
        """Whether the child is shown to do worse than the parent by more than the tolerance, or shown not to."""
        if max(self.more.low, self.apart.low) > self.tolerance:
            return "breaks"
        return "holds" if max(self.more.high, self.apart.high) <= self.tolerance else "inconclusive"

    def to_dict(self) -> dict[str, Any]:
        """The breakage as JSON values."""
        return {
            "name": self.name, "parent": self.parent, "child": self.child, **self.more.to_dict("more"), **self.apart.to_dict("apart"),
            "parent_broken": self.parent_broken, "child_broken": self.child_broken, "rows": self.more.samples, "outcome": self.outcome, "ordinary": self.ordinary,
        }  # fmt: skip


@dataclass(frozen=True)
class Robustness:
    """What disturbances did to parent and child.

    Args:
        breakages: one for each disturbance that could be tried.
        skipped: those that could not, with the reason.
        unit: what a departure of 1 is, in words.
    """

    breakages: tuple[Breakage, ...]
    skipped: tuple[tuple[str, str], ...]
    unit: str

    @property
    def breaks(self) -> tuple[str, ...]:
        """The names of the disturbances under which the child breaks where the parent held."""
        return tuple(each.name for each in self.breakages if each.outcome == "breaks")

    @property
    def disqualifies(self) -> bool:
        """Whether the child breaks under a disturbance that is to be expected.

        Ranges that were clipped give way when values lie far outside of all that was seen, in every model of static int8:
        that is said, and is no reason to refuse it.
        """
        return any(each.outcome == "breaks" and each.ordinary for each in self.breakages)

    def to_dict(self) -> dict[str, Any]:
        """The robustness as JSON values."""
        skipped = [{"name": name, "reason": reason} for name, reason in self.skipped]
        return {
            "unit": self.unit,
            "breakages": [each.to_dict() for each in self.breakages],
            "skipped": skipped,
            "breaks": list(self.breaks),
        }

    def describe(self) -> str:
        """One sentence for a report."""
        skipped = f"; {len(self.skipped)} could not be tried" if self.skipped else ""
        if not self.breakages:
            return f"No disturbance could be tried: {self.skipped[0][1] if self.skipped else 'there was none'}."
        if not self.breaks:
            held = sum(each.outcome == "holds" for each in self.breakages)
            return (
                f"The child is shown to hold where the parent held in {held} of {len(self.breakages)} disturbances, and is "
                f"not shown to break in the others{skipped}."
            )
        worst = max(self.breakages, key=lambda each: max(each.more.low, each.apart.low))
        return (
            f"The child breaks where the parent held in {len(self.breaks)} of {len(self.breakages)} disturbances{skipped}, worst under "
            f"{worst.name}: {worst.apart.value:.2f} further from the parent ({worst.apart.low:.2f} to {worst.apart.high:.2f}; 1 is {self.unit})."
        )


def robustness_parity(
    parent: Session,
    child: Session,
    feeds: Feeds,
    *,
    seed: int,
    rows: int = 256,
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    tolerance: float = TOLERANCE,
    confidence: float = 0.95,
) -> Robustness:
    """Disturb real rows, and ask both models before and after.

    Args:
        parent: answers as it should be.
        child: is compared.
        feeds: real rows by input name.
        seed: which rows, and how they are disturbed: the same for every child.
        rows: at most so many; each is asked once, and once more for each disturbance: choose fewer where a row is slow.
        perturbations: the disturbances.
        tolerance: how much worse the child may be, from 0 to 1.
        confidence: of all intervals together (Bonferroni).

    Raises:
        ModelError: one of the models cannot answer the rows as they are.
        DataError: the model takes a fixed number of rows at once, and there are fewer.
    """
    index = draw_rows(parent, feeds, rows, np.random.default_rng(seed))
    clean = {name: np.ascontiguousarray(array[index]) for name, array in feeds.items()}
    before = ask(parent, clean), ask(child, clean)
    stick = Yardstick.of(before[0])
    each = 1.0 - (1.0 - confidence) / (2 * max(1, len(perturbations)))
    breakages, skipped = [], []
    for at, perturbation in enumerate(perturbations):
        disturbed = perturbation.disturb(clean, feeds, np.random.default_rng([seed, at]))
        found = (
            "there is nothing in the inputs that it disturbs" if disturbed is None else _after(parent, child, disturbed)
        )
        if isinstance(found, str):
            skipped.append((perturbation.name, found))
        else:
            ordinary = perturbation.is_ordinary(feeds)
            breakages.append(
                compare_answers(perturbation.name, stick, before, found, tolerance, each, ordinary=ordinary)
            )
    return Robustness(tuple(breakages), tuple(skipped), stick.unit)


def _after(parent: Session, child: Session, disturbed: Feeds) -> tuple[Answers, Answers] | str:
    """Both models' answers to disturbed rows, or why they say nothing; a child that refuses them answers nothing but NaN."""
    try:
        held = ask(parent, disturbed)
    except ModelError:
        return "the parent refuses such rows itself"
    if broken(held) == len(next(iter(held.values()))):
        return "the parent answers every such row with NaN itself"
    try:
        return held, ask(child, disturbed)
    except ModelError:
        return held, {name: np.full(array.shape, np.nan) for name, array in held.items()}


def ask(session: Session, feeds: Feeds) -> dict[str, NDArray[Any]]:
    """The answers to some rows, in batches of the size that the model takes."""
    return run_in_batches(session, feeds, session.signature.fixed_batch or BATCH)


def draw_rows(session: Session, feeds: Feeds, rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which rows are asked, in their own order: whole batches of them, where the model takes no other number."""
    have, batch = len(next(iter(feeds.values()))), session.signature.fixed_batch
    count = min(rows, have)
    if batch is not None:
        count = max(batch, count // batch * batch)
    if count > have:
        raise DataError("are fewer than the model takes at once", field="rows", value=have, fix=f"give {batch} or more")
    return np.sort(rng.choice(have, size=count, replace=False))


def compare_answers(
    name: str,
    stick: Yardstick,
    before: tuple[Answers, Answers],
    after: tuple[Answers, Answers],
    tolerance: float = TOLERANCE,
    confidence: float = 0.95,
    *,
    ordinary: bool = False,
) -> Breakage:
    """Compare what a disturbance did to two models' answers to the same rows.

    Args:
        name: of the disturbance.
        stick: read off the parent's answers.
        before: the parent's and the child's answers to the rows as they are.
        after: to the rows disturbed.
        tolerance: how much worse the child may be.
        confidence: of each of the two intervals.
        ordinary: whether such rows are to be expected.
    """
    held, moved = (stick.departures(was, now) for was, now in zip(before, after, strict=True))
    apart = stick.departures(*after) - stick.departures(*before)
    return Breakage(
        name, float(held.mean()), float(moved.mean()), paired_interval(moved - held, confidence),
        paired_interval(apart, confidence), broken(after[0]), broken(after[1]), tolerance, ordinary,
    )  # fmt: skip


def paired_interval(difference: Floats, confidence: float) -> Interval:
    """The mean of paired differences: for decisions with the adjusted interval of paired shares, else with Student's.

    Student's interval of decisions that happen not to differ has no width; a half is therefore added to each of the four
    counts. Source: Agresti & Min, Statistics in Medicine 24 (2005), 729-740.

    Example:
        >>> interval = paired_interval(np.zeros(100), 0.95)
        >>> interval.value, round(interval.low, 3), round(interval.high, 3)
        (0.0, -0.019, 0.019)
    """
    if not np.isin(difference, (-1.0, 0.0, 1.0)).all():
        return mean_interval(difference, confidence)
    rows = len(difference)
    lost, won = (float(np.sum(difference == side)) + 0.5 for side in (1.0, -1.0))
    middle = (lost - won) / (rows + 2)
    reach = (
        float(distributions.norm.ppf(0.5 + confidence / 2))
        * math.sqrt(lost + won - (lost - won) ** 2 / (rows + 2))
        / (rows + 2)
    )
    return Interval(float(difference.mean()), max(-1.0, middle - reach), min(1.0, middle + reach), rows, confidence)


def _floats(rows: Feeds, change: Any) -> dict[str, NDArray[Any]] | None:
    """The rows with every input of floats changed, in its own dtype; None where there is none."""
    names = [name for name, array in rows.items() if array.dtype.kind == "f"]
    changed = {name: change(name, rows[name].astype(np.float64)).astype(rows[name].dtype) for name in names}
    return {**rows, **changed} if names else None


def _deviation(seen: NDArray[Any]) -> Floats:
    return _by_column(seen, np.nanstd)


def _by_column(seen: NDArray[Any], statistic: Any) -> Floats:
    """A statistic of each column; of a whole tensor where a row is more than a line of columns, as an image is.

    What is infinite or missing in every row has none: it is taken as 0.
    """
    numbers = np.where(np.isfinite(seen), seen, np.nan).astype(np.float64)
    if numbers.ndim > 2:
        return np.asarray(statistic(numbers) if np.isfinite(numbers).any() else 0.0)
    filled = np.where(np.isnan(numbers).all(axis=0), 0.0, numbers)
    return np.asarray(statistic(filled, axis=0))
