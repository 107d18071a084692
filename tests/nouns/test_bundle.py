from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.bundle import read_bundle, write_bundle
from windtunnel.errors import ModelError
from windtunnel.session import OnnxSession
from windtunnel.variant import Origin, Variant

if TYPE_CHECKING:
    from pathlib import Path

INPUTS = {"x": np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)}


@pytest.fixture
def variant(tiny_model: Path) -> Variant:
    return Variant.from_file(
        tiny_model, name="fast", precision="int8", origin=Origin("int8-dynamic", "a" * 64, {"bits": 8})
    )


@pytest.fixture
def bundle(variant: Variant, tmp_path: Path) -> Path:
    write_bundle(variant, INPUTS, OnnxSession(variant.path).run(INPUTS), tmp_path / "bundle")
    return tmp_path / "bundle"


def _check(bundle: Path) -> subprocess.CompletedProcess[str]:
    """Run the bundle's own check as someone without windtunnel would: isolated, from elsewhere."""
    return subprocess.run(
        [sys.executable, "-I", str(bundle / "check.py")], capture_output=True, text=True, cwd=bundle.parent.parent
    )


def test_round_trip(bundle: Path, variant: Variant) -> None:
    """A bundle is read as the variant that it was made of, in its new place."""
    found = read_bundle(bundle)

    assert sorted(each.name for each in bundle.iterdir()) == ["bundle.json", "check.py", "model.onnx", "samples.npz"]
    assert found.path == bundle / "model.onnx"
    assert found.to_dict(bundle) == variant.to_dict(variant.path.parent) | {"path": "model.onnx"}


def test_same_bundle_same_bytes(bundle: Path, variant: Variant, tmp_path: Path) -> None:
    """The same variant and samples make the same bytes."""
    write_bundle(variant, INPUTS, OnnxSession(variant.path).run(INPUTS), tmp_path / "again")

    for path in bundle.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_the_check_passes(bundle: Path) -> None:
    """Whoever gets the bundle sees that it runs right, with numpy and the runtime alone."""
    done = _check(bundle)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("y: 5 rows, largest difference")
    assert "windtunnel" not in (bundle / "check.py").read_text()


@pytest.mark.parametrize("wrong", [0.01, float("nan")])
def test_the_check_fails(bundle: Path, wrong: float) -> None:
    """Where one expected answer is another, or none, the check exits with 1 and says which output it was."""
    samples = dict(np.load(bundle / "samples.npz"))
    samples["out.y"][2] += np.float32(wrong)
    np.savez(bundle / "samples.npz", **samples)
    done = _check(bundle)

    assert done.returncode == 1
    assert "y differs from what was expected" in done.stderr


def test_a_bundle_is_replaced(bundle: Path, variant: Variant) -> None:
    """A bundle's folder takes another bundle."""
    write_bundle(Variant.from_file(variant.path, name="other"), INPUTS, OnnxSession(variant.path).run(INPUTS), bundle)

    assert read_bundle(bundle).name == "other"


def test_a_bundle_is_written_over_itself(bundle: Path) -> None:
    """A variant that was read from a bundle can be written back into it."""
    found = read_bundle(bundle)
    write_bundle(found, INPUTS, OnnxSession(found.path).run(INPUTS), bundle)

    assert read_bundle(bundle) == found


def test_foreign_places(variant: Variant, tmp_path: Path) -> None:
    """A file, and a folder with something else in it, are refused and left alone."""
    file, foreign = tmp_path / "file", tmp_path / "foreign"
    file.write_text("mine")
    foreign.mkdir()
    (foreign / "model.onnx").write_text("mine")

    for place in (file, foreign):
        with pytest.raises(ModelError, match=r"holds something that is not a bundle; choose another folder"):
            write_bundle(variant, INPUTS, {}, place)
    assert (foreign / "model.onnx").read_text() == "mine"


def test_a_tampered_model(bundle: Path) -> None:
    """A model that is not the one that was bundled is refused, and so is a missing one."""
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\x00")
    with pytest.raises(
        ModelError, match=r"model\.onnx: is missing or was changed after the bundle was written; write it again"
    ):
        read_bundle(bundle)

    model.unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: is missing or was changed"):
        read_bundle(bundle)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"name": "x", "origin": 3}'])
def test_what_is_no_bundle(bundle: Path, text: str) -> None:
    """A record that was torn or is another's is refused with the way out."""
    (bundle / "bundle.json").write_text(text)

    with pytest.raises(ModelError, match=r"bundle\.json: is not a bundle \(.*\); write it again with --bundle"):
        read_bundle(bundle)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    """An empty folder is no bundle."""
    with pytest.raises(ModelError, match=r"bundle\.json: is not a bundle"):
        read_bundle(tmp_path)


def test_the_record_is_canonical(bundle: Path) -> None:
    """Paths of this machine do not travel in a bundle."""
    text = (bundle / "bundle.json").read_text()

    assert str(bundle.parent) not in text
    assert json.loads(text)["path"] == "model.onnx"
