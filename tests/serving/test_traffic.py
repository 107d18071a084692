from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.serving import traffic
from windtunnel.serving.desk import Served
from windtunnel.serving.shadow import Shadow
from windtunnel.serving.split import CANARY, Split
from windtunnel.serving.traffic import ANSWERED, FELL_BACK, Asked, Plan, Traffic

if TYPE_CHECKING:
    from windtunnel.serving.log_layout import Entry

FEEDS = {"x": np.array([1.0])}
IN = next(str(n) for n in range(1000) if Split(0.2).arm_of(str(n))[0] == CANARY)
OUT = next(str(n) for n in range(1000) if Split(0.2).arm_of(str(n))[0] != CANARY)
"""A key that a canary of 20% answers, and one that it does not."""


def _served(value: float) -> Served:
    return Served({"y": np.array([value])}, 0.0, 0.001, 1)


async def _old(_: Any) -> Served:
    return _served(1.0)


async def _new(_: Any) -> Served:
    return _served(2.0)


class Log:
    """Takes what is written down."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def takes(self, request_id: str) -> bool:
        """All but one."""
        return request_id != "unlogged"

    def lean(self, entry: Entry) -> Entry:
        """All of it."""
        return entry

    def offer(self, entry: Entry) -> None:
        """Keep it."""
        self.entries.append(entry)

    def close(self) -> None:
        """Nothing is held back."""


class Rig:
    """The traffic of one replica between fakes."""

    def __init__(self, canary: Any = None, mirror: Any = None) -> None:
        self.counts: Counter[str] = Counter()
        self.log = Log()
        self.shadow = Shadow(mirror, count=self._count) if mirror else None
        self.traffic = Traffic(
            "old", count=self._count, canary=("new", canary) if canary else None,
            shadow=("far", self.shadow) if self.shadow else None, log=self.log,  # type: ignore[arg-type]  # a fake
        )  # fmt: skip

    def _count(self, name: str, number: float) -> None:
        self.counts[name] += int(number)

    async def ask(self, key: str, ask: Any = _old) -> tuple[float, str]:
        """What is answered to a key, and by whom."""
        served, model = await self.traffic.answer(Asked(key), FEEDS, ask)
        assert isinstance(served.outputs, dict)
        return float(served.outputs["y"][0]), model


def test_the_split_says_who_answers() -> None:
    """Keys of the canary are answered by it, the others by the primary; the log knows who, in which arm, and how likely."""

    async def main() -> Rig:
        rig = Rig(_new)
        await rig.traffic.follow(Plan(canary=0.2))
        assert await rig.ask(IN) == (2.0, "new")
        assert await rig.ask(OUT) == (1.0, "old")
        return rig

    rig = asyncio.run(main())
    assert [(e.model, e.arm, e.propensity) for e in rig.log.entries] == [
        ("new", "canary", 0.2),
        ("old", "primary", 0.8),
    ]
    assert rig.counts == {ANSWERED: 1}


def test_the_key_goes_before_the_id() -> None:
    """Where a request names a key, the split goes by it: one user always meets one model."""

    async def main() -> list[str]:
        rig = Rig(_new)
        await rig.traffic.follow(Plan(canary=0.2))
        return [(await rig.traffic.answer(Asked(str(n), key=IN), FEEDS, _old))[1] for n in range(20)]

    assert asyncio.run(main()) == ["new"] * 20


async def _raises(_: Any) -> Served:
    raise RuntimeError("the canary died")


async def _fails(_: Any) -> Served:
    return Served(ValueError("cannot"), 0.0, 0.0, 1)


async def _hangs(_: Any) -> Served:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("canary", [_raises, _fails, _hangs])
def test_a_broken_canary_costs_no_answer(canary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead, failing or silent: the primary answers, and the log keeps the arm that the request was in."""
    monkeypatch.setattr(traffic, "CANARY_PATIENCE_S", 0.001)

    async def main() -> Rig:
        rig = Rig(canary)
        await rig.traffic.follow(Plan(canary=0.2))
        assert await rig.ask(IN) == (1.0, "old")
        return rig

    rig = asyncio.run(main())
    assert [(e.model, e.arm, e.propensity) for e in rig.log.entries] == [("old", "canary", 0.2)]
    assert rig.counts == {FELL_BACK: 1}
    assert rig.traffic.trouble


def test_patience_goes_by_what_is_usual() -> None:
    """A canary of a fast primary is waited for a second, of one that takes 200 ms four, and never more than ten."""
    rig = Rig(_new)
    patiences = []
    for rig.traffic._usual_s in (0.0, 0.2, 60.0):
        patiences.append(rig.traffic.patience_s)

    assert patiences == [1.0, 4.0, 10.0]


