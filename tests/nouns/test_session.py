from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windtunnel.errors import ModelError
from windtunnel.session import NullSession, OnnxSession, Session, cut, run_in_batches
from windtunnel.variant import Signature, Tensor, read_signature

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WEIGHTS = np.array([0.5, -0.25, 1.0, 2.0])


def _rows(n: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_onnx_against_numpy(tiny_model: Path, rows: int, threads: int) -> None:
    """The runtime gives what the model says, for any batch and any number of threads."""
    x = _rows(rows)
    answers = OnnxSession(tiny_model, threads=threads).run({"x": x})

    assert list(answers) == ["y"]
    assert (np.dtype("float32"), (rows,)) == (answers["y"].dtype, answers["y"].shape)
    assert np.allclose(1 / (1 + np.exp(-x @ WEIGHTS)), answers["y"], atol=1e-6)


def test_onnx_reads_or_takes_the_signature(tiny_model: Path) -> None:
    """A signature is read from the file where none is given, and taken as it is where one is."""
    signature = read_signature(tiny_model)

    assert signature == OnnxSession(tiny_model).signature
    assert OnnxSession(tiny_model, signature).signature is signature


def test_truncated_file(tiny_model: Path) -> None:
    """A file that was cut off is refused by name, also where its signature is known already."""
    signature = read_signature(tiny_model)
    tiny_model.write_bytes(tiny_model.read_bytes()[:-20])

    with pytest.raises(ModelError, match=r"tiny\.onnx: is not a whole ONNX model"):
        OnnxSession(tiny_model)
    with pytest.raises(ModelError, match=r"tiny\.onnx: cannot be loaded by ONNX Runtime"):
        OnnxSession(tiny_model, signature)


def test_null_session(tiny_model: Path) -> None:
    """Doing nothing answers in the shapes and dtypes of the real model, for any batch."""
    real, null = OnnxSession(tiny_model), NullSession(read_signature(tiny_model))
    for rows in (1, 5, 1, 0):
        answers = null.run({"x": _rows(rows)})
        assert {name: (a.dtype, a.shape) for name, a in real.run({"x": _rows(rows)}).items()} == {
            name: (a.dtype, a.shape) for name, a in answers.items()
        }
        assert not answers["y"].any()


def test_null_session_fills_free_axes() -> None:
    """A free axis beyond the batch is one wide, a fixed one as wide as it says."""
    outputs = (Tensor("p", "float64", ("n", 3)), Tensor("q", "int64", ("n", "labels")))
    answers = NullSession(Signature((Tensor("x", "float32", ("n",)),), outputs)).run({"x": np.zeros(2)})

    assert {name: a.shape for name, a in answers.items()} == {"p": (2, 3), "q": (2, 1)}
    assert answers["q"].dtype == np.int64


class _Counting(Session):
    """Adds the columns up, twice, and keeps the sizes of its batches."""

    def __init__(self) -> None:
        x = Tensor("x", "float32", ("n", 4))
        self.signature = Signature((x,), (Tensor("sum", "float32", ("n",)), Tensor("both", "float32", ("n", 2))))
        self.batches: list[int] = []

    def run(self, feeds: object) -> dict[str, NDArray[np.float32]]:
        x = feeds["x"]  # type: ignore[index]  # Feeds is a name for type checkers only
        self.batches.append(len(x))
        return {"sum": x.sum(axis=1), "both": np.stack([x.sum(axis=1)] * 2, axis=1)}


@given(rows=st.integers(0, 40), batch=st.integers(1, 12))
def test_batches_join(rows: int, batch: int) -> None:
    """Many rows in batches give the answers of one run, in order, and no batch is larger than asked."""
    session, x = _Counting(), _rows(rows)
    answers = run_in_batches(session, {"x": x}, batch)

    assert x.sum(axis=1).tolist() == answers["sum"].tolist()
    assert answers["both"].shape == (rows, 2)
    assert sum(session.batches) == rows
    assert max(session.batches, default=0) <= batch


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(rows=st.integers(1, 50), batch=st.integers(1, 60))
def test_batches_of_a_real_model(tiny_model: Path, rows: int, batch: int) -> None:
    """A model in floating point gives the same rows in batches as at once."""
    session, x = OnnxSession(tiny_model), _rows(rows)

    assert np.allclose(session.run({"x": x})["y"], run_in_batches(session, {"x": x}, batch)["y"], atol=1e-6)


@pytest.mark.parametrize(("rows", "expected"), [(1, [0]), (3, [0, 1, 2]), (7, [0, 1, 2, 0, 1, 2, 0])])
def test_cut(rows: int, expected: list[int]) -> None:
    """Rows are taken from the top, and from the top again where there are too few."""
    batch = cut({"x": np.array([0, 1, 2]), "z": np.array([[0], [1], [2]])}, rows)

    assert batch["x"].tolist() == expected
    assert batch["z"].tolist() == [[each] for each in expected]
