from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import windtunnel
from windtunnel.bundle import facts_of, read_bundle, sample_rows, write_bundle
from windtunnel.digest import canonical_json, digest_file, digest_value
from windtunnel.errors import ModelError
from windtunnel.execution import Execution
from windtunnel.forest_file import read_forest_file
from windtunnel.onnx_file import copy_model, load_model, save_model
from windtunnel.runtime import open_session
from windtunnel.serving.protocol import metadata
from windtunnel.variant import Origin, Variant

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

INPUTS = {"x": np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)}
FILES = [
    "MODEL_CARD.md", "bundle.json", "check.py", "kserve/inference-service.yaml", "kserve/metadata.json", "model.onnx",
    "requirements.txt", "samples.npz", "serve/app.py", "serve/config.yaml", "triton/fast/1/model.onnx", "triton/fast/config.pbtxt",
]  # fmt: skip


@pytest.fixture
def variant(tiny_model: Path) -> Variant:
    return Variant.from_file(tiny_model, name="fast", origin=Origin("ort-offline", "a" * 64, {"level": 2}))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written") / "bundle"


@pytest.fixture
def bundle(variant: Variant, written: Path, tmp_path: Path) -> Path:
    """A bundle of `variant`: written once, and copied for each test to do with as it likes."""
    if not written.exists():
        _write(variant, INPUTS, written)
    return shutil.copytree(written, tmp_path / "bundle")


def _write(variant: Variant, inputs: dict[str, NDArray[Any]], folder: Path, **further: Any) -> Path:
    write_bundle(variant, inputs, open_session(variant).run(inputs), folder, **further)
    return folder


def _check(bundle: Path) -> subprocess.CompletedProcess[str]:
    """Run the bundle's own check as someone without windtunnel would: isolated, from elsewhere."""
    return subprocess.run(
        [sys.executable, "-I", str(bundle / "check.py")], capture_output=True, text=True, cwd=bundle.parent.parent
    )


def _expect(bundle: Path, change: Callable[[dict[str, NDArray[Any]]], object]) -> None:
    """Let a bundle expect other answers, and vouch for them as if they had been written so."""
    samples = dict(np.load(bundle / "samples.npz"))
    change(samples)
    np.savez(bundle / "samples.npz", **samples)
    record = json.loads((bundle / "bundle.json").read_text())
    record["files"]["samples.npz"] = digest_file(bundle / "samples.npz")
    (bundle / "bundle.json").write_text(canonical_json(record))


def _files(folder: Path) -> list[str]:
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())


def test_round_trip(bundle: Path, variant: Variant) -> None:
    """A bundle is read as the variant that it was made of, in its new place, and holds what it promises."""
    found = read_bundle(bundle)

    assert _files(bundle) == sorted(FILES)
    assert found == replace(variant, path=bundle / "model.onnx")
    assert json.loads((bundle / "kserve" / "metadata.json").read_text()) == metadata(found)
    assert [each.name for each in bundle.parent.iterdir() if each.name.startswith(".")] == []


def test_same_bundle_same_bytes(bundle: Path, variant: Variant, tmp_path: Path) -> None:
    """The same variant and samples make the same bytes."""
    again = _write(variant, INPUTS, tmp_path / "again")

    for name in FILES:
        assert (bundle / name).read_bytes() == (again / name).read_bytes(), name


def test_the_check_passes(bundle: Path) -> None:
    """Whoever gets the bundle sees that it runs right, with numpy and the runtime alone."""
    done = _check(bundle)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "y: [5], off by 0 where 0.001 is allowed\n"
    assert "windtunnel" not in (bundle / "check.py").read_text()
    packages = (bundle / "requirements.txt").read_text().split()
    assert [each.partition("==")[0] for each in packages] == ["numpy", "onnxruntime"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (0.01, "another processor or runtime? it was proven with numpy=="),
        (float("nan"), "another processor or runtime?"),
    ],
)
def test_the_check_fails(bundle: Path, wrong: float, words: str) -> None:
    """Where one expected answer is another, or none, the check exits with 1 and says which output it was, and what it needs."""
    _expect(bundle, lambda samples: np.add.at(samples["out.y"], 2, np.float32(wrong)))
    done = _check(bundle)

    assert done.returncode == 1
    assert done.stderr.startswith("y differs from what was expected: " + words)


