"""The ranges of a model's inner tensors on real rows, in one pass and bounded memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.errors import DataError
from windtunnel.session import onnx_options

from .clipping import clip
from .observer import Observer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    Feeds = Mapping[str, NDArray[Any]]

BUDGET_BYTES = 256 * 2**20
"""How much of the inner tensors is held at once."""

BATCH = 32
"""Rows fed at once, at most."""


def calibrate(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    rows: Feeds,
    *,
    method: str = "minmax",
    percentile: float = 99.999,
    budget_bytes: int = BUDGET_BYTES,
) -> dict[str, tuple[float, float]]:
    """Run rows through a model and give each tensor the range in which its values are to be quantized.

    Rows are fed few at a time, and where even one row's tensors exceed the budget, the tensors take turns; of each no more
    than a histogram is kept. So memory grows with neither the rows nor, beyond the budget, with the model.

    Args:
        model: with its weights inside.
        tensors: names of float tensors, inner ones or inputs.
        rows: by input name, rows on axis 0.
        method: one of `clipping.METHODS`.
        percentile: for the method of that name.
        budget_bytes: see above.

    Returns:
        The ranges by tensor. A tensor that held something that is no number, or nothing at all, has none.

    Raises:
        DataError: there are no rows.
    """
    seen = observe(model, tensors, rows, budget_bytes=budget_bytes)
    return {name: clip(each, method, percentile) for name, each in seen.items() if each.bounded}


def observe(
    model: onnx.ModelProto, tensors: Sequence[str], rows: Feeds, *, budget_bytes: int = BUDGET_BYTES
) -> dict[str, Observer]:
    """Let an observer see each tensor on all rows; see `calibrate`."""
    seen = {name: Observer() for name in tensors}
    with tempfile.TemporaryDirectory() as folder:
        for run, batch in _passes(model, tensors, rows, budget_bytes, Path(folder)):
            for start in starts(model, rows, batch):
                given = {name: array[start : start + batch] for name, array in rows.items()}
                for name, values in run(given).items():
                    seen[name].observe(values)
    return seen


def fed(model: onnx.ModelProto, rows: Feeds, batch: int = BATCH) -> Iterator[dict[str, NDArray[Any]]]:
    """The rows, few at a time, as many as the model takes where its batch is fixed."""
    size = fixed_batch(model) or batch
    for start in starts(model, rows, size):
        yield {name: array[start : start + size] for name, array in rows.items()}


def fixed_batch(model: onnx.ModelProto) -> int:
    """How many rows the model takes at once; 0 where it takes any number."""
    weights = {each.name for each in model.graph.initializer}
    first = next(value for value in model.graph.input if value.name not in weights)
    return int(first.type.tensor_type.shape.dim[0].dim_value) if first.type.tensor_type.shape.dim else 0


def starts(model: onnx.ModelProto, rows: Feeds, batch: int) -> range:
    """Where each batch begins; a rest too few for a model of fixed batch is left out.

    Raises:
        DataError: there are no rows, or fewer than the model takes at once.
    """
    have = len(next(iter(rows.values()))) if rows else 0
    fixed = fixed_batch(model)
    if not have:
        raise DataError("is missing: ranges are taken from real rows", field="calibration data", fix="give --data")
    if have < fixed:
        raise DataError(
            f"has {have} rows where the model takes {fixed} at once", field="calibration data",
            fix=f"give {fixed} or more, or export the model with a free batch",
        )  # fmt: skip
    return range(0, have - fixed + 1 if fixed else have, batch)


def _passes(
    model: onnx.ModelProto, tensors: Sequence[str], rows: Feeds, budget_bytes: int, folder: Path
) -> Iterator[tuple[Tap, int]]:
    """The sessions that show all tensors, group after group, and how many rows each is fed at once."""
    fixed = fixed_batch(model)
    tap = Tap(model, tensors, folder)
    starts(model, rows, 1)  # refuses where there are none
    sizes = {name: values.nbytes for name, values in tap({k: v[: fixed or 1] for k, v in rows.items()}).items()}
    if sum(sizes.values()) <= budget_bytes:
        yield tap, fixed or max(1, min(BATCH, budget_bytes // max(1, sum(sizes.values()))))
        return
    del tap
    for group in grouped(sizes, budget_bytes):
        yield Tap(model, group, folder), fixed or 1


def grouped(sizes: Mapping[str, int], budget_bytes: int) -> list[list[str]]:
    """Tensors in their order, in groups that stay within a budget; one too large for it stands alone.

    Example:
        >>> grouped({"a": 3, "b": 3, "c": 9, "d": 1}, 6)
        [['a', 'b'], ['c'], ['d']]
    """
    groups: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if size > room:
            groups.append([])
            room = budget_bytes
        groups[-1].append(name)
        room -= size
    return groups


class Tap:
    """A session that answers inner tensors of a model.

    Args:
        model: left as it is.
        tensors: what is answered; an input is handed through.
        folder: where the file for the runtime goes, and its weights where they are too large for it; deleted as soon as it is read.
    """

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str], folder: Path) -> None:
        import onnx
        import onnxruntime

        from windtunnel.onnx_file import save_model

        inputs = {value.name for value in model.graph.input}
        self._through = [name for name in tensors if name in inputs]
        self._inner = [name for name in tensors if name not in inputs]
        path = folder / "tapped.onnx"
        outputs = list(model.graph.output)
        kept = {value.name: value for value in (*outputs, *model.graph.value_info)}
        del model.graph.output[:]
        model.graph.output.extend(kept.get(name) or onnx.ValueInfoProto(name=name) for name in self._inner)
        if not self._inner:
            model.graph.output.extend(outputs)
        try:
            save_model(model, path)
        finally:
            del model.graph.output[:]
            model.graph.output.extend(outputs)
        options = onnx_options(1)
        options.enable_cpu_mem_arena = False  # the arena keeps the largest batch for ever
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for written in folder.glob("tapped.onnx*"):
            written.unlink()  # what the runtime mapped it keeps

    def __call__(self, rows: Feeds) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        inner = self._session.run(self._inner, dict(rows)) if self._inner else []
        return {**{name: rows[name] for name in self._through}, **dict(zip(self._inner, inner, strict=True))}
