"""Rows from a user's file or loader: arrays by name, or a table, from which a model's inputs are taken."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError, UserCodeError
from windtunnel.feed import feed_table, matrix_columns
from windtunnel.hardware import allowed_memory_bytes
from windtunnel.model_names import ModelNames
from windtunnel.npz_header import check_npz
from windtunnel.quantity import format_bytes
from windtunnel.source import call, load_function, passing_on
from windtunnel.table import READERS, read_arrays, read_table, take_column

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.variant import Signature, Tensor

    Arrays = dict[str, NDArray[Any]]
    Labels = NDArray[np.float64]

LABEL = "label"
"""The name of the labels in an npz file or a loader's batch; the other arrays are named after the model's inputs."""

MOST_ROWS = 1_000_000
"""A loader that has yielded more rows than this is taken for one without an end."""


@dataclass(frozen=True)
class Rows:
    """Rows as they were given.

    Args:
        source: named in refusals.
        given: arrays of one length by name, or a table.
    """

    source: Path | str
    given: Arrays | pl.DataFrame

    def feeds(self, signature: Signature, matrix: Sequence[str] = ()) -> Arrays:
        """The model's inputs.

        Args:
            signature: of the model.
            matrix: the columns of its one matrix; see `matrix`.

        Raises:
            DataError: an input is missing, of the wrong dtype or shape, or says nothing.
        """
        if isinstance(self.given, dict):
            feeds = {tensor.name: _fitting(self.given, tensor, self.source) for tensor in signature.inputs}
            _check_axes(feeds, signature, self.source)
        else:
            feeds = feed_table(self.given, signature, file=self.source, matrix=matrix)
        for name, array in feeds.items():
            if array.dtype.kind == "f" and np.isnan(array).all():
                raise DataError("is NaN in every row", file=self.source, field=name, fix="fill in what is known of it")
        return feeds

    def matrix(self, signature: Signature, leave: Sequence[str], names: ModelNames) -> tuple[str, ...]:
        """The columns of a table that feed a model of one matrix; none where arrays or single columns do."""
        if isinstance(self.given, dict):
            return ()
        return matrix_columns(self.given, signature, leave=(LABEL, *leave), names=names.features, file=self.source)

    def labels(self, label: str = "", names: ModelNames | None = None) -> Labels | None:
        """The labels as numbers, `[rows]`; classes that are called otherwise are counted as the model counts them.

        Args:
            label: the column or array; `label` among arrays where empty.
            names: of the model's classes.

        Raises:
            DataError: there is no such column, a label is no number and no class, or missing.
        """
        if not isinstance(self.given, dict):
            found = take_column(self.given, label, file=self.source).to_numpy() if label else None
        elif label and label not in self.given:
            raise self._unknown(label)
        else:
            found = self.given.get(label or LABEL)
        return None if found is None else _numbers(found, label or LABEL, names or ModelNames(), self.source)

    def columns(self, names: Sequence[str], rows: int) -> Arrays:
        """Further columns, such as queries or what slices are cut by, as they are.

        Raises:
            DataError: no such column, or not a value a row.
        """
        return {name: self._column(name, rows) for name in names}

    def _column(self, name: str, rows: int) -> NDArray[Any]:
        if isinstance(self.given, dict):
            if name not in self.given:
                raise self._unknown(name)
            column = self.given[name]
        else:
            column = take_column(self.given, name, file=self.source).to_numpy()
        if column.shape[:1] != (rows,) or column.size != rows:
            raise DataError(
                f"is {list(column.shape)} where one value a row is needed", file=self.source, field=name,
                fix=f"give {rows} values",
            )  # fmt: skip
        return column.reshape(rows)

    def _unknown(self, name: str) -> DataError:
        assert isinstance(self.given, dict)
        return DataError(
            "is not an array", file=self.source, field=name, fix=f"the arrays are: {', '.join(self.given)}"
        )


def read_rows(path: Path) -> Rows:
    """Read a file: npz, or a table.

    Raises:
        DataError: it cannot be read, or would not fit into memory.
    """
    if path.suffix == ".npz":
        check_npz(path)
        return Rows(path, read_arrays(path))
    if path.is_file() and path.suffix not in READERS:
        raise DataError(
            "is of a kind that is not read here", file=path,
            fix=f"give .npz, {', '.join(READERS)}, or module.py:loader",
        )  # fmt: skip
    return Rows(path, read_table(path))


@lru_cache(maxsize=1)
def load_rows(source: str, home: Path, most_rows: int = MOST_ROWS, most_bytes: int | None = None) -> Rows:
    """Call the user's loader once and join what it yields: its second run might yield other rows.

    Args:
        source: `module.py:loader`; it returns or yields dicts of arrays by input name, `label` among them where there are
            labels, or pairs of such a dict and the labels.
        home: what `source` is relative to.
        most_rows: beyond which it is refused.
        most_bytes: the same; half of the memory that may be used where None.

    Raises:
        DataError: no rows, too many, or batches of unequal rows or names.
        UserCodeError: the loader raised, or yields something else.
    """
    given = call(load_function(source, home), name=source)
    batches: list[Arrays] = []
    limit = allowed_memory_bytes() // 2 if most_bytes is None else most_bytes
    rows = held = 0
    for batch in _batches(given, source):
        arrays = _arrays(batch, source, len(batches))
        if batches and arrays.keys() != batches[0].keys():
            raise DataError(
                f"yielded {', '.join(arrays)} in batch {len(batches)} and {', '.join(batches[0])} before",
                file=source, fix="yield the same names each time",
            )  # fmt: skip
        batches.append(arrays)
        rows += len(next(iter(arrays.values())))
        if rows > most_rows:
            raise DataError(
                f"has yielded more than {most_rows:,} rows", file=source, fix="let it come to an end before"
            )
        held += sum(_held_bytes(array) for array in arrays.values())
        if held > limit:
            raise DataError(
                f"has yielded {format_bytes(held)} where {format_bytes(limit)} may be held",
                file=source, fix="let it come to an end before, or yield fewer rows",
            )  # fmt: skip
    if not rows:
        raise DataError("yielded no rows", file=source, fix="yield dicts of arrays, rows on axis 0")
    with passing_on(source):  # batches of unequal width or dtype
        # taken out one by one, so that not all of them lie beside what they are joined to
        joined = {name: np.concatenate([batch.pop(name) for batch in batches]) for name in list(batches[0])}
    return Rows(source, joined)


def _held_bytes(array: NDArray[Any]) -> int:
    """What an array takes, with the texts that it points to."""
    return array.nbytes + (sum(map(sys.getsizeof, array.flat)) if array.dtype.hasobject else 0)


def _batches(given: Any, source: str) -> Iterable[Any]:
    """One batch after another; what the user's generator raises on the way is shown as theirs."""
    if isinstance(given, Mapping) or (isinstance(given, tuple) and len(given) == 2):
        yield given
        return
    if not isinstance(given, Iterable):
        raise UserCodeError(f"returned {type(given).__name__}", field=source, fix="yield dicts of arrays by input name")
    with passing_on(source):
        yield from given


