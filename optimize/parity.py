"""Is the exported file the model it was made from? Compared at many sizes of every axis that is said to be free."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.session import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    Feeds = Mapping[str, torch.Tensor]
    Axes = Mapping[str, Mapping[int, str]]

BATCH = "batch"
"""The name of the first axis of every input."""

SIZES = (1, 2, 3, 17)
"""Batch sizes at which an export is compared with its source: 1 is where exporters specialise, 17 is no power of two."""

LENGTHS = (1, 2, 8)
"""Sizes of another free axis, beside the example's own and a larger one."""

BEYOND = 5
"""How much longer than the example the largest length is: a graph that kept the example's length in it fails there."""

TOLERANCE = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-7}
"""The largest difference to the source, relative to the largest of its answers."""


def check_parity(
    answer: Callable[[Feeds], Any], inputs: Feeds, path: Path, axes: Axes, *, source: str = "the model"
) -> tuple[float, dict[str, tuple[int, ...]]]:
    """Compare an ONNX file with its source: on the example, and at several sizes of every free axis.

    Sizes at which the source itself does not run are passed over; where it runs at the example's only, the axis is not free.

    Args:
        answer: the source: what it answers to tensors by input name.
        inputs: example tensors; what lies along a free axis is repeated or cut to each size.
        path: the ONNX file.
        axes: by input, the axes that must be free, with their names; axes of one name have one size.
        source: named in messages.

    Returns:
        The largest relative difference, and by name of each free axis the sizes that were compared.

    Raises:
        ModelError: an axis came out fixed, a size fails to run, or an output differs by more than its dtype's tolerance.
    """
    session = OnnxSession(path)
    _check_free(session, axes, source)
    expected = answers(answer, inputs)
    assert expected is not None, "the source runs on its own example"
    worst = _difference(expected, session, inputs, source)
    compared: dict[str, tuple[int, ...]] = {}
    for axis in sorted(axis_names(axes), key=lambda name: (name != BATCH, name)):
        ran = []
        for size in sizes_to_try(inputs, axes, axis):
            for rows in (size,) if axis == BATCH else (1, 3):
                feeds = resize(inputs, axes, {BATCH: rows, axis: size})
                expected = answers(answer, feeds)
                if expected is not None:
                    worst = max(worst, _difference(expected, session, feeds, source))
                    ran.append(size)
        compared[axis] = tuple(dict.fromkeys(ran))
        _check_compared(axis, compared[axis], inputs, axes, source)
    return worst, compared


def _check_compared(axis: str, sizes: tuple[int, ...], inputs: Feeds, axes: Axes, source: str) -> None:
    """An axis at which the source takes one size only is not free, whatever the file says."""
    own = _own_size(inputs, axes, axis)
    if not set(sizes) - {own}:
        raise ModelError(
            f"does not run itself with another {axis} than the example's {own}",
            field=source,
            fix=f"do not use the {axis} size as a Python number in `forward`",
        )


def axis_names(axes: Axes) -> set[str]:
    """The names of free axes, each once."""
    return {name for each in axes.values() for name in each.values()}


def sizes_to_try(inputs: Feeds, axes: Axes, axis: str) -> tuple[int, ...]:
    """The sizes at which a free axis is looked at."""
    own = _own_size(inputs, axes, axis)
    return SIZES if axis == BATCH else tuple(sorted({*LENGTHS, own, own + BEYOND}))


def _own_size(inputs: Feeds, axes: Axes, axis: str) -> int:
    return next(inputs[name].shape[at] for name, each in axes.items() for at, named in each.items() if named == axis)


def answers(answer: Callable[[Feeds], Any], feeds: Feeds) -> dict[str, torch.Tensor] | None:
    """What the source answers; None where it does not run at this size."""
    import torch

    try:
        with torch.no_grad():
            return flat(answer(feeds))
    except Exception:  # noqa: BLE001  # the user's own code: whatever it raises says that it takes no such size
        return None


