from __future__ import annotations

import itertools
import json

import pytest

from windtunnel.verdict import EXIT_CODES, Outcome, Verdict, combine

OUTCOMES: tuple[Outcome, ...] = ("go", "no-go", "inconclusive")


@pytest.mark.parametrize(("a", "b", "c"), itertools.product(OUTCOMES, repeat=3))
def test_truth_table(a: Outcome, b: Outcome, c: Outcome) -> None:
    """One no-go is a no-go; else one doubt is a doubt; else go; in whatever order."""
    given = {stage: Verdict(outcome, ()) for stage, outcome in zip("abc", (a, b, c), strict=True)}
    expected = next((worst for worst in ("no-go", "inconclusive") if worst in (a, b, c)), "go")

    assert expected == combine(given).outcome


def test_nothing_is_no_evidence() -> None:
    """No verdicts at all let nothing pass."""
    assert combine({}).outcome == "inconclusive"
    assert combine({}).reasons


def test_reasons_name_their_stage() -> None:
    """Every reason and every way out of every stage is kept, in order, with the stage it came from."""
    joined = combine(
        {
            "optimize": Verdict("go", ("faster", "as good")),
            "backtest": Verdict("inconclusive", ("12 rows",), ("record longer",)),
        }
    )

    assert joined.reasons == ("optimize: faster", "optimize: as good", "backtest: 12 rows")
    assert joined.would_change == ("backtest: record longer",)
    assert joined.evidence == {"optimize": "go", "backtest": "inconclusive"}


@pytest.mark.parametrize(("outcome", "code"), [("go", 0), ("no-go", 1), ("inconclusive", 3)])
def test_exit_codes(outcome: Outcome, code: int) -> None:
    """A pipeline can tell no-go from doubt, and both from bad input (2)."""
    assert code == Verdict(outcome, ()).exit_code
    assert set(OUTCOMES) == set(EXIT_CODES)


def test_round_trip() -> None:
    """A verdict comes back from JSON as it was."""
    verdict = Verdict("no-go", ("p99 is 60 ms",), ("more replicas",), {"p99_s": 0.06})

    assert verdict == Verdict.from_dict(json.loads(json.dumps(verdict.to_dict())))
