"""What children are made of: rows to learn from, what turned out true for them, and students."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.digest import digest_bytes, digest_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import torch
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]
    Made = tuple[torch.nn.Module, Mapping[str, torch.Tensor]]
    MakeStudent = Callable[[], Made | tuple[torch.nn.Module, Mapping[str, torch.Tensor], Mapping[str, Any]]]


@dataclass(frozen=True)
class Material:
    """What children are made of.

    Args:
        feeds: rows that steps may learn from: calibration and distillation. No row of the proof is among them.
        label: what turned out true for them, or None.
        groups: what makes rows alike, or None.
        student: makes an untrained student, its example inputs and, where it wishes for some, the settings of its lessons; or None.
        student_source: what the student is made by, for its origin.
        module: makes the torch module that the parent was exported from, where there is one: students can be cut out of it.
        students: whether students are derived where none is given.
    """

    feeds: Arrays
    label: NDArray[np.float64] | None = None
    groups: NDArray[Any] | None = None
    student: MakeStudent | None = None
    student_source: str = ""
    module: Callable[[], torch.nn.Module] | None = None
    students: bool = False


def digest_arrays(arrays: Arrays) -> str:
    """The digest of some arrays by name: other rows make another child."""
    import numpy as np

    return digest_value(
        {
            # an array of Python's own texts holds where they lie, not what they say
            name: array.tolist()
            if array.dtype == object
            else [str(array.dtype), array.shape, digest_bytes(np.ascontiguousarray(array).tobytes())]
            for name, array in arrays.items()
        }
    )