def _arrays(batch: Any, source: str, place: int) -> Arrays:
    if isinstance(batch, tuple) and len(batch) == 2 and isinstance(batch[0], Mapping):
        batch = {**batch[0], **({} if batch[1] is None else {LABEL: batch[1]})}
    if not isinstance(batch, Mapping) or not batch:
        raise UserCodeError(
            f"yielded {type(batch).__name__} as batch {place}", field=source, fix="yield dicts of arrays by input name"
        )
    arrays = {str(name): np.asarray(array) for name, array in batch.items()}
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise DataError(
            f"yielded unequal rows, or none, in batch {place}", file=source, value=lengths, fix="rows go on axis 0"
        )
    return arrays


def _numbers(given: NDArray[Any], name: str, names: ModelNames, source: Path | str) -> Labels:
    """The labels as float64 `[rows]`, each a number."""
    if names.classes and names.classes not in {tuple(range(len(names.classes))), (False, True)}:
        return _counted(given, name, names.classes, source)
    if given.dtype.kind not in "biuf" or given.size != len(given):
        raise DataError(
            f"is {given.dtype} {list(given.shape)} where labels are one number a row",
            file=source, field=name, fix="save 0 and 1, or the number of each row's class",
        )  # fmt: skip
    labels: Labels = given.astype(np.float64).reshape(-1)
    if np.isnan(labels).any():
        row = int(np.isnan(labels).argmax())
        raise DataError(f"has no label in row {row}", file=source, field=name, fix="leave out the rows without one")
    return labels


def _counted(given: NDArray[Any], name: str, classes: Sequence[int | str], source: Path | str) -> Labels:
    """The place of each label among the model's classes."""
    places = {each: float(place) for place, each in enumerate(classes)}
    found = [places.get(each) for each in given.reshape(-1).tolist()]
    if None in found:
        row = found.index(None)
        raise DataError(
            "is no class of the model",
            file=source, field=f"{name}[{row}]", value=given.reshape(-1)[row],
            fix="the classes are: " + ", ".join(map(str, classes)),
        )  # fmt: skip
    return np.array(found, dtype=np.float64)


def _fitting(arrays: Arrays, tensor: Tensor, source: Path | str) -> NDArray[Any]:
    if tensor.name not in arrays:
        raise DataError(
            "is an input of the model but not an array",
            file=source, field=tensor.name, fix=f"the arrays are: {', '.join(arrays)}",
        )  # fmt: skip
    array = arrays[tensor.name]
    if tensor.dtype == "object" and array.dtype.kind in "US":
        array = np.char.decode(array).astype(object) if array.dtype.kind == "S" else array.astype(object)
    fits = array.ndim == len(tensor.shape) and all(
        isinstance(want, str) or want == have for want, have in zip(tensor.shape[1:], array.shape[1:], strict=True)
    )
    if str(array.dtype) != tensor.dtype or not fits:
        raise DataError(
            f"is {array.dtype} {list(array.shape)} where the model takes {tensor.dtype} {list(tensor.shape)}",
            file=source, field=tensor.name, fix="save the rows as the model takes them",
        )  # fmt: skip
    return array


def _check_axes(feeds: Arrays, signature: Signature, source: Path | str) -> None:
    """Refuse inputs that are of different length along an axis that has one name in the model."""
    lengths: dict[str, tuple[int, str]] = {}
    for tensor in signature.inputs:
        for axis, have in list(zip(tensor.shape, feeds[tensor.name].shape, strict=True))[1:]:
            # axes without a name of their own are called after their place, which says nothing
            if not isinstance(axis, str) or axis.startswith("axis_"):
                continue
            first, where = lengths.setdefault(axis, (have, tensor.name))
            if first != have:
                raise DataError(
                    f"is {have} long along `{axis}` where `{where}` is {first}",
                    file=source, field=tensor.name, fix="pad both to one length",
                )  # fmt: skip
