"""An Execution: how a file is run: by which runtime, on how many threads, with which of its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNTIME = "onnxruntime-cpu"
"""The usual runtime."""

FORESTS = ("xgboost", "lightgbm")
"""Runtimes that run their own library's files of trees; all others that run files run ONNX."""

SHORT = {"onnxruntime-cpu": "ort", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "group"}
"""What runtimes and options are called within the names of variants, where it is not their own name."""


@dataclass(frozen=True)
class Execution:
    """How a file is run.

    Args:
        runtime: its name, one of `windtunnel.runtime.RUNTIMES`; where a runtime may choose the precision of floats, the
            precision is part of its name (`openvino` computes in float32, `openvino-bf16` in bfloat16).
        threads: intra-op threads of a session.
        options: the runtime's own settings, by their own names, sorted.

    Example:
        >>> Execution("openvino-bf16", threads=2).label, Execution().label
        ('openvino-bf16-2t', 'ort')
        >>> Execution("openvino", options=(("DYNAMIC_QUANTIZATION_GROUP_SIZE", "32"),)).label
        'openvino-group=32'
    """

    runtime: str = RUNTIME
    threads: int = 1
    options: tuple[tuple[str, str], ...] = ()

    @property
    def precision(self) -> str:
        """What the runtime computes floats in: `f32`, or `bf16` where its name says so."""
        return "bf16" if self.runtime.endswith("-bf16") else "f32"

    @property
    def own_file(self) -> bool:
        """Whether the file is no ONNX, but one that only this runtime's library reads."""
        return self.runtime in FORESTS

    @property
    def label(self) -> str:
        """A short name: the runtime, its threads where there are several, and what is not as usual."""
        threads = f"-{self.threads}t" if self.threads > 1 else ""
        # an option's last word tells it: `session.intra_op.allow_spinning=1` is `allow_spinning=1`
        options = "".join(f"-{SHORT.get(key, key.rpartition('.')[2])}={value}" for key, value in self.options)
        return SHORT.get(self.runtime, self.runtime) + threads + options

    def to_dict(self) -> dict[str, Any]:
        """The execution as JSON values."""
        return {"runtime": self.runtime, "threads": self.threads, "options": dict(self.options)}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Execution:
        """Read what `to_dict` wrote.

        Example:
            >>> told = Execution("onnxruntime-cpu", 2, (("session.intra_op.allow_spinning", "1"),))
            >>> Execution.from_dict(told.to_dict()) == told
            True
        """
        return Execution(value["runtime"], value["threads"], tuple(sorted(value["options"].items())))
