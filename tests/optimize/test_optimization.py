from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from windtunnel.optimize.goal import Goal
from windtunnel.optimize.judged import Failure, Judged, Raced, Skipped
from windtunnel.optimize.optimization import Optimization

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.variant import Variant

GOAL = Goal("agreement", 0.02, (1, 8))


@pytest.fixture
def found(judged_as: Callable[..., Judged], mlp: Variant) -> Optimization:
    judged = (
        judged_as("fp32", "dominated"),
        judged_as("int8", "chosen", 2.0, 0.01, warnings=("On arm64 the answers are not known.",)),
        judged_as("new", "not-proven", 3.0, 0.02),
    )
    raced = (Raced(replace(mlp, name="slow"), "slower", "0.50 ×", 0.5, {"1": 2e-3}),)
    return Optimization(
        GOAL, judged, raced, (Failure("fused", "has no attention"),), (Skipped("student", "too few rows"),), 12.5
    )


def test_who_is_who(found: Optimization) -> None:
    """The first that was judged is the parent; the one that is marked is chosen; what was made or failed was tried."""
    assert (found.parent.variant.name, found.chosen.variant.name) == ("fp32", "int8")
    assert found.tried == 5


def test_the_verdict(found: Optimization) -> None:
    """It is go, says how fast and how good with intervals, warns, and says what would prove more."""
    verdict = found.verdict

    assert verdict.outcome == "go"
    assert verdict.reasons == (
        "int8 is 2.00 × as fast as fp32 (1.90 to 2.10) and loses 0.0100 agreement (0.0050 to 0.0150; allowed 0.02)",
        "On arm64 the answers are not known.",
    )
    assert verdict.would_change == ("new: why",)
    assert verdict.evidence == {"chosen": "int8", "tried": 5}


def test_the_parent_stays(judged_as: Callable[..., Judged]) -> None:
    """Where nothing is proven and faster the verdict says that the parent stays, and within what nothing was proven."""
    found = Optimization(GOAL, (judged_as("fp32", "chosen"), judged_as("int8", "slower", 0.5)))

    assert found.chosen is found.parent
    assert found.verdict.reasons == (
        "fp32 stays (run by ort): no child is both proven within 0.02 agreement and faster",
    )
    assert found.verdict.would_change == ()


def test_what_was_stopped_says_so(found: Optimization) -> None:
    """A search that was stopped names the way on, beside what else would change it."""
    stopped = replace(found, interrupted=True)

    assert stopped.verdict.would_change == (
        "new: why", "it was stopped before its end: the same command goes on from there",
    )  # fmt: skip
    assert stopped.to_dict(found.parent.variant.path.parent)["interrupted"] is True


def test_the_document(found: Optimization) -> None:
    """The frontier holds the judged in their order, then the raced, then the failed; what was skipped is apart."""
    document = found.to_dict(found.parent.variant.path.parent)

    assert [each["name"] for each in document["frontier"]] == ["fp32", "int8", "new", "slow", "fused"]
    assert [each["status"] for each in document["frontier"]] == [
        "dominated",
        "chosen",
        "not-proven",
        "slower",
        "failed",
    ]
    assert document["chosen"] == document["frontier"][1]
    assert document["skipped"] == [{"name": "student", "reason": "too few rows"}]
    assert (document["tried"], document["search_s"], document["interrupted"]) == (5, 12.5, False)
