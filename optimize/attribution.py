"""Does the child look at the same things as the parent? Features are exchanged between rows, and the answers compared.

A feature of a row is replaced by that of another row (a donor), for parent and child with the same donors, and the move of the
answer is the feature's effect on that row. How much a model looks at a feature is the mean size of its effects (permutation
importance: Breiman, Machine Learning 45 (2001); without labels: Fisher, Rudin & Dominici, JMLR 20 (2019)). Real values stand in
for real values, so it works for columns, patches of an image, words and bytes alike.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError
from windtunnel.stats import mean_interval

from .robustness import BATCH, draw_rows
from .yardstick import Yardstick

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.session import Session

    Feeds = Mapping[str, NDArray[Any]]
    Floats = NDArray[np.float64]

LEAST_NDCG, LEAST_SIGN, LEAST_TOP = 0.9, 0.9, 0.8
"""What parity asks for; never more than the parent reaches against itself with other donors."""

REPEATS = 4
"""How often each row meets other donors."""

MOST_FEATURES = 24
"""Where a model takes more, neighbouring ones are exchanged together, as blocks."""

LEAST_ROWS = 8

MOST_NUMBERS = 1024
"""Of an answer of more numbers so many are looked at, the same of parent and child: 4,096 answers are 32 MB then."""


@dataclass(frozen=True)
class Feature:
    """Something that a model may look at.

    Args:
        name: such as `age`, `x[3]`, `x[16:32]` or `image[0:56, 56:112]`.
        input: the model's input that it lies in.
        region: where, after the axis of rows.
    """

    name: str
    input: str
    region: tuple[slice, ...]


@dataclass(frozen=True)
class Effects:
    """How far exchanging each feature moved a model's answers.

    Args:
        features: their names.
        moves: float64 `[repeats, features, rows, numbers]`: the answer with another row's feature minus the row's own, of at
            most `MOST_NUMBERS` numbers.
    """

    features: tuple[str, ...]
    moves: Floats

    def importances(self, repeats: slice = slice(None)) -> Floats:
        """The mean size of each feature's effects over some repeats, float64 `[features]`."""
        sizes: Floats = np.sqrt(np.sum(self.moves[repeats] ** 2, axis=-1))
        return np.asarray(sizes.mean(axis=(0, 2)))


@dataclass(frozen=True)
class Parity:
    """Whether a child looks at what its parent looks at.

    Args:
        ndcg: how well the child ranks the features by the parent's importances (1: as the parent does), the mean over repeats.
        ndcg_low: the lower end of its 95% interval over the repeats.
        sign: of all effects that the parent shows, weighted by their size, the share that the child shows in the same direction.
        top_k: the share of the parent's `k` most important features that are among the child's.
        k: how many.
        floor_ndcg: the same of the parent against itself, with half of the donors each: what chance alone leaves.
        floor_top_k: the same.
        features: how many features, or blocks of them, were exchanged.
        rows: how many rows were asked.
        moved: the feature whose share of all importance changed most, and by how much.
    """

    ndcg: float
    ndcg_low: float
    sign: float
    top_k: float
    k: int
    floor_ndcg: float
    floor_top_k: float
    features: int
    rows: int
    moved: tuple[str, float]

    @property
    def passed(self) -> bool:
        """Whether the child is as close to the parent as is asked, or as the parent is to itself."""
        return (
            self.ndcg >= min(LEAST_NDCG, self.floor_ndcg)
            and self.sign >= LEAST_SIGN
            and self.top_k >= min(LEAST_TOP, self.floor_top_k)
        )

    def to_dict(self) -> dict[str, Any]:
        """The parity as JSON values."""
        return asdict(self) | {"moved": {"feature": self.moved[0], "share": self.moved[1]}, "passed": self.passed}

    def describe(self) -> str:
        """One sentence for a report."""
        found = "looks at what the parent looks at" if self.passed else "does not look at what the parent looks at"
        name, share = self.moved
        return (
            f"The child {found}: nDCG {self.ndcg:.3f} (the parent against itself {self.floor_ndcg:.3f}), {self.sign:.1%} of effects in "
            f"the same direction, {self.top_k:.0%} of the {self.k} most important of {self.features} features; "
            f"{name} moved most, by {share:+.1%} of all importance."
        )


