"""Targets: whom one may load, when they are ready, and what a request to them looks like."""

from __future__ import annotations

from typing import Any

import pytest

from windtunnel.errors import ConfigError
from windtunnel.simulate.live import Target


def test_a_server_is_asked_what_it_serves(nothing: Any) -> None:
    """Name, tensors and forms are the server's own words; a request goes to its model by the number its name stands for."""
    with nothing() as url:
        target = Target.find(url.replace("127.0.0.1", "localhost"), "null")
        port = int(url.rpartition(":")[2])

    assert target.model.server == "null 1"
    assert target.binary
    assert [each.name for each in target.signature.inputs] == ["x"]
    assert target.address[1] == port
    head = target.head(7, {"Content-Type": "application/json"}).decode()
    assert head.startswith(f"POST /v2/models/null/infer HTTP/1.1\r\nHost: localhost:{port}\r\n")
    assert head.endswith("Content-Length: 7\r\n\r\n")


def test_a_machine_of_others_is_refused() -> None:
    """An address that is not loopback is refused before anything is sent to it."""
    with pytest.raises(ConfigError, match="--i-own-this-target"):
        Target.find("http://192.0.2.1:9000", "m")


def test_who_does_not_answer_is_named(nothing: Any) -> None:
    """No server, or no such model: the message names the option and the way out."""
    with nothing() as url, pytest.raises(ConfigError, match=r"`--model` .='other'.* is not ready"):
        Target.find(url, "other")
    with pytest.raises(ConfigError, match=r"`--target` .* does not answer .*; is the server running"):
        Target.find(url, "null")
