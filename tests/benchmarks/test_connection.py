from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from windtunnel.benchmarks.connection import check_address, connected
from windtunnel.errors import ConfigError, MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def answer(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of somebody who answers whatever it is told with the bytes asked for."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            door, _ = server.accept()
            with door:
                door.recv(64)
                door.sendall(request.param)

        thread = threading.Thread(target=greet)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("where", ["localhost", ":6379", "host:port", "host:0", "ray://host", "host:70000"])
def test_no_address(where: str) -> None:
    """What is no address is refused, and the forms of an address are listed."""
    with pytest.raises(ConfigError, match=r"^`--ray-address` .*write host:6379, ray://host:10001, or auto$"):
        check_address(where)


def test_nobody_there() -> None:
    """Where nothing listens nobody waits for minutes: refused at once, with the way out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
    with (
        pytest.raises(MissingError, match=rf"^there is no Ray cluster to be reached at {where} \(.*\); start one"),
        connected(where),
    ):
        pass


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"hi", b""], indirect=True)
def test_somebody_else_there(answer: str) -> None:
    """The dashboard's port, or anything else that does not speak gRPC, is refused before Ray tries it."""
    with pytest.raises(MissingError, match="something else listens there"):
        check_address(answer)


@pytest.mark.parametrize("answer", [bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])], indirect=True)
def test_ray_there(answer: str) -> None:
    """What answers with a frame of settings speaks gRPC, and may be Ray."""
    check_address(answer)