def resize(inputs: Feeds, axes: Axes, sizes: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """The example tensors with some named axes repeated, or cut, to other sizes.

    Example:
        >>> import torch
        >>> resize({"x": torch.tensor([[1, 2]])}, {"x": {0: "batch", 1: "sequence"}}, {"batch": 2, "sequence": 3})["x"]
        tensor([[1, 2, 1],
                [1, 2, 1]])
    """
    import torch

    resized = dict(inputs)
    for name, named in axes.items():
        for at, axis in named.items():
            if axis in sizes:
                have = resized[name].shape[at]
                resized[name] = resized[name].index_select(at, torch.arange(sizes[axis]) % have)
    return resized


def _check_free(session: OnnxSession, free: Axes, source: str) -> None:
    """Every axis that was to be free is free in the file."""
    shapes = {tensor.name: tensor.shape for tensor in session.signature.inputs}
    # an input that the model does not use is left out of the file
    fixed = {
        axis
        for name, each in free.items()
        for at, axis in each.items()
        if name in shapes and isinstance(shapes[name][at], int)
    }
    if fixed:
        lost = BATCH if BATCH in fixed else min(fixed)
        raise ModelError(
            f"lost its free {lost} axis in the export",
            field=source,
            value=shapes,
            fix=f"do not use the {lost} size as a Python number in `forward`",
        )


def _difference(outputs: Feeds, session: OnnxSession, feeds: Feeds, source: str) -> float:
    given = next(iter(feeds.values())).shape
    at = (
        f"{given[0]} row{'s' * (given[0] != 1)}" + (f" of {given[1]}" if len(given) > 1 else "")
        if len(given)
        else "no rows"
    )
    expected = [tensor.numpy(force=True) for tensor in outputs.values()]
    try:
        actual = list(session.run({name: tensor.numpy() for name, tensor in feeds.items()}).values())
    except ModelError as error:
        # the file is gone when this is read, so it is not named
        reason = ModelError(error.problem, field=error.field, value=error.value)
        raise ModelError(
            f"does not run with {at} once exported ({reason})",
            field=source,
            fix="let each input shape at least one output, and look for sizes fixed in `forward`",
        ) from error
    if len(expected) != len(actual):
        raise ModelError(
            f"gives {len(actual)} outputs once exported, and {len(expected)} before", field=source,
            fix="return tensors only, each once",
        )  # fmt: skip
    worst = [relative_difference(a, b) for a, b in zip(expected, actual, strict=True)]
    for found, array in zip(worst, expected, strict=True):
        limit = TOLERANCE.get(str(array.dtype), 0.0)
        if not found <= limit:
            raise ModelError(
                f"gives other numbers once exported: off by {found:.2g} with {at}, allowed {limit:g}",
                field=source,
                fix="compare the intermediate outputs; a data-dependent branch is the usual cause",
            )
    return max(worst, default=0.0)


def flat(outputs: Any) -> dict[str, torch.Tensor]:
    """A module's outputs in their order, by name: the keys of a dict and the fields of a dataclass where it is one.

    What is None is left out. Others are called `output`, `output_1`, …

    Example:
        >>> import torch
        >>> list(flat((torch.ones(1), None, [torch.ones(2)]))), list(flat({"scores": torch.ones(1)}))
        (['output', 'output_1'], ['scores'])
    """
    leaves = list(_leaves("", outputs))
    keys = [name for name, _ in leaves]
    own = all(name.isidentifier() for name in keys) and len(set(keys)) == len(keys)
    usual = ["output" if position == 0 else f"output_{position}" for position in range(len(leaves))]
    return dict(zip(keys if own else usual, (tensor for _, tensor in leaves), strict=True))


def _leaves(name: str, value: Any) -> list[tuple[str, Any]]:
    if value is None:
        return []
    if is_dataclass(value) and not isinstance(value, dict):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, dict):
        return [leaf for key, each in value.items() for leaf in _leaves(f"{name}_{key}" if name else str(key), each)]
    if isinstance(value, tuple | list):
        return [leaf for each in value for leaf in _leaves("", each)]
    return [(name, value)]


def relative_difference(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    """The largest difference, relative to the largest expected value, so that small outputs are held to as much as large.

    Infinite where shapes differ; the difference itself where all that is expected is zero.

    Example:
        >>> relative_difference(np.array([1.0, 200.0]), np.array([1.5, 201.0]))
        0.005
    """
    if expected.shape != actual.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    wide, other = expected.astype(np.float64), actual.astype(np.float64)
    size = float(np.max(np.abs(wide)))
    return float(np.max(np.abs(wide - other))) / (size if size > 0.0 else 1.0)