def attribution_parity(parent: Session, child: Session, feeds: Feeds, *, seed: int, asked: int = 4096) -> Parity:
    """Compare what two models look at, on the same rows with the same donors.

    Args:
        parent: answers as it should be.
        child: is compared.
        feeds: real rows by input name.
        seed: which rows, and who gives to whom.
        asked: how many rows each model may be asked, about: 4,096 are 64 rows × 16 features × 4 donors.

    Raises:
        DataError: the rows are all the same.
        ModelError: a batch cannot be run.
    """
    theirs = effects_of(parent, feeds, seed=seed, asked=asked)
    return compare_effects(theirs, effects_of(child, feeds, seed=seed, asked=asked))


def effects_of(session: Session, feeds: Feeds, *, seed: int, asked: int = 4096) -> Effects:
    """Exchange every feature of some rows with those of donors, and see how far the answers move.

    The same seed draws the same rows and donors for every model, so that effects can be compared one by one.
    """
    features = find_features(feeds)
    if not features:
        raise DataError(
            "are all the same, so nothing of them can be exchanged", field="rows", fix="give rows that differ"
        )
    rng, have = np.random.default_rng(seed), len(next(iter(feeds.values())))
    chosen = draw_rows(session, feeds, max(LEAST_ROWS, asked // (REPEATS * len(features))), rng)
    donors = np.stack([_donors(have, chosen, rng) for _ in range(REPEATS)])
    rows = {name: np.ascontiguousarray(array[chosen]) for name, array in feeds.items()}
    batch = session.signature.fixed_batch or BATCH
    first = session.run(_batch(rows, 0, batch))
    look = _Look.of(session, first, batch, seed)
    own = look.at(rows, first)
    moves = np.stack([
        np.stack([look.at(_exchanged(rows, feeds, each, given)) - own for each in features]) for given in donors
    ])  # fmt: skip
    # an answer that is no number has no direction; that it is none is counted elsewhere
    return Effects(tuple(each.name for each in features), np.nan_to_num(moves, posinf=0.0, neginf=0.0))


@dataclass(frozen=True)
class _Look:
    """What is looked at of a model's answers: some numbers of the output that a yardstick compares."""

    session: Session
    stick: Yardstick
    batch: int
    numbers: NDArray[np.int64]

    @staticmethod
    def of(session: Session, first: Feeds, batch: int, seed: int) -> _Look:
        stick = Yardstick.of(first)
        have = math.prod(first[stick.score].shape[1:])
        rng = np.random.default_rng([seed, have])
        return _Look(session, stick, batch, np.sort(rng.choice(have, size=min(have, MOST_NUMBERS), replace=False)))

    def at(self, rows: Feeds, known: Feeds | None = None) -> Floats:
        """The numbers for some rows, `[rows, numbers]`, where the first batch's answers may be known; no more is kept."""
        seen, name = [], self.stick.score
        for first in range(0, len(next(iter(rows.values()))), self.batch):
            told = (known if known and first == 0 else self.session.run(_batch(rows, first, self.batch)))[name]
            seen.append(told.reshape(len(told), -1)[:, self.numbers])
        return self.stick.scores({name: np.concatenate(seen)})


def _batch(rows: Feeds, first: int, size: int) -> dict[str, NDArray[Any]]:
    return {name: np.ascontiguousarray(array[first : first + size]) for name, array in rows.items()}


def _donors(have: int, chosen: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Another row for each of the chosen, if there is another."""
    return np.asarray((chosen + rng.integers(1, max(2, have), size=len(chosen))) % have)


def _exchanged(rows: Feeds, feeds: Feeds, feature: Feature, donors: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    changed = rows[feature.input].copy()
    place = (slice(None), *feature.region)
    changed[place] = feeds[feature.input][donors][place]
    return {**rows, feature.input: changed}


def find_features(feeds: Feeds, most: int = MOST_FEATURES) -> tuple[Feature, ...]:
    """What of the inputs can be exchanged on its own.

    A number a row is a feature; so are the columns of a matrix, in blocks where they are more than `most` together; bytes of
    text are one; of images and other tensors the last two axes are cut into patches. What is the same in all rows is none.

    Example:
        >>> [each.name for each in find_features({"age": np.arange(3.0), "x": np.arange(6.0).reshape(3, 2)})]
        ['age', 'x[0]', 'x[1]']
    """
    inputs = {name: array for name, array in feeds.items() if len(array) > 1 and (array != array[:1]).any()}
    share = max(1, most // max(1, len(inputs)))
    found = [feature for name, array in inputs.items() for feature in _features(name, array, share)]
    return tuple(each for each in found if _varies(inputs[each.input][(slice(None), *each.region)]))


def _varies(array: NDArray[Any]) -> bool:
    return bool((array != array[:1]).any())


def _features(name: str, array: NDArray[Any], most: int) -> list[Feature]:
    shape = array.shape[1:]
    if math.prod(shape) == 1 or (array.dtype == np.uint8 and len(shape) == 1):
        return [Feature(name, name, tuple(slice(None) for _ in shape))]
    if len(shape) == 1:
        return [Feature(f"{name}[{_span(part)}]", name, (part,)) for part in _blocks(shape[0], most)]
    down, across = (_blocks(size, max(1, math.isqrt(most))) for size in shape[-2:])
    leading = tuple(slice(None) for _ in shape[:-2])
    return [Feature(f"{name}[{_span(y)}, {_span(x)}]", name, (*leading, y, x)) for y in down for x in across]


def _blocks(size: int, most: int) -> list[slice]:
    edges = np.linspace(0, size, min(size, most) + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]


def _span(part: slice) -> str:
    return f"{part.start}" if part.stop == part.start + 1 else f"{part.start}:{part.stop}"


def compare_effects(parent: Effects, child: Effects) -> Parity:
    """Compare the effects of two models on the same rows with the same donors."""
    half = len(parent.moves) // 2
    whole, first, second = (parent.importances(part) for part in (slice(None), slice(half), slice(half, None)))
    theirs, k = child.importances(), min(5, max(1, len(whole) // 2))
    ranked = np.array([
        ndcg(parent.importances(slice(at, at + 1)), child.importances(slice(at, at + 1))) for at in range(len(parent.moves))
    ])  # fmt: skip
    shares = [each / (each.sum() or 1.0) for each in (whole, theirs)]
    change = shares[1] - shares[0]
    most = int(np.argmax(np.abs(change)))
    return Parity(
        float(ranked.mean()), max(0.0, mean_interval(ranked).low), _same_direction(parent.moves, child.moves),
        top_k(whole, theirs, k), k, ndcg(first, second), top_k(first, second, k),
        len(whole), parent.moves.shape[2], (parent.features[most], float(change[most])),
    )  # fmt: skip


def ndcg(gains: Floats, by: Floats) -> float:
    """The discounted cumulative gain of features in the order of `by`, against that of the best order.

    Source: Järvelin & Kekäläinen, ACM TOIS 20 (2002), with linear gains. Features that `by` holds equal share their places.

    Example:
        >>> ndcg(np.array([3.0, 2.0, 1.0]), np.array([9.0, 5.0, 1.0])), round(ndcg(np.array([3.0, 2.0, 1.0]), np.array([1.0, 5.0, 9.0])), 3)
        (1.0, 0.79)
    """
    best = float(np.sort(gains)[::-1] @ _discounts(len(gains)))
    if best == 0.0:
        return 1.0
    _, group = np.unique(-by, return_inverse=True)
    order = np.argsort(-by, kind="stable")
    shared = np.bincount(group, gains) / np.bincount(group)
    return float(shared[group][order] @ _discounts(len(gains))) / best


def _discounts(places: int) -> Floats:
    return np.asarray(1.0 / np.log2(np.arange(places) + 2.0))


def top_k(a: Floats, b: Floats, k: int) -> float:
    """The share of the k largest of `a` that are among the k largest of `b`.

    Example:
        >>> top_k(np.array([3.0, 2.0, 1.0, 0.0]), np.array([3.0, 1.0, 2.0, 0.0]), 2)
        0.5
    """
    largest = [set(np.argsort(-each, kind="stable")[:k].tolist()) for each in (a, b)]
    return len(largest[0] & largest[1]) / k


def _same_direction(parent: Floats, child: Floats) -> float:
    """Of the parent's effects, weighted by their size, the share with the child's on the same side of zero."""
    weights = np.abs(parent)
    return float((weights * (np.sign(parent) == np.sign(child))).sum() / weights.sum()) if weights.sum() else 1.0
