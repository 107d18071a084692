from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.errors import ModelError
from windtunnel.runtime import RUNTIMES, open_session
from windtunnel.session import DeviceSession, NullSession, OnnxSession, Session, run_in_batches

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from .conftest import Opened as Open


def _rows(n: int, seed: int = 1) -> dict[str, NDArray[np.float32]]:
    return {"x": np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)}


def _answer(session: Session, feeds: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    (answer,) = session.run(feeds).values()
    return answer


def _tolerance(session: Session) -> float:
    """Tensor cores multiply with ten bits of mantissa (TF32), which CUDA's runtimes use unless told not to."""
    return 5e-3 if isinstance(session, DeviceSession) and session.device == "cuda" else 1e-6


def test_numbers(opened: Open) -> None:
    """Every runtime gives what the model says, in its dtype, while the shape changes from call to call and back."""
    session = opened()
    for rows in (1, 3, 17, 3, 1, 64):
        feeds = _rows(rows, rows)
        answer, expected = _answer(session, feeds), opened.truth(feeds["x"])

        assert (np.dtype("float32"), expected.shape) == (answer.dtype, answer.shape)
        assert np.allclose(expected, answer, atol=_tolerance(session))


def test_signature(opened: Open) -> None:
    """The signature says what goes in and out, with a free batch axis, and holds for what comes."""
    session = opened()

    (x,) = session.signature.inputs
    assert (x.name, x.dtype, x.shape[1]) == ("x", "float32", 4)
    assert session.signature.dynamic_batch
    assert list(session.run(_rows(2))) == [each.name for each in session.signature.outputs]


def test_answers_are_kept(opened: Open) -> None:
    """An answer stays as it was while other batches run, and when the array that was fed is written over."""
    session = opened()
    feeds = _rows(5)
    answers = [_answer(session, feeds)]
    before = answers[0].copy()
    answers += [_answer(session, _rows(5, seed)) for seed in range(2, 6)]
    feeds["x"][:] = 0.0

    assert before.tolist() == answers[0].tolist()
    assert len({answer.tobytes() for answer in answers}) == 5


def test_ready_is_run(opened: Open) -> None:
    """The call that is timed gives what `run` gives, can be made again and again, and does not disturb the session."""
    session = opened()
    call: Callable[[], Any] = session.ready(_rows(5))
    for _ in range(3):
        given = call()
        (answer,) = given.values() if isinstance(given, dict) else given
        assert _answer(session, _rows(5)).tolist() == answer.tolist()

    assert np.allclose(_answer(opened(), _rows(2)), _answer(session, _rows(2)), atol=_tolerance(session))


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({"x": np.zeros((3, 5), np.float32)}, r"\(3, 5\).* wrong shape.*\[batch, 4\]"),
        ({"x": np.zeros(4, np.float32)}, r"\(4,\).* wrong shape"),
        ({"x": np.zeros((3, 4))}, "'float64'.* wrong dtype.*float32"),
        ({"x": np.zeros((3, 4), np.int64)}, "'int64'.* wrong dtype.*float32"),
        ({}, "`x` is an input of the model and was not given"),
        ({"x": np.zeros((3, 4), np.float32), "z": np.zeros(3, np.float32)}, "`z` is not an input of the model"),
    ],
    ids=["width", "rank", "float64", "int64", "missing", "unknown"],
)
def test_refusals(opened: Open, feeds: dict[str, NDArray[np.float32]], words: str) -> None:
    """What the model does not take is refused in the same words by all, and the session is as good as before."""
    session = opened()
    expected = _answer(session, _rows(3)).tolist()
    with pytest.raises(ModelError, match=words):
        session.run(feeds)
    with pytest.raises(ModelError, match=words):
        session.ready(feeds)()

    assert expected == _answer(session, _rows(3)).tolist()


def test_layouts(opened: Open) -> None:
    """Arrays that are views, in Fortran's order or read-only give what a plain copy of them gives."""
    session = opened()
    wide = np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32)
    frozen = wide[:3, :4].copy()
    frozen.flags.writeable = False
    for odd in (wide[::2, ::2], np.asfortranarray(wide[:, :4]), frozen):
        assert _answer(session, {"x": odd.copy()}).tolist() == _answer(session, {"x": odd}).tolist()


def test_many_threads(opened: Open) -> None:
    """The number of threads does not change the numbers, and sessions with different numbers live side by side."""
    one, two = opened(threads=1), opened(threads=2)

    assert np.allclose(_answer(one, _rows(33)), _answer(two, _rows(33)), atol=_tolerance(one))
    assert _answer(one, _rows(33)).tolist() == _answer(one, _rows(33)).tolist()


def test_batches_join(opened: Open) -> None:
    """Many rows in batches give the answers of one run; no rows give an empty answer."""
    session = opened()
    (joined,) = run_in_batches(session, _rows(50), 16).values()
    (nothing,) = run_in_batches(session, _rows(0), 16).values()

    assert np.allclose(_answer(session, _rows(50)), joined, atol=_tolerance(session))
    assert (np.dtype("float32"), (0, *joined.shape[1:])) == (nothing.dtype, nothing.shape)


def test_steps_of_a_device(opened: Open) -> None:
    """Placing, running and fetching one by one is running at once; what was placed can be run again."""
    session = opened()
    if not isinstance(session, DeviceSession):
        pytest.skip("computes where the inputs lie")
    expected = _answer(session, _rows(6)).tolist()
    session.place(_rows(6))
    for _ in range(3):
        session.run_placed()
    (answer,) = session.fetch().values()
    (again,) = session.fetch().values()

    assert expected == answer.tolist() == again.tolist()
    assert session.copied_bytes == session.placed_bytes + session.fetched_bytes


def test_steps_out_of_order(opened: Open) -> None:
    """A step whose step before is missing is refused, also after a batch that was refused."""
    session = opened()
    if not isinstance(session, DeviceSession):
        pytest.skip("computes where the inputs lie")
    for step in (session.run_placed, session.fetch):
        with pytest.raises(ModelError, match="the batch"):
            step()
    session.place(_rows(2))
    with pytest.raises(ModelError, match="the batch"):
        session.fetch()


def test_compiled(tmp_path: Path, tiny_model: Path, tiny_source: str) -> None:
    """The compiled module gives the eager one's numbers, names its outputs alike, and refuses what it refuses."""
    if reason := RUNTIMES["torch-compile"].missing():
        pytest.skip(reason)
    session = open_session(tiny_source, "torch-compile", home=tmp_path)

    for rows in (2, 5):
        assert np.allclose(_answer(OnnxSession(tiny_model), _rows(rows)), _answer(session, _rows(rows)), atol=1e-6)
    with pytest.raises(ModelError, match="wrong shape"):
        session.run({"x": np.zeros((3, 5), np.float32)})


def test_null(tiny_model: Path) -> None:
    """Doing nothing keeps the part of the contract that needs no numbers: names, dtypes, shapes."""
    null, real = NullSession(OnnxSession(tiny_model).signature), OnnxSession(tiny_model)
    for rows in (1, 4, 1):
        assert {k: (a.dtype, a.shape) for k, a in real.run(_rows(rows)).items()} == {
            k: (a.dtype, a.shape) for k, a in null.run(_rows(rows)).items()
        }
