from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.ubjson import DEEPEST, decode_ubjson


def _plain(value: Any) -> Any:
    """Rows of numbers as lists, so that documents can be compared."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def test_both_forms_of_a_model_say_the_same() -> None:
    """XGBoost's UBJSON holds what its JSON holds."""
    xgboost = pytest.importorskip("xgboost")
    x = np.random.default_rng(0).normal(size=(60, 3))
    booster = xgboost.train({"nthread": 1, "max_depth": 2}, xgboost.DMatrix(x, x[:, 0]), 2)
    told, written = _plain(decode_ubjson(bytes(booster.save_raw("ubj")))), json.loads(booster.save_raw("json"))
    first, other = (each["learner"]["gradient_booster"]["model"]["trees"][0] for each in (told, written))

    assert told.keys() == written.keys()
    assert first["left_children"] == other["left_children"]
    assert first["tree_param"] == other["tree_param"]
    assert np.array_equal(np.float32(first["split_conditions"]), np.float32(other["split_conditions"]))


@pytest.mark.parametrize(
    ("document", "value"),
    [
        (b"{}", {}),
        (b"[]", []),
        (b"[i\x01T]", [1, True]),
        (b"[#i\x02ZF", [None, False]),
        (b"[$d#i\x01\x3f\x80\x00\x00", [1.0]),
        (b"[$U#i\x02\xff\x01", [255, 1]),
        (b"{L\0\0\0\0\0\0\0\x01aI\x01\x00}", {"a": 256}),
    ],
)
def test_values(document: bytes, value: Any) -> None:
    """Each kind is read as the specification has it, the most significant byte first."""
    assert _plain(decode_ubjson(document)) == value


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "cut off"),
        (b"{}x", "1 bytes behind its end"),
        (b"Q", "unknown kind"),
        (b"[$L#L\x7f\xff\xff\xff\xff\xff\xff\xff", "cut off"),
        (b"[$i#i\xff", "cut off"),
        (b"[$T#i\x02", "a row of"),
        (b"{d\0\0\0\0", "no number of entries"),
        (b"[" * (DEEPEST + 9), "nested deeper"),
    ],
)
def test_refused(document: bytes, words: str) -> None:
    """What is cut off, boasts of a size, or is nested without end is refused before memory is taken for it."""
    with pytest.raises(ValueError, match=words):
        decode_ubjson(document)


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    """Whatever is given is read or refused, and nothing else happens."""
    with contextlib.suppress(ValueError):
        decode_ubjson(b"{" + data)
