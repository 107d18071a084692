from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.errors import DataError
from windtunnel.feed import feed_table, matrix_columns
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _feed(values: pl.Series, dtype: str, *rest: int | str) -> NDArray[Any]:
    signature = Signature((Tensor("x", dtype, ("batch", *rest)),), ())
    return feed_table(pl.DataFrame({"x": values}).with_columns(unused=0), signature, file="f.csv")["x"]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (pl.Series([1, 2]), "float32", [1.0, 2.0]),
        (pl.Series([1.5, None]), "float32", [1.5, math.nan]),
        (pl.Series([1, None]), "float64", [1.0, math.nan]),
        (pl.Series([1, 2]), "int64", [1, 2]),
        (pl.Series([1.0, 2.0]), "int32", [1, 2]),
        (pl.Series([0, 255]), "uint8", [0, 255]),
        (pl.Series([True, False]), "bool", [True, False]),
        (pl.Series([True, None]), "float32", [1.0, math.nan]),
        (pl.Series([True, False]), "int64", [1, 0]),
        (pl.Series([1, 2], dtype=pl.Decimal(10, 2)), "float64", [1.0, 2.0]),
    ],
)
def test_numbers(values: pl.Series, dtype: str, expected: list[Any]) -> None:
    """A number column feeds any input that can hold its values; null is NaN where there is one."""
    array = _feed(values, dtype)

    assert (dtype, (2,)) == (array.dtype.name, array.shape)
    assert np.array_equal(np.array(expected, dtype), array, equal_nan=dtype.startswith("float"))
    assert array.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("last", [1, "one"])
def test_a_column_of_a_matrix(last: int | str) -> None:
    """An input of [batch, 1] is fed a column of one."""
    assert _feed(pl.Series([1.0, 2.0]), "float32", last).tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("values", "tensor", "message"),
    [
        (pl.Series([1, None, None]), ("int64",), "has 2 nulls where the model takes int64; fill them"),
        (pl.Series([True, None]), ("bool",), "has 1 nulls where the model takes bool"),
        (pl.Series([1.0, 2.5]), ("int64",), r"\(=2\.5\) cannot be held by int64"),
        (pl.Series([0, 256]), ("uint8",), r"\(=256\) cannot be held by uint8"),
        (pl.Series([0, -1]), ("uint8",), r"\(=-1\) cannot be held by uint8"),
        (pl.Series([0, 2]), ("bool",), r"\(=2\) cannot be held by bool"),
        (pl.Series([1.0, math.nan]), ("int64",), r"\(=nan\) cannot be held by int64"),
        (pl.Series([1.0, 2.0]), ("float32", 4), r"is one number a row where the model takes \['batch', 4\]"),
        (pl.Series([1.0, 2.0]), ("float32", 1, 1), r"is one number a row where the model takes \['batch', 1, 1\]"),
        (pl.Series([datetime(2024, 1, 1, tzinfo=UTC)]), ("float32",), "has dtype Datetime.*feed numbers or text"),
        (pl.Series([[1.0]]), ("float32",), "has dtype List"),
        (pl.Series(["a"]), ("float32",), r"is text where the model takes float32 \['batch'\]"),
        (pl.Series(["a"]), ("uint8",), r"is text where the model takes uint8 \['batch'\]; text feeds"),
        (pl.Series(["a"]), ("uint8", "width"), r"is text where the model takes uint8 \['batch', 'width'\]"),
        (pl.Series(["a"]), ("int8", 3), "is text where the model takes int8"),
    ],
)
def test_refused(values: pl.Series, tensor: tuple[Any, ...], message: str) -> None:
    """What an input cannot hold is refused by file, column and value; nothing is cut off in silence."""
    with pytest.raises(DataError, match=rf"f\.csv: `x` {message}"):
        _feed(values, *tensor)


def test_missing_column() -> None:
    """An input without a column is answered with the nearest column."""
    signature = Signature((Tensor("distance", "float32", ("n",)),), ())

    with pytest.raises(DataError, match="`distance` is an input of the model but not a column; did you mean `distanc`"):
        feed_table(pl.DataFrame({"distanc": [1]}), signature)


@given(st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=6), max_size=8), st.integers(1, 7))
def test_text_is_its_bytes(texts: list[str | None], width: int) -> None:
    """Text is its UTF-8 bytes, cut or filled with zeros to the width; null is empty; any alphabet."""
    array = _feed(pl.Series(texts, dtype=pl.String), "uint8", width)
    expected = [list((text or "").encode()[:width].ljust(width, b"\0")) for text in texts]

    assert expected == array.tolist()
    assert array.shape == (len(texts), width)


def test_several_inputs() -> None:
    """Each input gets the column of its name, and columns that are no inputs are left."""
    signature = Signature((Tensor("b", "float32", ("n",)), Tensor("a", "uint8", ("n", 2))), ())
    feeds = feed_table(pl.DataFrame({"a": ["x", "yz"], "b": [1, 2], "c": [None, None]}), signature)

    assert list(feeds) == ["b", "a"]
    assert feeds["a"].tolist() == [[120, 0], [121, 122]]


def test_text_inputs() -> None:
    """A text column feeds an input of text, null as empty text, categories by their names; numbers do not."""
    column = pl.Series(["a", None, "ü"])
    for values in (column, column.cast(pl.Categorical)):
        assert _feed(values, "object").tolist() == ["a", "", "ü"]
    assert _feed(column, "object", 1).tolist() == [["a"], [""], ["ü"]]
    with pytest.raises(
        DataError, match=r"f\.csv: `x` has dtype Int64 where the model takes text \['batch'\]; feed a text column"
    ):
        _feed(pl.Series([1]), "object")


def test_matrix() -> None:
    """Named columns feed one matrix in the model's order, whatever their order in the table."""
    signature = Signature((Tensor("x", "float32", ("n", 2)),), ())
    table = pl.DataFrame({"b": [1, 2], "late": [0, 1], "a": [3.0, None], "port": ["x", "y"]})

    assert matrix_columns(table, signature, leave=["late"]) == ("b", "a")
    assert matrix_columns(table, signature, names=["a", "b"]) == ("a", "b")
    matrix = feed_table(table, signature, matrix=["a", "b"])["x"]
    assert np.array_equal(np.array([[3, 1], [np.nan, 2]], np.float32), matrix, equal_nan=True)
    with pytest.raises(DataError, match="`km` is a feature of the model but not a column; known: a, b, late, port"):
        matrix_columns(table, signature, names=["a", "km"])
    with pytest.raises(DataError, match="`x` takes 2 columns, and 3 are numbers: b, late, a; leave just those"):
        matrix_columns(table, signature)


@pytest.mark.parametrize(
    "tensors",
    [
        (("x", "float32", ("n",)),), (("x", "uint8", ("n", 4)),), (("x", "float32", ("n", 2)), ("y", "float32", ("n",))),
        (("b", "float32", ("n", 2)),),
    ],
)  # fmt: skip
def test_no_matrix(tensors: tuple[tuple[str, str, tuple[int | str, ...]], ...]) -> None:
    """A model that takes anything but one matrix of numbers or text is fed column by column."""
    signature = Signature(tuple(Tensor(*each) for each in tensors), ())

    assert matrix_columns(pl.DataFrame({"b": [1], "a": [2]}), signature) == ()
