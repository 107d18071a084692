from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from windtunnel.backtest.reading.own import LOG, OWN
from windtunnel.errors import ModelError
from windtunnel.serving.log_layout import WIDEST, Answers, Entry, Layout
from windtunnel.variant import Signature, Tensor


def _variant(
    *outputs: Tensor, inputs: tuple[Tensor, ...] = (Tensor("km", "float32", ("n",)),), digest: str = "a"
) -> Any:
    return SimpleNamespace(name="m", signature=Signature(inputs, outputs), sha256=digest * 64)


Y = Tensor("y", "float32", ("n",))


def _entry(feeds: dict[str, Any], y: list[Any], *, model: str = "m", at_s: float = 0.0, **more: Any) -> Entry:
    arrays = {name: np.asarray(each) for name, each in feeds.items()}
    return Entry("r", at_s, 0.25, model, arrays, {"y": np.array(y, np.float32)}, **more)


def test_the_schema_of_record() -> None:
    """A log has the columns by which `backtest` knows its own format, of the kinds that it promises."""
    table = Layout.of({"m": _variant(Y)}, 0.1).table(
        [_entry({"km": [3.0]}, [0.5], at_s=1.5, arm="canary", propensity=0.05, key="k")]
    )

    assert OWN.matches(set(table.columns))
    assert {name: table.schema[name] for name in LOG} == dict(LOG)
    assert table.to_dicts() == [{
        "id": "r", "time": datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC), "model": "m", "version": "a" * 12, "latency_s": 0.25,
        "arm": "canary", "propensity": 0.05, "key": "k", "weight": 10.0, "prediction": 0.5, "km": 3.0,
    }]  # fmt: skip


def test_an_instance_is_a_row() -> None:
    """Of a request with several instances each is a row, `ID#0`, `ID#1`; rows lie in order of time, whoever came first."""
    table = Layout.of({"m": _variant(Y)}, 1.0).table(
        [_entry({"km": [1.0, 2.0]}, [0.1, 0.2], at_s=9.0), _entry({"km": [3.0]}, [0.3], at_s=2.0)]
    )

    assert table.select("id", "km").rows() == [("r", 3.0), ("r#0", 1.0), ("r#1", 2.0)]
    assert np.allclose(table["prediction"].to_list(), [0.3, 0.1, 0.2])


def test_each_model_has_a_column() -> None:
    """With several models, `prediction` is what was answered and `prediction.NAME` what each said: null where it was not asked."""
    layout = Layout.of({"old": _variant(Y), "new": _variant(Y, digest="b"), "far": _variant(Y, digest="c")}, 1.0)
    said = {"far": {"y": np.array([0.75], np.float32)}}
    table = layout.table([
        _entry({"km": [1.0]}, [0.5], model="old", shadows=said),
        _entry({"km": [1.0]}, [0.25], model="new"),
    ])  # fmt: skip

    assert table.select(r"^prediction.*$").rows() == [(0.5, 0.5, None, 0.75), (0.25, None, 0.25, None)]
    assert table["version"].to_list() == ["a" * 12, "b" * 12]
    assert table["prediction.old"].null_count() == 1


