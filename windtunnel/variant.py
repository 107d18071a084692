"""A Variant: one ONNX file, what goes in and comes out of it, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_file, digest_value
from windtunnel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_BYTES = 2 * 1024**3
"""The largest protobuf message, hence the largest ONNX file without external data."""


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
    """One ONNX file: immutable, known by its sha256, with the origin that explains it."""

    name: str
    path: Path
    sha256: str
    precision: str
    bytes: int
    signature: Signature
    origin: Origin

    @staticmethod
    def from_file(path: Path, *, name: str = "", precision: str = "fp32", origin: Origin | None = None) -> Variant:
        """Look at an ONNX file without running it.

        Raises:
            ModelError: missing, a directory, empty, truncated, cyclic, or not ONNX.
        """
        signature = read_signature(path)
        return Variant(
            name or path.stem,
            path,
            digest_file(path),
            precision,
            path.stat().st_size,
            signature,
            origin or Origin("file"),
        )

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
        )


def read_signature(path: Path) -> Signature:
    """Read the inputs and outputs of an ONNX file and check that its graph holds together.

    Raises:
        ModelError: missing, a directory, empty, truncated, cyclic, or not ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if not path.exists():
        raise ModelError("does not exist", file=path, fix="give the path of an ONNX file")
    if path.is_dir():
        raise ModelError("is a directory", file=path, fix="give the ONNX file itself, or a run folder")
    if path.stat().st_size == 0:
        raise ModelError("is empty", file=path, fix="export the model again")
    if path.stat().st_size > MAX_BYTES:
        raise ModelError("is larger than 2 GiB", file=path, fix="make it smaller: fp16 weights take half")
    try:
        model = onnx.load(str(path), load_external_data=False)
        if any(each.data_location == onnx.TensorProto.EXTERNAL for each in model.graph.initializer):
            # the sha256 of this file would say nothing about those weights
            raise ModelError(
                "keeps weights in another file", file=path, fix="save it as one file, without external data"
            )
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"is not a whole ONNX model ({reason})", file=path, fix="export the model again") from error
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = tuple(_tensor(value, path) for value in model.graph.input if value.name not in weights)
    outputs = tuple(_tensor(value, path) for value in model.graph.output)
    return Signature(inputs, outputs)


def _tensor(value: Any, path: Path) -> Tensor:
    """Describe one graph value; an axis without a size or a name is dynamic too."""
    import numpy as np
    import onnx

    if not value.type.HasField("tensor_type"):
        raise ModelError(
            f"is a {value.type.WhichOneof('value')}, not a tensor", file=path, field=value.name,
            fix="export the model with tensors only (skl2onnx: options={'zipmap': False})",
        )  # fmt: skip
    kind = value.type.tensor_type
    shape = tuple(
        axis.dim_value if axis.HasField("dim_value") else (axis.dim_param or f"axis_{position}")
        for position, axis in enumerate(kind.shape.dim)
    )
    return Tensor(value.name, str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))), shape)
