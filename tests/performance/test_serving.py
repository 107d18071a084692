"""The servers that are put side by side run the same model, and the client counts what they answer."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.benchmarks.test_target import FEEDS, server, told
from tests.performance.serving import HERE, asked_as, mlp, one_row, post, read
from tests.performance.serving_peers import Model
from windtunnel.errors import DataError
from windtunnel.serving.remote import Reply
from windtunnel.session import OnnxSession, cut
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path


def test_same_model(tmp_path: Path) -> None:
    """What the raw servers read and run is what our own session makes of the same row."""
    variant = Variant.from_file(mlp(tmp_path))
    feeds, model = one_row(variant), Model(str(variant.path))
    path, body, _ = asked_as("mosec", "model", feeds)
    answer = model.run([model.read(body), model.read(body)])[1]

    assert path == "/inference"
    np.testing.assert_allclose(answer.reshape(-1), OnnxSession(variant.path).run(feeds)["y"].reshape(-1), rtol=1e-5)
    np.testing.assert_array_equal(read("mosec", Reply(200, {}, answer.tobytes())), answer.reshape(-1))
    np.testing.assert_allclose(
        read("litserve", Reply(200, {}, json.dumps({"y": answer.tolist()}).encode())), answer.reshape(-1)
    )


@pytest.mark.parametrize(("good", "counted"), [(True, "answered"), (False, "bad")])
def test_client(tmp_path: Path, counted: str, *, good: bool) -> None:
    """Whole answers are counted, those that are no 200 as bad, and nothing is lost."""

    def answer(_request: object) -> dict[str, str]:
        if not good:
            raise DataError("is refused", field="x")
        return told(None)  # type: ignore[arg-type]  # says the same of any request

    with server(answer) as address:
        request = tmp_path / "request"
        request.write_bytes(post(address, *asked_as("ours", "m", cut(FEEDS, 1))))
        words = [str(HERE / "serving_client.py"), address.host, str(address.port), str(request), "3", "0.5", "0.1"]
        ran = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    warm, found = ran.stdout.splitlines()

    assert ran.returncode == 0, ran.stderr
    assert warm == "warm"
    assert json.loads(found)[counted] > 0
    assert json.loads(found)["bad" if good else "answered"] == 0
    assert json.loads(found)["lost"] == 0