def test_a_hung_canary_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it was waited for in vain it is not asked for a while, and then again: later requests do not wait."""
    monkeypatch.setattr(traffic, "CANARY_PATIENCE_S", 0.001)
    asked: list[float] = []
    now_s = [0.0]

    async def hangs(_: Any) -> Served:
        asked.append(now_s[0])
        return await _hangs(_)

    async def main() -> Rig:
        rig = Rig(hangs)
        rig.traffic._clock = lambda: now_s[0]
        await rig.traffic.follow(Plan(canary=0.2))
        for at_s in (0.0, 1.0, traffic.REST_S - 0.1, traffic.REST_S):
            now_s[0] = at_s
            assert await rig.ask(IN) == (1.0, "old")
        return rig

    assert asyncio.run(main()).counts == {FELL_BACK: 4}
    assert asked == [0.0, traffic.REST_S]


def test_a_rollback_loses_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that hang in a canary are answered by the primary before the rollback returns; later ones never meet the canary."""
    monkeypatch.setattr(traffic, "GRACE_S", 0.001)

    async def main() -> Rig:
        rig = Rig(_hangs)
        await rig.traffic.follow(Plan(canary=0.2))
        flying = [asyncio.create_task(rig.ask(IN)) for _ in range(5)]
        await asyncio.sleep(0)
        await rig.traffic.follow(Plan())
        assert await asyncio.gather(*flying) == [(1.0, "old")] * 5
        assert await rig.ask(IN) == (1.0, "old")
        return rig

    rig = asyncio.run(main())
    assert rig.counts == {FELL_BACK: 5}
    assert [e.arm for e in rig.log.entries] == ["canary"] * 5 + ["primary"]
    assert rig.log.entries[-1].propensity == 1.0


def test_a_rollback_waits_for_answers_on_their_way() -> None:
    """A canary that answers within its grace is let finish."""

    async def main() -> tuple[float, str]:
        gate = asyncio.Event()

        async def slow(_: Any) -> Served:
            await gate.wait()
            return _served(2.0)

        rig = Rig(slow)
        await rig.traffic.follow(Plan(canary=0.2))
        flying = asyncio.create_task(rig.ask(IN))
        await asyncio.sleep(0)
        back = asyncio.create_task(rig.traffic.follow(Plan()))
        await asyncio.sleep(0)
        gate.set()
        await back
        return await flying

    assert asyncio.run(main()) == (2.0, "new")


def test_a_client_that_leaves_takes_its_question_along() -> None:
    """A request that is cancelled cancels the canary's work and leaves nothing in flight."""

    async def main() -> Rig:
        rig = Rig(_hangs)
        await rig.traffic.follow(Plan(canary=0.2))
        flying = asyncio.create_task(rig.ask(IN))
        await asyncio.sleep(0)
        flying.cancel()
        await asyncio.wait([flying])
        assert flying.cancelled()
        return rig

    rig = asyncio.run(main())
    assert rig.traffic._in_flight == set()
    assert rig.log.entries == []


def test_what_a_shadow_says_is_written_beside() -> None:
    """The row waits for the shadow's answer, the client does not; without an answer the row is written all the same."""

    async def main() -> Rig:
        gate = asyncio.Event()

        async def mirror(requests: list[Any]) -> list[Any]:
            await gate.wait()
            return [{"y": each["x"] * 3} if number else None for number, each in enumerate(requests)]

        rig = Rig(mirror=mirror)
        await rig.traffic.follow(Plan(shadow=True))
        assert await rig.ask("a") == (1.0, "old")
        assert await rig.ask("b") == (1.0, "old")
        assert await rig.ask("unlogged") == (1.0, "old")
        assert rig.log.entries == []
        gate.set()
        assert rig.shadow is not None
        await rig.shadow.settled()
        return rig

    rig = asyncio.run(main())
    assert [(e.id, {name: each["y"].tolist() for name, each in e.shadows.items()}) for e in rig.log.entries] == [
        ("a", {}), ("b", {"far": [3.0]}),
    ]  # fmt: skip
    assert rig.counts['shadow_requests_total{outcome="answered"}'] == 2


@pytest.mark.parametrize("mirror", [_raises, _hangs])
def test_a_broken_shadow_touches_no_answer(mirror: Any) -> None:
    """Whether the shadow raises or hangs: a thousand requests are answered right, in order, without waiting for it once."""

    async def main() -> Rig:
        rig = Rig(mirror=mirror)
        await rig.traffic.follow(Plan(shadow=True))
        assert [await rig.ask(str(n)) for n in range(1000)] == [(1.0, "old")] * 1000
        rig.traffic.close()
        assert rig.shadow is not None
        await rig.shadow.settled()
        return rig

    rig = asyncio.run(main())
    assert sorted(int(e.id) for e in rig.log.entries) == list(range(1000))
    assert {name: each for e in rig.log.entries for name, each in e.shadows.items()} == {}


def test_the_primarys_failure_is_neither_logged_nor_mirrored() -> None:
    """What has no answer is no prediction."""

    async def main() -> Rig:
        rig = Rig(mirror=_raises)
        await rig.traffic.follow(Plan(shadow=True))
        served, model = await rig.traffic.answer(Asked("a"), FEEDS, _fails)
        assert (type(served.outputs), model) == (ValueError, "old")
        with pytest.raises(RuntimeError):
            await rig.traffic.answer(Asked("a"), FEEDS, _raises)
        return rig

    rig = asyncio.run(main())
    assert (rig.log.entries, rig.counts) == ([], {})


def test_without_a_plan_the_primary_is_alone() -> None:
    """Until it was told, and once nobody could tell it any more, a replica asks neither canary nor shadow."""
    rig = Rig(_raises, _raises)

    assert asyncio.run(rig.ask(IN)) == (1.0, "old")
    assert rig.counts == {}