@pytest.mark.parametrize(
    ("tensor", "given", "wanted"),
    [
        (Tensor("a", "int64", ("n", 1)), [[7]], {"a": 7}),
        (Tensor("a", "bool", ("n",)), [True], {"a": True}),
        (Tensor("a", "float16", ("n", 2)), [[0.5, 2.0]], {"a[0]": 0.5, "a[1]": 2.0}),
        (Tensor("a", "object", ("n",)), ["naïve"], {"a": "naïve"}),
        (Tensor("a", "object", ("n",)), ["\ud800"], {"a": "\\ud800"}),
        (Tensor("a", "uint8", ("n", 4)), [[74, 70, 75, 0]], {"a": "JFK"}),
        (Tensor("a", "uint8", ("n", 2)), [[195, 74]], {"a": "\\xc3J"}),
        (Tensor("a", "int64", ("n", "length")), [[5, 6, 7]], {"a": [5, 6, 7]}),
        (Tensor("a", "float32", ("n", 2, 2)), [[[1, 2], [3, 4]]], {"a[0]": 1.0, "a[1]": 2.0, "a[2]": 3.0, "a[3]": 4.0}),
        (Tensor("a", "float32", ("n", WIDEST + 1)), [[0.0] * (WIDEST + 1)], {"a": [0.0] * (WIDEST + 1)}),
        (Tensor("time", "float32", ("n",)), [1.0], {"input.time": 1.0}),
        (Tensor("prediction[0]", "float32", ("n",)), [1.0], {"input.prediction[0]": 1.0}),
    ],
)  # fmt: skip
def test_features_keep_their_names(tensor: Tensor, given: Any, wanted: dict[str, Any]) -> None:
    """Inputs are columns under their own names: numbers, text (also text fed as bytes), a list where a row is long or varies."""
    layout = Layout.of({"m": _variant(Y, inputs=(tensor,))}, 1.0)
    (row,) = layout.table([_entry({tensor.name: np.array(given, tensor.dtype)}, [0.5])]).to_dicts()

    assert {name: value for name, value in row.items() if name in wanted} == wanted
    assert (
        pl.read_parquet(_written(layout.table([_entry({tensor.name: np.array(given, tensor.dtype)}, [0.5])]))).height
        == 1
    )


def _written(table: pl.DataFrame) -> Any:
    import io

    file = io.BytesIO()
    table.write_parquet(file)
    file.seek(0)
    return file


def test_a_lean_entry_keeps_no_batch() -> None:
    """What waits to be written holds the prediction alone, in memory of its own: not the batch that it was a part of."""
    layout = Layout.of({"m": _variant(Y, Tensor("z", "float32", ("n", 4)))}, 1.0)
    y, z = np.arange(16, dtype=np.float32), np.zeros((16, 4), np.float32)
    entry = Entry("a", 0.0, 0.0, "m", {}, {"y": y[1:2], "z": z[1:2]}, shadows={"m": {"y": y[2:3]}})

    lean = layout.lean(entry)

    kept = [{name: array.tolist() for name, array in each.items()} for each in (lean.outputs, lean.shadows["m"])]
    assert kept == [{"y": [1.0]}, {"y": [2.0]}]
    assert [each["y"].base for each in (lean.outputs, *lean.shadows.values())] == [None, None]
    assert layout.lean(lean) == lean


def test_which_output_is_the_prediction() -> None:
    """The first output of fractions is; a class's whole number is not, if there are probabilities beside it."""
    label, classes = Tensor("label", "int64", ("n",)), Tensor("p", "float32", ("n", 3))

    assert Answers.of(_variant(label, classes)) == Answers("p", 3)
    assert Answers.of(_variant(label)) == Answers("label", 1)
    assert Answers("p", 3).columns("prediction") == ["prediction[0]", "prediction[1]", "prediction[2]"]


def test_what_cannot_be_logged_is_refused_at_the_start() -> None:
    """A model that answers text, or models that answer with different widths, are refused before the server runs."""
    with pytest.raises(ModelError, match="nothing that a prediction log could hold"):
        Layout.of({"m": _variant(Tensor("y", "object", ("n",)))}, 1.0)
    with pytest.raises(ModelError, match="numbers a row"):
        Layout.of({"m": _variant(Y), "k": _variant(Tensor("y", "float32", ("n", 2)))}, 1.0)


@pytest.mark.parametrize(
    "wrong", [{"y": [0.5, 0.5]}, {"feeds": {"km": [[1.0]]}}, {"feeds": {"k": [1.0]}}, {"model": "other"}]
)
def test_an_entry_that_would_spoil_a_piece_is_found_out(wrong: dict[str, Any]) -> None:
    """Another shape, a missing input or an unknown model is told before it is a row."""
    entry = _entry(wrong.get("feeds", {"km": [1.0]}), wrong.get("y", [0.5]), model=wrong.get("model", "m"))

    with pytest.raises((ValueError, KeyError)):
        Layout.of({"m": _variant(Y)}, 1.0).check(entry)
