r"""What was sent to a model and what it answered, as flat rows: the bodies that model servers take and log.

Known bodies: MLflow (`dataframe_split`, `dataframe_records`, `inputs`, `instances`; answers `predictions`), TensorFlow Serving and KServe v1
(`instances`, `predictions`), the Open Inference Protocol v2 (`inputs` and `outputs` of tensors), Seldon Core 1 (`data` with `ndarray` or
`tensor`), SageMaker (CSV without a header; `features`; plain JSON; JSON lines). What has a name keeps it; what has none is
`input[0]`, `input[1]`, … or `output[0]`, …, and a single value is `input` or `output`. A number is a float64, whatever it was.
"""

from __future__ import annotations

import base64
import binascii
import csv
import json
from typing import Any

MOST_CELLS = 4096
"""An instance of more values is an image or a sentence, not a row of a table."""

Row = dict[str, Any]


class PayloadError(ValueError):
    """A body that is none of those known; counted by whoever asked, never shown."""


def decode(data: Any, encoding: str, content_type: str) -> Any:
    r"""A body as JSON values; CSV as a list of rows.

    Raises:
        PayloadError: neither JSON nor CSV.

    Example:
        >>> decode("1.5,a,\n", "CSV", "text/csv"), decode("eyJ4IjogMX0=", "BASE64", "application/json")
        ([[1.5, 'a', None]], {'x': 1})
    """
    if not isinstance(data, str):
        return data
    if encoding.upper() == "BASE64":
        try:
            data = base64.b64decode(data, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise PayloadError from error
    if encoding.upper() == "CSV" or (encoding.upper() != "JSON" and "csv" in content_type.lower()):
        return [[_value(field) for field in row] for row in csv.reader(data.strip().splitlines())]
    try:
        return json.loads(data)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in data.splitlines() if line.strip()]
    except ValueError as error:
        raise PayloadError from error


def rows_of(body: Any, name: str, count: int | None = None) -> list[Row]:
    """The instances of a body, a flat row each.

    Args:
        body: JSON values.
        name: what values without a name are called.
        count: how many instances there must be, where that is known; it decides whether a list of numbers is one of them or many.

    Raises:
        PayloadError: no body that is known, or another number of instances.

    Example:
        >>> rows_of({"dataframe_split": {"columns": ["km", "at"], "data": [[7, "JFK"]]}}, "input")
        [{'km': 7.0, 'at': 'JFK'}]
        >>> rows_of({"predictions": [[0.2, 0.8], [0.9, 0.1]]}, "output", count=2)
        [{'output[0]': 0.2, 'output[1]': 0.8}, {'output[0]': 0.9, 'output[1]': 0.1}]
    """
    try:
        rows = _instances(body, name, count)
    # a body may be anything: what is not as the protocols have it is not read
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        raise PayloadError from error
    if count is not None and len(rows) != count:
        raise PayloadError
    return rows


def _instances(body: Any, name: str, count: int | None) -> list[Row]:
    if isinstance(body, list):
        return _of_list(body, name, count)
    if not isinstance(body, dict):
        return [_flat(body, name)]
    for key in ("dataframe_split", "dataframe_records", "jsonData"):
        if key in body:
            return _split(body[key]) if key == "dataframe_split" else _instances(body[key], name, count)
    for key in ("inputs", "outputs", "instances", "predictions"):
        if key in body:
            return _tensors(body[key], name) if _is_tensors(body[key]) else _keyed(body[key], name)
    data = body.get("data")
    if isinstance(data, dict) and ("ndarray" in data or "tensor" in data):
        return _seldon(data, name)
    return [_flat(body["features"], name)] if isinstance(body.get("features"), list) else [_flat(body, "")]


def _of_list(body: list[Any], name: str, count: int | None) -> list[Row]:
    """Rows if there are lists or objects in it, or as many values as instances; else the values of one row."""
    many = any(isinstance(each, (list, dict)) for each in body) or (count is not None and count > 1)
    if not many:
        return [_flat(body, name)]
    return [
        row for each in body for row in (_instances(each, name, 1) if isinstance(each, dict) else [_flat(each, name)])
    ]


