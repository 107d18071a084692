"""Every runtime that can be opened here, over one model that can be worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from windtunnel.bound_session import BoundSession
from windtunnel.runtime import RUNTIMES, open_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.session import Session

MODULE = """
import torch

class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("w", torch.tensor([0.5, -0.25, 1.0, 2.0]))

    def forward(self, x):
        return torch.sigmoid(x @ self.w)

def make():
    return Tiny(), {"x": torch.zeros(3, 4)}
"""
"""The same model as `tiny_model`, as a user would write it."""

OPENED = [*(name for name in RUNTIMES if name != "torch-compile"), "bound", "bound-in-place"]
"""What the contract is held against; the compiling runtime takes many seconds a shape and has a test of its own."""


@pytest.fixture
def tiny_source(tmp_path: Path) -> str:
    """The tiny model as a function of the user's, `tiny.py:make`, in the test's folder."""
    (tmp_path / "tiny.py").write_text(MODULE)
    return "tiny.py:make"


@pytest.fixture(
    params=[pytest.param(n, marks=pytest.mark.gpu if "cuda" in n or "tensorrt" in n else ()) for n in OPENED]
)
def opened(
    request: pytest.FixtureRequest, tiny_model: Path, tiny_source: str, tmp_path: Path
) -> Callable[..., Session]:
    """Opens the tiny model in one runtime; skipped, with the reason, where that cannot run here."""
    name: str = request.param
    if name.startswith("bound"):
        in_place = name == "bound-in-place"
        return lambda threads=1: BoundSession(
            tiny_model, threads=threads, provider="CPUExecutionProvider", device="cpu", graphs=in_place
        )
    if reason := RUNTIMES[name].missing():
        pytest.skip(reason)
    source = tiny_source if RUNTIMES[name].takes == "torch" else tiny_model
    return lambda threads=1: open_session(source, name, threads=threads, home=tmp_path)
