"""A Target: a server that may be loaded, the model of it that is asked, and what a request to it looks like."""

from __future__ import annotations

import http.client
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.errors import ConfigError, MeasurementError
from windtunnel.quantity import format_duration
from windtunnel.serving.remote import Connection, discover, place, refuse_foreign

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.serving.remote import Address, RemoteModel
    from windtunnel.variant import Signature

READY_S = 60.0
"""How long a server that answers may take until it is ready."""

ASK_S = 10.0
"""How long one question to it may take."""

BETWEEN_S = 0.1
"""Between two looks whether it is ready."""

UNREADY = (http.HTTPStatus.BAD_REQUEST, http.HTTPStatus.SERVICE_UNAVAILABLE)
"""What servers say while they load: Triton and KServe 400 or 503."""


@dataclass(frozen=True)
class Target:
    """A model behind a server.

    Args:
        model: as the server tells of it.
        address: the number its host stands for, and the port: connections go there, so that no name changes its meaning under way.
        ready_s: how long it took until it was ready.
    """

    model: RemoteModel
    address: tuple[str, int]
    ready_s: float = 0.0

    @property
    def url(self) -> str:
        """Of the server."""
        return str(self.model.address)

    @property
    def name(self) -> str:
        """Of the model."""
        return self.model.name

    @property
    def signature(self) -> Signature:
        """What the model takes and gives."""
        return self.model.signature

    @property
    def binary(self) -> bool:
        """Whether it takes tensors as raw bytes."""
        return self.model.binary

    def head(self, length: int, headers: Mapping[str, str]) -> bytes:
        """The head of an inference request whose body is so long."""
        address = self.model.address
        host = str(address).removeprefix("http://").removesuffix(address.root)
        lines = [f"POST {address.root}{self.model.path} HTTP/1.1", f"Host: {host}"]
        lines += [f"Authorization: Bearer {self.model.token}"] if self.model.token else []
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, f"Content-Length: {length}", "\r\n"]).encode("latin-1")

    @staticmethod
    def find(url: str, name: str, *, token: str = "", owned: bool = False, ready_s: float = READY_S) -> Target:
        """Look whom an address belongs to, wait until it is ready, and ask it what it serves.

        Args:
            url: `http://HOST:PORT`.
            name: of the model.
            token: a bearer token; empty where it asks for none.
            owned: whether whoever asks says that it may be loaded though it is not on this machine.
            ready_s: how long it may take until it is ready.

        Raises:
            ConfigError: no such address, nobody there, no such model, or not on this machine and not said to be one's own.
            DataError: what answers does not speak the protocol.
            MeasurementError: it is not ready in time.
        """
        address = refuse_foreign(url, owned=owned)
        number = str(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][4][0])
        began_s = time.monotonic()
        _wait_until_ready(address, name, token, ready_s)
        took_s = time.monotonic() - began_s
        return Target(discover(address, name, token=token, patience_s=ASK_S), (number, address.port), took_s)


def _wait_until_ready(address: Address, name: str, token: str, within_s: float) -> None:
    """Ask until the server does not say any more that it, or the model, is not ready."""
    until_s = time.monotonic() + within_s
    for path in ("/v2/health/ready", f"{place(name)}/ready"):
        while (status := _status(address, path, token)) in UNREADY:
            if time.monotonic() > until_s:
                raise MeasurementError(
                    f"{address} is not ready after {format_duration(within_s)}: it answers {path} with {status}"
                )
            time.sleep(BETWEEN_S)  # readiness can only be asked for
        if status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
            raise ConfigError(
                f"does not let us in (it says {status})", field="--target", value=str(address), fix="give --token-file"
            )


def _status(address: Address, path: str, token: str) -> int:
    try:
        with Connection(address, token, ASK_S) as connection:
            return connection.ask("GET", path).status
    except (OSError, http.client.HTTPException) as error:
        raise ConfigError(
            f"does not answer ({error})", field="--target", value=str(address), fix="is the server running there?"
        ) from error
