"""A part of a graph, cut out and run on numbers of our choosing: what it computes is seen, not guessed from how it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.session import first_line

from .draft import inputs_of
from .int8 import hushed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from .draft import Draft

ROWS, LENGTH = 2, 5
"""The sizes of a probe's free axes: the first one, and every other."""


def part_of(draft: Draft, entries: Sequence[str], exits: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes between some values and others, in the order of the graph; what lies before an entry is left out."""
    needed, stack = set(), list(exits)
    while stack:
        name = stack.pop()
        node = draft.maker(name)
        if name in entries or node is None or node.output[0] in needed:
            continue
        needed.add(node.output[0])
        stack += inputs_of(node)
    return [node for node in draft.graph.node if node.output[0] in needed]


def run_part(
    draft: Draft,
    entries: Mapping[str, NDArray[Any]],
    exits: Sequence[str],
    inputs: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, NDArray[Any]]:
    """Run the part of a graph between some values and others.

    Args:
        draft: whose graph.
        entries: arrays by the name of the value that each stands for.
        exits: the values that are wanted.
        inputs: of the model, where the part takes some; zeros of the probe's size where not given.

    Raises:
        ModelError: the part does not run on these arrays.
    """
    import onnx
    import onnxruntime
    from onnx import helper

    nodes = part_of(draft, list(entries), exits)
    taken = {name for node in nodes for name in inputs_of(node)} | set(exits)
    feeds = {
        name: array for name, array in (zeros(draft) | dict(inputs or {}) | dict(entries)).items() if name in taken
    }
    weights = [each for each in draft.graph.initializer if each.name in taken and each.name not in feeds]
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in feeds.items()
    ]
    wanted = [onnx.ValueInfoProto(name=name) for name in exits]
    graph = helper.make_graph(nodes, "part", given, wanted, weights)
    model = helper.make_model(
        graph,
        opset_imports=draft.model.opset_import,
        ir_version=draft.model.ir_version,
        functions=draft.model.functions,
    )
    with hushed():
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), _options(), providers=["CPUExecutionProvider"]
            )
            return dict(zip(exits, session.run(list(exits), feeds), strict=True))
        except Exception as error:  # the runtime's errors share no base class; each is passed on with its words
            raise ModelError(
                f"has a part that does not run alone ({first_line(error)})", file=draft.parent.path
            ) from error


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def zeros(draft: Draft, rows: int = ROWS, length: int = LENGTH) -> dict[str, NDArray[Any]]:
    """Zeros for every input of the model: the first free axis has `rows`, the others have `length`."""
    return {
        tensor.name: np.zeros(
            [size if isinstance(size, int) else length if axis else rows for axis, size in enumerate(tensor.shape)],
            tensor.dtype,
        )
        for tensor in draft.parent.signature.inputs
    }
