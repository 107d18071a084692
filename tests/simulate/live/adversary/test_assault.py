"""An assault on servers with a planted fault: each is found, and a sound one is found sound."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.seeds import Seeds
from windtunnel.simulate.live import Target
from windtunnel.simulate.live.adversary.assault import FAMILIES, Assault, Hostility
from windtunnel.simulate.live.adversary.conversation import Material
from windtunnel.simulate.live.adversary.judgement import findings_of, tally
from windtunnel.simulate.live.adversary.oracle import Oracle
from windtunnel.simulate.live.drive import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.simulate.live.adversary.conversation import Arrays
    from windtunnel.simulate.live.adversary.judgement import Finding

ROWS = [{"x": np.random.default_rng(at).normal(size=(1, 4)).astype(np.float32)} for at in range(16)]

LASTS_S, LIMIT_S, RATE_PER_S = 2.5, 1.0, 60.0


@contextmanager
def vulnerable(fault: str) -> Iterator[str]:
    """The address of a server with that fault."""
    command = [sys.executable, str(Path(__file__).with_name("vulnerable.py")), fault]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


def summed(feeds: Arrays) -> Arrays:
    """The model alone."""
    with np.errstate(over="ignore", invalid="ignore"):
        return {"y": feeds["x"].sum(axis=1)}


def assail(fault: str, *names: str) -> tuple[Assault, list[Finding]]:
    """Assail a server with that fault with the families of these names, all where none is named."""
    families = tuple(each for each in FAMILIES if not names or each.name in names)
    hostility = Hostility(
        rate_per_s=RATE_PER_S, most=60 if names else 1000, slow=4, idle=4, limit_s=LIMIT_S, families=families
    )
    with vulnerable(fault) as url:
        target = Target.find(url, "sum")
        assault = Assault(Material(target, ROWS), hostility, 0.0, LASTS_S, Seeds(1))
        with assault:
            assault.heed(Progress(0.0, 1, 0, 0, 0, 0, math.nan, math.nan))
            assault.wait()
    return assault, findings_of(assault.outcomes, Oracle.of(summed, ROWS, stack=True))


@pytest.mark.parametrize(
    ("fault", "family", "found"),
    [
        ("wrong", "pipelined", "wrong"), ("take", "shapes", "taken"), ("hang", "json", "hung"), ("patient", "slowloris", "hung"),
        ("crash", "shapes", "gone"),
    ],
)  # fmt: skip
def test_planted_faults_are_found(fault: str, family: str, found: str) -> None:
    """Whoever answers wrongly, takes what is malformed, hangs, waits for ever or dies is found out, with the family that did it."""
    _, findings = assail(fault, family)

    assert found in {each.fault for each in findings}
    assert {each.family for each in findings} == {family}


def test_a_process_that_was_started_anew_is_a_crash() -> None:
    """A server that ends and comes back at once under the same address is seen to have ended."""
    assault, _ = assail("restart", "shapes")

    assert assault.crashes is not None
    assert assault.crashes >= 1


def test_a_sound_server_stands() -> None:
    """No finding, no process ended, every family tried, and its connections bounded; the slow ones were given up."""
    assault, findings = assail("none")
    told: dict[str, Any] = {each.name: tally(each.name, assault.outcomes, findings) for each in FAMILIES}

    assert findings == []
    assert assault.crashes == 0
    assert all(each.tried for each in told.values())
    assert (
        sum(each.tried for each in told.values() if each.family not in ("slowloris", "idle connections"))
        <= RATE_PER_S * LASTS_S
    )
    assert told["slowloris"].dropped >= 4
    assert told["pipelined"].codes["200"] > 10
    assert not any(thread.name == "adversary" for thread in threading.enumerate())


def test_the_same_seed_sends_the_same() -> None:
    """What is sent depends on the seed and the family alone."""
    from windtunnel.serving.remote import Address, RemoteModel
    from windtunnel.variant import Signature, Tensor

    signature = Signature((Tensor("x", "float32", ("n", 4)),), (Tensor("y", "float32", ("n",)),))
    target = Target(RemoteModel(Address("127.0.0.1", 1), "sum", "s", signature, True), ("127.0.0.1", 1))
    quick = [each for each in FAMILIES if each.name != "decompression bombs"]

    def sent(seed: int) -> list[Any]:
        made = [each().conversations(Material(target, ROWS), Seeds(seed)) for each in quick]
        return [next(each).steps for each in made for _ in range(4)]

    assert sent(1) == sent(1)
    assert sent(1) != sent(2)