def test_another_shape(bundle: Path) -> None:
    """Answers of another shape are those of another model."""
    _expect(bundle, lambda samples: samples.update({"out.y": samples["out.y"][:3]}))
    done = _check(bundle)

    assert done.returncode == 1
    assert done.stderr.startswith("y has the shape (5,), not (3,): another runtime? it was proven with numpy==")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("model.onnx", _truncate, "model.onnx was changed after the bundle was written: copy the whole bundle again"),
        ("model.onnx", _flip, "model.onnx was changed after the bundle was written: copy the whole bundle again"),
        ("model.onnx", Path.unlink, "model.onnx cannot be read (No such file or directory): copy the whole bundle again"),
        ("samples.npz", _flip, "samples.npz was changed after the bundle was written: copy the whole bundle again"),
        ("samples.npz", Path.unlink, "samples.npz cannot be read (No such file or directory): copy the whole bundle again"),
        ("bundle.json", _truncate, "bundle.json is not whole ("),
        ("bundle.json", lambda path: path.write_text("{}"), "bundle.json is not whole ('companions'): copy the whole"),
        ("bundle.json", Path.unlink, "bundle.json cannot be read (No such file or directory): copy the whole bundle again"),
    ],
)  # fmt: skip
def test_a_damaged_bundle(bundle: Path, name: str, damage: Callable[[Path], object], words: str) -> None:
    """What was torn on its way is said in one sentence that names the file, before the runtime sees any of it."""
    damage(bundle / name)
    done = _check(bundle)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert words in done.stderr


def test_a_runtime_that_refuses(bundle: Path) -> None:
    """A model that is as it was written and that the runtime will not have: its reason, and with what it was proven."""
    record = json.loads((bundle / "bundle.json").read_text())
    record["execution"]["options"][""] = "no name"
    (bundle / "bundle.json").write_text(canonical_json(record))
    done = _check(bundle)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("model.onnx cannot be run (")
    assert "it was proven with numpy==" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_package_that_is_missing(bundle: Path) -> None:
    """Where the runtime is not installed, the command that installs it is said."""
    block = "import runpy, sys; sys.modules['onnxruntime'] = None; runpy.run_path(sys.argv[1])"
    command = [sys.executable, "-I", "-c", block, str(bundle / "check.py")]
    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "onnxruntime" in done.stderr
    assert done.stderr.endswith(": pip install -r requirements.txt\n")


def test_reduced_precision_is_allowed_more(variant: Variant, tmp_path: Path) -> None:
    """What is rounding in int8 is none in float32."""
    bundle = _write(replace(variant, precision="int8"), INPUTS, tmp_path / "bundle")
    _expect(bundle, lambda samples: np.add.at(samples["out.y"], 2, np.float32(0.01)))

    assert _check(bundle).stdout.endswith("where 0.016 is allowed\n")


def test_openvino(variant: Variant, tmp_path: Path) -> None:
    """A variant that was proven in OpenVINO is checked in OpenVINO, with its threads and precision, and read so."""
    pytest.importorskip("openvino")
    runs = replace(variant, name="fast-on-openvino", execution=Execution("openvino", 2))
    bundle = _write(runs, INPUTS, tmp_path / "bundle")

    assert read_bundle(bundle).execution == runs.execution
    assert (bundle / "requirements.txt").read_text().splitlines()[1].startswith("openvino==")
    assert "onnxruntime" not in (bundle / "check.py").read_text()
    assert _check(bundle).stdout == "y: [5], off by 0 where 0.001 is allowed\n"
    told = windtunnel.load(bundle).run(INPUTS)["y"]
    assert np.array_equal(told, np.load(bundle / "samples.npz")["out.y"])


def _forest(form: str, folder: Path) -> Variant:
    """A forest of three classes in its library's own file, proven on two threads."""
    x = np.random.default_rng(3).normal(size=(120, 4))
    label = np.digitize(x[:, 0] + x[:, 1], [-0.5, 0.7])
    path = folder / f"source.{form}"
    if form == "txt":
        lightgbm = pytest.importorskip("lightgbm")
        settings = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1, "num_leaves": 5}
        lightgbm.train(settings, lightgbm.Dataset(x, label), 3).save_model(path)
    else:
        xgboost = pytest.importorskip("xgboost")
        settings = {"objective": "multi:softmax" if form == "json" else "multi:softprob", "num_class": 3, "nthread": 1}
        xgboost.train(settings, xgboost.DMatrix(x, label), 3).save_model(path)
    signature = read_forest_file(path).signature
    way = Execution("lightgbm" if form == "txt" else "xgboost", 2)
    return Variant(
        "own", path, digest_file(path), "fp32", path.stat().st_size, signature, Origin("source", "", {}), way
    )


