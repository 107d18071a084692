from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel import bound_session
from windtunnel.bound_session import BoundSession
from windtunnel.errors import MissingError, ModelError
from windtunnel.session import OnnxSession, Session

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


def _bound(path: Path, *, graphs: bool = True) -> BoundSession:
    return BoundSession(path, provider="CPUExecutionProvider", device="cpu", graphs=graphs)


def _rows(n: int, seed: int = 1) -> dict[str, NDArray[np.float32]]:
    return {"x": np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)}


def _save(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any] | None = None
) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights or [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Looks rows up: `i` int64 [batch] gives `y` float32 [batch, 2] from a table of three rows; other indices fail."""
    rows = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(3, 2), "rows")
    return _save(
        tmp_path / "table.onnx",
        [helper.make_node("Gather", ["rows", "i"], ["y"])],
        [helper.make_tensor_value_info("i", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [rows],
    )


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """Gives the places that are not zero: how many there are depends on the data."""
    return _save(
        tmp_path / "found.onnx",
        [helper.make_node("NonZero", ["x"], ["where"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor_value_info("where", TensorProto.INT64, [1, "many"])],
    )


@pytest.mark.parametrize("graphs", [True, False])
def test_bit_for_bit(tiny_model: Path, graphs: bool) -> None:
    """Through buffers of the device the numbers are those of the plain session, bit for bit, for any batch."""
    plain, bound = OnnxSession(tiny_model), _bound(tiny_model, graphs=graphs)

    assert bound.graphs is graphs
    for rows in (1, 7, 0, 1000, 7):
        assert plain.run(_rows(rows, rows))["y"].tobytes() == bound.run(_rows(rows, rows))["y"].tobytes()


def test_copies_are_counted(tiny_model: Path) -> None:
    """Four float32 a row go to the device, one comes back."""
    session = _bound(tiny_model)
    session.run(_rows(10))

    assert (session.placed_bytes, session.fetched_bytes, session.copied_bytes) == (160, 40, 200)


def test_placed_is_a_copy(tiny_model: Path) -> None:
    """What is placed is no longer the caller's: writing over the array afterwards changes nothing."""
    session, feeds = _bound(tiny_model), _rows(3)
    expected = session.run(_rows(3))["y"].tolist()
    session.place(feeds)
    feeds["x"][:] = 9.0
    session.run_placed()

    assert expected == session.fetch()["y"].tolist()


@pytest.mark.parametrize("graphs", [True, False])
def test_after_an_error(table: Path, graphs: bool) -> None:
    """A batch that fails while it runs is refused with the runtime's words; the next one is answered."""
    sessions: list[Session] = [OnnxSession(table), _bound(table, graphs=graphs)]
    for session in sessions:
        for _ in range(2):
            with pytest.raises(ModelError, match=r"table\.onnx: cannot run this batch.*(indices|out of|bounds)"):
                session.run({"i": np.array([0, 99])})
            assert session.run({"i": np.array([2, 0])})["y"].tolist() == [[4.0, 5.0], [0.0, 1.0]]


def test_graphs_after_an_error(table: Path) -> None:
    """The buffers of a failed run are dropped, and no two sets of buffers ever share the number of a captured graph."""
    session = _bound(table)
    for rows in (1, 2, 3):
        session.run({"i": np.zeros(rows, np.int64)})
    with pytest.raises(ModelError):
        session.run({"i": np.array([99])})
    assert len(session._kept) == 2
    session.run({"i": np.zeros(4, np.int64)})
    session.run({"i": np.zeros(1, np.int64)})

    assert len({buffers.graph for buffers in session._kept.values()}) == 4


def test_size_that_depends_on_the_data(found: Path) -> None:
    """An output whose size is that of no input has no fixed place: no graphs, the reason, and right answers."""
    session = _bound(found)

    assert not session.graphs
    assert "`many` of output `where`" in session.graphs_note
    for row in ([1.0, 0.0, 2.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]):
        x = np.array(row, np.float32)
        assert session.run({"x": x})["where"].tolist() == [np.flatnonzero(x).tolist()]


def test_more_shapes_than_are_kept(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the number of shapes; the numbers do not change."""
    monkeypatch.setattr(bound_session, "MAX_SHAPES", 2)
    plain, bound = OnnxSession(tiny_model), _bound(tiny_model)
    for rows in (1, 2, 3, 4, 3, 1):
        assert plain.run(_rows(rows))["y"].tolist() == bound.run(_rows(rows))["y"].tolist()

    assert len(bound._kept) == 2


def test_text(tmp_path: Path) -> None:
    """A device holds no text."""
    path = _save(
        tmp_path / "text.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, ["batch"])],
    )
    with pytest.raises(ModelError, match="`x` is text, which a device cannot hold; measure it on onnxruntime-cpu"):
        _bound(path)


def test_provider_that_is_not_there(tiny_model: Path) -> None:
    """A provider that this build does not have is refused, where ONNX Runtime would warn and take the CPU."""
    with pytest.raises(MissingError, match="no ROCMExecutionProvider; pip"):
        BoundSession(tiny_model, provider="ROCMExecutionProvider")


class _FellBack:
    """A session that asked for CUDA and got the CPU."""

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


def test_silent_fallback() -> None:
    """A session that quietly went to the CPU is refused: its figures would carry the GPU's name."""
    with pytest.raises(
        MissingError, match=r"could not start CUDA.*would have measured CPUExecutionProvider.*nvidia-smi"
    ):
        bound_session._refuse_fallback(_FellBack(), "CUDAExecutionProvider")


def test_no_node_on_the_provider(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that started but took no node of the model is no measurement of it either."""
    monkeypatch.setattr(bound_session, "_placement", lambda _: {"OtherExecutionProvider": 2})
    with pytest.raises(ModelError, match="would run on OtherExecutionProvider alone: CPUExecutionProvider takes none"):
        _bound(tiny_model)


def test_capture_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the runtime refuses to capture, the session works without and says why; any other refusal stands."""
    create = BoundSession._create
    words = "This session cannot use the graph capture feature as the model has control flow nodes"

    def refuse(self: BoundSession, options: Mapping[str, str]) -> Any:
        if options:
            raise ModelError(f"cannot be loaded ({words})")
        return create(self, options)

    monkeypatch.setattr(bound_session, "CAPTURE", {"CPUExecutionProvider": {"enable": "1"}})
    monkeypatch.setattr(BoundSession, "_create", refuse)
    session = _bound(tiny_model)

    assert (session.graphs, words in session.graphs_note) == (False, True)
    assert session.run(_rows(2))["y"].tolist() == OnnxSession(tiny_model).run(_rows(2))["y"].tolist()
    words = "out of memory"
    with pytest.raises(ModelError, match="out of memory"):
        _bound(tiny_model)


def test_nodes(tiny_model: Path) -> None:
    """The session tells which provider took how many nodes."""
    assert _bound(tiny_model).nodes == {"CPUExecutionProvider": 2}


def test_truncated_file(tiny_model: Path) -> None:
    """A file that was cut off is refused by name."""
    signature = OnnxSession(tiny_model).signature
    tiny_model.write_bytes(tiny_model.read_bytes()[:-20])
    with pytest.raises(ModelError, match=r"tiny\.onnx: cannot be loaded by ONNX Runtime on CPUExecutionProvider"):
        BoundSession(tiny_model, signature, provider="CPUExecutionProvider", device="cpu")
