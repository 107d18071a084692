from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.serving.shadow import ANSWERED, DROPPED, FAILED, Shadow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


class Rig:
    """A shadow that is asked by `ask`, and what became of it all."""

    def __init__(self, ask: Callable[[list[Arrays]], Awaitable[list[Any]]], **settings: Any) -> None:
        self.counts: Counter[str] = Counter()
        self.told: dict[int, Any] = {}
        self.shadow = Shadow(ask, count=lambda name, n: self.counts.update({name: int(n)}), **settings)

    def offer(self, number: int) -> None:
        """Mirror a request, and see that it is told once."""

        def done(answer: Any) -> None:
            assert number not in self.told
            self.told[number] = answer

        self.shadow.offer({"x": np.array([number])}, done)


async def _doubled(requests: list[Arrays]) -> list[Any]:
    return [{"y": each["x"] * 2} for each in requests]


def test_each_request_gets_its_own_answer() -> None:
    """Whatever batches they travel in, answers come back to whom they belong, each once."""
    sizes: list[int] = []

    async def ask(requests: list[Arrays]) -> list[Any]:
        sizes.append(len(requests))
        return await _doubled(requests)

    async def main() -> Rig:
        rig = Rig(ask, batch=4)
        for number in range(10):
            rig.offer(number)
        await rig.shadow.settled()
        rig.offer(10)
        await rig.shadow.settled()
        return rig

    rig = asyncio.run(main())
    assert {number: int(answer["y"][0]) for number, answer in rig.told.items()} == {n: 2 * n for n in range(11)}
    assert sizes == [4, 4, 2, 1]
    assert rig.counts == {ANSWERED: 11, FAILED: 0}


def test_a_shadow_that_raises_is_counted() -> None:
    """Its error is kept to be shown; who asked is told that there is no answer; the next request is tried again."""

    async def ask(requests: list[Arrays]) -> list[Any]:
        if requests[0]["x"][0] == 0:
            raise RuntimeError("out of shadow")
        return [None for _ in requests] if requests[0]["x"][0] == 1 else await _doubled(requests)

    async def main() -> Rig:
        rig = Rig(ask, batch=1)
        for number in range(3):
            rig.offer(number)
        await rig.shadow.settled()
        return rig

    rig = asyncio.run(main())
    assert (rig.told[0], rig.told[1], int(rig.told[2]["y"][0])) == (None, None, 4)
    assert rig.counts == {FAILED: 2, ANSWERED: 1}
    assert rig.shadow.trouble == "RuntimeError: out of shadow"


def test_a_shadow_that_hangs_holds_a_bounded_queue() -> None:
    """While it hangs no more wait than may; the others are told at once; given up, all were told, and nothing is left behind."""

    async def main() -> Rig:
        rig = Rig(lambda _: asyncio.Event().wait(), batch=2, waiting=5)  # type: ignore[arg-type,return-value]  # never comes to an answer
        for number in range(100):
            rig.offer(number)
            await asyncio.sleep(0)  # lets the shadow's task run, and does not wait
        assert len(rig.told) == 100 - 5 - 1  # the first was with the shadow already
        rig.shadow.close()
        await rig.shadow.settled()
        return rig

    rig = asyncio.run(main())
    assert set(rig.told.values()) == {None}
    assert len(rig.told) == 100
    assert rig.counts[DROPPED] == 99


def test_a_shadow_without_an_answer_is_given_up() -> None:
    """After its patience a batch is given up and counted as failed, and the next one gets its chance."""

    async def main() -> Rig:
        rig = Rig(lambda _: asyncio.Event().wait(), patience_s=0.001)  # type: ignore[arg-type,return-value]  # as above
        rig.offer(1)
        await rig.shadow.settled()
        return rig

    rig = asyncio.run(main())
    assert (rig.told, rig.counts) == ({1: None}, {FAILED: 1})


def test_what_waits_is_bounded_in_bytes() -> None:
    """Large requests are dropped where small ones would still fit."""

    async def main() -> Rig:
        rig = Rig(_doubled, waiting_bytes=16)
        for number in range(4):
            rig.offer(number)
        await rig.shadow.settled()
        return rig

    assert asyncio.run(main()).counts == {DROPPED: 2, ANSWERED: 2, FAILED: 0}
