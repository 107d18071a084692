"""XGBoost's own predictor behind the door: it walks many rows through many trees several times as fast as ONNX's tree operator.

Source: XGBoost 3.2, `Booster.inplace_predict`, which reads rows where they lie; `src/predictor/cpu_predictor.cc`.
"""

from __future__ import annotations

import re
from functools import partial
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

DECIDES = "multi:softmax"
"""The objective that answers with the likeliest class; asked for its sums, of which the probabilities are made here."""


class XgboostSession(ForestSession):
    """XGBoost on the processor, from its JSON or UBJSON.

    It answers as the ONNX file does that is made of the model: probabilities where it classifies, and with the trees up to
    the best iteration where early stopping left one. Missing values are NaN.
    """

    library = "xgboost"

    def _load(self, library: Any, path: Path, file: ForestFile) -> Callable[[NDArray[Any]], NDArray[Any]]:
        try:
            booster = library.Booster({"nthread": self.threads}, model_file=bytearray(path.read_bytes()))
        except (library.core.XGBoostError, ValueError) as error:
            raise ModelError(f"cannot be read by XGBoost ({_reason(error)})", file=path, fix=AGAIN) from error
        decides = file.objective == DECIDES
        predict = partial(
            booster.inplace_predict, iteration_range=(0, file.kept),
            predict_type="margin" if decides else "value", validate_features=False, strict_shape=True,
        )  # fmt: skip
        return (lambda rows: softmax(predict(rows))) if decides else predict


def softmax(sums: NDArray[Any]) -> NDArray[Any]:
    """Probabilities, float32 [rows, classes], from what the trees of each class add up to.

    Example:
        >>> softmax(np.zeros((1, 2), np.float32)).tolist()
        [[0.5, 0.5]]
    """
    raised = np.exp(sums - sums.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)


def _reason(error: Exception) -> str:
    """What went wrong, without when and where in XGBoost's own source it was noticed."""
    return re.sub(r"^\[[\d:]+\] \S+: ", "", first_line(error))
