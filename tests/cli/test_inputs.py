from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.errors import ConfigError, DataError, ModelError, UserCodeError
from windtunnel.progress import Progress
from windtunnel.variant import Signature, Tensor
from windtunnel.verbs.inputs import generate_feeds, open_model, read_columns, read_feeds
from windtunnel.verbs.rows import load_rows

if TYPE_CHECKING:
    from pathlib import Path

MATRIX = Signature((Tensor("x", "float32", ("batch", 2)),), ())
TEXT = Signature((Tensor("port", "object", ("batch", 1)), Tensor("km", "float32", ("batch", 1))), ())
WORDS = Signature((Tensor("ids", "int64", ("batch", "sequence")), Tensor("mask", "int64", ("batch", "sequence"))), ())

LOADERS = """\
import numpy as np

x = np.arange(12, dtype=np.float32).reshape(6, 2)


def dicts():
    for start in range(0, 6, 2):
        yield {"x": x[start : start + 2], "label": np.array([0, 1]), "port": np.array(["a", "b"])}


def pairs():
    yield x[:4].sum(), None


def whole():
    return {"x": x}, np.arange(6.0)


def endless():
    while True:
        yield {"x": x}


def uneven():
    yield {"x": x, "label": np.zeros(5)}


def changing():
    yield {"x": x}
    yield {"x": x, "label": np.zeros(6)}


def widening():
    yield {"x": x}
    yield {"x": x[:, :1]}


def raises():
    yield {"x": x}
    raise ZeroDivisionError("theirs")


def empty():
    return iter(())


def number():
    return 3


calls = []


def counted():
    calls.append(1)
    yield {"x": x, "calls": np.full(6, len(calls))}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the user's loaders in it; none has been called."""
    (tmp_path / "loaders.py").write_text(LOADERS)
    load_rows.cache_clear()
    return tmp_path


def test_loader(folder: Path) -> None:
    """A loader's batches are joined; labels and further columns come along, by dict or by pair."""
    feeds, labels = read_feeds("loaders.py:dicts", MATRIX, home=folder)

    assert feeds["x"].tolist() == np.arange(12.0).reshape(6, 2).tolist()
    assert labels is not None
    assert labels.tolist() == [0.0, 1.0] * 3
    assert read_columns("loaders.py:dicts", ["port"], 6, home=folder)["port"].tolist() == ["a", "b"] * 3
    assert read_feeds("loaders.py:whole", MATRIX, home=folder)[1] is not None


def test_a_loader_is_called_once(folder: Path) -> None:
    """Inputs and further columns are of one run of the loader: another might yield other rows."""
    read_feeds("loaders.py:counted", MATRIX, home=folder)

    assert read_columns("loaders.py:counted", ["calls"], 6, home=folder)["calls"].tolist() == [1] * 6


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        (
            "uneven",
            DataError,
            r"loaders\.py:uneven: \(={'x': 6, 'label': 5}\) yielded unequal rows, or none, in batch 0",
        ),
        ("changing", DataError, r"loaders\.py:changing: yielded x, label in batch 1 and x before"),
        ("widening", UserCodeError, r"`loaders\.py:widening` raised ValueError"),
        ("raises", UserCodeError, r"`loaders\.py:raises` raised ZeroDivisionError\n(?s:.)*loaders\.py(?s:.)*theirs"),
        ("pairs", UserCodeError, r"`loaders\.py:pairs` yielded tuple as batch 0; yield dicts"),
        ("empty", DataError, "yielded no rows"),
        ("number", UserCodeError, "returned int; yield dicts of arrays by input name"),
        ("absent", ConfigError, "is not a function of that module"),
    ],
)
def test_bad_loaders(name: str, kind: type[Exception], message: str, folder: Path) -> None:
    """A loader that raises shows its own traceback; one that yields nonsense is told which batch and what instead."""
    with pytest.raises(kind, match=message):
        read_feeds(f"loaders.py:{name}", MATRIX, home=folder)


