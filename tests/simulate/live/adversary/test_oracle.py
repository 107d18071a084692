"""The model alone, and what company may change."""

from __future__ import annotations

from typing import Any

import numpy as np

from windtunnel.simulate.live.adversary.oracle import Oracle

ROWS = [{"x": np.array([[float(at), 1.0]])} for at in range(8)]


def _summed(feeds: Any) -> Any:
    if (feeds["x"] == 99.0).any():
        raise ValueError("no such row")
    return {"y": feeds["x"].sum(axis=1), "k": feeds["x"][:, 0].astype(np.int64)}


def _by_company(feeds: Any) -> Any:
    return {"y": feeds["x"].sum(axis=1) + 0.1 * (len(feeds["x"]) > 1)}


def test_right_and_wrong() -> None:
    """The model's own answer is right; another number, shape, output or none is not."""
    oracle = Oracle.of(_summed, ROWS, stack=True)
    y, k = np.array([4.0]), np.array([3])

    assert oracle.differs(ROWS[3], {"y": y, "k": k}) == ""
    assert oracle.differs(ROWS[3], {"y": y + 1e-4, "k": k}) == ""
    assert oracle.differs(ROWS[3], {"y": y + 0.1, "k": k}) == "another y than the model alone gives"
    assert oracle.differs(ROWS[3], {"y": y, "k": k + 1}) == "another k than the model alone gives"
    assert oracle.differs(ROWS[3], {"y": np.array([np.nan]), "k": k}) == "another y than the model alone gives"
    assert "of the shape [2]" in oracle.differs(ROWS[3], {"y": np.array([4.0, 4.0]), "k": k})
    assert oracle.differs(ROWS[3], {"y": y}) == "no k in the answer"
    assert oracle.differs(ROWS[3], None) == "an answer that cannot be read"


def test_where_the_model_fails_no_answer_is_right() -> None:
    """An answer to what the model alone cannot answer is wrong; a server that is asked in its place may have failed for other reasons."""
    asked = {"x": np.array([[99.0, 0.0]])}

    assert (
        Oracle.of(_summed, ROWS, stack=True).differs(asked, {"y": np.zeros(1)})
        == "an answer where the model alone fails"
    )
    assert Oracle.of(_summed, ROWS, stack=True, sure=False).differs(asked, {"y": np.zeros(1)}) == ""


def test_company_is_allowed_for() -> None:
    """What company alone changes is no wrong answer; more than twice of it is."""
    oracle = Oracle.of(_by_company, ROWS, stack=True)

    assert oracle.differs(ROWS[3], {"y": np.array([4.1])}) == ""
    assert oracle.differs(ROWS[3], {"y": np.array([4.5])}) != ""
