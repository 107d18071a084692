"""From the columns of a table to the inputs of a model.

The rule, by the input's dtype and shape: a number column feeds `[batch]` or `[batch, 1]` (null becomes NaN where the input is
a float and is refused where it is not, as is a value that the input's dtype cannot hold); a text column feeds an input of text
(null becomes empty text), or a `uint8 [batch, width]` input as its UTF-8 bytes, cut or padded with zeros to the width, so that
category look-ups can live inside the graph; several columns feed the one matrix `[batch, n]` of a model that has no other input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError, nearest
from windtunnel.variant import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.variant import Signature


def feed_table(
    rows: pl.DataFrame, signature: Signature, *, file: Path | str | None = None, matrix: Sequence[str] = ()
) -> dict[str, NDArray[Any]]:
    """Turn a table into the arrays that a model takes, by column name.

    Args:
        rows: the table.
        signature: of the model.
        file: named in refusals.
        matrix: the columns that feed the model's one matrix, in order; see `matrix_columns`.

    Raises:
        DataError: an input has no column, or a column's dtype cannot feed it.

    Example:
        >>> import polars as pl
        >>> from windtunnel.variant import Signature, Tensor
        >>> table = pl.DataFrame({"port": ["JFK", "X"], "km": [3, None]})
        >>> feeds = feed_table(table, Signature((Tensor("port", "uint8", ("n", 3)), Tensor("km", "float32", ("n",))), ()))
        >>> feeds["port"].tolist(), feeds["km"].tolist()
        ([[74, 70, 75], [88, 0, 0]], [3.0, nan])
    """
    if matrix:
        (tensor,) = signature.inputs
        columns = [_column(rows, Tensor(name, tensor.dtype, tensor.shape[:1]), file) for name in matrix]
        return {tensor.name: np.column_stack(columns)}
    return {tensor.name: _column(rows, tensor, file) for tensor in signature.inputs}


def matrix_columns(
    rows: pl.DataFrame,
    signature: Signature,
    *,
    leave: Sequence[str] = (),
    names: Sequence[str] = (),
    file: Path | str | None = None,
) -> tuple[str, ...]:
    """The columns that feed a model of one matrix `[batch, n]`: those it names, else all of the matrix's kind, in order.

    Args:
        rows: the table.
        signature: of the model.
        leave: columns that are no features: the label, groups.
        names: of the matrix's columns, where the model says.
        file: named in refusals.

    Returns:
        The columns; none where the model takes its inputs column by column.

    Raises:
        DataError: a named column is missing, or there are not as many columns as the matrix has.

    Example:
        >>> import polars as pl
        >>> from windtunnel.variant import Signature, Tensor
        >>> signature = Signature((Tensor("x", "float32", ("n", 2)),), ())
        >>> matrix_columns(pl.DataFrame({"km": [1.0], "late": [1], "hour": [3]}), signature, leave=["late"])
        ('km', 'hour')
    """
    if not takes_matrix(signature) or signature.inputs[0].name in rows.columns:
        return ()
    (tensor,) = signature.inputs
    if tensor.shape[1] == 1 and not names:
        return ()
    if names:
        for name in names:
            if name not in rows.columns:
                raise DataError(
                    "is a feature of the model but not a column", file=file, field=name, fix=nearest(name, rows.columns)
                )
        return tuple(names)
    text = tensor.dtype == "object"
    found = [each.name for each in rows if each.name not in leave and _is_kind(each, text=text)]
    if isinstance(tensor.shape[1], int) and len(found) != tensor.shape[1]:
        raise DataError(
            f"takes {tensor.shape[1]} columns, and {len(found)} are {'text' if text else 'numbers'}: {', '.join(found)}",
            file=file, field=tensor.name, fix=_way_out(too_many=len(found) > tensor.shape[1], told=any(name in rows.columns for name in leave)),
        )  # fmt: skip
    return tuple(found)


def takes_matrix(signature: Signature) -> bool:
    """Whether a model takes nothing but one matrix `[batch, n]`, whose columns have no names."""
    inputs = signature.inputs
    return len(inputs) == 1 and len(inputs[0].shape) == 2 and inputs[0].dtype in {*FLOATS, "object"}


def _way_out(*, too_many: bool, told: bool) -> str:
    if not too_many:
        return "give a table with a column for each, in the model's order, or the rows as npz"
    return "leave just those in the table, in the model's order" + ("" if told else ", or name the label with --label")


FLOATS = ("float16", "float32", "float64")


def _is_kind(column: pl.Series, *, text: bool) -> bool:
    import polars as pl

    return column.dtype == pl.String if text else column.dtype.is_numeric() or column.dtype == pl.Boolean


def _column(rows: pl.DataFrame, tensor: Tensor, file: Path | str | None) -> NDArray[Any]:
    import polars as pl

    if tensor.name not in rows.columns:
        raise _no_column(rows, tensor, file)
    column = rows[tensor.name]
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    if tensor.dtype == "object":
        return _strings(column, tensor, file)
    if column.dtype == pl.String:
        return _text(column, tensor, file)
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise DataError(
            f"has dtype {column.dtype} where the model takes {tensor.dtype}",
            file=file,
            field=tensor.name,
            fix="feed numbers or text",
        )
    if np.issubdtype(np.dtype(tensor.dtype), np.floating):
        array = column.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(tensor.dtype)
    elif column.null_count():
        raise DataError(
            f"has {column.null_count()} nulls where the model takes {tensor.dtype}",
            file=file,
            field=tensor.name,
            fix="fill them, or export the model with a float input",
        )
    else:
        array = _whole(column, tensor, file)
    if len(tensor.shape) > 2 or (len(tensor.shape) == 2 and isinstance(tensor.shape[1], int) and tensor.shape[1] != 1):
        raise DataError(
            f"is one number a row where the model takes {list(tensor.shape)}",
            file=file,
            field=tensor.name,
            fix="export the model with one input of [batch] per column",
        )
    return np.ascontiguousarray(array.reshape(-1, 1) if len(tensor.shape) == 2 else array)


def _no_column(rows: pl.DataFrame, tensor: Tensor, file: Path | str | None) -> DataError:
    """Say what a table lacks, and what else would feed the input."""
    problem, fix = "is an input of the model but not a column", nearest(tensor.name, rows.columns)
    if len(tensor.shape) > 2:
        problem = f"takes {list(tensor.shape)}, and a column of a table holds one number a row"
        fix = "give the rows as npz, or by module.py:loader"
    elif len(tensor.shape) == 2 and tensor.dtype != "uint8" and tensor.shape[1] != 1:
        problem = f"takes a matrix {list(tensor.shape)}, but a table feeds one input a column"
        fix = "let the module take one [batch] tensor a feature and stack them inside, or give the rows as npz"
    return DataError(problem, file=file, field=tensor.name, fix=fix)


def _whole(column: pl.Series, tensor: Tensor, file: Path | str | None) -> NDArray[Any]:
    """The column in the input's dtype, refused where that would change a value in silence."""
    given = column.to_numpy()
    with np.errstate(invalid="ignore"):
        array = given.astype(tensor.dtype)
    changed = np.flatnonzero(array != given)
    if len(changed):
        raise DataError(
            f"cannot be held by {tensor.dtype}, which the model takes",
            file=file,
            field=tensor.name,
            value=given[changed[0]].item(),
            fix="round or clip the column, or export the model with a wider input",
        )
    return array


