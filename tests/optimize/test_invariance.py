from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.errors import ModelError
from windtunnel.execution import Execution
from windtunnel.optimize.int8 import hushed
from windtunnel.optimize.invariance import TOLERANCE, Dependence, batch_dependence, is_exact, mask_input
from windtunnel.session import OnnxSession, Session
from windtunnel.variant import Signature, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from windtunnel.variant import Variant

    Formula = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class _Formula(Session):
    """Answers with a formula, and remembers how many rows it was asked."""

    def __init__(self, formula: Formula) -> None:
        self.signature, self.formula, self.asked = Signature((), ()), formula, list[int]()

    def run(self, feeds: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        self.asked.append(len(feeds["x"]))
        return {"output": self.formula(feeds["x"]), "fixed": feeds["x"] * 0}


def _per_batch_int8(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What dynamic int8 does: one scale for all rows of a batch."""
    scale = np.abs(x).max() / 127
    rounded: NDArray[np.float64] = np.round(x / scale) * scale
    return rounded


def _bfloat16(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounded to 8 bits, after sums whose order is the batch's size."""
    bits = (x * (1 + 3e-6 * len(x))).astype(np.float32).view(np.uint32)
    return ((bits + 0x8000) & 0xFFFF0000).view(np.float32).astype(np.float64)


X = np.random.default_rng(1).normal(size=(200, 1))
CALM = Dependence(0.0, 0.0, 0.0, None, 48)


@pytest.mark.parametrize(
    ("formula", "exact", "objected"),
    [
        (lambda x: x * 2, True, ""),
        (lambda x: x * (1 + 1e-7 * len(x)), True, ""),
        (_per_batch_int8, True, "who shares its batch"),
        (_per_batch_int8, False, "who shares its batch"),
        (lambda x: x - x.mean(), False, "who shares its batch"),
        (lambda x: x * (1.01 if len(x) == 1 else 1.0), True, "the size of its batch"),
        (lambda x: x * (1.01 if len(x) == 1 else 1.0), False, ""),
        (lambda x: x * (1.1 if len(x) == 1 else 1.0), False, "the size of its batch"),
        (_bfloat16, True, "the size of its batch"),
        (_bfloat16, False, ""),
    ],
    ids=[
        "a row at a time", "rounding", "a scale a batch", "a scale a batch, int8", "centred", "alone", "alone, int8", "alone, far",
        "bfloat16 as float32", "bfloat16",
    ],
)  # fmt: skip
def test_dependence(formula: Formula, exact: bool, objected: str) -> None:
    """Neighbours may move nothing in any precision; the batch's size may move what the precision rounds."""
    found = batch_dependence(_Formula(formula), {"x": X}).objection(CALM, exact=exact)

    assert objected in found
    assert bool(objected) == bool(found)


def test_neighbours_are_told_from_rounding() -> None:
    """Exchanging strangers in a batch of one size moves nothing in a model that rounds, and much in one that shares a scale."""
    assert batch_dependence(_Formula(_bfloat16), {"x": X}).neighbours == 0.0
    assert batch_dependence(_Formula(_bfloat16), {"x": X}).largest > TOLERANCE
    assert batch_dependence(_Formula(_per_batch_int8), {"x": X}).neighbours > TOLERANCE


def test_strangers_are_met() -> None:
    """Subjects that are all alike still meet strangers, who can move them."""
    alike = np.concatenate([np.full((48, 1), 0.013), np.full((152, 1), 50.0)])

    assert batch_dependence(_Formula(_per_batch_int8), {"x": alike}).neighbours > TOLERANCE


@pytest.mark.parametrize("rows", [1, 2, 48, 100])
def test_few_rows(rows: int) -> None:
    """As many subjects as there are rows, up to 48; each is asked alone."""
    session = _Formula(lambda x: x)

    assert batch_dependence(session, {"x": X[:rows]}) == Dependence(0.0, 0.0, 0.0, None, min(rows, 48))
    assert session.asked.count(1) >= min(rows, 48)


def test_decisions_that_change_are_counted() -> None:
    """A row near one half that is decided otherwise in company is counted; rounding that flips decisions is objected to."""
    near = np.full((40, 1), 0.5)
    near[:10], near[20:] = 0.1, 0.9
    found = batch_dependence(_Formula(lambda x: x - (0.002 if len(x) > 1 else 0.0)), {"x": near})

    assert found.decisions == 0.25
    assert found.objection(CALM, exact=False) == "25.0% of 40 rows are decided otherwise in a batch of another size"


def test_a_parent_that_is_moved_itself_is_no_reason_to_refuse_its_child() -> None:
    """A child may depend on its batch up to twice as much as its parent does."""
    moved = Dependence(0.03, 0.03, 0.0, 0.03, 48)

    assert moved.objection(Dependence(0.02, 0.02, 0.0, 0.02, 48), exact=True) == ""
    assert moved.objection(Dependence(0.01, 0.01, 0.0, 0.01, 48), exact=True) != ""


def test_a_fixed_batch_has_no_company() -> None:
    """A model that takes one number of rows only is not asked."""
    session = _Formula(lambda x: x)
    session.signature = Signature((Tensor("x", "float64", (1, 1)),), ())

    assert batch_dependence(session, {"x": X}).rows == 0
    assert session.asked == []


class _Words(Session):
    """Answers about words: a mean over the filled places, or over all, or the places themselves."""

    def __init__(self, way: str, longest: int = 99) -> None:
        axes = ("batch", "sequence")
        self.signature = Signature((Tensor("ids", "int64", axes), Tensor("mask", "int64", axes)), ())
        self.way, self.longest = way, longest

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        ids, mask = feeds["ids"].astype(np.float64), feeds["mask"]
        if ids.shape[1] > self.longest:
            raise ModelError("takes fewer words")
        if self.way == "places":
            return {"y": np.stack([ids, ids], axis=2) + (1 - mask)[..., None] * ids.shape[1]}
        weights = mask if self.way == "masked" else np.ones_like(mask)
        return {"y": (ids * weights).sum(axis=1) / weights.sum(axis=1)}


def _sentences() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(3)
    lengths = rng.integers(2, 9, size=(60, 1))
    mask = (np.arange(8) < lengths).astype(np.int64)
    return {"ids": np.where(mask == 1, rng.integers(5, 99, size=mask.shape), 1), "mask": mask}


@pytest.mark.parametrize(
    ("way", "moves"), [("masked", False), ("places", False), ("all", True)], ids=["masked", "each place", "unmasked"]
)
def test_padding(way: str, moves: bool) -> None:
    """Longer padding moves a model that forgets the mask, and no other; what it says of the padding itself is not looked at."""
    found = batch_dependence(_Words(way), _sentences())

    assert found.padded is not None
    assert (found.padded > TOLERANCE) == moves
    assert ("padded" in found.objection(Dependence(0.0, 0.0, 0.0, 0.0, 48), exact=True)) == moves


def test_what_cannot_be_padded() -> None:
    """Rows as long as the model takes them, and models without a mask, have no padding to depend on."""
    assert batch_dependence(_Words("all", longest=8), _sentences()).padded is None
    assert batch_dependence(_Formula(lambda x: x), {"x": X}).padded is None


def test_the_mask_is_found_by_its_values_and_its_name() -> None:
    """Zeros and ones beside another input of that shape are a mask; of several, the one that is called so; all zeros are none."""
    axes = ("batch", "sequence")
    names = ("ids", "kind", "attention_mask")
    signature = Signature(tuple(Tensor(name, "int64", axes) for name in names), ())
    ids, ones = np.array([[7, 8]]), np.ones((1, 2), np.int64)

    assert mask_input(signature, {"ids": ids, "kind": ones, "attention_mask": ones}) == "attention_mask"
    assert mask_input(signature, {"ids": ids, "kind": ones, "attention_mask": ids}) == "kind"
    assert mask_input(signature, {"ids": ids, "kind": ones * 0, "attention_mask": ids}) is None


def test_dynamic_int8_depends_on_its_batch(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    """A real model answers a row at a time; its dynamic int8 child does not, and says so where rows differ in size."""
    from onnxruntime.quantization import quantize_dynamic

    with hushed():
        quantize_dynamic(mlp.path, tmp_path / "int8.onnx", per_channel=True)
    uneven = {"x": rows["x"] * np.linspace(0.1, 5, len(rows["x"]), dtype=np.float32)[:, None]}
    parent = batch_dependence(OnnxSession(mlp.path), uneven)
    child = batch_dependence(OnnxSession(tmp_path / "int8.onnx"), uneven)

    assert parent.objection(parent, exact=True) == ""
    assert "who shares its batch" in child.objection(parent, exact=False)
    assert "neighbours" in child.describe()
    assert child.to_dict()["rows"] == 48


def test_bfloat16_and_int8_are_not_exact(mlp: Variant) -> None:
    """Only float32 computed as float32 is held to the rounding of float32."""
    from dataclasses import replace

    assert is_exact(mlp)
    assert not is_exact(replace(mlp, precision="int8"))
    assert not is_exact(replace(mlp, execution=Execution("openvino-bf16")))


def _told(x: NDArray[np.float64], kind: str) -> NDArray[Any]:
    """Whole numbers and nothing else: a class a row, or three codes."""
    scale = np.abs(x).max() if kind.endswith("shared") else 3.0
    codes: NDArray[np.int64] = np.rint(x / scale * 8).astype(np.int64)
    return codes[:, 0] if kind.startswith("label") else np.repeat(codes, 3, axis=1)


class _Whole(_Formula):
    """Answers nothing but whole numbers."""

    def run(self, feeds: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[Any]]:
        return {"label": self.formula(feeds["x"])}


@pytest.mark.parametrize("kind", ["label", "codes"])
def test_whole_numbers_are_seen(kind: str) -> None:
    """A model that answers whole numbers only is objected to where strangers or the batch's size change them, else not."""
    apart, shared = (batch_dependence(_Whole(partial(_told, kind=each)), {"x": X}) for each in (kind, f"{kind} shared"))
    sized = batch_dependence(_Whole(lambda x: _told(x, kind) + (len(x) > 1)), {"x": X})

    assert (apart.decisions, apart.strangers, apart.objection(CALM, exact=False)) == (0.0, 0.0, "")
    assert shared.largest == 0.0 < shared.strangers <= shared.decisions
    assert "with who shares their batch" in shared.objection(CALM, exact=False)
    assert shared.objection(shared, exact=False) == ""
    assert sized.strangers == 0.0
    assert sized.objection(CALM, exact=True) == "100.0% of 48 rows are decided otherwise in a batch of another size"
