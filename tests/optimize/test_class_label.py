from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from windtunnel.errors import ModelError
from windtunnel.optimize.class_label import ClassLabel

SCORES = np.random.default_rng(1).dirichlet(np.ones(3), 50).astype(np.float32)
PLACES = SCORES.argmax(1)


@pytest.mark.parametrize(
    ("label", "named"),
    [
        (PLACES, ()),
        (PLACES, ("a", "b", "c")),
        (np.array([3, 5, 9])[PLACES], (3, 5, 9)),
        (np.array([3, 5, 9])[PLACES].reshape(-1, 1), (3, 5, 9)),
        (np.array(["a", "b", "c"], object)[PLACES], ("a", "b", "c")),
    ],
)
def test_the_same_label(label: np.ndarray[Any, Any], named: tuple[int | str, ...]) -> None:
    """What is told of a label is enough to give it again from the scores alone."""
    found = ClassLabel.of({"p": SCORES, "label": label}, named)
    assert found is not None
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["p"])], "scores",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 3])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    found.add_to(model.graph)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    assert session.run(["label"], {"x": SCORES})[0].tolist() == label.tolist()


def test_no_label() -> None:
    """A model of floats only has none."""
    assert ClassLabel.of({"p": SCORES, "margin": SCORES[:, 0]}) is None


@pytest.mark.parametrize(
    "others",
    [
        {"label": 1 - PLACES},
        {"label": PLACES.astype(np.int32)},
        {"label": PLACES, "count": PLACES},
        {"label": np.stack([PLACES, PLACES], 1)},
    ],
)
def test_another_rule(others: dict[str, np.ndarray[Any, Any]]) -> None:
    """Whole numbers that are not the likeliest class are refused by name, with the way out."""
    with pytest.raises(ModelError, match=r"`outputs` cannot be taught: `label`.* leave such outputs out of the model"):
        ClassLabel.of({"p": SCORES} | others)


def test_ties() -> None:
    """Rows whose likeliest two are equal say nothing against a label."""
    scores = np.array([[0.5, 0.5], [0.1, 0.9]], np.float32)

    assert ClassLabel.of({"p": scores, "label": np.array([1, 1])}) == ClassLabel("label", "p", (0, 1))
