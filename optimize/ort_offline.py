"""ONNX Runtime's own optimization, done ahead and kept, so that no start has to do it again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from windtunnel.errors import ModelError
from windtunnel.session import first_line

from .draft import Draft
from .int8 import hushed
from .step import NeedlessError

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.variant import Variant


@dataclass(frozen=True)
class OrtOffline:
    """How far ONNX Runtime optimizes ahead.

    Args:
        level: `basic` keeps to ONNX's operators, which every runtime knows; `extended` brings in ONNX Runtime's own. What it
            would lay out for one processor is left to each start: such a file would run on no other kind.
    """

    level: Literal["basic", "extended"] = "extended"

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return asdict(self)


def ort_optimized(parent: Variant, path: Path, settings: OrtOffline) -> None:
    """Let ONNX Runtime load a model, and write down what it made of it.

    Which runtimes can read the result is seen by the domains of its operators: those of `basic` are ONNX's.

    Raises:
        ModelError: ONNX Runtime cannot load it, or changes nothing.
    """
    _optimize(parent, path, settings.level)
    # what ONNX Runtime writes claims domains that no operator is of, which other runtimes refuse
    draft = Draft(parent, path)
    if [node.op_type for node in draft.graph.node] == [node.op_type for node in Draft(parent).graph.node]:
        path.unlink()
        raise NeedlessError("is not changed by ONNX Runtime's optimization", file=parent.path, fix="leave it as it is")
    draft.save(path)


def _optimize(parent: Variant, path: Path, level: str) -> None:
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = {
        "basic": levels.ORT_ENABLE_BASIC, "extended": levels.ORT_ENABLE_EXTENDED,
    }[level]  # fmt: skip
    options.optimized_model_filepath = str(path)
    if parent.companions:
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", f"{path.name}.data")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    with hushed():
        try:
            onnxruntime.InferenceSession(str(parent.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors share no base class; each is passed on with its words
            raise ModelError(
                f"cannot be loaded by ONNX Runtime ({first_line(error)})", file=parent.path, fix="export it again"
            ) from error
