"""The same model with less in the way: constants folded, twins merged, what changes nothing taken out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ModelError
from windtunnel.session import first_line

from .draft import Draft
from .step import NeedlessError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from windtunnel.variant import Variant


@dataclass(frozen=True)
class Cleaning:
    """How far a graph is cleaned.

    Args:
        folded_elements: the largest constant that folding reads or makes, in elements: a small file is not blown up.
    """

    folded_elements: int = 2**22

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return asdict(self)


def cleaned(parent: Variant, path: Path, settings: Cleaning) -> None:
    """Fold constants, merge common subexpressions and equal weights, drop dead code, no-op casts, identities and reshapes.

    By the passes of onnxscript and onnx_ir. What the model takes and gives keeps its names, types and axes.

    Raises:
        ModelError: there is nothing to clean, or the graph is beyond these passes.
    """
    draft = Draft(parent)
    before = len(draft.graph.node), draft.weight_bytes
    optimized = _optimized(draft.model, settings, parent)
    if _names(optimized) != _names(draft.model):
        raise ModelError("would change its inputs or outputs when cleaned", file=parent.path, fix="leave it as it is")
    # what shapes the passes found out is no part of what was promised
    del optimized.graph.output[:]
    optimized.graph.output.extend(draft.graph.output)
    draft.adopt(optimized)
    draft.sweep()
    if (len(draft.graph.node), draft.weight_bytes) >= before:
        raise NeedlessError(
            f"is clean already: none of its {before[0]} operators can go", file=parent.path, fix="leave it as it is"
        )
    draft.save(path)


def _optimized(model: onnx.ModelProto, settings: Cleaning, parent: Variant) -> onnx.ModelProto:
    import onnx_ir
    from onnxscript import optimizer

    limit = settings.folded_elements
    try:
        graph = onnx_ir.from_proto(model)
        optimizer.optimize_ir(graph, input_size_limit=limit, output_size_limit=limit)
        return onnx_ir.to_proto(graph)
    except Exception as error:  # a rule may raise anything on a graph that its author had not thought of
        raise ModelError(
            f"cannot be cleaned ({first_line(error)})", file=parent.path, fix="leave it as it is"
        ) from error


def _names(model: onnx.ModelProto) -> list[tuple[str, int]]:
    """Names and types of what goes in and out."""
    weights = {each.name for each in model.graph.initializer}
    values = [*(each for each in model.graph.input if each.name not in weights), *model.graph.output]
    return [(each.name, each.type.tensor_type.elem_type) for each in values]
