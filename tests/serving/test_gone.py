"""Gone: who has hung up is found out, also behind a long body, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import uvicorn

from windtunnel.serving.app import Waiting, serve_batch
from windtunnel.serving.gone import gone, is_gone, read_on
from windtunnel.serving.limits import Refused
from windtunnel.serving.meter import Meter, expose

from .test_desk import Fragile

if TYPE_CHECKING:
    from collections.abc import Callable


class Asker:
    """As much of uvicorn's view of a request as is looked at."""

    def __init__(self, *, disconnected: bool) -> None:
        self.disconnected = disconnected

    async def receive(self) -> dict[str, Any]:
        """Never asked."""
        raise AssertionError


def waiting(value: float, *, left: bool) -> Waiting:
    """A request of one row."""
    return Waiting(0.0, {"x": np.full((1, 2), value, np.float32)}, Asker(disconnected=left).receive)


def test_who_is_gone_is_left_out_of_a_batch() -> None:
    """Of three the one in the middle has left: two rows are run, each gets its own, and the third is a 499 of its own."""
    session, meter = Fragile(), Meter()
    served = serve_batch(session, meter, [waiting(1.0, left=False), waiting(2.0, left=True), waiting(3.0, left=False)])
    first, middle, last = (each.outputs for each in served)

    assert session.asked == [2]
    assert isinstance(first, dict)
    assert isinstance(last, dict)
    assert (first["y"].tolist(), last["y"].tolist()) == ([2.0], [6.0])
    assert isinstance(middle, Refused)
    assert middle.status == 499
    assert "windtunnel_rows_total 2" in expose([meter.numbers])


def test_where_all_are_gone_nothing_is_run() -> None:
    """The model is not asked, and no batch is counted."""
    session, meter = Fragile(), Meter()
    served = serve_batch(session, meter, [waiting(1.0, left=True), waiting(2.0, left=True)])

    assert session.asked == []
    assert all(isinstance(each.outputs, Refused) for each in served)
    assert served[0].outputs is not served[1].outputs
    assert "windtunnel_batches_total 0" in expose([meter.numbers])


def test_nobody_is_gone_where_nobody_knows() -> None:
    """A request of no network, or of a server that says nothing, is served."""

    async def receive() -> None:
        """Never asked."""

    assert not is_gone(None)
    assert not is_gone(receive)
    read_on(receive)
    assert gone() is not gone()


async def hung_up(size: int, *, then: Callable[[Any], None]) -> bool:
    """Send a body to uvicorn, hang up once it has read it, and say whether it knows."""
    known: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    read = asyncio.Event()

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        came = 0
        while came < size:
            came += len((await receive())["body"])
        then(receive)
        read.set()
        for _ in range(200):
            if is_gone(receive):
                break
            await asyncio.sleep(0.005)  # whether it comes to know is the question, so there is nothing to wait for
        known.set_result(is_gone(receive))

    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn sets no event
        await asyncio.sleep(0.005)
    address = server.servers[0].sockets[0].getsockname()
    _, writer = await asyncio.open_connection(*address[:2])
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    await read.wait()
    writer.close()
    found = await known
    server.should_exit = True
    await running
    return found


def test_uvicorn_knows_who_has_hung_up() -> None:
    """After a short body, and after a long one that was read to its end, once it may read on."""
    assert asyncio.run(hung_up(1000, then=lambda _: None))
    assert asyncio.run(hung_up(300_000, then=read_on))
