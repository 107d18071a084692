"""`windtunnel serve` on loopback: answers right, refuses cleanly, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import windtunnel

from .conftest import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Finished


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _ask(url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=60) as answer:  # noqa: S310  # loopback
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


@pytest.fixture(scope="module")
def served(finished: Finished) -> Iterator[str]:
    """The chosen variant of the finished run, served until the tests are done; then interrupted."""
    options = ["--max-batch", "4", "--replicas", "1", "--max-wait", "1ms"]
    command = [str(COMMAND), "serve", str(finished.folder), "--port", str(_free_port()), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("ready: "):
                break
        else:
            pytest.fail("".join(said))
        yield said[-1].removeprefix("ready: ").strip()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().endswith("stopped; what was in flight was answered\n")
    assert process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def _inputs(metadata: dict[str, Any], rows: int) -> list[dict[str, Any]]:
    tensors = []
    for each in metadata["inputs"]:
        shape = [rows, *each["shape"][1:]]
        tensors.append({**each, "shape": shape, "data": [70] * int(np.prod(shape))})
    return tensors


def test_answers_as_the_session_does(served: str, finished: Finished) -> None:
    """What comes over HTTP is what `windtunnel.load(RUN)` answers in this process."""
    _, metadata = _ask(served)
    status, answer = _ask(f"{served}/infer", {"id": "7", "inputs": _inputs(metadata, 3)})
    session = windtunnel.load(finished.folder)
    feeds = {t.name: np.full((3, *(int(axis) for axis in t.shape[1:])), 70, t.dtype) for t in session.signature.inputs}

    assert (status, answer["id"], answer["outputs"][0]["shape"]) == (200, "7", [3])
    assert np.allclose(session.run(feeds)["output"], answer["outputs"][0]["data"], atol=1e-6)


def test_a_bad_request_is_refused(served: str) -> None:
    """A missing input, a wrong datatype, a short tensor and no JSON at all each get a 400 that says why."""
    _, metadata = _ask(served)
    good = _inputs(metadata, 2)
    cases = {
        "given once": {"inputs": good[1:]},
        "must be UINT8": {"inputs": [{**good[0], "datatype": "FP32"}, *good[1:]]},
        "do not fill": {"inputs": [{**good[0], "data": [1]}, *good[1:]]},
        "list of tensors": 5,
    }
    for needle, body in cases.items():
        status, answer = _ask(f"{served}/infer", body)
        assert status == 400
        assert needle in answer["error"]
    assert _ask(f"{served}/infer", {"inputs": good})[0] == 200


def test_health_and_unknown_places(served: str) -> None:
    """Health says live and ready; another place is a 404 that names the right one."""
    root = served.partition("/v2/")[0]

    assert _ask(f"{root}/v2/health/ready") == (200, {"ready": True})
    status, answer = _ask(f"{root}/v2/nothing")
    assert status == 404
    assert "/infer" in answer["error"]
