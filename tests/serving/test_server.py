"""Options of a server, and the port that it takes; the server itself is in `test_served.py`."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from windtunnel.deployment import BatchPolicy, Deployment
from windtunnel.errors import ConfigError
from windtunnel.serving.limits import Limits
from windtunnel.serving.running import words
from windtunnel.serving.server import Options, free_port


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "203.0.113.7"])  # noqa: S104  # they are refused
def test_other_addresses_need_a_token(host: str) -> None:
    """Who can be reached by others must ask for a token."""
    with pytest.raises(ConfigError, match=r"--host.*would answer everybody; give --token-file"):
        Options(host=host)
    assert not Options(host=host, token_file=Path("token")).is_loopback


def test_a_name_is_no_address() -> None:
    """A name may mean anything to whoever resolves it."""
    with pytest.raises(ConfigError, match="is not an address"):
        Options(host="localhost")


def test_a_port_that_is_taken() -> None:
    """A taken port is one sentence, before anything is started; 0 is one that is free."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--port.*127.0.0.1:{port}.*Address already in use.*give another"):
            free_port("127.0.0.1", port)
    assert free_port("127.0.0.1", port) == port
    assert free_port("127.0.0.1", 0) > 0


def test_an_address_of_another_machine() -> None:
    """An address that is not this machine's cannot be listened on."""
    with pytest.raises(ConfigError, match="Cannot assign requested address"):
        free_port("203.0.113.7", 0)


@pytest.mark.parametrize("changes", [{"max_body_bytes": 0}, {"max_json_bytes": 0}, {"body_s": 0.0}, {"nan": "maybe"}])
def test_limits_that_are_none(changes: dict[str, object]) -> None:
    """Nothing at all is not a limit, and there are two ways with NaN."""
    with pytest.raises(ConfigError):
        Limits(**changes)  # type: ignore[arg-type]  # as a user might


def test_options_in_the_command_s_words() -> None:
    """A server in a process of its own is told what the options say."""
    deployment = Deployment("m", 2, BatchPolicy(8, 0.0025), machines=1, usd_per_hour=0.0, most=3)
    told = words(deployment, Options(port=81, token_file=Path("t"), limits=Limits(1000, "allow"), max_ongoing=9))

    assert dict(zip(told[::2], told[1::2], strict=True)) == {
        "--port": "81", "--replicas": "2", "--max-batch": "8", "--max-wait": "2500us", "--most": "3", "--host": "127.0.0.1",
        "--max-body": "1000B", "--max-json": "4194304B", "--nan": "allow", "--token-file": "t", "--max-ongoing": "9",
    }  # fmt: skip
