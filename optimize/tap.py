"""Looking at inner values of a model while real rows run through it, batch by batch, so that memory stays bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.errors import ModelError

from .export import first_line
from .int8 import hushed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .draft import Draft

BATCH = 16
"""Rows that run at once: all the values that are looked at are held for so many."""


def watch(
    draft: Draft, names: Sequence[str], rows: Mapping[str, NDArray[Any]], batch: int = BATCH
) -> Iterator[dict[str, NDArray[Any]]]:
    """Run rows through a model and give the values of that name, once a batch.

    Args:
        draft: the model, as it stands; it is not changed.
        names: of values within it.
        rows: by input name.
        batch: rows at once.

    Raises:
        ModelError: the rows do not fit the model.
    """
    session = _session(draft, names)
    inputs = {each.name for each in session.get_inputs()}
    have = len(next(iter(rows.values())))
    for start in range(0, have, batch):
        feeds = {name: array[start : start + batch] for name, array in rows.items() if name in inputs}
        try:
            values = session.run(list(names), feeds)
        except Exception as error:  # the runtime's errors share no base class; each is passed on with its words
            raise ModelError(
                f"does not run on the rows to learn from ({first_line(error)})",
                file=draft.parent.path,
                fix="see whether they fit its inputs",
            ) from error
        yield dict(zip(names, values, strict=True))


def _session(draft: Draft, names: Sequence[str]) -> Any:
    """A session whose outputs are the named values."""
    import onnx
    import onnxruntime

    tapped = onnx.ModelProto()
    tapped.CopyFrom(draft.model)
    given = set(draft.outputs)
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in given)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # what is fused away cannot be looked at, and what is not asked for need not be computed
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with hushed():
        try:
            return onnxruntime.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors share no base class; each is passed on with its words
            raise ModelError(
                f"cannot be looked into ({first_line(error)})", file=draft.parent.path, fix="export it again"
            ) from error
