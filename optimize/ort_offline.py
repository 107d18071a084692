"""ONNX Runtime's own optimization, done ahead and kept, so that no start has to do it again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ModelError

from .draft import Draft
from .export import first_line
from .int8 import hushed
from .step import NeedlessError

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.variant import Variant

BOUND_TO = "bound_to"
"""The key under which a file says the processor that its layout was made for."""


@dataclass(frozen=True)
class OrtOffline:
    """How far ONNX Runtime optimizes ahead.

    Args:
        level: `basic` keeps to ONNX's operators, which every runtime knows; `extended` brings in ONNX Runtime's own;
            `all` lays weights out for the processor it runs on.
        hardware: which processor that is; `all` needs it, because the file runs on no other kind.
    """

    level: str = "extended"
    hardware: str = ""

    def __post_init__(self) -> None:
        """A file bound to a processor has to say to which."""
        if (self.level == "all") != bool(self.hardware):
            raise ValueError("the level `all`, and no other, is bound to a hardware, which is to be named")

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
    if settings.hardware:
        draft.note(BOUND_TO, settings.hardware)
    draft.save(path)


def _optimize(parent: Variant, path: Path, level: str) -> None:
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = {
        "basic": levels.ORT_ENABLE_BASIC, "extended": levels.ORT_ENABLE_EXTENDED, "all": levels.ORT_ENABLE_ALL,
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
