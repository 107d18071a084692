"""What a siege came to: the factor that honest requests felt, and the decision."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from windtunnel.errors import ConfigError
from windtunnel.request_log import COMPLETED, FAILED, RequestLog
from windtunnel.simulate.live.adversary.judgement import Finding
from windtunnel.simulate.live.adversary.section import draw_siege
from windtunnel.simulate.live.adversary.siege import Siege, times_of
from windtunnel.simulate.live.adversary.spared import spared


def _log(seed: int, times: float, *, lost: int = 0, before: int = 0) -> RequestLog:
    """4,000 requests in 40 s, exponential latencies that are so many times longer between 10 and 30 s, some of them lost."""
    chance = np.random.default_rng(seed)
    due_s = np.sort(chance.uniform(0.0, 40.0, 4000))
    under = (due_s >= 10.0) & (due_s < 30.0)
    latency_s = chance.exponential(0.01, 4000) * np.where(under, times, 1.0)
    status = np.full(4000, COMPLETED, np.int32)
    status[np.flatnonzero(under)[100 : 100 + lost]] = FAILED
    status[100 : 100 + before] = FAILED
    zeros = np.zeros(4000, np.int32)
    return RequestLog(due_s, due_s, due_s, due_s + latency_s, zeros, zeros, zeros, status)


def _siege(log: RequestLog, **changed: Any) -> Siege:
    usual: dict[str, Any] = {
        "families": (), "findings": (), "spared": spared(log, 10.0, 30.0), "compared": 4000, "wrong": (0, ()), "crashes": 0, "gone": False,
        "held_to": 3.0, "limit_s": 15.0, "believed": True, "begin_s": 10.0, "until_s": 30.0,
    }  # fmt: skip
    return Siege(**{**usual, **changed})


@pytest.mark.parametrize("name", ["p50", "p99"])
def test_the_factor_is_covered(name: str) -> None:
    """Of 200 intervals for a true factor of two, as many cover it as they say, within chance."""
    factors: list[Any] = [spared(_log(seed, 2.0), 10.0, 30.0).factor[name] for seed in range(200)]
    covered = sum(each.low <= 2.0 <= each.high for each in factors)

    assert 180 <= covered <= 199
    assert np.mean([each.value for each in factors]) == pytest.approx(2.0, rel=0.03)


def test_decisions() -> None:
    """A factor below the bound is a go, above it a no-go, across it or not believed a doubt."""
    outcomes = [_siege(_log(1, times)).decide()[0] for times in (1.0, 3.0, 9.0)]

    assert outcomes == ["go", "inconclusive", "no-go"]
    assert _siege(_log(1, 1.0), believed=False).decide()[0] == "inconclusive"
    assert _siege(_log(1, 9.0), believed=False).decide()[0] == "inconclusive"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"crashes": 2}, "2 of the server's processes ended"),
        ({"gone": True}, "refused every connection"),
        ({"wrong": (3, ("another y",))}, "3 of 4,000 answers to honest requests were wrong: another y"),
        ({"findings": (Finding("shapes", "negative", 4, "taken", "w", (200,), "POST"),)}, "1 times it answered with 200 what is malformed"),
        ({"findings": (Finding("json", "deep", 4, "hung", "w", (), "POST"),)}, "1 times it neither answered nor hung up"),
    ],
)  # fmt: skip
def test_every_fault_is_a_no_go(changed: dict[str, Any], said: str) -> None:
    """Crashes, wrong answers, malformed ones that were taken, and silence decide, however fast honest requests were; and are said first."""
    siege = _siege(_log(1, 1.0), **changed)
    outcome, sentences, _ = siege.decide()

    assert outcome == "no-go"
    assert said in sentences[0]


def test_honest_requests_that_were_lost_are_a_fault() -> None:
    """Lost only while the adversary was there: a no-go."""
    outcome, sentences, _ = _siege(_log(1, 1.0, lost=5)).decide()

    assert outcome == "no-go"
    assert sentences[0].startswith("5 of ")


def test_more_lost_than_before_is_a_fault() -> None:
    """Some are lost without it too: a no-go where more were lost than chance makes of it."""
    outcomes = [_siege(_log(1, 1.0, lost=lost, before=3)).decide() for lost in (6, 60)]

    assert [outcome for outcome, _, _ in outcomes] == ["go", "no-go"]
    assert outcomes[1][1][0].startswith("60 of ")


def test_what_the_generators_lost_is_not_the_servers_fault() -> None:
    """Nobody knows who lost requests where generators did not keep up."""
    assert _siege(_log(1, 1.0, lost=5), believed=False).decide()[0] == "inconclusive"


def test_it_is_told_and_drawn() -> None:
    """JSON has no infinities; the section decides as the siege does and shows both quantiles."""
    log = _log(1, 1.0)
    short = replace(log, **{name: getattr(log, name)[:3] for name in log.__dataclass_fields__})
    told, section = _siege(short).to_dict(), draw_siege(_siege(log), log)

    assert "Infinity" not in json.dumps(told)
    assert "NaN" not in json.dumps(told)
    assert _siege(short).decide()[0] == "inconclusive"
    assert section.outcome == "go"
    assert [row[0] for row in section.tables[1].rows] == ["p50", "p99"]
    assert len(section.figures[0].plotly["data"][0]["x"]) <= 200


def test_a_run_that_is_too_short_is_refused() -> None:
    """Half of the run must be longer than it takes to see that a server hangs."""
    assert times_of(40.0, 15.0) == (10.0, 30.0)
    with pytest.raises(ConfigError, match=r"--duration.*drive 32s or longer"):
        times_of(20.0, 15.0)
    assert math.isfinite(times_of(32.0, 15.0)[0])
