"""What the verbs read: a model from a file or a factory, and rows to feed it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from windtunnel.errors import DataError, ModelError
from windtunnel.source import call, digest_sources, is_function, load_function

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from windtunnel.seeds import Seeds
    from windtunnel.variant import Signature, Variant

    Arrays = dict[str, NDArray[Any]]


LABEL = "label"
"""The name of the labels in an npz file; its other arrays are named after the model's inputs."""


def open_model(text: str, folder: Path, home: Path) -> Variant:
    """Take an ONNX file as it is, or export what `module.py:factory` makes.

    Args:
        text: a path, or a function that returns a torch module and example inputs by argument name.
        folder: where the export goes.
        home: what `text` is relative to.

    Raises:
        ModelError: no whole model.
        UserCodeError: the factory raised.
    """
    from windtunnel.optimize import export, keep
    from windtunnel.variant import Origin, Variant

    if not is_function(text):
        given = Variant.from_file(home / text)
        return keep(
            folder, "fp32", "fp32", Origin("file", given.sha256), lambda path: shutil.copyfile(given.path, path)
        )

    def make(path: Path) -> None:
        made = call(load_function(text, home), name=text)
        if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], dict)):
            raise ModelError(
                "did not return a module and its example inputs", field=text, fix="return (module, {name: tensor})"
            )
        export(*made, path, source=text)

    return keep(folder, "fp32", "fp32", Origin("export", "", {**digest_sources([text], home)}), make)


def read_feeds(path: Path, signature: Signature, label: str = "") -> tuple[Arrays, NDArray[np.float64] | None]:
    """Read a model's inputs, and labels where there are some.

    Args:
        path: an npz file with an array per input (and `label`), or a table with a column per input.
        signature: of the model.
        label: the label's column or array; `label` in an npz where empty.

    Raises:
        DataError: an input is missing, of the wrong dtype or shape, or holds NaN where the model takes whole numbers; a
            label is no number, or missing in some row.
    """
    from windtunnel.feed import feed_table
    from windtunnel.table import read_arrays, read_table, take_column

    if path.suffix != ".npz":
        table = read_table(path)
        labels = take_column(table, label, file=path).to_numpy() if label else None
        return feed_table(table, signature, file=path), _labels(labels, label, path)
    arrays = read_arrays(path)
    feeds = {tensor.name: _fitting(arrays, tensor, path) for tensor in signature.inputs}
    name = label or LABEL
    if label and label not in arrays:
        raise DataError("is not an array", file=path, field=label, fix=f"the arrays are: {', '.join(arrays)}")
    return feeds, _labels(arrays.get(name), name, path)


def _labels(given: NDArray[Any] | None, name: str, path: Path) -> NDArray[np.float64] | None:
    """The labels as float64 `[rows]`, each a number."""
    import numpy as np

    if given is None:
        return None
    if given.dtype.kind not in "biuf" or given.size != len(given):
        raise DataError(
            f"is {given.dtype} {list(given.shape)} where labels are one number a row",
            file=path,
            field=name,
            fix="save 0 and 1",
        )
    labels: NDArray[np.float64] = given.astype(np.float64).reshape(-1)
    if np.isnan(labels).any():
        row = int(np.isnan(labels).argmax())
        raise DataError(f"has no label in row {row}", file=path, field=name, fix="leave out the rows without one")
    return labels


def _fitting(arrays: Arrays, tensor: Any, path: Path) -> NDArray[Any]:
    if tensor.name not in arrays:
        raise DataError(
            "is an input of the model but not an array",
            file=path,
            field=tensor.name,
            fix=f"the arrays are: {', '.join(arrays)}",
        )
    array = arrays[tensor.name]
    fits = array.ndim == len(tensor.shape) and all(
        isinstance(want, str) or want == have for want, have in zip(tensor.shape[1:], array.shape[1:], strict=True)
    )
    if str(array.dtype) != tensor.dtype or not fits:
        raise DataError(
            f"is {array.dtype} {list(array.shape)} where the model takes {tensor.dtype} {list(tensor.shape)}",
            file=path,
            field=tensor.name,
            fix="save the rows as the model takes them",
        )
    return array


USUAL_LENGTH = 16
"""How long a free axis other than the batch is made where nobody says."""


def generate_feeds(signature: Signature, rows: int, seeds: Seeds, sizes: Mapping[str, int] | None = None) -> Arrays:
    """Make inputs up from a signature: normal floats, small whole numbers.

    Args:
        signature: of the model.
        rows: how many.
        seeds: stream `inputs` is used.
        sizes: how long free axes are, by name; `USUAL_LENGTH` where not given.

    Example:
        >>> from windtunnel.seeds import Seeds
        >>> from windtunnel.variant import Signature, Tensor
        >>> signature = Signature((Tensor("x", "float32", ("n", "words", 4)),), ())
        >>> generate_feeds(signature, 3, Seeds(1), {"words": 7})["x"].shape
        (3, 7, 4)
    """
    import numpy as np

    rng = seeds.stream("inputs")
    feeds = {}
    for tensor in signature.inputs:
        axes = (axis if isinstance(axis, int) else (sizes or {}).get(axis, USUAL_LENGTH) for axis in tensor.shape[1:])
        shape = (rows, *axes)
        feeds[tensor.name] = _made_up(rng, np.dtype(tensor.dtype), shape)
    return feeds


def _made_up(rng: np.random.Generator, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Of the dtype from the start where the generator can, so that large inputs are not held twice."""
    import numpy as np

    if dtype in {np.dtype("float32"), np.dtype("float64")}:
        return rng.standard_normal(shape, dtype=dtype.type)
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(shape, dtype=np.float32).astype(dtype)
    if dtype == np.bool_ or np.issubdtype(dtype, np.integer):
        return rng.integers(0, 2, size=shape, dtype=dtype.type)
    return rng.integers(0, 2, size=shape).astype(dtype)
