"""A server in a process of its own, for as long as a block runs: `windtunnel serve` started, awaited and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.errors import MissingError
from windtunnel.serving.tied import tied

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from windtunnel.deployment import Deployment
    from windtunnel.serving.server import Options

STOPPING_S = 60.0
"""After so long a server that was told to stop is ended."""


@dataclass(frozen=True)
class Served:
    """A server that answers.

    Args:
        url: of the model: `…/v2/models/NAME`.
        notes: what it said of itself, such as why it goes without HAProxy; empty where all is as it should be.
        pid: of its first process.
    """

    url: str
    notes: str
    pid: int

    @property
    def root(self) -> str:
        """The server's address, without what it serves.

        Example:
            >>> Served("http://127.0.0.1:8000/v2/models/m", "", 1).root
            'http://127.0.0.1:8000'
        """
        return self.url.partition("/v2/")[0]


@contextmanager
def serving(
    model: Path, deployment: Deployment | None = None, options: Options | None = None, more: Sequence[str] = ()
) -> Iterator[Served]:
    """Serve a model in a process of its own while a block runs.

    Args:
        model: a run folder, a bundle or an ONNX file.
        deployment: replicas and batching; as planned where None.
        options: where, and what is taken; a free port of loopback where None.
        more: further options of the command.

    Raises:
        MissingError: it ended before it answered; with what it said.
    """
    command = [sys.executable, "-m", "windtunnel.cli", "serve", str(model), *words(deployment, options), *more]
    with tempfile.TemporaryFile("w+") as said:
        # a group of its own, so that Ctrl-C reaches us alone and we stop it once; where we are killed it stops by itself
        process = subprocess.Popen(
            tied(command), stderr=subprocess.PIPE, stdout=said, text=True, start_new_session=True
        )
        try:
            yield _await(process)
        finally:
            _stop(process)


def words(deployment: Deployment | None, options: Options | None) -> list[str]:
    """The options of the command that say the same.

    Example:
        >>> words(None, None)
        ['--port', '0']
    """
    told = ["--port", str(options.port if options else 0)]
    if deployment is not None:
        batch = deployment.batch
        told += ["--replicas", str(deployment.replicas), "--max-batch", str(batch.max_batch)]
        told += ["--max-wait", f"{batch.max_wait_s * 1e6:.0f}us"]
        told += ["--most", str(deployment.most)] if deployment.most else []
    if options is not None:
        limits = options.limits
        told += ["--host", options.host, "--max-body", f"{limits.max_body_bytes}B", "--nan", limits.nan]
        told += ["--max-json", f"{limits.max_json_bytes}B"]
        told += ["--token-file", str(options.token_file)] if options.token_file else []
        told += ["--max-ongoing", str(options.max_ongoing)] if options.max_ongoing else []
    return told


def _await(process: subprocess.Popen[str]) -> Served:
    """Wait for the line that says where it answers; the server ends by itself where it cannot."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("ready: "):
            url, _, notes = line.removeprefix("ready: ").strip().partition(" ")
            return Served(url, notes.strip("()"), process.pid)
    raise MissingError("the server ended before it answered: " + "".join(said[-5:]).strip())


def _stop(process: subprocess.Popen[str]) -> None:
    """Tell it to stop, and wait until it has; what is left of its group after that is ended."""
    assert process.stderr is not None
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=STOPPING_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
