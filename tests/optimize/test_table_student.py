from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from windtunnel.errors import ModelError
from windtunnel.optimize.table_student import (
    Column,
    Lookup,
    Scaling,
    embedding,
    make_table_student,
    read_columns,
    table_flops,
)
from windtunnel.variant import Signature, Tensor

RNG = np.random.default_rng(1)
ROWS: dict[str, np.ndarray[Any, Any]] = {
    "km": RNG.normal(100, 20, 50).astype(np.float32),
    "sizes:0": RNG.normal(size=(50, 3)).astype(np.float32),
    "gate": RNG.integers(0, 9, 50),
    "port": np.array(["JFK", "EWR", "LGA"] * 16 + ["JFK", "X"]).astype("S3").view(np.uint8).reshape(50, 3),
    "open": RNG.random(50) > 0.5,
}
SIGNATURE = Signature(
    tuple(Tensor(name, str(array.dtype), ("n", *array.shape[1:])) for name, array in ROWS.items()), ()
)
COLUMNS = read_columns(SIGNATURE, ROWS)


def test_columns() -> None:
    """Floats and flags are numbers, few whole numbers a category, bytes a text."""
    assert (
        Column("km", "number", 1),
        Column("sizes:0", "number", 3),
        Column("gate", "category", 1),
        Column("port", "text", 3),
        Column("open", "number", 1),
    ) == COLUMNS


@pytest.mark.parametrize(
    ("array", "shape", "problem"),
    [
        (np.zeros((200, 5), np.float32), ("n", "length"), "is no column of a table"),
        (np.arange(1000).reshape(200, 5), ("n", 5), "looks like tokens of a text"),
        (np.array(["a"] * 200, object), ("n",), "holds object, which a torch student cannot take"),
        (RNG.integers(0, 255, (5000, 8)).astype(np.uint8), ("n", 8), "holds more than 4096 different texts"),
    ],
)
def test_no_columns(array: np.ndarray[Any, Any], shape: tuple[int | str, ...], problem: str) -> None:
    """What is no column is refused by its name, with the way out."""
    with pytest.raises(ModelError, match=f"`x` .*{problem}; give a student of your own"):
        read_columns(Signature((Tensor("x", str(array.dtype), shape),), ()), {"x": array})


@pytest.mark.parametrize("seen", [ROWS["port"], np.array([-7, 3, 10**12, 3])], ids=["texts", "numbers"])
def test_lookup_is_exact(seen: np.ndarray[Any, Any]) -> None:
    """Equal keys have one row of their own, and what was never seen has row 0, however its key falls."""
    lookup = Lookup(seen, 4)
    keys = np.unique(seen, axis=0)
    strangers = (
        np.setdiff1d(RNG.integers(0, 60, 5000), seen)
        if seen.ndim == 1
        else RNG.integers(128, 255, (5000, 3)).astype(np.uint8)
    )

    with torch.no_grad():
        found = lookup(torch.from_numpy(keys))
        unknown = lookup(torch.from_numpy(strangers))

    assert found.tolist() == lookup.embed.weight[1:][_order(lookup, keys)].tolist()
    assert (unknown == lookup.embed.weight[0]).all()


def test_lookups_of_many_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table without a collision is found in some thousand tries, and is smaller than the square of its keys."""
    seen = RNG.integers(0, 255, (1000, 8)).astype(np.uint8)
    unique = Mock(side_effect=np.unique)
    monkeypatch.setattr(np, "unique", unique)
    lookup = Lookup(seen, 4)

    assert unique.call_count < 3000
    assert len(lookup.table) < 1000**2
    assert int(torch.count_nonzero(lookup.table)) == 1000


def _order(lookup: Lookup, keys: np.ndarray[Any, Any]) -> list[int]:
    """The rank of each key among the lookup's own."""
    wide = keys.reshape(len(keys), -1).astype(np.int64) @ lookup.steps.numpy()
    return [int(rank) for rank in np.argsort(np.argsort(wide))]


def test_scaling() -> None:
    """Numbers come out in standard deviations, missing ones as the mean and told, far ones brought near."""
    seen = np.array([[1.0, 5.0], [3.0, np.nan], [5.0, 7.0]], np.float32)
    scaling = Scaling(seen)

    found = scaling(torch.tensor([[3.0, np.nan], [1.0, 7.0], [1e9, np.inf]]))

    assert scaling.width == 3
    assert found.numpy() == pytest.approx(
        np.array([[1.0, 0.0, 0.0], [0.0, -np.sqrt(1.5), 1.0], [0.0, 8.0, 8.0]]), abs=1e-6
    )


def test_pieces() -> None:
    """Each piece says which share of its bin a number has passed; together they pass all bins in order."""
    scaling = Scaling(np.linspace(0, 4, 101, dtype=np.float32)[:, None], 4)

    found = scaling(torch.tensor([[0.0], [0.5], [2.0], [3.75], [9.0]]))[:, 1:]

    assert found.numpy() == pytest.approx(
        np.array([[0, 0, 0, 0], [0.5, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0.75], [1, 1, 1, 1]]), abs=1e-5
    )


def test_a_column_that_never_moves() -> None:
    """A constant column, and one that is always missing, scale to finite numbers."""
    scaling = Scaling(np.array([[2.0, np.nan], [2.0, np.nan]], np.float32), 3)

    assert torch.isfinite(scaling(torch.tensor([[2.0, np.nan], [3.0, 1.0]]))).all()


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("probability", RNG.random(50)),
        ("probability", RNG.random((50, 1))),
        ("probabilities", RNG.dirichlet(np.ones(3), 50)),
        ("logits", RNG.normal(size=(50, 3))),
        ("embedding", RNG.normal(size=(50, 8))),
        ("value", RNG.normal(1000, 5, (50, 2, 3))),
    ],
)
def test_answers(kind: Any, answers: np.ndarray[Any, Any]) -> None:
    """A student answers in the shape and range of its teacher's kind from its first moment, and takes the inputs by name."""
    torch.manual_seed(1)
    module, inputs = make_table_student(COLUMNS, ROWS, kind, answers, (16, 8), 4)

    with torch.no_grad():
        found = module(**inputs).numpy()

    assert set(inputs) == {"km", "sizes_0", "gate", "port", "open"}
    assert found.shape == (3, *answers.shape[1:])
    if kind == "probability":
        assert ((found > 0) & (found < 1)).all()
    if kind == "probabilities":
        assert found.sum(1) == pytest.approx(np.ones(3), abs=1e-6)
    if kind == "embedding":
        assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(3), abs=1e-6)
    if kind == "value":
        assert found == pytest.approx(np.full((3, 2, 3), 1000.0), abs=25)


def test_operations_and_parameters() -> None:
    """The operations that are foretold are those of the layers, look-ups left out; so are the parameters."""
    flops, parameters = table_flops(COLUMNS, ROWS, 1, (16, 8), 4)
    width = 5 * 5 + embedding(ROWS["gate"]) + embedding(ROWS["port"])
    module, _ = make_table_student(COLUMNS, ROWS, "value", RNG.normal(size=50), (16, 8), 4)
    linear = sum(each.numel() for name, each in module.named_parameters() if "lookups" not in name)

    assert flops == 2 * (width * 16 + 16 * 8 + 8) + 3 * 25
    assert parameters == linear
