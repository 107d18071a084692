from __future__ import annotations

import onnx
import onnx.parser

from windtunnel.optimize.restored import drop_unread, restore

PARENT = """<ir_version: 10, opset_import: ["": 18]>
g (float[n, 2] x) => (float[n, 2] y) <float[2, 2] w = {1, 2, 3, 4}, float low = {0}, float high = {6}> {
    [relu6] c = Clip (x, low, high)
    [product] y = MatMul (c, w)
}"""

FOLDED = """<ir_version: 10, opset_import: ["": 18]>
g (float[n, 2] x) => (float[n, 2] y) <float s = {0.1}, uint8 z = {0}, float[2, 2] w = {1, 2, 3, 4}> {
    [put] c = Identity (x)
    [q] cq = QuantizeLinear (c, s, z)
    [d] cd = DequantizeLinear (cq, s, z)
    [product] y = MatMul (cd, w)
}"""


def _restored(parent: str) -> onnx.ModelProto:
    before, after = (onnx.parser.parse_model(text) for text in (parent, FOLDED))
    before.graph.node.add().CopyFrom(onnx.helper.make_node("Identity", ["x"], ["unread"], "put"))
    for name in "qd":
        before.graph.node.add().CopyFrom(onnx.helper.make_node("Identity", ["x"], [f"unread_{name}"], name))
    restore(after, before, ["product"])
    return after


def test_a_clip_comes_back_with_its_limits() -> None:
    """An activation that was folded into a range is put back with its limits, which the quantizer had dropped."""
    limits = "float low = {0}, float high = {6}"
    made = PARENT.replace(f", {limits}", "").replace(
        "    [relu6]",
        "    low = Constant <value: tensor = float {0}> ()\n    high = Constant <value = float {6}> ()\n    [relu6]",
    )
    for parent in (PARENT, made):
        model = _restored(parent)
        onnx.checker.check_model(model, full_check=True)
        clip = next(node for node in model.graph.node if node.op_type == "Clip")
        values = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}

        assert [values[name].item() for name in clip.input[1:]] == [0.0, 6.0]
        assert next(node for node in model.graph.node if node.name == "product").input[0] == clip.output[0]


def test_what_an_inner_graph_returns_is_read() -> None:
    """A value that a branch of an `If` hands on as it is, though none of its nodes reads it, is kept."""
    text = """<ir_version: 10, opset_import: ["": 18]>
    g (float[2] x, bool c) => (float[2] y) <float s = {0.1}, uint8 z = {0}> {
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        y = If (c) <then_branch = a () => (float[2] d) {}, else_branch = b () => (float[2] e) {e = Neg (x)}>
    }"""
    model = onnx.parser.parse_model(text)
    drop_unread(model)

    assert [node.op_type for node in model.graph.node] == ["QuantizeLinear", "DequantizeLinear", "If"]
