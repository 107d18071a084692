from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from windtunnel.errors import ModelError
from windtunnel.optimize.clean import Cleaning, cleaned
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

DIRTY = """<ir_version: 10, opset_import: ["": 18]> g (float[batch, 4] x) => (float[batch, 2] y)
<float[2, 4] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[4] a = {1, 2, 3, 4}, int64[2] s = {-1, 4}, int64[2] t = {-1, 4}> {
    turned = Transpose (w)
    sum = Add (a, a)
    same = Identity (x)
    cast = Cast <to = 1> (same)
    once = Reshape (cast, s)
    again = Reshape (once, t)
    left = Add (again, sum)
    right = Add (again, sum)
    both = Mul (left, right)
    unused = Exp (both)
    y = MatMul (both, turned)
}"""


def _dirty(path: Path) -> Variant:
    onnx.save(onnx.parser.parse_model(DIRTY), str(path))
    return Variant.from_file(path)


def test_cleaned_and_equal(tmp_path: Path) -> None:
    """Folded, merged and swept to the operators that do something; the same numbers, signature, and bytes each time."""
    dirty = _dirty(tmp_path / "m.onnx")
    for name in ("a.onnx", "b.onnx"):
        cleaned(dirty, tmp_path / name, Cleaning())
    rows = {"x": np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)}
    kinds = sorted(node.op_type for node in onnx.load(str(tmp_path / "a.onnx")).graph.node)

    assert [kind for kind in kinds if kind != "Reshape"] == ["Add", "MatMul", "Mul"]
    assert kinds.count("Reshape") <= 1
    before, after = (OnnxSession(each).run(rows)["y"] for each in (dirty.path, tmp_path / "a.onnx"))
    assert np.array_equal(before, after)
    assert Variant.from_file(tmp_path / "a.onnx").signature == dirty.signature
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_folding_is_bounded(tmp_path: Path) -> None:
    """A constant larger than allowed is left to be computed: a small file stays small."""
    text = """<ir_version: 10, opset_import: ["": 18]> g (float[n] x) => (float[n] y, float[m] z)
    <int64[1] size = {100000}> { z = ConstantOfShape (size) same = Identity (x) y = Neg (same) }"""
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "m.onnx"))
    cleaned(Variant.from_file(tmp_path / "m.onnx"), tmp_path / "a.onnx", Cleaning(folded_elements=1000))

    assert (tmp_path / "a.onnx").stat().st_size < 1000


def test_clean_already(tmp_path: Path) -> None:
    """What cannot be cleaned further is refused, so that no twin of the parent is raced."""
    cleaned(_dirty(tmp_path / "m.onnx"), tmp_path / "a.onnx", Cleaning())

    with pytest.raises(ModelError, match=r"a\.onnx: is clean already"):
        cleaned(Variant.from_file(tmp_path / "a.onnx"), tmp_path / "b.onnx", Cleaning())
