from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from windtunnel.errors import ConfigError, InputError, ModelError
from windtunnel.optimize.answer import answers, decisions


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (np.array([0.25, 0.5]), [0.25, 0.5]),
        (np.array([[0.25], [0.5]]), [0.25, 0.5]),
        (np.array([[[0.25]], [[0.5]]]), [0.25, 0.5]),
        (np.array([[0.75, 0.25], [0.5, 0.5]]), [[0.75, 0.25], [0.5, 0.5]]),
    ],
    ids=["[n]", "[n, 1]", "[n, 1, 1]", "[n, 2]"],
)
def test_answers(output: Any, expected: list[Any]) -> None:
    """One number a row stands alone, several stay together; further outputs are left alone."""
    found = answers({"output": output.astype(np.float32), "more": np.ones((2, 9))}, "m")

    assert found.dtype == np.float64
    assert found.tolist() == expected


def test_whole_numbers_stay_whole() -> None:
    """Class numbers are decisions, not probabilities."""
    found = answers({"label": np.array([2, 0], dtype=np.int32), "p": np.ones((2, 3))}, "m")

    assert found.dtype == np.int64
    assert decisions(found).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("outputs", "chosen", "error", "words"),
    [
        ({"y": np.array([0.1, np.nan, np.inf])}, "", ModelError, "`m` gives 2 answers that are NaN or infinite, first in row 1"),
        ({"y": np.array([[0.1, 1.0], [0.2, np.nan]])}, "", ModelError, "gives 1 answers that are NaN or infinite, first in row 1"),
        ({"y": np.float64(3.0)}, "", ModelError, "gives one number for all rows in its output y; keep the batch axis"),
        ({"y": np.array(["a"]), "p": np.ones(1)}, "", ModelError, "in its output y, not numbers; judge another output: p"),
        ({"y": np.array(["a"])}, "", ModelError, "not numbers; export the model with numbers"),
        ({"y": np.ones(2), "logits": np.ones(2)}, "logit", ConfigError, "is not an output of m; did you mean `logits`?"),
    ],
)  # fmt: skip
def test_answers_that_are_none(outputs: dict[str, Any], chosen: str, error: type[InputError], words: str) -> None:
    """What is no number, or no output, is refused by name."""
    with pytest.raises(error) as refusal:
        answers(outputs, "m", chosen)

    assert words in str(refusal.value)
