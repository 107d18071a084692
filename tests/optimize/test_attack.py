from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from windtunnel.errors import MissingError
from windtunnel.optimize.attack import REACH, attack_parity, load_toolbox
from windtunnel.session import Session
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from numpy.typing import NDArray

    Array = NDArray[Any]

pytest.importorskip("art")


class _Model(Session):
    """Answers with a formula of its inputs."""

    def __init__(self, formula: Callable[..., Array]) -> None:
        self.signature, self.formula = Signature((Tensor("x", "float32", ("n", 6)),), ()), formula

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": self.formula(**feeds)}


class _Source(torch.nn.Module):
    """The parent as its user wrote it: a probability from `x`, shifted by what `kind` says."""

    def forward(self, x: torch.Tensor, kind: torch.Tensor | None = None) -> torch.Tensor:
        score = x @ torch.tensor(WEIGHTS, dtype=torch.float32)
        return torch.sigmoid(score if kind is None else score + kind.to(torch.float32))


WEIGHTS = np.array([3.0, -2.0, 1.0, 0.5, 0.0, 1.0])
X = np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32)


def _score(x: Array) -> Array:
    # not by BLAS, whose last digit may hang on where the array lies
    return np.asarray((x * WEIGHTS).sum(axis=1))


def _probability(x: Array, kind: Array | float = 0.0) -> Array:
    return np.asarray(1 / (1 + np.exp(-(_score(x) + kind))), np.float32)


def _striped(x: Array) -> Array:
    """A model that changes its mind again and again along the parent's score: every row is close to another decision."""
    return np.asarray(1 / (1 + np.exp(-5 * np.sin(8 * _score(x)))), np.float32)


def test_a_copy_is_no_easier_to_fool() -> None:
    """Of parent and copy every distance is the same; gradients of the source fool many rows, and both alike."""
    found = attack_parity(_Model(_probability), _Model(_probability), {"x": X}, seed=1, module=_Source(), rows=4)
    walk, sign, steps = found.breakages

    assert found.skipped == ()
    assert walk.more.value == 0.0
    assert sign.parent == sign.child > 0.0
    assert steps.parent == steps.child >= sign.parent
    assert f"FGSM on the source, {REACH:g}" in sign.name


def test_a_striped_child_is_easier_to_fool() -> None:
    """A child that changes its mind too often is fooled from nearer by, and shown to break."""
    found = attack_parity(_Model(_probability), _Model(_striped), {"x": X}, seed=1, rows=16)

    assert found.breakages[0].child > found.breakages[0].parent
    assert found.breakages[0].outcome == "breaks"
    assert found.skipped == (("FGSM and PGD", "there is no source module to take gradients of"),)


def test_what_is_not_of_floats_stays() -> None:
    """Only floats are attacked; whole numbers beside them are passed on with their own rows."""
    kind = np.random.default_rng(2).integers(-2, 3, 300)
    model = _Model(_probability)
    found = attack_parity(model, model, {"x": X, "kind": kind}, seed=1, module=_Source(), rows=2)

    assert len(found.breakages) == 3
    assert {each.apart.value for each in found.breakages} == {0.0}


def test_chance_comes_from_the_seed_alone() -> None:
    """Attacks draw from their seed, and leave the global streams as they were: the same seed, the same figures."""
    np.random.seed(5)  # noqa: NPY002  # the stream that the toolbox draws from
    first = attack_parity(_Model(_probability), _Model(_striped), {"x": X}, seed=1, rows=2)
    after = np.random.random()  # noqa: NPY002  # as above
    again = attack_parity(_Model(_probability), _Model(_striped), {"x": X}, seed=1, rows=2)
    np.random.seed(5)  # noqa: NPY002  # as above

    assert first == again
    assert after == np.random.random()  # noqa: NPY002  # as above


def test_a_fixed_batch_is_not_walked() -> None:
    """A model that takes 64 rows at once, and no other number, cannot be walked about, and that is said."""
    fixed = _Model(_probability)
    fixed.signature = Signature((Tensor("x", "float32", (64, 6)),), ())

    assert attack_parity(fixed, fixed, {"x": X}, seed=1, rows=4).skipped[0] == (
        "HopSkipJump",
        "the model takes a fixed number of rows at once",
    )


@pytest.mark.parametrize(
    ("formula", "feeds", "why"),
    [
        (lambda x: _score(x) * 9, {"x": X}, "the answers decide nothing"),
        (lambda x: (x.sum(axis=1) % 2).astype(np.int64), {"x": np.arange(600).reshape(100, 6)}, "no input is of floats that vary"),
    ],
    ids=["values", "whole numbers"],
)  # fmt: skip
def test_what_cannot_be_attacked(formula: Callable[..., Array], feeds: dict[str, Array], why: str) -> None:
    """Values have no decision to change, and whole numbers no small steps: that is said, and nothing is run."""
    model = _Model(formula)

    assert attack_parity(model, model, feeds, seed=1).skipped == (("HopSkipJump", why), ("FGSM and PGD", why))


def test_the_toolbox_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the toolbox the command that brings it is named."""
    monkeypatch.setitem(sys.modules, "art", None)
    monkeypatch.setitem(sys.modules, "art.attacks", None)

    with pytest.raises(MissingError, match=r"pip install 'windtunnel\[robustness\]'"):
        load_toolbox()