@pytest.mark.parametrize("form", ["json", "txt"])
def test_a_library_runs_its_own_file(form: str, tmp_path: Path) -> None:
    """The library's own file is in the bundle, which runs it by that library alone, and is read so; a changed one is not."""
    variant = _forest(form, tmp_path)
    bundle = _write(variant, INPUTS, tmp_path / "bundle", batch=(1, 64))
    library, other = ("lightgbm", "xgboost") if form == "txt" else ("xgboost", "lightgbm")

    assert (bundle / f"model.{form}").read_bytes() == variant.path.read_bytes()
    assert read_bundle(bundle) == replace(variant, path=bundle / f"model.{form}")
    assert (bundle / "requirements.txt").read_text().splitlines()[1].startswith(library)
    program = (bundle / "check.py").read_text()
    assert (library in program, other in program, "onnx" in program) == (True, False, False)
    assert _check(bundle).stdout.startswith("answer: [5, 3], off by ")
    told = windtunnel.load(bundle).run(INPUTS)["answer"]
    assert np.array_equal(told, np.load(bundle / "samples.npz")["out.answer"])
    assert np.allclose(told.sum(axis=1), 1.0)
    assert json.loads((bundle / "kserve" / "metadata.json").read_text())["platform"] == f"{library}_{form}"
    assert f"Needs windtunnel, and {library}" in (bundle / "serve" / "app.py").read_text()
    assert 'backend: "fil"' in (bundle / "triton" / "own" / "config.pbtxt").read_text()
    assert "that was not run here" in (bundle / "MODEL_CARD.md").read_text()

    _expect_elsewhere(bundle)
    _truncate(bundle / f"model.{form}")
    with pytest.raises(ModelError, match=rf"model\.{form}: is missing or was changed"):
        read_bundle(bundle)


def _expect_elsewhere(bundle: Path) -> None:
    """A bundle's model is one of few files in its own folder, whatever its record says."""
    whole = (bundle / "bundle.json").read_text()
    for place in ("../model.json", "/etc/passwd", "model.ubj", "check.py"):
        record = json.loads(whole)
        del record["seal"]
        record["path"] = place
        (bundle / "bundle.json").write_text(canonical_json({**record, "seal": digest_value(record)}))
        with pytest.raises(ModelError, match=r"bundle/model\.(onnx|ubj): does not exist"):
            read_bundle(bundle)
    (bundle / "bundle.json").write_text(whole)


def test_text_goes_in_and_labels_come_out(tmp_path: Path) -> None:
    """A scikit-learn pipeline that takes text: labels are compared one by one, and a wrong one fails the check."""
    pytest.importorskip("skl2onnx")
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import StringTensorType
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    words = np.array([["JFK"], ["LGA"], ["EWR"], ["é"]] * 10, object)
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(words, np.arange(40) % 2)
    made = to_onnx(
        model, initial_types=[("word", StringTensorType([None, 1]))], options={"zipmap": False}, target_opset=18
    )
    path = tmp_path / "text.onnx"
    path.write_bytes(made.SerializeToString())
    bundle = _write(Variant.from_file(path), {"word": words[:8]}, tmp_path / "bundle", batch=(1, 8))

    assert _check(bundle).stdout.splitlines()[0] == "label: [8], off by 0 where 0 is allowed"
    assert "TYPE_STRING" in (bundle / "triton" / "text" / "config.pbtxt").read_text()
    _expect(bundle, lambda samples: np.add.at(samples["out.label"], 0, 1))
    assert _check(bundle).stderr.startswith("label differs from what was expected")


