"""LightGBM's own predictor behind the door.

Source: LightGBM 4.7, `Booster.predict`, and `src/application/predictor.hpp`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.forest_file import AGAIN
from windtunnel.forest_session import ForestSession
from windtunnel.session import first_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.forest_file import ForestFile


class LightgbmSession(ForestSession):
    """LightGBM on the processor, from its text.

    It computes in float64 and answers in float32, as the ONNX file does that is made of the model.
    """

    library = "lightgbm"

    def _load(self, library: Any, path: Path, file: ForestFile) -> Callable[[NDArray[Any]], NDArray[Any]]:
        try:
            booster = library.Booster(model_str=path.read_text(encoding="utf-8"))
        except (library.basic.LightGBMError, ValueError) as error:
            raise ModelError(f"cannot be read by LightGBM ({first_line(error)})", file=path, fix=AGAIN) from error
        predict, threads, outputs = booster.predict, self.threads, file.outputs

        def answer(rows: NDArray[Any]) -> NDArray[Any]:
            found = predict(rows, num_threads=threads)
            return np.asarray(found, dtype=np.float32).reshape(len(rows), outputs)

        return answer
