from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.score import score
from windtunnel.errors import DataError, ModelError
from windtunnel.recording import Columns, Recording
from windtunnel.session import Session
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Answer = Callable[[NDArray[np.float32]], NDArray[Any]]


class Scripted(Session):
    """Answers by a function of its one input, and remembers the size of every batch."""

    def __init__(self, answer: Answer) -> None:
        x, y = Tensor("x", "float32", ("n",)), Tensor("y", "float32", ("n",))
        self.signature = Signature((x,), (y, Tensor("raw", "float32", ("n",))))
        self.batches: list[int] = []
        self._answer = answer

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Answer one batch."""
        self.batches.append(len(feeds["x"]))
        return {"y": self._answer(feeds["x"]), "raw": feeds["x"]}


@pytest.fixture
def recording() -> Recording:
    table = pl.DataFrame({"t": [f"2013-01-01T00:00:{second:02}" for second in range(50)], "x": np.arange(50) / 50})
    return Recording.from_table(table, Columns("t"), name="fifty")


def test_rows_are_scored_in_order_and_in_slices(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row gets its own model's answer, though only a slice is fed and only a batch is run at a time."""
    monkeypatch.setattr(importlib.import_module("windtunnel.backtest.score"), "SLICE", 20)
    flat, column = Scripted(lambda x: x / 2), Scripted(lambda x: (1 - x).reshape(-1, 1))
    scores = score(recording, {"flat": flat, "column": column}, batch=8)
    x = recording.frame["x"].to_numpy().astype(np.float32)

    assert {"flat": (x / 2).tolist(), "column": (1 - x).tolist()} == {k: v.tolist() for k, v in scores.items()}
    assert scores["flat"].dtype == np.float64
    assert flat.batches == [8, 8, 4, 8, 8, 4, 8, 2]


def test_the_named_output_is_taken(recording: Recording) -> None:
    """Where a model has several outputs, the one that was named holds the prediction."""
    scores = score(recording, {"a": Scripted(lambda x: x / 2)}, output="raw")

    assert recording.frame["x"].to_numpy().astype(np.float32).tolist() == scores["a"].tolist()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: np.where(x > 0.5, np.nan, x), "bad: `y` answers NaN to 24 of 50 requests, first to request 26"),
        (lambda x: np.stack([x, 1 - x], axis=1), r"bad: `y` answers with shape \(50, 2\) to 50 requests"),
        (lambda x: x[:1], r"bad: `y` answers with shape \(1,\) to 50 requests"),
    ],
)
def test_answers_that_are_no_predictions_are_refused(recording: Recording, answer: Answer, words: str) -> None:
    """NaN, or another shape than one number a row, is refused with the model's name."""
    with pytest.raises(ModelError, match=words):
        score(recording, {"bad": Scripted(answer)})


def test_what_is_missing_is_named(recording: Recording) -> None:
    """An output that the model lacks, and an input that the recording lacks, are named with the nearest."""
    with pytest.raises(ModelError, match="a: `rav` is not an output; did you mean `raw`"):
        score(recording, {"a": Scripted(lambda x: x)}, output="rav")
    bare = Recording("bare", recording.frame.drop("x"))
    with pytest.raises(DataError, match="bare: `x` is an input of the model but not a column"):
        score(bare, {"a": Scripted(lambda x: x)})
