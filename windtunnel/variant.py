"""A Variant: one ONNX file, what goes in and comes out of it, how it is run, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_file, digest_value
from windtunnel.execution import Execution
from windtunnel.onnx_file import companions, read_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Tensor:
    """One input or output: its name, numpy dtype and shape; a string in the shape names a dynamic axis."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives; the first axis of every tensor is the batch."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def dynamic_batch(self) -> bool:
        """Whether every input's first axis is free."""
        return all(tensor.shape and isinstance(tensor.shape[0], str) for tensor in self.inputs)

    @property
    def fixed_batch(self) -> int | None:
        """The only number of rows that the model takes at once; None where its first axes are free."""
        sizes = (tensor.shape[0] for tensor in self.inputs if tensor.shape)
        return next((size for size in sizes if isinstance(size, int)), None)

    def to_dict(self) -> dict[str, Any]:
        """The signature as JSON values."""
        return {
            side: [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in tensors]
            for side, tensors in (("inputs", self.inputs), ("outputs", self.outputs))
        }

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Signature:
        """Read what `to_dict` wrote."""
        inputs, outputs = (
            tuple(Tensor(t["name"], t["dtype"], tuple(t["shape"])) for t in value[side])
            for side in ("inputs", "outputs")
        )
        return Signature(inputs, outputs)


@dataclass(frozen=True)
class Origin:
    """Which step made a variant, from which parent (its sha256; empty for a source), with which settings."""

    step: str
    parent: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The key under which the step's result is kept: the same step on the same parent is done once."""
        return digest_value({"step": self.step, "parent": self.parent, "settings": self.settings})


@dataclass(frozen=True)
class Variant:
    """One ONNX file and how it is run: immutable, known by its sha256, with the origin that explains it.

    Args:
        name: told apart by it.
        path: the file.
        sha256: of the file, and of its companions where there are some.
        precision: of its weights and what it computes in, such as `fp32` or `int8`.
        bytes: of the file and its companions.
        signature: what it takes and gives.
        origin: what made it.
        execution: how it is run.
        companions: names of the files beside it that hold weights of its.
    """

    name: str
    path: Path
    sha256: str
    precision: str
    bytes: int
    signature: Signature
    origin: Origin
    execution: Execution = field(default_factory=Execution)
    companions: tuple[str, ...] = ()

    @staticmethod
    def from_file(path: Path, *, name: str = "", precision: str = "fp32", origin: Origin | None = None) -> Variant:
        """Look at an ONNX file without running it.

        Raises:
            ModelError: missing, a directory, empty, truncated, cyclic, not ONNX, or not to be trusted.
        """
        signature = read_signature(path)
        beside = companions(path)
        size = sum(each.stat().st_size for each in (path, *(path.parent / name for name in beside)))
        return Variant(
            name or path.stem,
            path,
            digest_files(path, beside),
            precision,
            size,
            signature,
            origin or Origin("file"),
            companions=beside,
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The file and its companions."""
        return (self.path, *(self.path.parent / name for name in self.companions))

    def run_by(self, execution: Execution) -> Variant:
        """The same file run in another way, which is part of its name unless it is the usual way."""
        plain = self.path.stem
        name = plain if execution == Execution() else f"{plain}-on-{execution.label}"
        return replace(self, name=name, execution=execution)

    def to_dict(self, relative_to: Path) -> dict[str, Any]:
        """The variant as JSON values, its path relative to a folder."""
        return {
            "name": self.name,
            "path": self.path.relative_to(relative_to).as_posix(),
            "sha256": self.sha256,
            "precision": self.precision,
            "bytes": self.bytes,
            "signature": self.signature.to_dict(),
            "origin": {"step": self.origin.step, "parent": self.origin.parent, "settings": self.origin.settings},
            "execution": self.execution.to_dict(),
            "companions": list(self.companions),
        }

    @staticmethod
    def from_dict(value: Mapping[str, Any], relative_to: Path) -> Variant:
        """Read what `to_dict` wrote, without opening the file."""
        return Variant(
            value["name"],
            relative_to / value["path"],
            value["sha256"],
            value["precision"],
            value["bytes"],
            Signature.from_dict(value["signature"]),
            Origin(**value["origin"]),
            Execution.from_dict(value["execution"]),
            tuple(value["companions"]),
        )


def digest_files(path: Path, beside: tuple[str, ...]) -> str:
    """The sha256 of a file, or of the digests of it and its companions where it has some."""
    own = digest_file(path)
    if not beside:
        return own
    return digest_value([own, *([name, digest_file(path.parent / name)] for name in beside)])


def read_signature(path: Path) -> Signature:
    """Read the inputs and outputs of an ONNX file and check that its graph holds together.

    Raises:
        ModelError: missing, a directory, empty, truncated, cyclic, not ONNX, or not to be trusted; see `read_model`.
    """
    model = read_model(path)
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = tuple(_tensor(value) for value in model.graph.input if value.name not in weights)
    outputs = tuple(_tensor(value) for value in model.graph.output)
    return Signature(inputs, outputs)


def _tensor(value: Any) -> Tensor:
    """Describe one graph value; an axis without a size or a name is dynamic too."""
    import numpy as np
    import onnx

    kind = value.type.tensor_type
    shape = tuple(
        axis.dim_value if axis.HasField("dim_value") else (axis.dim_param or f"axis_{position}")
        for position, axis in enumerate(kind.shape.dim)
    )
    return Tensor(value.name, str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))), shape)
