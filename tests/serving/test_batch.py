"""Requests that share a batch: each gets its own rows, and the error is the culprit's alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from windtunnel.serving.batch import run_together


def test_everyone_gets_their_own_rows_back() -> None:
    """Requests of one, three and two rows run as one batch of six, and each gets its own answers."""
    sizes: list[int] = []

    def run(feeds: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(feeds["k"]))
        return {"y": feeds["k"] * 10}

    answers = run_together(run, [{"k": np.array(rows)} for rows in ([1], [2, 3, 4], [5, 6])])

    assert [answer["y"].tolist() for answer in answers if isinstance(answer, dict)] == [[10], [20, 30, 40], [50, 60]]
    assert sizes == [6]


def test_other_lengths_go_in_another_batch() -> None:
    """Requests whose rows are longer cannot be stacked with the others: each length is a batch, and the order stays."""
    sizes: list[tuple[int, ...]] = []

    def run(feeds: dict[str, Any]) -> dict[str, Any]:
        sizes.append(feeds["k"].shape)
        return {"y": feeds["k"].sum(axis=1)}

    answers = run_together(run, [{"k": np.array(rows)} for rows in ([[1, 1]], [[2, 2, 2]], [[3, 3]])])

    assert [answer["y"].tolist() for answer in answers if isinstance(answer, dict)] == [[2], [6], [6]]
    assert sizes == [(2, 2), (1, 3)]


def test_an_answer_without_rows() -> None:
    """A request that is alone in its batch gets what the model gave, rows or not."""
    (answer,) = run_together(lambda feeds: {"y": feeds["k"].max()}, [{"k": np.array([4, 2])}])

    assert isinstance(answer, dict)
    assert answer["y"] == 4


def test_only_the_culprit_pays() -> None:
    """Where a batch fails its members run alone: one gets the error, the others their answers."""

    def run(feeds: dict[str, Any]) -> dict[str, Any]:
        if 13 in feeds["k"]:
            raise ValueError("thirteen")
        return {"y": feeds["k"] + 1}

    answers = run_together(run, [{"k": np.array([each])} for each in (1, 13, 3)])

    assert [each["y"].tolist() if isinstance(each, dict) else str(each) for each in answers] == [[2], "thirteen", [4]]


@pytest.mark.parametrize("total", [lambda k: np.array(k.sum()), lambda k: np.array([k.sum()]), lambda k: k[:-1]])
def test_a_model_that_does_not_answer_row_by_row(total: Any) -> None:
    """Outputs that have not a row for a row cannot be shared out: each request is run alone, and gets what is its own."""
    answers = run_together(lambda feeds: {"y": total(feeds["k"])}, [{"k": np.array([1, 2])}, {"k": np.array([3, 4])}])

    assert [answer["y"].tolist() for answer in answers if isinstance(answer, dict)] == [
        total(np.array([1, 2])).tolist(),
        total(np.array([3, 4])).tolist(),
    ]


def test_a_model_of_a_fixed_size() -> None:
    """Requests to a model whose first axis is fixed are not stacked."""
    sizes: list[int] = []

    def run(feeds: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(feeds["k"]))
        return {"y": feeds["k"]}

    run_together(run, [{"k": np.array([1, 2])}, {"k": np.array([3, 4])}], stack=False)

    assert sizes == [2, 2]
