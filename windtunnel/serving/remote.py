"""A RemoteModel: a model behind any server of the Open Inference Protocol, as the server tells of it; and a connection to ask it by."""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

from windtunnel.errors import ConfigError, DataError
from windtunnel.serving.protocol import read_answer, read_metadata, write_request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from numpy.typing import NDArray

    from windtunnel.variant import Signature

BINARY = "binary_tensor_data"
"""What a server calls the binary extension in its metadata (Triton's `docs/protocol/extension_binary_data.md`)."""

PATIENCE_S = 30.0
"""How long an answer may take."""


@dataclass(frozen=True)
class Address:
    """Where a server listens.

    Args:
        host: name or number.
        port: of TCP.
        root: what stands before `/v2`; empty as a rule.
    """

    host: str
    port: int
    root: str = ""

    @staticmethod
    def parse(url: str) -> Address:
        """Read `http://host:port`.

        Raises:
            ConfigError: not that.

        Example:
            >>> Address.parse("http://127.0.0.1:9000/")
            Address(host='127.0.0.1', port=9000, root='')
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"is no address ({error})", field="--target", value=url) from error
        if parts.scheme != "http" or not host or parts.query or parts.fragment:
            raise ConfigError("is no address", field="--target", value=url, fix="write http://127.0.0.1:9000")
        return Address(host, port or http.client.HTTP_PORT, parts.path.rstrip("/"))

    @property
    def loopback(self) -> bool:
        """Whether every number that the host's name stands for is this machine's own.

        Raises:
            ConfigError: a name that stands for none.
        """
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ConfigError(
                f"is not known ({error})", field="--target", value=self.host, fix="give a name that is, or the address"
            ) from error
        return all(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)

    def __str__(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}{self.root}"


def refuse_foreign(url: str, *, owned: bool) -> Address:
    """The address of a server that may be loaded: on this machine, or said to be the user's own.

    Raises:
        ConfigError: somebody else's, as far as anyone said.

    Example:
        >>> refuse_foreign("http://192.0.2.7", owned=False)
        Traceback (most recent call last):
        windtunnel.errors.ConfigError: `--target` (='http://192.0.2.7:80') is not on this machine, ...
    """
    address = Address.parse(url)
    if not owned and not address.loopback:
        raise ConfigError(
            "is not on this machine, and load is no gift to a stranger", field="--target", value=str(address),
            fix="add --i-own-this-target if it is yours to load",
        )  # fmt: skip
    return address


@dataclass(frozen=True)
class Reply:
    """What a server answered.

    Args:
        status: of HTTP.
        headers: by name.
        body: all of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Connection:
    """One kept-alive connection to a server; opened anew where the server closed it between two questions.

    Args:
        address: of the server.
        token: sent as a bearer's, where the server wants one.
        patience_s: how long an answer may take.
    """

    def __init__(self, address: Address, token: str = "", patience_s: float = PATIENCE_S) -> None:
        self._address, self._line = address, http.client.HTTPConnection(address.host, address.port, timeout=patience_s)
        self._bearer = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Ask and wait.

        Raises:
            OSError: nobody answers there, or not in time.
            http.client.HTTPException: what answers does not speak HTTP.
        """
        fresh = self._line.sock is None
        try:
            return self._asked(method, path, body, headers or {})
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self._line.close()
            if fresh:
                raise
        return self._asked(method, path, body, headers or {})  # it had been closed while nothing was asked

    def _asked(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        self._line.request(method, self._address.root + path, body, {**self._bearer, **headers})
        answer = self._line.getresponse()
        return Reply(answer.status, dict(answer.getheaders()), answer.read())

    def close(self) -> None:
        """Hang up."""
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class RemoteModel:
    """A model behind a server, as the server tells of it.

    Args:
        address: of the server.
        name: of the model there.
        server: what the server calls itself, and its version; `unnamed` where it does not say.
        signature: what the model takes and gives; without tensors where the server does not tell them.
        binary: whether the server says that it speaks binary tensors.
        token: sent as a bearer's; empty where none is asked for.
    """

    address: Address
    name: str
    server: str
    signature: Signature
    binary: bool
    token: str = ""

    @property
    def path(self) -> str:
        """Where it is asked."""
        return f"{place(self.name)}/infer"

    def connect(self, patience_s: float = PATIENCE_S) -> Connection:
        """A connection of one's own."""
        return Connection(self.address, self.token, patience_s)

    def infer(self, connection: Connection, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask the model, in the form that its server speaks.

        Raises:
            DataError: refused, or not the protocol.
            OSError: nobody answers.
        """
        body, headers = write_request(feeds, binary=self.binary)
        reply = connection.ask("POST", self.path, body, headers)
        return read_answer(reply.body, reply.headers)


def place(name: str) -> str:
    """The path of a model.

    Example:
        >>> place("a model"), place("m")
        ('/v2/models/a%20model', '/v2/models/m')
    """
    return f"/v2/models/{quote(name, safe='')}"


def discover(address: Address, name: str, *, token: str = "", patience_s: float = PATIENCE_S) -> RemoteModel:
    """Ask a server about itself and one of its models.

    Args:
        address: of the server.
        name: of the model.
        token: sent as a bearer's; empty for none.
        patience_s: how long each answer may take.

    Raises:
        ConfigError: nobody answers, or the model is not there or not ready.
        DataError: what answers does not speak the protocol.
    """
    with Connection(address, token, patience_s) as connection:
        try:
            server, ready, model = (
                connection.ask("GET", path) for path in ("/v2", f"{place(name)}/ready", place(name))
            )
        except (OSError, http.client.HTTPException) as error:
            raise ConfigError(
                f"does not answer ({error})", field="--target", value=str(address), fix="is the server running there?"
            ) from error
    if model.status != http.HTTPStatus.OK or ready.status != http.HTTPStatus.OK:
        told = model.told if model.status != http.HTTPStatus.OK else ready.told
        why = told.get("error") if isinstance(told, dict) else None
        raise ConfigError(
            f"is not ready at {address} (HTTP {model.status}, {ready.status}{f': {why}' if why else ''})", field="--model",
            value=name, fix="give a name that the server knows, and the token if it wants one",
        )  # fmt: skip
    try:
        signature = read_metadata(model.told)
    except DataError as error:
        raise DataError(f"does not speak the Open Inference Protocol: {error}", field=str(address)) from error
    named, binary = _server(server.told)
    return RemoteModel(address, name, named, signature, binary, token)


def _server(told: Any) -> tuple[str, bool]:
    """What a server calls itself, and whether it speaks binary tensors."""
    if not isinstance(told, dict):
        return "unnamed", False
    extensions = told.get("extensions")
    binary = isinstance(extensions, list) and BINARY in extensions
    return " ".join(str(told[key]) for key in ("name", "version") if told.get(key)) or "unnamed", binary
