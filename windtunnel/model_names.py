"""What the columns and classes of a model are called, which ONNX itself has no place for: kept as a property of its file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

PROPERTY = "windtunnel.names"


@dataclass(frozen=True)
class ModelNames:
    """Names that a model was fitted with; empty where it does not say.

    Args:
        features: of the columns of its matrix, in order.
        classes: of the columns of its probabilities: what the labels of a table are.
    """

    features: tuple[str, ...] = ()
    classes: tuple[int | str, ...] = ()

    def write(self, model: onnx.ModelProto) -> None:
        """Put the names into a model, in place of what stood there."""
        kept = [each for each in model.metadata_props if each.key != PROPERTY]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
        entry = model.metadata_props.add()
        entry.key, entry.value = PROPERTY, json.dumps({"classes": self.classes, "features": self.features})

    @staticmethod
    def read(path: Path) -> ModelNames:
        """The names in an ONNX file.

        Raises:
            ModelError: its property holds something else than lists of names.

        Example:
            >>> import onnx, pathlib, tempfile
            >>> from onnx import helper
            >>> model = helper.make_model(helper.make_graph([], "empty", [], []))
            >>> ModelNames(("km", "hour"), ("early", "late")).write(model)
            >>> path = pathlib.Path(tempfile.mkdtemp(), "m.onnx"); onnx.save(model, str(path))
            >>> ModelNames.read(path)
            ModelNames(features=('km', 'hour'), classes=('early', 'late'))
        """
        import onnx

        properties = onnx.load(str(path), load_external_data=False).metadata_props
        text = next((each.value for each in properties if each.key == PROPERTY), "{}")
        try:
            told = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _unreadable(path, text) from error
        if not isinstance(told, dict):
            raise _unreadable(path, text)
        features, classes = told.get("features", []), told.get("classes", [])
        if not (_holds(features, str) and (_holds(classes, str) or _holds(classes, int))):
            raise _unreadable(path, text)
        return ModelNames(tuple(features), tuple(classes))


def _holds(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def _unreadable(path: Path, text: str) -> ModelError:
    return ModelError(
        "does not name columns and classes", file=path, field=PROPERTY, value=text[:80], fix="take the property out"
    )
