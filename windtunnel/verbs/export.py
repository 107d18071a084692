"""`windtunnel export`: torch to ONNX, verified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError
from windtunnel.factory import make_module
from windtunnel.source import is_function

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


def export(model: str, out: Path) -> dict[str, Any]:
    """Export `module.py:factory` to a verified ONNX file.

    Raises:
        ModelError: it cannot be exported, its batch axis came out fixed, or its numbers differ.
    """
    from windtunnel.optimize import export as export_module
    from windtunnel.variant import Variant

    if not is_function(model):
        raise ConfigError("is not a function", field="MODEL", value=model, fix="write module.py:factory")
    if out.exists():
        raise ConfigError("exists", field="--out", value=str(out), fix="choose another file, or remove it")
    made = make_module(model, Path())
    exported = export_module(made.module, made.inputs, out, made.axes or None, source=model)
    variant = Variant.from_file(out)
    return {"schema": "windtunnel.export/1", **exported.to_dict(), **variant.to_dict(out.parent)}
