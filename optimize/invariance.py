"""Does a row's answer depend on its company: on how many share its batch, on who they are, on how far it is padded?

Three things move an answer, and only one of them is harmless. *Rounding*: a kernel for another batch size adds in another
order, or a float on the edge between two integers falls to the other side. *Neighbours*: a scale taken over the whole batch,
as dynamic int8 takes it, lets a stranger change what a row is told. *Padding*: the same, with the rows' own empty places.
Rounding is told from neighbours by holding the batch's size and the row's place in it, and exchanging the strangers: the
kernels are then the same, so in a model that treats its rows apart the answers are the same to the last bit, whatever the
precision.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

from .yardstick import Yardstick, largest_change

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.session import Session
    from windtunnel.variant import Signature, Variant

    Feeds = Mapping[str, NDArray[Any]]
    Answers = dict[str, NDArray[Any]]

TOLERANCE = 1e-4
"""Kernels for other batch sizes add float32 in another order; a change beyond this, relative to the largest answer, is not rounding."""

REDUCED = 2.0**-6
"""The same where floats are rounded to 8 or 16 bits on the way: one step of bfloat16 (2⁻⁸), or of 8-bit integers (2⁻⁸ of their
range), may fall to the other side in each of several layers. MiniLM-L6 in bfloat16 (OpenVINO) and ResNet-18 in static int8
(ONNX Runtime) moved by less than 2e-7 with their batch; MiniLM-L6 in dynamic int8 by 0.17, with neighbours and padding alike."""


@dataclass(frozen=True)
class Dependence:
    """How a model's answers to the same rows change with their company.

    Args:
        largest: the largest change between a row alone, in twos, and in a crowd, relative to the largest answer.
        neighbours: the largest change when only the strangers beside it are exchanged: exactly 0 where rows are treated apart.
        decisions: the share of rows that are decided otherwise somewhere, 0 where the answers decide nothing.
        padded: the largest change when the row is padded further; None where there is nothing to pad.
        rows: how many rows were asked; 0 where the batch is fixed at one size, and there is no other company to be in.
        strangers: the share of rows that are decided otherwise when only the strangers beside them are exchanged.

    Of answers without a float every change counts as another decision, and `padded` is the share of rows that change.
    """

    largest: float
    neighbours: float
    decisions: float
    padded: float | None
    rows: int
    strangers: float = 0.0

    def objection(self, parent: Dependence, *, exact: bool) -> str:
        """Why the model must not share batches though its parent may; empty where nothing speaks against it.

        Neighbours may move nothing beyond rounding of float32, in any precision. The batch's size and padding may move what
        the model's own precision rounds, and no decision. Where no float moves at all, as in a model that answers whole
        numbers only, a decision that moves was not rounded either. A parent that is moved itself is no reason to refuse its
        child: twice the parent's own change is granted.

        Args:
            parent: the same of the parent, on the same rows.
            exact: whether the model computes in float32 throughout; see `is_exact`.

        Example:
            >>> calm = Dependence(0.0, 0.0, 0.0, None, 48)
            >>> Dependence(0.01, 0.01, 0.0, None, 48).objection(calm, exact=False)
            'a row’s answer moves by up to 0.01 with who shares its batch'
            >>> Dependence(0.01, 0.0, 0.0, None, 48).objection(calm, exact=False)
            ''
            >>> Dependence(0.0, 0.0, 0.5, None, 48).objection(calm, exact=False)
            '50.0% of 48 rows are decided otherwise in a batch of another size'
        """
        rounding = TOLERANCE if exact else REDUCED
        if self.neighbours > max(TOLERANCE, 2.0 * parent.neighbours):
            return f"a row’s answer moves by up to {self.neighbours:.2g} with who shares its batch"
        if not self.neighbours and self.strangers > parent.strangers:
            return f"{self.strangers:.1%} of {self.rows} rows are decided otherwise with who shares their batch"
        if self.largest > max(rounding, 2.0 * parent.largest):
            return f"a row’s answer moves by up to {self.largest:.2g} with the size of its batch, beyond rounding"
        if not 0.0 < self.largest <= TOLERANCE and self.decisions > parent.decisions:
            return f"{self.decisions:.1%} of {self.rows} rows are decided otherwise in a batch of another size"
        if self.padded is not None and self.padded > max(rounding, 2.0 * (parent.padded or 0.0)):
            return f"a row’s answer moves by up to {self.padded:.2g} when it is padded to its neighbours’ length"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """The dependence as JSON values."""
        return asdict(self)

    def describe(self) -> str:
        """One sentence for a report.

        Example:
            >>> Dependence(2e-7, 0.0, 0.0, None, 48).describe()
            'Of 48 rows, none is decided otherwise in other company; an answer moves by up to 2e-07 with the size of its batch and 0 with its neighbours.'
        """
        if not self.rows:
            return "The batch is fixed at one size, so a row has no other company."
        decided = f"{self.decisions:.1%} are" if self.decisions else "none is"
        padding = "" if self.padded is None else f", {self.padded:.2g} with its padding"
        return (
            f"Of {self.rows} rows, {decided} decided otherwise in other company; an answer moves by up to "
            f"{self.largest:.2g} with the size of its batch{padding} and {self.neighbours:.2g} with its neighbours."
        )


def is_exact(variant: Variant) -> bool:
    """Whether a variant computes in float32 throughout, so that only the order of sums may move its answers."""
    return variant.precision == "fp32" and variant.execution.precision == "f32"


def batch_dependence(session: Session, feeds: Feeds, rows: int = 48) -> Dependence:
    """Ask the same rows alone, in twos with a calm and with a wild stranger, in a crowd, and padded.

    The strangers are the rows with the smallest and the largest numbers, who move a shared scale the most.

    Args:
        session: what is asked.
        feeds: real rows by input name; the first `rows` are the subjects, all may be strangers.
        rows: how many subjects; each is asked about nine times.

    Raises:
        ModelError: a batch cannot be run.
    """
    if not session.signature.dynamic_batch:
        return Dependence(0.0, 0.0, 0.0, None, 0)
    have = len(next(iter(feeds.values())))
    subjects = np.arange(min(rows, have))
    order = _by_size(feeds)
    alone = _join([_run(session, feeds, [row]) for row in subjects])
    calm, wild = (_join([_first(_run(session, feeds, [row, order[at]])) for row in subjects]) for at in (0, -1))
    crowd = np.concatenate([subjects, order[: len(subjects)]]), np.concatenate([subjects, order[-len(subjects) :]])
    among = [_first(_run(session, feeds, index), len(subjects)) for index in crowd]
    stick = Yardstick.of(alone)
    company = (calm, wild, *among, _run(session, feeds, subjects))
    padded = _padded(session, feeds, subjects, alone)
    return Dependence(
        max(largest_change(alone, other) for other in company),
        max(largest_change(calm, wild), largest_change(*among)),
        _decided_otherwise(stick, alone, company),
        padded,
        len(subjects),
        max(_decided_otherwise(stick, calm, (wild,)), _decided_otherwise(stick, among[0], (among[1],))),
    )


def _decided_otherwise(stick: Yardstick, alone: Answers, company: tuple[Answers, ...]) -> float:
    if not _has_floats(alone):
        return float(np.mean(np.any([_rows_changed(alone, other) for other in company], axis=0)))
    if stick.kind == "none":
        return 0.0
    return float(np.mean(np.any([stick.departures(alone, other) > 0.0 for other in company], axis=0)))


def _has_floats(answers: Answers) -> bool:
    return any(array.dtype.kind == "f" for array in answers.values())


def _rows_changed(a: Answers, b: Answers) -> NDArray[np.bool_]:
    """Which rows are not told the same in every output."""
    changed = [(array != b[name]).reshape(len(array), -1).any(axis=1) for name, array in a.items()]
    return np.asarray(np.any(changed, axis=0))


def _by_size(feeds: Feeds) -> NDArray[np.int64]:
    """The rows from the calmest to the wildest: by the largest of a row's numbers, each against its column's usual size."""
    have = len(next(iter(feeds.values())))
    size = np.zeros(have)
    for array in feeds.values():
        if array.dtype.kind in "fiu" and array.size:
            numbers = np.nan_to_num(np.abs(array.reshape(have, -1).astype(np.float64)), posinf=0.0)
            usual = numbers.mean()
            size = np.maximum(size, numbers.max(axis=1) / usual if usual > 0.0 else 0.0)
    return np.argsort(size, kind="stable")


def _padded(session: Session, feeds: Feeds, subjects: NDArray[np.int64], alone: Answers) -> float | None:
    """The largest change when every row is padded by half as much again, or None where nothing can be padded so far."""
    mask = mask_input(session.signature, feeds)
    if mask is None:
        return None
    rows = {name: np.ascontiguousarray(array[subjects]) for name, array in feeds.items()}
    length = rows[mask].shape[1]
    longer = [each.name for each in session.signature.inputs if _grows(each.shape, rows[each.name], length)]
    fed = {name: _pad(rows[name], rows[mask], is_mask=mask == name) if name in longer else rows[name] for name in rows}
    try:
        answers = session.run(fed)
    except ModelError:
        return None  # the rows are as long as the model takes them
    seen = rows[mask].astype(bool)
    short, long = _filled(alone, answers, seen)
    if not _has_floats(short):
        return max(float(np.mean(array != long[name])) for name, array in short.items())
    return largest_change(short, long)


def mask_input(signature: Signature, feeds: Feeds) -> str | None:
    """The input that says which places of a row are filled: zeros and ones over a free axis that another input shares.

    Args:
        signature: of the model.
        feeds: rows by input name; one that is called a mask is preferred, a constant zero is none.
    """
    found = []
    for tensor in signature.inputs:
        if len(tensor.shape) != 2 or not isinstance(tensor.shape[1], str) or feeds[tensor.name].dtype.kind == "O":
            continue
        array = feeds[tensor.name]
        partners = [each for each in signature.inputs if each is not tensor and each.shape[:2] == tensor.shape]
        if partners and np.isin(array, (0, 1)).all() and (array != 0).any(axis=1).all():
            found.append(tensor.name)
    return min(found, key=lambda name: "mask" not in name.lower(), default=None)


def _grows(shape: tuple[int | str, ...], array: NDArray[Any], length: int) -> bool:
    return len(shape) > 1 and isinstance(shape[1], str) and array.shape[1] == length


def _pad(array: NDArray[Any], mask: NDArray[Any], *, is_mask: bool) -> NDArray[Any]:
    """Add half as many empty places again, filled as the empty places of these rows are, or with zeros."""
    extra = max(1, array.shape[1] // 2)
    empty = array[~mask.astype(bool)]
    filling = 0 if is_mask or not len(empty) else empty.reshape(len(empty), -1)[0, 0]
    widths = [(0, 0), (0, extra), *[(0, 0)] * (array.ndim - 2)]
    return np.ascontiguousarray(np.pad(array, widths, constant_values=filling))


def _filled(short: Answers, long: Answers, seen: NDArray[np.bool_]) -> tuple[Answers, Answers]:
    """Both answers at the places that were filled; an answer to a whole row, which has not grown, stays as it is."""
    cut: tuple[Answers, Answers] = ({}, {})
    for name, array in short.items():
        grown = array.ndim > 1 and array.shape[1] != long[name].shape[1]
        for kept, answers in zip(cut, (array, long[name]), strict=True):
            kept[name] = answers[:, : seen.shape[1]][seen] if grown else answers
    return cut


def _run(session: Session, feeds: Feeds, index: Any) -> Answers:
    return session.run({name: np.ascontiguousarray(array[np.asarray(index)]) for name, array in feeds.items()})


def _first(answers: Answers, rows: int = 1) -> Answers:
    return {name: array[:rows] for name, array in answers.items()}


def _join(parts: list[Answers]) -> Answers:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
