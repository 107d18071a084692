"""Asking models what they would have said, slice by slice, so that memory stays bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ModelError, nearest
from windtunnel.feed import feed_table
from windtunnel.recording import ID
from windtunnel.session import run_in_batches

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.recording import Recording
    from windtunnel.session import Session

SLICE = 65_536
"""How many rows are turned into feeds at a time."""


def score(
    recording: Recording, sessions: Mapping[str, Session], *, output: str = "", batch: int = 4096
) -> dict[str, NDArray[np.float64]]:
    """Score every request of a recording with every model.

    Args:
        recording: the requests; a model's inputs are fed from the columns of the same names.
        sessions: loaded models by name.
        output: the output that holds the prediction, [batch] or [batch, 1]; each model's first where empty.
        batch: rows a call.

    Returns:
        float64 [n] by model name, in the recording's order.

    Raises:
        DataError: an input has no column, or one that cannot feed it.
        ModelError: no such output, another shape than one number a row, or a NaN.
    """
    return {
        name: _score(name, recording, session, _output_of(name, session, output), batch)
        for name, session in sessions.items()
    }


def _score(model: str, recording: Recording, session: Session, output: str, batch: int) -> NDArray[np.float64]:
    answers, features = np.empty(len(recording), dtype=np.float64), recording.features
    for start in range(0, len(recording), SLICE):
        rows = features[start : start + SLICE]
        answers[start : start + len(rows)] = _score_slice(model, rows, session, output, batch, recording.name)
    wrong = np.isnan(answers)
    if wrong.any():
        raise ModelError(
            f"answers NaN to {int(wrong.sum())} of {len(answers)} requests, first to request {recording.frame[ID][int(np.argmax(wrong))]}",
            file=model,
            field=output,
            fix="look at that request's features: are some missing that the model cannot do without?",
        )
    return answers


def _score_slice(
    model: str, rows: pl.DataFrame, session: Session, output: str, batch: int, file: str
) -> NDArray[np.float64]:
    answer = run_in_batches(session, feed_table(rows, session.signature, file=file), batch)[output]
    if answer.shape not in {(len(rows),), (len(rows), 1)}:
        raise ModelError(
            f"answers with shape {answer.shape} to {len(rows)} requests",
            file=model,
            field=output,
            fix="name an output with one number a row, the probability of label 1",
        )
    return answer.reshape(-1).astype(np.float64)


def _output_of(model: str, session: Session, output: str) -> str:
    names = [tensor.name for tensor in session.signature.outputs]
    if output and output not in names:
        raise ModelError("is not an output", file=model, field=output, fix=nearest(output, names))
    return output or names[0]
