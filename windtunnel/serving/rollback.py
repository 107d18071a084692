"""`windtunnel rollback`: take canary and shadow out of a running server, without losing a request."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.errors import InputError, MeasurementError
from windtunnel.quantity import format_share
from windtunnel.serving.switchboard import LATEST_S, socket_of
from windtunnel.serving.traffic import Plan

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class RolledBack:
    """What a rollback took out.

    Args:
        was: who took part before.
        replicas: how many heeded it.
    """

    was: Plan
    replicas: int

    def to_dict(self) -> dict[str, Any]:
        """What was taken out, as JSON values."""
        return {**self.was.to_dict(), "replicas": self.replicas}

    def __str__(self) -> str:
        out = [f"a canary of {format_share(self.was.canary)}"] if self.was.canary else []
        out += ["a shadow"] if self.was.shadow else []
        return f"rolled back: {' and '.join(out)} taken out" if out else "nothing to roll back: the primary was alone"


def roll_back(port: int) -> RolledBack:
    """Leave the primary alone on the server of a port; returns once no request is answered by a canary any more.

    Requests in flight are answered: by the canary if it does so in time, else by the primary.

    Raises:
        InputError: no server of this user listens there.
        MeasurementError: a replica did not heed it in time.
    """
    path = socket_of(port)
    answer = json.loads(_ask(path, b'{"ask": "rollback"}\n') or b"{}")
    if not answer:
        raise InputError("hung up before it was done: the server has ended", file=path, fix="see whether it still runs")
    if answer["behind"]:
        raise MeasurementError(
            f"{answer['behind']} of {answer['replicas']} replicas did not heed it within {LATEST_S:g} s; try again"
        )
    return RolledBack(Plan(**answer["was"]), answer["replicas"])


def _ask(path: Path, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as to:
        to.settimeout(2.0 * LATEST_S)
        try:
            to.connect(str(path))
        except OSError as error:
            raise InputError(
                "is not there", file=path, fix="give the --port of a running `windtunnel serve`, as the same user"
            ) from error
        to.sendall(line)
        with to.makefile("rb") as answer:
            return answer.readline()