def test_weights_beside_the_file(variant: Variant, tmp_path: Path) -> None:
    """External weights travel along under a name that the model knows, and a change in them is noticed."""
    big = tmp_path / "split" / "m.onnx"
    big.parent.mkdir()
    model = load_model(variant.path)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((4, 512), np.float32), "w"))
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 512
    save_model(model, big, largest_bytes=1000)
    source = Variant.from_file(big)
    bundle = _write(source, INPUTS, tmp_path / "bundle")
    found = read_bundle(bundle)

    assert (source.companions, found.companions) == (("m.onnx.data",), ("model.onnx.data",))
    assert _check(bundle).returncode == 0
    triton = Variant.from_file(bundle / "triton" / "m" / "1" / "model.onnx")
    assert triton.sha256 == found.sha256
    (bundle / "model.onnx.data").write_bytes(b"\x00" * (bundle / "model.onnx.data").stat().st_size)
    with pytest.raises(ModelError, match=r"model\.onnx\.data: is missing or was changed"):
        read_bundle(bundle)


def test_several_tensors_and_a_fixed_batch(tmp_path: Path) -> None:
    """Two inputs and two outputs, three rows at a time: as many samples as the model takes, and nothing is joined."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 2]) for name in ("a", "b", "sum", "product")]
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Mul", ["a", "b"], ["product"])]
    graph = helper.make_graph(nodes, "two", values[:2], values[2:])
    path = tmp_path / "two.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    variant = Variant.from_file(path)
    rows = np.arange(40, dtype=np.float32).reshape(20, 2)
    inputs = sample_rows(variant, {"a": rows, "b": rows})
    bundle = _write(variant, inputs, tmp_path / "bundle", batch=(1, 8))

    assert [len(array) for array in inputs.values()] == [3, 3]
    assert [line.partition(":")[0] for line in _check(bundle).stdout.splitlines()] == ["sum", "product"]
    assert "max_batch_size: 0" in (bundle / "triton" / "two" / "config.pbtxt").read_text()
    assert "max_batch=1," in (bundle / "serve" / "app.py").read_text()


def test_batches_wait_no_longer_than_a_call(variant: Variant, tmp_path: Path) -> None:
    """A server joins as many requests as were proven, for as long as the shortest call takes."""
    facts = {"p50_s": {"1": 0.0004, "32": 0.003}}
    bundle = _write(variant, INPUTS, tmp_path / "bundle", facts=facts, batch=(1, 32))

    assert "BatchPolicy(max_batch=32, max_wait_s=0.0004)" in (bundle / "serve" / "app.py").read_text()
    config = (bundle / "triton" / "fast" / "config.pbtxt").read_text()
    assert "max_queue_delay_microseconds: 400 " in config
    assert json.loads((bundle / "bundle.json").read_text())["facts"] == facts


def test_every_changed_file_is_noticed(bundle: Path) -> None:
    """One byte more in any file is refused by its name, and so is a missing file."""
    for name in FILES:
        place = bundle / name
        text = place.read_bytes()
        place.unlink()
        place.write_bytes(text.replace(b'"fast"', b'"slow"', 1) if name == "bundle.json" else text + b"\n")
        with pytest.raises(
            ModelError, match=f"{name}: is missing or was changed after the bundle was written; write it"
        ):
            read_bundle(bundle)

        place.unlink()
        with pytest.raises(ModelError, match=f"{name}: is"):
            read_bundle(bundle)
        place.write_bytes(text)
    assert read_bundle(bundle).name == "fast"


def test_digests_do_not_vouch_for_another_model(bundle: Path, tmp_path: Path) -> None:
    """A model of other inputs is refused though somebody wrote all digests anew."""
    graph = onnx.load(bundle / "model.onnx").graph
    graph.input[0].name = graph.node[0].input[0] = "other"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), bundle / "model.onnx"
    )
    record = json.loads((bundle / "bundle.json").read_text())
    del record["seal"]
    record["files"]["model.onnx"] = digest_file(bundle / "model.onnx")
    (bundle / "bundle.json").write_text(canonical_json({**record, "seal": digest_value(record)}))
    (bundle / "triton" / "fast" / "1" / "model.onnx").unlink()
    copy_model(tmp_path / "tiny.onnx", bundle / "triton" / "fast" / "1" / "model.onnx")

    with pytest.raises(ModelError, match=r"model\.onnx: is not the model that the record describes"):
        read_bundle(bundle)


def test_facts_of_a_search() -> None:
    """The facts of the chosen variant, with its parents from the nearest to the source; what failed to be made is passed over."""
    entries = [
        {"name": name, "sha256": name, "origin": {"step": step, "parent": parent, "settings": {}}, "speedup": 1.0}
        for name, step, parent in (
            ("fp32", "file", "elsewhere"),
            ("fused", "fuse", "fp32"),
            ("int8", "quantize", "fused"),
        )
    ]
    facts = facts_of(
        {"chosen": entries[2], "frontier": [*entries, {"name": "int4", "status": "failed", "reason": "it cannot"}]}
    )

    assert facts["speedup"] == 1.0
    assert [(each["name"], each["origin"]["step"]) for each in facts["made_of"]] == [
        ("fused", "fuse"),
        ("fp32", "file"),
    ]


def test_expectations_must_be_finite(variant: Variant, tmp_path: Path) -> None:
    """Of NaN nothing can be expected: refused, and nothing is left."""
    outputs = {"y": np.array([1.0, np.nan, 1.0, 1.0, 1.0], np.float32)}
    with pytest.raises(ModelError, match=r"`fast` answers NaN or infinity in `y` to a sample.*give other rows"):
        write_bundle(variant, INPUTS, outputs, tmp_path / "bundle")

    assert not (tmp_path / "bundle").exists()


def test_a_bundle_that_fails_is_not_left(bundle: Path, variant: Variant) -> None:
    """Expectations that the model does not meet: the script's words are told, and an earlier bundle stays as it was."""
    with pytest.raises(ModelError, match=r"the bundle does not pass its own check \(y differs from what was expected"):
        write_bundle(variant, INPUTS, {"y": np.zeros(5, np.float32)}, bundle)

    assert read_bundle(bundle).name == "fast"
    assert [each.name for each in bundle.parent.iterdir() if each.name.startswith(".")] == []