def test_an_endless_loader(folder: Path) -> None:
    """A loader without an end is stopped at a bound, which is named."""
    with pytest.raises(DataError, match=r"has yielded more than 100 rows; let it come to an end before"):
        load_rows("loaders.py:endless", folder, 100)


def test_a_loader_of_wide_rows(folder: Path) -> None:
    """A loader is stopped before it has yielded more than may be held, however few its rows are."""
    with pytest.raises(DataError, match=r"has yielded \d+ B where 100 B may be held; let it come to an end before, or"):
        load_rows("loaders.py:endless", folder, most_bytes=100)


def test_matrix_from_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table's numbers feed a model of one matrix in their order, the label aside, and it is said which were taken."""
    pl.DataFrame({"late": [0, 1], "km": [1.0, None], "port": ["a", "b"], "hour": [3, 4]}).write_parquet(
        tmp_path / "d.parquet"
    )
    feeds, labels = read_feeds(tmp_path / "d.parquet", MATRIX, "late", progress=Progress())

    assert np.array_equal(np.array([[1, 3], [np.nan, 4]], np.float32), feeds["x"], equal_nan=True)
    assert labels is not None
    assert labels.tolist() == [0.0, 1.0]
    assert capsys.readouterr().err == "columns taken: km, hour\n"


def test_too_many_columns(tmp_path: Path) -> None:
    """Where it is not clear which columns are meant, none are taken."""
    pl.DataFrame({"a": [1.0], "b": [1.0], "c": [1.0]}).write_csv(tmp_path / "d.csv")

    with pytest.raises(
        DataError, match="`x` takes 2 columns, and 3 are numbers: a, b, c; leave just those in the table"
    ):
        read_feeds(tmp_path / "d.csv", MATRIX)
    assert read_feeds(tmp_path / "d.csv", MATRIX, leave=["b"])[0]["x"].tolist() == [[1.0, 1.0]]


def test_text_inputs(tmp_path: Path) -> None:
    """Text feeds inputs of text, from tables and from npz; missing text is empty."""
    pl.DataFrame({"port": ["a", None], "km": [1.0, 2.0]}).write_parquet(tmp_path / "d.parquet")
    np.savez(tmp_path / "d.npz", port=np.array([["a"], [""]]), km=np.array([[1.0], [2.0]], np.float32))
    for name in ("d.parquet", "d.npz"):
        feeds, _ = read_feeds(tmp_path / name, TEXT)

        assert feeds["port"].tolist() == [["a"], [""]]
        assert (feeds["port"].dtype, feeds["km"].tolist()) == (np.dtype(object), [[1.0], [2.0]])


@pytest.mark.parametrize(
    ("arrays", "signature", "message"),
    [
        ({"y": np.zeros((2, 2))}, MATRIX, "`x` is an input of the model but not an array; the arrays are: y"),
        ({"x": np.zeros((2, 2))}, MATRIX, r"`x` is float64 \[2, 2\] where the model takes float32"),
        ({"x": np.zeros((2, 3), np.float32)}, MATRIX, r"`x` is float32 \[2, 3\] where the model takes"),
        ({"x": np.zeros((0, 2), np.float32)}, MATRIX, "holds no rows"),
        ({"x": np.zeros((2, 2), np.float32), "label": np.zeros(3)}, MATRIX, "needs the same number of rows"),
        ({"x": np.full((2, 2), np.nan, np.float32)}, MATRIX, "`x` is NaN in every row; fill in what is known of it"),
        ({"x": np.zeros((2, 2), np.float32), "label": np.array([1, np.nan])}, MATRIX, "`label` has no label in row 1"),
        ({"x": np.zeros((2, 2), np.float32), "label": np.array(["a", "b"])}, MATRIX, "`label` is <U1"),
        (
            {"ids": np.zeros((2, 5), np.int64), "mask": np.zeros((2, 4), np.int64)}, WORDS,
            "`mask` is 4 long along `sequence` where `ids` is 5; pad both to one length",
        ),
    ],
)  # fmt: skip
def test_bad_npz(arrays: dict[str, Any], signature: Signature, message: str, tmp_path: Path) -> None:
    """What does not fit the model is refused by the name of the input."""
    np.savez(tmp_path / "d.npz", **arrays)

    with pytest.raises(DataError, match=message):
        read_feeds(tmp_path / "d.npz", signature)


