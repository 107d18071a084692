"""The way into a Ray cluster: the address is knocked at first, and windtunnel's own source goes along."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel import run_folder
from windtunnel.errors import ConfigError, MissingError
from windtunnel.session import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_S = 5.0
"""How long a knock at an address waits."""


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Join a cluster for a while, and let windtunnel's own source travel to its nodes.

    Raises:
        ConfigError: the address is none.
        MissingError: no Ray cluster there, or one of another version of Ray or Python.
    """
    # what Ray will do by itself one day: leave the accelerators visible to those who asked for none
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    where = address or os.environ.get("RAY_ADDRESS", "") or "auto"
    check_address(where)
    source = str(Path(run_folder.__file__).parent)  # the folder whose digest is compared
    try:
        ray.init(address=where, log_to_driver=False, logging_level=logging.ERROR, runtime_env={"py_modules": [source]})
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_cluster(where, first_line(error)) from error
    try:
        # Ray prints what befalls its nodes to stdout, which belongs to the result
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        ray.shutdown()


def _no_cluster(where: str, why: str) -> MissingError:
    return MissingError(
        f"there is no Ray cluster to be reached at {where} ({why}); start one (ray start --head), "
        "or check --ray-address"
    )


def check_address(where: str) -> None:
    """Knock at an address before Ray does, which would knock for minutes.

    Raises:
        ConfigError: not an address.
        MissingError: nothing listens there, or something that is not Ray.

    Example:
        >>> check_address("localhost")
        Traceback (most recent call last):
        windtunnel.errors.ConfigError: `--ray-address` (='localhost') is no address of a Ray cluster; write ...
    """
    if where == "auto":
        return
    host, _, port = where.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(
            "is no address of a Ray cluster", field="--ray-address", value=where,
            fix="write host:6379, ray://host:10001, or auto",
        )  # fmt: skip
    try:
        with socket.create_connection((host, int(port)), CONNECT_S) as door:
            if os.environ.get("RAY_USE_TLS", "0") == "0" and not _speaks_http2(door):
                raise _no_cluster(where, "something else listens there; the dashboard's port is not the cluster's")
    except OSError as error:
        raise _no_cluster(where, str(error)) from error


def _speaks_http2(door: socket.socket) -> bool:
    """Whether the other side answers gRPC's greeting, as Ray does: with a frame of settings (RFC 9113, 3.4 and 6.5)."""
    door.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    head = door.recv(9, socket.MSG_WAITALL)
    return len(head) == 9 and head[3] == 4