def _keyed(values: Any, name: str) -> list[Row]:
    """Instances under a key that says so; an object of columns is turned on its side."""
    if isinstance(values, dict):
        columns = {key: each if isinstance(each, list) else [each] for key, each in values.items()}
        if len({len(each) for each in columns.values()}) != 1:
            raise PayloadError
        return [_flat(dict(zip(columns, row, strict=True)), "") for row in zip(*columns.values(), strict=True)]
    if not isinstance(values, list):
        return [_flat(values, name)]
    return [
        row for each in values for row in (_instances(each, name, 1) if isinstance(each, dict) else [_flat(each, name)])
    ]


def _split(split: Any) -> list[Row]:
    if not isinstance(split, dict) or not isinstance(split.get("data"), list):
        raise PayloadError
    names = split.get("columns") or [f"input[{place}]" for place in range(len(split["data"][0]))]
    return [_named(names, row) for row in split["data"]]


def _named(names: list[Any], row: Any) -> Row:
    if not isinstance(row, list) or len(row) != len(names):
        raise PayloadError
    return _flat(dict(zip(map(str, names), row, strict=True)), "")


def _is_tensors(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(each, dict) and {"name", "data"} <= each.keys() for each in values
    )


def _tensors(tensors: list[Row], name: str) -> list[Row]:
    """Tensors of the Open Inference Protocol: the first axis is that of instances; one lone tensor of outputs needs no name of its own."""
    rows: list[Row] = []
    for tensor in tensors:
        shape, data = tensor.get("shape") or [], _flatten(tensor["data"])
        many = int(shape[0]) if shape else len(data)
        called = name if len(tensors) == 1 and name == "output" else str(tensor["name"])
        if not 1 <= many <= len(data) or len(data) % many or (rows and len(rows) != many):
            raise PayloadError
        wide = len(data) // many
        rows = rows or [{} for _ in range(many)]
        for place, row in enumerate(rows):
            row.update(_flat(data[place * wide : (place + 1) * wide], called))
    return rows


def _seldon(data: Row, name: str) -> list[Row]:
    """`data` of a SeldonMessage (Seldon Core 1, prediction.proto, DefaultData)."""
    if "tensor" in data:
        tensor = data["tensor"]
        shape, values = tensor.get("shape", []), tensor.get("values", [])
        many = int(shape[0]) if shape else 1
        if not 1 <= many <= len(values) or len(values) % many:
            raise PayloadError
        wide = len(values) // many
        found = [values[place * wide : (place + 1) * wide] for place in range(many)]
    else:
        found = data["ndarray"]
        if not isinstance(found, list):
            raise PayloadError
        found = found if all(isinstance(each, list) for each in found) else [found]
    # the names of an answer are those of its classes: columns of one name would be mistaken for features
    names = data.get("names") if name == "input" else None
    return [_named(names, row) if names else _flat(row, name) for row in found]


def _flatten(values: Any) -> list[Any]:
    return [leaf for each in values for leaf in _flatten(each)] if isinstance(values, list) else [values]


def _flat(value: Any, name: str) -> Row:
    """One instance as scalars under names.

    Raises:
        PayloadError: more values than a row of a table has.
    """
    if isinstance(value, list) and len(value) == 1:
        return _flat(value[0], name)
    row: Row = {}
    _gather(value, name, row)
    return row


def _gather(value: Any, name: str, row: Row) -> None:
    if len(row) > MOST_CELLS:
        raise PayloadError
    if isinstance(value, dict):
        for key, each in value.items():
            _gather(each, f"{name}.{key}" if name else str(key), row)
    elif isinstance(value, list):
        for place, each in enumerate(value):
            _gather(each, f"{name}[{place}]", row)
    else:
        row[name] = float(value) if isinstance(value, (int, float)) else value


def _value(field: str) -> float | str | None:
    if not field.strip():
        return None
    try:
        return float(field)
    except ValueError:
        return field.strip()
