"""`windtunnel export`: torch to ONNX, verified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError, ModelError
from windtunnel.source import call, is_function, load_function

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
    made = call(load_function(model, Path()), name=model)
    if not (isinstance(made, tuple) and len(made) == 2):
        raise ModelError(
            "did not return a module and its example inputs", field=model, fix="return (module, {name: tensor})"
        )
    partial_path = out.with_name(f".{out.name}.partial")
    difference = export_module(*made, partial_path, source=model)
    partial_path.replace(out)
    variant = Variant.from_file(out)
    return {"schema": "windtunnel.export/1", "largest_difference": difference, **variant.to_dict(out.parent)}
