from __future__ import annotations

import json

import pytest

from windtunnel.execution import Execution

SPINNING = ("session.intra_op.allow_spinning", "1")


@pytest.mark.parametrize(
    ("execution", "label"),
    [
        (Execution(), "ort"),
        (Execution(threads=2), "ort-2t"),
        (Execution(threads=2, options=(SPINNING,)), "ort-2t-allow_spinning=1"),
        (Execution("openvino"), "openvino"),
        (Execution("openvino-bf16", 4), "openvino-bf16-4t"),
        (Execution("openvino", 1, (("NUM_STREAMS", "1"),)), "openvino-NUM_STREAMS=1"),
    ],
)
def test_label(execution: Execution, label: str) -> None:
    """A label says the runtime, and of the rest only what is not as usual."""
    assert execution.label == label


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [("onnxruntime-cpu", "f32"), ("openvino", "f32"), ("openvino-bf16", "bf16"), ("torch-eager", "f32")],
)
def test_precision(runtime: str, precision: str) -> None:
    """What a runtime computes floats in is part of its name."""
    assert Execution(runtime).precision == precision


@pytest.mark.parametrize(
    "execution", [Execution(), Execution("openvino-bf16", 2, (("A", "1"), ("B", "2"))), Execution(options=(SPINNING,))]
)
def test_round_trip(execution: Execution) -> None:
    """An execution comes back from JSON as it was."""
    assert Execution.from_dict(json.loads(json.dumps(execution.to_dict()))) == execution


def test_the_order_of_options_does_not_matter() -> None:
    """Options that were written in another order are the same execution."""
    written = {"runtime": "openvino", "threads": 1, "options": {"B": "2", "A": "1"}}

    assert Execution.from_dict(written) == Execution("openvino", 1, (("A", "1"), ("B", "2")))


def test_other_ways_are_other_keys() -> None:
    """Ways of running are told apart, and can be keys."""
    ways = {
        Execution(),
        Execution(threads=2),
        Execution("openvino"),
        Execution(options=(SPINNING,)),
        Execution(threads=1),
    }

    assert len(ways) == 4