def test_bad_columns(tmp_path: Path) -> None:
    """A further column must be there and hold one value a row."""
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 2), np.float32), wide=np.zeros((2, 3)))

    with pytest.raises(DataError, match="`port` is not an array; the arrays are: x, wide"):
        read_columns(tmp_path / "d.npz", ["port"], 2)
    with pytest.raises(DataError, match=r"`wide` is \[2, 3\] where one value a row is needed"):
        read_columns(tmp_path / "d.npz", ["wide"], 2)


def test_made_up_text() -> None:
    """Inputs of text are made up too."""
    assert set(generate_feeds(TEXT, 50, _seeds())["port"].ravel()) == {"a", "b"}


def _seeds() -> Any:
    from windtunnel.seeds import Seeds

    return Seeds(1)


def test_skops_to_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipeline in skops is converted once, says how near it came, and takes its columns by name, labels by class."""
    skops = pytest.importorskip("skops.io")
    pytest.importorskip("skl2onnx")
    pd = pytest.importorskip("pandas")
    from sklearn.linear_model import LogisticRegression

    frame = pd.DataFrame({"km": np.arange(20.0), "hour": np.arange(20.0) % 3})
    label = np.where(frame["km"] > 9, "late", "early")
    skops.dump(LogisticRegression().fit(frame, label), tmp_path / "m.skops")
    variant = open_model("m.skops", tmp_path / "out", tmp_path, progress=Progress())
    pl.DataFrame({"hour": [1, 2], "late": ["late", "early"], "km": [3.0, 4.0]}).write_csv(tmp_path / "d.csv")
    feeds, labels = read_feeds(tmp_path / "d.csv", variant, "late")

    assert "m.skops: converted to float32, its probabilities within" in capsys.readouterr().err
    assert feeds["x"].tolist() == [[3.0, 1.0], [4.0, 2.0]]
    assert labels is not None
    assert labels.tolist() == [1.0, 0.0]
    assert variant == open_model("m.skops", tmp_path / "out", tmp_path, progress=Progress())
    assert "converted" not in capsys.readouterr().err


def test_pickles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pickle is refused with the way out; with leave it is read, and that is said loudly."""
    pytest.importorskip("skl2onnx")
    from sklearn.linear_model import Ridge

    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Ridge().fit(np.eye(4), np.arange(4))))
    with pytest.raises(ModelError, match=r"m\.pkl: is a pickle, .* --allow-pickle"):
        open_model("m.pkl", tmp_path / "out", tmp_path)
    open_model("m.pkl", tmp_path / "out", tmp_path, allow_pickle=True, progress=Progress())

    assert "warning: reading m.pkl may run code that it holds: --allow-pickle was given" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["m.onnx", "m.skops", "m.txt", "m.json", "m.pt2"])
def test_missing(name: str, tmp_path: Path) -> None:
    """A model that is not there is refused by name, whatever its form."""
    with pytest.raises(ModelError, match=rf"{name}: does not exist"):
        open_model(name, tmp_path / "out", tmp_path)


def test_factory_that_raises(tmp_path: Path) -> None:
    """A factory that raises shows its own traceback."""
    (tmp_path / "made.py").write_text("def factory():\n    raise ZeroDivisionError('theirs')\n")

    with pytest.raises(UserCodeError, match=r"raised ZeroDivisionError\n(?s:.)*made\.py(?s:.)*theirs"):
        open_model("made.py:factory", tmp_path / "out", tmp_path)
