from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.digest import canonical_json, digest_bytes, digest_file, digest_value, write_atomically

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    max_leaves=12,
)


@given(JSON)
def test_json_round_trip(value: Any) -> None:
    """What JSON can carry comes back as it was."""
    assert value == json.loads(canonical_json(value))


@given(st.dictionaries(st.text(), st.integers()), st.randoms())
def test_order_does_not_matter(value: dict[str, int], random: Any) -> None:
    """Equal values have equal bytes, in whatever order their keys were put."""
    keys = list(value)
    random.shuffle(keys)

    assert canonical_json(value) == canonical_json({key: value[key] for key in keys})


@given(st.dictionaries(st.text(), st.integers()), st.dictionaries(st.text(), st.integers()))
def test_different_values_differ(a: dict[str, int], b: dict[str, int]) -> None:
    """Two values share a digest only where they are the same."""
    assert (a == b) == (digest_value(a) == digest_value(b))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "null"),
        (-math.inf, "null"),
        (np.float64(0.5), "0.5"),
        (np.float32("nan"), "null"),
        (np.int64(3), "3"),
        (np.bool_(True), "true"),
        ((1, 2), "[\n  1,\n  2\n]"),
        (np.array([1.0]), "[\n  1.0\n]"),
        (np.array([1, 2]), "[\n  1,\n  2\n]"),
        ({1: "é"}, '{\n  "1": "é"\n}'),
        (Path("a/b"), '"a/b"'),
        ([], "[]"),
    ],
)
def test_what_json_lacks(value: Any, text: str) -> None:
    """NaN, infinities, tuples, paths and numpy's values are written as the nearest thing JSON has."""
    assert text + "\n" == canonical_json(value)


def test_golden_digest() -> None:
    """The digest of a value is the same in every release: run folders are named by it."""
    assert digest_value({"b": [1, 2.5, None], "a": "é"}) == digest_bytes(
        '{\n  "a": "é",\n  "b": [\n    1,\n    2.5,\n    null\n  ]\n}\n'.encode()
    )
    assert digest_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_sets_in_every_process() -> None:
    """A set has one digest, though its order changes with the seed of the process."""
    code = "from windtunnel.digest import digest_value as d; print(d({'s': {'ab', 'cd', 'ef', 'gh', 'ij', 'kl'}}))"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(digests) == 1


def test_digest_of_a_file(tmp_path: Path) -> None:
    """A file larger than a piece has the digest of its bytes."""
    data = np.random.default_rng(1).bytes(700_000)
    (tmp_path / "a").write_bytes(data)

    assert hashlib.sha256(data).hexdigest() == digest_file(tmp_path / "a")


def test_write(tmp_path: Path) -> None:
    """A write replaces the old content, text as UTF-8, and leaves nothing else behind."""
    path = tmp_path / "a.json"
    write_atomically(path, b"old")
    write_atomically(path, "né")

    assert "né".encode() == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["encode", "fsync", "replace"])
def test_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Wherever a write fails, the old content stands and no part of the new one is left."""
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def fail(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    if step == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(UnicodeEncodeError if step == "encode" else OSError):
        write_atomically(path, "\ud800" if step == "encode" else "new")

    assert path.read_bytes() == b"old"
    assert [path] == list(tmp_path.iterdir())


def test_interrupted_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt while a file is written is no reason to leave half of it."""

    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.json", "new")

    assert list(tmp_path.iterdir()) == []
