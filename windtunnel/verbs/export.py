"""`windtunnel export`: a model of any form to ONNX, compared with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from windtunnel.errors import ConfigError
from windtunnel.progress import SILENT, Progress

from .inputs import check_form, convert


def export(model: str, out: Path, *, allow_pickle: bool = False, progress: Progress = SILENT) -> dict[str, Any]:
    """Export a model to a verified ONNX file.

    Args:
        model: `module.py:factory`, `.pt2`, `.skops`, a LightGBM or XGBoost file.
        out: where the ONNX file goes.
        allow_pickle: whether a file may be read that runs what it holds.
        progress: what a conversion came to.

    Raises:
        ConfigError: there is such a file already.
        ModelError: it cannot be exported, a free axis came out fixed, or its numbers differ.
    """
    from windtunnel.variant import Variant

    check_form(model, Path())
    if out.exists():
        raise ConfigError("exists", field="--out", value=str(out), fix="choose another file, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    found = convert(model, out, Path(), allow_pickle=allow_pickle, progress=progress)
    return {"schema": "windtunnel.export/1", **found, **Variant.from_file(out).to_dict(out.parent)}