def _strings(column: pl.Series, tensor: Tensor, file: Path | str | None) -> NDArray[np.object_]:
    import polars as pl

    one = len(tensor.shape) == 1 or (
        len(tensor.shape) == 2 and (isinstance(tensor.shape[1], str) or tensor.shape[1] == 1)
    )
    if column.dtype != pl.String or not one:
        raise DataError(
            f"has dtype {column.dtype} where the model takes text {list(tensor.shape)}",
            file=file, field=tensor.name, fix="feed a text column",
        )  # fmt: skip
    array = column.fill_null("").to_numpy().astype(object)
    return array.reshape(-1, 1) if len(tensor.shape) == 2 else array


def _text(column: pl.Series, tensor: Tensor, file: Path | str | None) -> NDArray[np.uint8]:
    width = tensor.shape[1] if len(tensor.shape) == 2 else None
    if tensor.dtype != "uint8" or not isinstance(width, int):
        raise DataError(
            f"is text where the model takes {tensor.dtype} {list(tensor.shape)}",
            file=file,
            field=tensor.name,
            fix="text feeds an input of uint8 [batch, width], byte by byte",
        )
    fixed = (
        column.fill_null("").to_numpy().astype(f"S{width}")
        if column.str.len_bytes().sum() == column.str.len_chars().sum()
        else (np.array([text.encode()[:width] for text in column.fill_null("")], dtype=f"S{width}"))
    )
    return np.ascontiguousarray(fixed.view(np.uint8).reshape(len(column), width))