def test_a_bundle_is_replaced(bundle: Path, variant: Variant) -> None:
    """A bundle's folder takes another bundle; what people wrote beside it stays, what the old one wrote goes."""
    (bundle / "USE.md").write_text("to warn pilots")
    _write(replace(variant, name="other"), INPUTS, bundle)

    assert read_bundle(bundle).name == "other"
    assert (bundle / "USE.md").read_text() == "to warn pilots"
    assert [each.name for each in (bundle / "triton").iterdir()] == ["other"]


def test_a_bundle_is_written_over_itself(bundle: Path) -> None:
    """A variant that was read from a bundle can be written back into it."""
    found = read_bundle(bundle)
    _write(found, INPUTS, bundle)

    assert read_bundle(bundle) == found


def test_a_bundle_travels(bundle: Path, tmp_path: Path) -> None:
    """Packed and unpacked elsewhere, it is whole and runs."""
    shutil.make_archive(str(tmp_path / "packed"), "zip", bundle)
    shutil.unpack_archive(tmp_path / "packed.zip", tmp_path / "elsewhere")

    assert read_bundle(tmp_path / "elsewhere").name == "fast"
    assert _check(tmp_path / "elsewhere").returncode == 0


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


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"name": "x", "origin": 3}'])
def test_what_is_no_bundle(bundle: Path, text: str) -> None:
    """A record that was torn or is another's is refused with the way out."""
    (bundle / "bundle.json").write_text(text)

    with pytest.raises(ModelError, match=r"bundle\.json: is not a bundle \(.*\); write it again with --bundle"):
        read_bundle(bundle)


def test_another_kind_of_bundle(bundle: Path) -> None:
    """A bundle of another schema is refused by its schema."""
    record = bundle / "bundle.json"
    record.write_text(record.read_text().replace("windtunnel.bundle/2", "windtunnel.bundle/9"))

    with pytest.raises(ModelError, match=r"`schema` \(='windtunnel\.bundle/9'\) is of another kind"):
        read_bundle(bundle)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    """An empty folder is no bundle."""
    with pytest.raises(ModelError, match=r"bundle\.json: is not a bundle"):
        read_bundle(tmp_path)


def test_no_path_of_this_machine_travels(bundle: Path) -> None:
    """Nothing in a bundle says where it was written."""
    for name in FILES:
        assert str(bundle.parent).encode() not in (bundle / name).read_bytes(), name
