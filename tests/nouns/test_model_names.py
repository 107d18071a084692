from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import helper

from windtunnel.errors import ModelError
from windtunnel.model_names import PROPERTY, ModelNames

if TYPE_CHECKING:
    from pathlib import Path


def _saved(path: Path, text: str | None) -> Path:
    model = helper.make_model(helper.make_graph([], "empty", [], []))
    if text is not None:
        helper.set_model_props(model, {PROPERTY: text})
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ModelNames()),
        ("{}", ModelNames()),
        ('{"features": ["a"], "classes": [3, 5]}', ModelNames(("a",), (3, 5))),
        ('{"classes": [false, true]}', ModelNames((), (False, True))),
    ],
)
def test_names(tmp_path: Path, text: str | None, expected: ModelNames) -> None:
    """Names are read where there are any."""
    assert expected == ModelNames.read(_saved(tmp_path / "m.onnx", text))


@pytest.mark.parametrize(
    "text",
    ["[1", "[]", "1", '{"features": 1}', '{"features": [1]}', '{"classes": [[1]]}', '{"classes": [{}]}', '{"classes": "ab"}',
     "[" * 100_000],
)  # fmt: skip
def test_no_names(tmp_path: Path, text: str) -> None:
    """A property of another form is refused by its name, with the way out."""
    with pytest.raises(
        ModelError, match=r"m\.onnx: `windtunnel\.names` .* does not name columns and classes; take the"
    ):
        ModelNames.read(_saved(tmp_path / "m.onnx", text))
