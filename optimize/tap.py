"""Looking at inner values of a model while real rows run through it, batch by batch, so that memory stays bounded."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ModelError
from windtunnel.session import first_line

from .calibrator import BUDGET_BYTES, fixed_batch, grouped, starts
from .int8 import hushed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .draft import Draft

BATCH = 16
"""Rows that run at once, at most: all the values that are looked at are held for so many."""


def watch(
    draft: Draft,
    names: Sequence[str],
    rows: Mapping[str, NDArray[Any]],
    batch: int = BATCH,
    budget_bytes: int = BUDGET_BYTES,
) -> Iterator[dict[str, NDArray[Any]]]:
    """Run rows through a model and give the values of that name, once a batch.

    Where one batch of all values exceeds the budget, fewer rows run at once; where even one row does, the values take turns:
    all batches of some, then all batches of the next. A model of fixed batch is fed as many rows as it takes, and a rest too
    few is left out.

    Args:
        draft: the model, as it stands; it is not changed.
        names: of values within it.
        rows: by input name.
        batch: rows at once, at most.
        budget_bytes: how much of the values is held at once.

    Raises:
        DataError: there are no rows, or fewer than the model takes at once.
        ModelError: the rows do not fit the model.
    """
    first = fixed_batch(draft.model) or 1
    starts(draft.model, rows, first)  # refuses where there are too few
    session = _session(draft, names)
    sizes = {name: array.nbytes for name, array in _run(draft, session, names, _part(rows, 0, first)).items()}
    whole = sum(sizes.values())
    groups = [list(sizes)] if whole <= budget_bytes else grouped(sizes, budget_bytes)
    size = fixed_batch(draft.model) or max(1, min(batch, budget_bytes // max(1, whole)))
    for group in groups:
        if len(groups) > 1:
            session = _session(draft, group)
        for start in starts(draft.model, rows, size):
            yield _run(draft, session, group, _part(rows, start, size))


def _part(rows: Mapping[str, NDArray[Any]], start: int, size: int) -> dict[str, NDArray[Any]]:
    return {name: array[start : start + size] for name, array in rows.items()}


def _run(draft: Draft, session: Any, names: Sequence[str], rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """One batch's values by name."""
    inputs = {each.name for each in session.get_inputs()}
    try:
        values = session.run(list(names), {name: array for name, array in rows.items() if name in inputs})
    except Exception as error:  # the runtime's errors share no base class; each is passed on with its words
        raise ModelError(
            f"does not run on the rows to learn from ({first_line(error)})",
            file=draft.parent.path,
            fix="see whether they fit its inputs",
        ) from error
    return dict(zip(names, values, strict=True))


def _session(draft: Draft, names: Sequence[str]) -> Any:
    """A session whose outputs are the named values."""
    import onnx
    import onnxruntime

    from windtunnel.onnx_file import save_model

    tapped = onnx.ModelProto()
    tapped.CopyFrom(draft.model)
    given = set(draft.outputs)
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in given)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # the arena keeps the largest batch for ever
    # what is fused away cannot be looked at, and what is not asked for need not be computed
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with hushed(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tapped.onnx"
        try:
            save_model(tapped, path)
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors share no base class; each is passed on with its words
            raise ModelError(
                f"cannot be looked into ({first_line(error)})", file=draft.parent.path, fix="export it again"
            ) from error
